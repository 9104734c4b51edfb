//! What `strategy.select/1` is answered by: other strategies, whoever has them.

use super::{Artifacts, Asked, Remembered};
use coldstart_plugin_api::{Code, Error, Prequential, Result};
use std::time::Instant;

/// The strategies that a composing one may ask.
pub trait Components: Sync {
    /// Has one of them choose. Its choice is as many of the candidates as are wanted, none twice.
    ///
    /// Errs when there is none of that name, when it fails, and with [`Code::CANCELLED`] once the user stops the run.
    fn choose(&self, ask: &ComponentAsk<'_>) -> Result<Choice>;
}

/// What a component is asked.
#[derive(Clone, Copy)]
pub struct ComponentAsk<'a> {
    /// Its name, as the composing strategy's parameters have it.
    pub name: &'a str,
    /// How many images.
    pub count: usize,
    /// The images to choose from, ascending.
    pub candidates: &'a [u64],
    /// Whether it goes on from its answer in the next round.
    pub keep: bool,
    /// The seed of the call.
    pub seed: [u8; 32],
    /// The round.
    pub round: u32,
    /// The labelled images, ascending.
    pub labelled: &'a [u64],
    /// What the model said of images before they were labelled.
    pub prequential: &'a [Prequential],
    /// The call that it is a part of.
    pub part: Part<'a>,
    /// Where its artifacts go.
    pub artifacts: &'a Artifacts,
}

/// What sets the call of a component apart: it is a part of another one.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// The images that it sees, ascending: the candidates and the labelled ones.
    pub pool: &'a [u64],
    /// When the other call's operation has to end; none where it may take as long as it takes.
    pub until: Option<Instant>,
    /// What the task model said during the other call.
    pub remembered: &'a Remembered,
}

/// What a component chose, and what it had the host do.
pub struct Choice {
    /// The images, most wanted first.
    pub ids: Vec<u64>,
    /// What it asked for.
    pub asked: Asked,
}

/// The candidates in ascending order.
///
/// Errs when one is not in the pool, is labelled, or stands there twice, and when more images are wanted than there are. `pool` and
/// `labelled` are ascending.
pub fn candidates(mut ids: Vec<u64>, count: u64, pool: &[u64], labelled: &[u64]) -> Result<Vec<u64>> {
    let bad = |message: String| Err(Error::new(Code::BAD_PARAMS, message));
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return bad(format!("the image {} is a candidate twice", pair[0]));
    }
    if let Some(id) = ids.iter().find(|id| pool.binary_search(id).is_err()) {
        return bad(format!("the image {id} is not in the pool"));
    }
    if let Some(id) = ids.iter().find(|id| labelled.binary_search(id).is_ok()) {
        return bad(format!("the image {id} is labelled, and no candidate"));
    }
    if count > ids.len() as u64 {
        return bad(format!("{count} images are wanted of {} candidates", ids.len()));
    }
    Ok(ids)
}

/// Two ascending lists without a common element as one.
pub fn merged(ours: &[u64], theirs: &[u64]) -> Vec<u64> {
    let mut all = [ours, theirs].concat();
    all.sort_unstable();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_unlabelled_images_of_the_pool_and_enough() {
        let (pool, labelled) = ([1, 2, 3, 5, 8], [2]);
        for (ids, count, expected) in [
            (vec![8, 1, 3], 2, Ok(vec![1, 3, 8])),
            (vec![8, 1, 3], 3, Ok(vec![1, 3, 8])),
            (vec![], 0, Ok(vec![])),
            (vec![8, 1], 3, Err("3 images are wanted of 2 candidates")),
            (vec![8, 1], u64::MAX, Err("are wanted of 2 candidates")),
            (vec![8, 1, 8], 1, Err("the image 8 is a candidate twice")),
            (vec![8, 4], 1, Err("the image 4 is not in the pool")),
            (vec![8, 2], 1, Err("the image 2 is labelled")),
        ] {
            match (candidates(ids, count, &pool, &labelled), expected) {
                (Ok(ids), Ok(expected)) => assert_eq!(ids, expected),
                (Err(error), Err(expected)) => assert!(error.message.contains(expected), "{}", error.message),
                (got, expected) => panic!("expected {expected:?}, got {got:?}"),
            }
        }
        assert_eq!(merged(&[1, 8], &[2]), [1, 2, 8]);
    }
}
