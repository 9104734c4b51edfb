//! One strategy or two as the loop's selector: the other chooses its share among what the first has left.

use super::selector::PluginSelector;
use crate::experiment::{Ask, Failure, RunDir, Selected, Selector};
use std::collections::HashSet;

/// A strategy, and another with its share if one is mixed in.
pub struct Mixed {
    pub first: PluginSelector,
    pub other: Option<(PluginSelector, f64)>,
}

impl Mixed {
    /// Where artifacts and recordings go from now on.
    pub fn record_in(&mut self, dir: &RunDir) {
        self.first.player.record_in(dir);
        if let Some((other, _)) = &mut self.other {
            other.player.record_in(dir);
        }
    }
}

impl Selector for Mixed {
    /// Scores are there if both give some, each on its own scale.
    fn select(&mut self, ask: &Ask<'_>) -> Result<Selected, Failure> {
        let Some((other, weight)) = &mut self.other else { return self.first.select(ask) };
        let share = share(ask.budget, *weight);
        // Whose share is nothing is not asked: an answer without images would only cost time.
        if share == 0 {
            return self.first.select(ask);
        }
        if share == ask.budget {
            return other.select(ask);
        }
        let mut selected = self.first.select(&Ask { budget: ask.budget - share, ..*ask })?;
        let taken: HashSet<u64> = selected.selection.ids.iter().copied().collect();
        let left: Vec<u64> = ask.unlabelled.iter().copied().filter(|id| !taken.contains(id)).collect();
        let more = other.select(&Ask { budget: share, unlabelled: &left, ..*ask })?;
        let (ours, theirs) = (&mut selected.selection, more.selection);
        match ours.scores.is_empty() || theirs.scores.is_empty() {
            true => ours.scores.clear(),
            false => ours.scores.extend(theirs.scores),
        }
        ours.ids.extend(theirs.ids);
        selected.effort.add(more.effort);
        Ok(selected)
    }

    /// The state of the one, or of both behind the length of the first.
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        let first = self.first.save()?;
        let Some((other, _)) = &mut self.other else { return Ok(first) };
        Ok([&(first.len() as u64).to_le_bytes()[..], &first, &other.save()?].concat())
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Failure> {
        let Some((other, _)) = &mut self.other else { return self.first.load(state) };
        let (first, second) = parted(state).ok_or("the stored state of two strategies is cut off")?;
        self.first.load(first)?;
        other.load(second)
    }
}

/// How many of `budget` images are the other's.
fn share(budget: usize, weight: f64) -> usize {
    (budget as f64 * weight).round() as usize
}

fn parted(state: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = state.split_first_chunk()?;
    rest.split_at_checked(u64::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_the_nearest_whole_number_of_images() {
        for (budget, weight, expected) in
            [(10, 0.5, 5), (5, 0.5, 3), (10, 0.04, 0), (10, 0.96, 10), (1, 0.3, 0), (0, 0.5, 0)]
        {
            assert_eq!(share(budget, weight), expected, "{weight} of {budget}");
        }
    }

    #[test]
    fn two_states_are_told_apart_and_a_cut_one_is_refused() {
        let stored = [&3_u64.to_le_bytes()[..], b"onetwo"].concat();
        assert_eq!(parted(&stored), Some((&b"one"[..], &b"two"[..])));
        for cut in [0, 7, 10] {
            assert_eq!(parted(&stored[..cut]), None, "{cut} bytes");
        }
        assert_eq!(parted(&u64::MAX.to_le_bytes()), None);
    }
}
