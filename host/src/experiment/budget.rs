//! How many images a run labels, round by round.

use super::error::RunError;
use serde::{Deserialize, Serialize};

/// How many images to label, and in how many steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Size of the initial set; the smallest one, where a sizer says how many.
    pub initial: usize,
    /// Images a query round.
    pub query: usize,
    /// When to end.
    pub end: End,
}

/// When a run has enough labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// After so many rounds beside the first.
    Rounds(u32),
    /// With so many labels; the last round is smaller if need be.
    Labels(usize),
}

impl Budget {
    /// Errs if the pool has fewer images than the rounds need.
    pub fn check(&self, pool: usize) -> Result<(), RunError> {
        let needed = self.labels();
        if needed > pool {
            let (rounds, budget, initial) = (self.last(0, 0), self.query, self.initial);
            return Err(RunError::PoolTooSmall { rounds, budget, initial, needed, pool });
        }
        Ok(())
    }

    /// How many images are labelled in the end, if no sizer makes the initial set larger.
    pub fn labels(&self) -> usize {
        self.initial + self.after_initial()
    }

    /// The last round, when `labels` images are labelled before `round`; less than `round` if there are enough.
    pub fn last(&self, round: u32, labels: usize) -> u32 {
        let rounds_to = |until: usize, labels: usize| until.saturating_sub(labels).div_ceil(self.query.max(1)) as u32;
        match (self.end, round.checked_sub(1)) {
            (End::Rounds(rounds), _) => rounds,
            (End::Labels(until), None) => rounds_to(until, self.initial),
            (End::Labels(until), Some(before)) => before + rounds_to(until, labels),
        }
    }

    /// Images of a round before which `labels` are labelled.
    pub fn of(&self, round: u32, labels: usize) -> usize {
        match (round, self.end) {
            (0, _) => self.initial,
            (_, End::Rounds(_)) => self.query,
            (_, End::Labels(until)) => self.query.min(until.saturating_sub(labels)),
        }
    }

    /// The largest initial set of a pool that leaves enough for the rounds after it.
    pub fn most_initial(&self, pool: usize) -> usize {
        match self.end {
            End::Rounds(_) => pool.saturating_sub(self.after_initial()),
            End::Labels(until) => until.min(pool),
        }
    }

    fn after_initial(&self) -> usize {
        match self.end {
            End::Rounds(rounds) => rounds as usize * self.query,
            End::Labels(until) => until.saturating_sub(self.initial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_after_so_many_rounds_or_with_so_many_labels() {
        for (initial, query, end, sizes) in [
            (5, 10, End::Rounds(2), vec![5, 10, 10]),
            (5, 10, End::Rounds(0), vec![5]),
            (5, 10, End::Labels(25), vec![5, 10, 10]),
            (5, 10, End::Labels(27), vec![5, 10, 10, 2]),
            (5, 10, End::Labels(8), vec![5, 3]),
            (5, 10, End::Labels(5), vec![5]),
        ] {
            let budget = Budget { initial, query, end };
            let (mut round, mut labels, mut rounds) = (0, 0, Vec::new());
            while round <= budget.last(round, labels) {
                assert_eq!(budget.last(round, labels) as usize + 1, sizes.len(), "{budget:?}, round {round}");
                rounds.push(budget.of(round, labels));
                labels += budget.of(round, labels);
                round += 1;
            }
            assert_eq!(rounds, sizes, "{budget:?}");
            assert!(budget.check(labels).is_ok() && budget.check(labels - 1).is_err(), "{budget:?}");
            let most = if matches!(end, End::Rounds(_)) { initial } else { labels };
            assert_eq!(budget.most_initial(labels), most, "{budget:?}");
        }
    }
}
