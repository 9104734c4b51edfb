//! What an author writes: a [`Strategy`], which turns a [`Request`] into a [`Selection`].

use crate::{Code, Error, Host, Params, Result, Rng};

/// A way to choose images.
///
/// An instance lives for one run: made once with its parameters, asked once a round. The same request, answers of the
/// host and seed must give the same selection, on any number of threads: draw only from [`Request::rng`], never from
/// the clock, and iterate over no `HashMap`.
pub trait Strategy: Sized + Send + 'static {
    /// Its parameters ([`crate::NoParams`] if it has none).
    type Params: Params;

    /// Make an instance.
    ///
    /// Errs when the parameters make no sense together.
    fn new(params: Self::Params, host: &Host<'_>) -> Result<Self>;

    /// Choose `request.budget` of the unlabelled images.
    ///
    /// The host refuses an answer with ids outside `request.unlabelled`, twice the same id, another count than
    /// `min(budget, unlabelled)`, or scores that are not finite; it repairs nothing.
    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection>;

    /// The state that the next round builds on, if there is any; stored after every round.
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Take up a state made by [`Strategy::save`], when a run is resumed. Errs if the bytes are not such a state.
    fn load(&mut self, state: &[u8]) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        Err(Error::new(Code::BAD_PARAMS, "this strategy keeps no state, but was given one"))
    }
}

/// What a strategy does in an experiment; a plugin may have several roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Chooses the initial set, in round 0, when no label and no model exists; and goes on in later rounds where a sizer wants a
    /// larger one.
    Initial,
    /// Chooses in rounds 1 and later.
    Query,
    /// Says how large the initial set should be: a [`Sizer`](crate::Sizer), which chooses nothing.
    Sizer,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Initial, Role::Query, Role::Sizer];

    /// The role's name in manifests and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Initial => "initial",
            Role::Query => "query",
            Role::Sizer => "sizer",
        }
    }
}

/// What is asked of a strategy in one round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// 0 for the initial set, then 1, 2, ...
    pub round: u32,
    /// How many images to choose; never more than there are unlabelled ones.
    pub budget: usize,
    /// The seed of this run, round and plugin.
    pub seed: [u8; 32],
    /// Dataset ids of the images to choose from, ascending.
    pub unlabelled: Vec<u64>,
    /// Dataset ids of the labelled images, ascending.
    pub labelled: Vec<u64>,
}

impl Request {
    /// Dataset ids of all images, labelled or not, ascending: the same in every round of a run.
    pub fn pool(&self) -> Vec<u64> {
        let mut pool = [&self.labelled[..], &self.unlabelled[..]].concat();
        pool.sort_unstable();
        pool
    }

    /// A generator for one purpose; another name gives independent numbers, the same name the same ones.
    pub fn rng(&self, stream: &str) -> Rng {
        Rng::for_stream(self.seed, stream)
    }
}

/// The chosen images, most wanted first.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Dataset ids in the order chosen.
    pub ids: Vec<u64>,
    /// One score for each id, for the record; or none at all.
    pub scores: Vec<f32>,
}

impl Selection {
    /// These images, in this order, without scores.
    pub fn of(ids: Vec<u64>) -> Selection {
        Selection { ids, scores: Vec::new() }
    }

    /// The `request.budget` highest scores; equal scores go to the lowest id.
    ///
    /// `scores_n[i]` belongs to `request.unlabelled[i]`. A NaN counts as the highest of all, so that it is seen and
    /// refused instead of hidden at the end.
    ///
    /// # Panics
    /// If there is not one score for each unlabelled image.
    pub fn highest(request: &Request, scores_n: Vec<f32>) -> Selection {
        Selection::ranked(request, &scores_n, |score| if score.is_nan() { f32::INFINITY } else { score })
    }

    /// The `request.budget` lowest scores; otherwise as [`Selection::highest`].
    pub fn lowest(request: &Request, scores_n: Vec<f32>) -> Selection {
        Selection::ranked(request, &scores_n, |score| if score.is_nan() { f32::INFINITY } else { -score })
    }

    /// Rank by `wanted(score)`, highest first. Linear in n, apart from sorting the chosen ones.
    fn ranked(request: &Request, scores_n: &[f32], wanted: impl Fn(f32) -> f32) -> Selection {
        assert_eq!(scores_n.len(), request.unlabelled.len(), "one score for each unlabelled image");
        // `+ 0.0` turns -0 into 0: the two are equal scores, but not equal bits to `total_cmp`.
        let key = |i: &usize| wanted(scores_n[*i]) + 0.0;
        let by_rank = |a: &usize, b: &usize| key(b).total_cmp(&key(a)).then(a.cmp(b));
        let mut positions: Vec<usize> = (0..scores_n.len()).collect();
        if request.budget < positions.len() {
            positions.select_nth_unstable_by(request.budget, by_rank);
            positions.truncate(request.budget);
        }
        positions.sort_unstable_by(by_rank);
        Selection {
            ids: positions.iter().map(|i| request.unlabelled[*i]).collect(),
            scores: positions.iter().map(|i| scores_n[*i]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(n: u64, budget: usize) -> Request {
        let unlabelled = (0..n).map(|i| 10 * i).collect();
        Request { round: 1, budget, seed: [0; 32], unlabelled, labelled: Vec::new() }
    }

    #[test]
    fn highest_and_lowest_break_ties_by_id() {
        let scores = vec![0.5, 0.9, -0.0, 0.9, 0.0];
        for (budget, highest, lowest) in [
            (0, vec![], vec![]),
            (1, vec![10], vec![20]),
            (2, vec![10, 30], vec![20, 40]),
            (5, vec![10, 30, 0, 20, 40], vec![20, 40, 0, 10, 30]),
            (9, vec![10, 30, 0, 20, 40], vec![20, 40, 0, 10, 30]),
        ] {
            assert_eq!(Selection::highest(&request(5, budget), scores.clone()).ids, highest);
            assert_eq!(Selection::lowest(&request(5, budget), scores.clone()).ids, lowest);
        }
    }

    #[test]
    fn nan_is_never_hidden() {
        for nan in [f32::NAN, -f32::NAN] {
            let scores = vec![0.1, nan, 0.3];
            for selection in
                [Selection::highest(&request(3, 1), scores.clone()), Selection::lowest(&request(3, 1), scores)]
            {
                assert!(selection.scores[0].is_nan());
            }
        }
    }
}
