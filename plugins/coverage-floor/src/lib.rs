//! `coverage-floor`: an initial set that shows every class.
//!
//! Before the first label it is the smallest number of uniform draws from balanced classes that shows all of them with the
//! probability `probability`: the coupon collector's problem, exactly. Once there are labels, these count and balance is no longer
//! assumed: by Good and Turing (Good 1953, The Population Frequencies of Species and the Estimation of Population Parameters) the
//! share of the pool in classes that nobody has seen is about the share of labelled images that are alone in their class, and
//! where that is at most `unseen` the set is large enough.
//!
//! Both are statements about random draws. A strategy that chooses otherwise may show all classes sooner, and the second rule then
//! says too little or too much. It is a floor: that all classes are seen does not make a model good.

use coldstart_plugin_api::prelude::*;

/// When all classes count as seen.
#[derive(Params)]
struct FloorParams {
    /// Before the first label: how probable it must be that every class is drawn.
    #[param(default = 0.95, min = 0.5, max = 0.999999)]
    probability: f64,
    /// With labels: the largest estimated share of the pool in classes that nobody has seen.
    #[param(default = 0.02, min = 0.0, max = 1.0)]
    unseen: f64,
    /// How many classes there are; absent, as many as the data set names.
    #[param(min = 1)]
    classes: Option<u32>,
}

struct CoverageFloor {
    params: FloorParams,
}

impl Sizer for CoverageFloor {
    type Params = FloorParams;

    fn new(params: FloorParams, _: &Host<'_>) -> Result<Self> {
        Ok(CoverageFloor { params })
    }

    fn size(&mut self, request: &Request, _: Bounds, host: &Host<'_>) -> Result<Sizing> {
        let FloorParams { probability, unseen, classes } = self.params;
        let classes = match classes {
            Some(classes) => classes as usize,
            None => host.pool()?.classes.len(),
        };
        let n = request.labelled.len();
        if n == 0 {
            let draws = draws_for_all(classes, probability);
            let reason = format!("so many draws show all of {classes} balanced classes with probability {probability}");
            return Ok(Sizing::of(draws, reason).with("probability", all_seen(classes, draws)));
        }
        let mut counts = std::collections::BTreeMap::new();
        for class in host.labels(&request.labelled)? {
            *counts.entry(class).or_insert(0) += 1;
        }
        let alone = counts.values().filter(|count| **count == 1).count();
        let mass = alone as f64 / n as f64;
        let told = format!("{alone} of {n} labelled images are alone in their class");
        let sizing = if mass <= unseen { Sizing::enough(request, told) } else { Sizing::go_on(request, told) };
        Ok(sizing.with("unseen_share", mass).with("classes_seen", counts.len() as f64))
    }
}

/// The probability that `draws` uniform draws from `classes` balanced classes show all of them, by inclusion and exclusion.
///
/// Exact to 1e-9 from `classes * ln(classes)` draws on, where the terms of the sum fall like those of an exponential.
fn all_seen(classes: usize, draws: usize) -> f64 {
    let c = classes as f64;
    let (mut sum, mut ways) = (0.0, 1.0);
    for k in 0..classes {
        let term = ways * (1.0 - k as f64 / c).powf(draws as f64);
        sum += if k % 2 == 0 { term } else { -term };
        if term < 1e-12 {
            break;
        }
        ways *= (c - k as f64) / (k as f64 + 1.0);
    }
    sum.clamp(0.0, 1.0)
}

/// The fewest draws that show all classes with this probability, at least one half.
fn draws_for_all(classes: usize, probability: f64) -> usize {
    let c = classes as f64;
    // With so few, all are seen with a probability of about exp(-1), below one half.
    let mut low = ((c * c.ln()) as usize).max(classes.saturating_sub(1));
    let mut high = low.max(1) * 2;
    while all_seen(classes, high) < probability {
        high *= 2;
    }
    while low + 1 < high {
        let middle = low.midpoint(high);
        if all_seen(classes, middle) < probability { low = middle } else { high = middle }
    }
    high
}

export_plugin! {
    name: "coverage-floor",
    publisher: "coldstart",
    sizer: CoverageFloor,
    needs: [LABELS_GET_1],
    cite: "Good 1953, The Population Frequencies of Species and the Estimation of Population Parameters",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const BOUNDS: Bounds = Bounds { least: 1, most: 1000 };

    fn size(host: &TestHost, params: &str) -> Sizing {
        host.sizer::<CoverageFloor>(params).unwrap().size(host, 5, BOUNDS).unwrap()
    }

    /// The table of the coupon collector's problem; by simulation as well, see the next test.
    #[test]
    fn so_many_draws_show_all_classes() {
        for (classes, draws) in
            [(1, 1), (2, 6), (8, 38), (9, 44), (10, 51), (11, 57), (20, 117), (100, 754), (200, 1650)]
        {
            assert_eq!(draws_for_all(classes, 0.95), draws, "{classes}");
        }
        assert!((all_seen(10, 40) - 0.858).abs() < 5e-4 && (all_seen(10, 60) - 0.982).abs() < 5e-4);
    }

    /// 20 000 trials: the standard error is 0.0015 at 0.95, so that 0.008 is five of them.
    #[test]
    fn the_formula_agrees_with_draws() {
        let mut rng = Rng::for_stream([5; 32], "trials");
        for (classes, draws) in [(3_u64, 9), (10, 51)] {
            let shows_all = |rng: &mut Rng| {
                let mut seen = vec![false; classes as usize];
                (0..draws).for_each(|_| seen[rng.below(classes) as usize] = true);
                seen.into_iter().all(|seen| seen)
            };
            let share = (0..20_000).filter(|_| shows_all(&mut rng)).count() as f64 / 20_000.0;
            assert!((share - all_seen(classes as usize, draws)).abs() < 0.008, "{classes}: {share}");
        }
    }

    #[test]
    fn labels_count_once_there_are_some() {
        let host = TestHost::plausible(60, 10, 1).round(0);
        assert_eq!(size(&host, "{}").wanted, 51);
        assert_eq!(size(&host, r#"{"classes": 2}"#).wanted, 6);
        // Classes 0, 0, 1, 1 and then one image alone in class 2.
        for (labelled, alone, wanted) in [(&[0, 1, 2, 3][..], 0.0, 4), (&[0, 1, 2, 3, 4], 0.2, 10)] {
            let host = (0..5).fold(TestHost::new(60), |host, id| host.label(id, id / 2)).plausibly(10, 1);
            let sizing = size(&host.labelled(labelled), "{}");
            assert_eq!((sizing.wanted, sizing.measures["unseen_share"]), (wanted, alone), "{labelled:?}");
        }
    }
}
