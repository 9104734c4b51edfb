//! What the author of a sizer writes: a [`Sizer`], which says how many images the initial strategy should choose.

use crate::ops::SizeAnswer;
use crate::{Code, Error, Host, Params, Request, Result};
use std::collections::BTreeMap;

/// A way to say how large the initial set should be.
///
/// It is asked before every round until it is content: before round 0, when nothing is labelled and no model exists, and then with
/// the labels and the model of the rounds so far. As long as it wants more images than are labelled, the initial strategy goes on
/// choosing; from then on the query strategy does. What [`Strategy`](crate::Strategy) says of instances and determinism holds
/// here too.
pub trait Sizer: Sized + Send + 'static {
    /// Its parameters ([`crate::NoParams`] if it has none).
    type Params: Params;

    /// Make an instance.
    ///
    /// Errs when the parameters make no sense together.
    fn new(params: Self::Params, host: &Host<'_>) -> Result<Self>;

    /// Say how many images the initial strategy should have chosen in all.
    ///
    /// `request.budget` is how many one round labels. The answer may lie outside the bounds: the host records it as it is, and
    /// acts on the nearest size that is allowed. In round 0 it is the size of the initial set; later all that counts is whether
    /// it is more than what is labelled.
    fn size(&mut self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<Sizing>;

    /// The state that the next round builds on, if there is any; stored after every round.
    fn save(&self) -> Result<Vec<u8>> {
        Ok(Vec::new())
    }

    /// Take up a state made by [`Sizer::save`], when a run is resumed. Errs if the bytes are not such a state.
    fn load(&mut self, state: &[u8]) -> Result<()> {
        if state.is_empty() {
            return Ok(());
        }
        Err(Error::new(Code::BAD_PARAMS, "this sizer keeps no state, but was given one"))
    }
}

/// The sizes that the user allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The smallest initial set.
    pub least: usize,
    /// The largest, never more than the pool.
    pub most: usize,
}

/// How many images a sizer wants, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizing {
    /// Images that the initial strategy should have chosen in all.
    pub wanted: usize,
    /// One sentence for people.
    pub reason: String,
    /// The numbers that it rests on, by name; all finite.
    pub measures: BTreeMap<String, f64>,
}

impl Sizing {
    /// So many images, for this reason.
    pub fn of(wanted: usize, reason: impl Into<String>) -> Sizing {
        Sizing { wanted, reason: reason.into(), measures: BTreeMap::new() }
    }

    /// The images that are labelled are enough.
    pub fn enough(request: &Request, reason: impl Into<String>) -> Sizing {
        Sizing::of(request.labelled.len(), reason)
    }

    /// One more round of the initial strategy.
    pub fn go_on(request: &Request, reason: impl Into<String>) -> Sizing {
        Sizing::of(request.labelled.len() + request.budget.max(1), reason)
    }

    /// The same with a number that it rests on.
    pub fn with(mut self, name: &str, value: f64) -> Sizing {
        self.measures.insert(name.to_owned(), value);
        self
    }
}

impl From<Sizing> for SizeAnswer {
    fn from(Sizing { wanted, reason, measures }: Sizing) -> SizeAnswer {
        SizeAnswer { wanted: wanted as u64, reason, measures }
    }
}

impl From<SizeAnswer> for Sizing {
    fn from(SizeAnswer { wanted, reason, measures }: SizeAnswer) -> Sizing {
        Sizing { wanted: usize::try_from(wanted).unwrap_or(usize::MAX), reason, measures }
    }
}
