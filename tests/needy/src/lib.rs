//! `needy`: needs an operation that no host offers.

use coldstart_plugin_api::prelude::*;

const READ_MINDS_1: Op = Op("minds.read/1");

struct Needy;

impl Strategy for Needy {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Needy)
    }

    fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
        Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
    }
}

export_plugin! {
    name: "needy",
    roles: [Query],
    strategy: Needy,
    needs: [READ_MINDS_1],
    cite: "None",
}
