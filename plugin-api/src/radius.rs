//! Coverings of the pool: which position an image has, how large a ball may be, which balls cover most, and what comes
//! when nothing is left to cover.

use crate::ops::Kernel;
use crate::{Code, Coverage, Error, Host, Picks, Request, Result, Selection, Tensor};

mod covering;
mod purity;
mod reach;
#[cfg(test)]
mod tests;

pub use covering::Covering;
pub use purity::{PURITY, Purity};
pub use reach::Reach;

/// How often balls are halved where larger ones cover everything.
const HALVINGS: i32 = 8;

/// The positions of a request's images in its pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    /// The ids of all images, labelled or not, ascending; an image's position is its index here.
    pub pool: Vec<u64>,
    /// Positions of the labelled images, ascending.
    pub labelled: Vec<usize>,
    /// Positions of the unlabelled images, ascending.
    pub unlabelled: Vec<usize>,
}

impl Places {
    /// The positions of this request's images.
    pub fn of(request: &Request) -> Places {
        let pool = request.pool();
        let positions = |ids: &[u64]| ids.iter().filter_map(|id| pool.binary_search(id).ok()).collect();
        Places { labelled: positions(&request.labelled), unlabelled: positions(&request.unlabelled), pool }
    }

    /// The same request as if the pool had no more than `most` images: all labelled ones, and others drawn from the stream
    /// `references`, never fewer than the budget. Time and memory of what is asked about them then end there.
    pub fn at_most(self, most: u32, request: &Request) -> Places {
        let n_drawn = (most as usize).saturating_sub(self.labelled.len()).max(request.budget);
        if n_drawn >= self.unlabelled.len() {
            return self;
        }
        let drawn = request.rng("references").sample(request.unlabelled.len(), n_drawn);
        let mut unlabelled: Vec<u64> = drawn.into_iter().map(|i| request.unlabelled[i]).collect();
        unlabelled.sort_unstable();
        Places::of(&Request { unlabelled, ..request.clone() })
    }

    /// The same pool as if nothing was labelled yet.
    pub fn before_labels(&self) -> Places {
        Places { pool: self.pool.clone(), labelled: Vec::new(), unlabelled: (0..self.pool.len()).collect() }
    }

    /// The pool's shared representation, a row for each position, at Euclidean length 1 if `unit`. It stays in the host.
    ///
    /// Errs as [`Host::representation`] does, and if rows are missing.
    pub fn features<'h, 'a>(&self, host: &'h Host<'a>, unit: bool) -> Result<Tensor<'h, 'a>> {
        let features = self.complete(host.representation(&self.pool)?)?;
        if unit { features.unit() } else { Ok(features) }
    }

    /// The same tensor; errs if it has not a row for each position.
    pub fn complete<'h, 'a>(&self, rows: Tensor<'h, 'a>) -> Result<Tensor<'h, 'a>> {
        let (n_rows, n) = (rows.n_rows()?, self.pool.len());
        if n_rows != n {
            return Err(Error::new(Code::HOST, format!("the host gave {n_rows} rows for {n} images")));
        }
        Ok(rows)
    }

    /// The ids at these positions. Errs if there is no such position.
    pub fn ids(&self, positions: &[usize]) -> Result<Vec<u64>> {
        let missing = |i: &usize| Error::new(Code::HOST, format!("position {i} of {} images", self.pool.len()));
        positions.iter().map(|i| self.pool.get(*i).copied().ok_or_else(|| missing(i))).collect()
    }

    /// At most `most` unlabelled positions that may be picked, ascending, drawn from the stream `candidates`; never fewer
    /// than the budget, and `None` where that leaves none out.
    pub fn candidates(&self, most: u32, request: &Request) -> Option<Vec<usize>> {
        let most = request.budget.max(most as usize);
        let drawn = || {
            let drawn = request.rng("candidates").sample(self.unlabelled.len(), most);
            let mut drawn: Vec<usize> = drawn.into_iter().map(|i| self.unlabelled[i]).collect();
            drawn.sort_unstable();
            drawn
        };
        (most < self.unlabelled.len()).then(drawn)
    }

    /// These picks and their scores, filled up to the budget with images drawn from the stream `rest`, at score 0.
    ///
    /// Errs if a pick is no position of the pool.
    pub fn selection(&self, picks: &Picks, request: &Request) -> Result<Selection> {
        let n_missing = request.budget.saturating_sub(picks.positions.len());
        let mut picked = picks.positions.clone();
        picked.sort_unstable();
        let mut left = self.unlabelled.clone();
        left.retain(|i| picked.binary_search(i).is_err());
        let rest = request.rng("rest").sample(left.len(), n_missing);
        let rest: Vec<usize> = rest.into_iter().map(|l| left[l]).collect();
        let scores = [&picks.scores[..], &vec![0.0; rest.len()]].concat();
        Ok(Selection { ids: self.ids(&[&picks.positions[..], &rest].concat())?, scores })
    }
}

/// The `k` positions whose balls of this radius cover most of the pool one by one, beside the balls of the labelled; the
/// scores are the shares of the pool that they add. See [`ops::COVERAGE_1`](crate::ops::COVERAGE_1).
///
/// Where everything is covered before there are `k`, all balls are halved and it goes on, eight times at most. After that,
/// or with a radius of 0, fewer come back. How far the balls reach is logged, see [`Reach`]; so is a radius of 0, with which
/// nothing is covered.
pub fn cover(
    points: &Tensor<'_, '_>,
    places: &Places,
    radius: f64,
    k: usize,
    candidates: Option<&[usize]>,
) -> Result<Picks> {
    let mut picks = Picks { positions: Vec::new(), scores: Vec::new() };
    if k > 0 && radius <= 0.0 && places.pool.len() > 1 {
        log::warn!(target: reach::TARGET, "no radius tells the images apart, as if all were the same: they are drawn");
    }
    for halvings in 0..=HALVINGS {
        if picks.positions.len() >= k || radius <= 0.0 {
            break;
        }
        let kernel = Kernel::TopHat { radius: radius / 2f64.powi(halvings) };
        let centres = [&places.labelled[..], &picks.positions].concat();
        let wanted = Coverage { centres: &centres, candidates, ..Coverage::new(k - picks.positions.len(), kernel) };
        let (more, covered) = points.coverage(&wanted)?;
        if halvings == 0 {
            let reach = Reach::of(points, places, radius, more.positions.len(), covered.after)?;
            reach.tell("take larger balls (`radius`, `coverage`)");
        }
        picks.positions.extend(more.positions);
        picks.scores.extend(more.scores);
    }
    Ok(picks)
}
