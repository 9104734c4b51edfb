//! One instance of a strategy or a sizer, asked as often as a test likes.

use super::TestHost;
use crate::abi::SelectorBox;
use crate::abi::std_types::RSlice;
use crate::export::{self, Selects, Sizes};
use crate::ops::{SizeAnswer, SizeArgs};
use crate::{Bounds, Result, Selection, Sizer, Sizing, Strategy, wire};

/// An instance behind the border, as in a loaded library: it keeps its state between rounds, and after a panic it
/// refuses every further call.
///
/// ```
/// # use coldstart_plugin_api::*;
/// # use coldstart_plugin_api::testing::TestHost;
/// # struct First;
/// # impl Strategy for First {
/// #     type Params = NoParams;
/// #     fn new(_: NoParams, _: &Host<'_>) -> Result<Self> { Ok(First) }
/// #     fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
/// #         Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
/// #     }
/// # }
/// let mut instance = TestHost::new(10).instance::<First>("{}").unwrap();
/// let first = instance.select(&TestHost::new(10).round(0), 2).unwrap();
/// let second = instance.select(&TestHost::new(10).round(1).labelled(&first.ids), 2).unwrap();
/// assert_eq!(second.ids, [2, 3]);
/// let state = instance.save().unwrap();
/// TestHost::new(10).instance::<First>("{}").unwrap().load(&state).unwrap();
/// ```
pub struct TestInstance {
    selector: SelectorBox,
}

impl TestHost {
    /// Make an instance with these parameters (JSON).
    pub fn instance<S: Strategy>(&self, params_json: &str) -> Result<TestInstance> {
        Ok(TestInstance { selector: export::instance::<Selects<S>>(params_json, self.as_host())? })
    }

    /// The same of a sizer.
    pub fn sizer<S: Sizer>(&self, params_json: &str) -> Result<TestInstance> {
        Ok(TestInstance { selector: export::instance::<Sizes<S>>(params_json, self.as_host())? })
    }

    /// Make an instance with these parameters (JSON) and ask it once.
    pub fn select<S: Strategy>(&self, params_json: &str, budget: usize) -> Result<Selection> {
        self.instance::<S>(params_json)?.select(self, budget)
    }
}

impl TestInstance {
    /// Ask it for `budget` images of this host's pool.
    pub fn select(&mut self, host: &TestHost, budget: usize) -> Result<Selection> {
        let request = host.border_request(budget);
        let selection = self.selector.select(&request, host.as_host()).into_result();
        host.release_request(&request);
        let selection = selection?;
        Ok(Selection { ids: selection.ids.into_vec(), scores: selection.scores.into_vec() })
    }

    /// Ask a sizer how large the initial set should be, when a round labels `budget` images of this host's pool.
    pub fn size(&mut self, host: &TestHost, budget: usize, Bounds { least, most }: Bounds) -> Result<Sizing> {
        let mut request = host.border_request(budget);
        request.extra = wire::encode(&SizeArgs { least: least as u64, most: most as u64 }).into();
        let answer = self.selector.select(&request, host.as_host()).into_result();
        host.release_request(&request);
        wire::decode::<SizeAnswer>(&answer?.report).map(Sizing::from)
    }

    /// The state that a host stores after a round.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.selector.save().into_result()?.into_vec())
    }

    /// Take up a stored state, as in a resumed run.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        Ok(self.selector.load(RSlice::from(state)).into_result()?)
    }
}
