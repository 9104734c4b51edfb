//! `random`: images drawn uniformly from the unlabelled ones. The baseline, and the shortest correct plugin.
//!
//! Read it top to bottom to learn how a strategy is written; `docs/tutorials/first-strategy-in-rust.md` leads through making your own.

use coldstart_plugin_api::prelude::*;

/// A strategy is a value of your own type. It lives for one run and may keep what it learned between rounds; this one
/// keeps nothing.
struct Random;

impl Strategy for Random {
    // What a config may set under `params`. Derive `Params` for a struct of your own if there is something to set.
    type Params = NoParams;

    // Called once a run, before anything is trained: check here that the parameters make sense together.
    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Random)
    }

    // Called once a round. `request` says what is there and how many images to choose; `host` answers questions about
    // the pool and the model. Here neither pixels nor a model is needed, so this works in round 0 too.
    fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
        // The only source of chance: the same run, round and plugin draw the same numbers on every machine.
        let mut rng = request.rng("draw");
        let positions = rng.sample(request.unlabelled.len(), request.budget);
        Ok(Selection::of(positions.into_iter().map(|i| request.unlabelled[i]).collect()))
    }
}

// Makes the library a plugin. Name, roles and needs are readable without running any of this code.
export_plugin! {
    name: "random",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: Random,
    criterion: CHANCE,
    needs: [],
    cite: "Uniform sampling without replacement",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    // A strategy is tested without the program: the test host calls it as the program would.
    #[test]
    fn draws_distinct_unlabelled_images() {
        let host = TestHost::new(20).labelled(&[3, 4, 5]);
        for budget in [0, 1, 16, 17, 30] {
            let mut ids = host.select::<Random>("{}", budget).unwrap().ids;
            ids.sort_unstable();
            ids.dedup();
            assert_eq!(ids.len(), budget.min(17));
            assert!(ids.iter().all(|id| ![3, 4, 5].contains(id)));
        }
    }

    #[test]
    fn the_seed_alone_decides() {
        let draw = |seed| TestHost::new(1000).seed([seed; 32]).select::<Random>("{}", 10).unwrap().ids;
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    /// 2000 draws of 1 from 4: each count is binomial with standard deviation 19.4, so 100 is five of them.
    #[test]
    fn every_image_is_equally_likely() {
        let mut counts = [0i32; 4];
        for i in 0..2000u16 {
            let mut seed = [0; 32];
            seed[..2].copy_from_slice(&i.to_le_bytes());
            let ids = TestHost::new(4).seed(seed).select::<Random>("{}", 1).unwrap().ids;
            counts[ids[0] as usize] += 1;
        }
        assert!(counts.iter().all(|count| (count - 500).abs() < 100), "{counts:?}");
    }
}
