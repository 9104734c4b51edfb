//! One instance of a strategy, asked as often as a test likes.

use super::TestHost;
use crate::abi::SelectorBox;
use crate::abi::std_types::RSlice;
use crate::{Result, Selection, Strategy, export};

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
        Ok(TestInstance { selector: export::instance::<S>(params_json, self.as_host())? })
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

    /// The state that a host stores after a round.
    pub fn save(&self) -> Result<Vec<u8>> {
        Ok(self.selector.save().into_result()?.into_vec())
    }

    /// Take up a stored state, as in a resumed run.
    pub fn load(&mut self, state: &[u8]) -> Result<()> {
        Ok(self.selector.load(RSlice::from(state)).into_result()?)
    }
}
