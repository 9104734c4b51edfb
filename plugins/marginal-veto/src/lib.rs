//! `marginal-veto`: no query strategy while the model's predictions are far from the classes that there are.
//!
//! Gao, Zhang, Yu, Arik, Davis and Pfister (2020, Consistency-based Semi-supervised Active Learning) compare the assumed class
//! marginal with the mean prediction over the pool: `M = -sum_c p(c) ln q(c)`. Less the entropy of p it is the divergence of p from
//! q, and because that is jointly convex no more than the model's own cross-entropy where labels are certain: a large one proves a
//! bad model, and a small one proves nothing. Hence a veto. They publish no threshold; `divergence` is ours, and untested beyond
//! `docs/results/initial-size.md`.
//!
//! The paper's marginal is uniform, as its data sets are. A pool of unlike classes never gives a uniform mean prediction, however
//! good the model is, and the wait never ends; so the default is the marginal of the labelled images, a departure.
//!
//! The mean is over `sample` unlabelled images. Before there is a model the answer is the smallest size allowed.

use coldstart_plugin_api::prelude::*;
use std::collections::BTreeMap;

/// Which classes are expected.
#[derive(Clone, Copy, Debug, Params)]
enum Prior {
    /// All alike.
    Uniform,
    /// As among the labelled images.
    Labelled,
}

/// How far off the mean prediction may be.
#[derive(Params)]
struct VetoParams {
    /// The largest divergence of the assumed class marginal from the mean prediction, in nats.
    #[param(default = 0.1, min = 0.0)]
    divergence: f64,
    /// The assumed class marginal. labelled: as among the labelled images. uniform: all classes alike, for pools that are balanced.
    #[param(default = "labelled")]
    prior: Prior,
    /// At most so many unlabelled images, drawn from the seed, that the model is asked about.
    #[param(default = 2000, min = 1)]
    sample: u32,
}

struct MarginalVeto {
    params: VetoParams,
}

impl Sizer for MarginalVeto {
    type Params = VetoParams;

    fn new(params: VetoParams, _: &Host<'_>) -> Result<Self> {
        Ok(MarginalVeto { params })
    }

    fn size(&mut self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<Sizing> {
        if request.labelled.is_empty() {
            return Ok(Sizing::of(bounds.least, "there is no model to ask yet"));
        }
        let drawn = request.rng("sample").sample(request.unlabelled.len(), self.params.sample as usize);
        let mut ids: Vec<u64> = drawn.into_iter().map(|i| request.unlabelled[i]).collect();
        if ids.is_empty() {
            return Ok(Sizing::enough(request, "no image is left"));
        }
        ids.sort_unstable();
        let probs_nc = host.predict(&ids)?.probabilities()?;
        let mut mean = vec![0.0; probs_nc.n_cols()];
        for row in probs_nc.rows() {
            mean.iter_mut().zip(row).for_each(|(sum, p)| *sum += f64::from(*p) / ids.len() as f64);
        }
        let prior = self.prior(mean.len(), request, host)?;
        let off = divergence(&prior, &mean);
        let reason = format!("the mean prediction is {off:.3} nats from the classes that are expected");
        let sizing = match off <= self.params.divergence {
            true => Sizing::enough(request, reason),
            false => Sizing::go_on(request, reason),
        };
        Ok(sizing.with("divergence", off))
    }
}

impl MarginalVeto {
    fn prior(&self, n_classes: usize, request: &Request, host: &Host<'_>) -> Result<Vec<f64>> {
        match self.params.prior {
            Prior::Uniform => Ok(vec![1.0 / n_classes as f64; n_classes]),
            Prior::Labelled => {
                let mut counts: BTreeMap<u64, f64> = BTreeMap::new();
                for class in host.labels(&request.labelled)? {
                    *counts.entry(class).or_default() += 1.0;
                }
                let share = |class: usize| counts.get(&(class as u64)).copied().unwrap_or(0.0);
                Ok((0..n_classes).map(|class| share(class) / request.labelled.len() as f64).collect())
            }
        }
    }
}

/// How far `p` is from `q`, in nats; a probability of `q` below 1e-12 counts as that.
fn divergence(p: &[f64], q: &[f64]) -> f64 {
    let term = |(p, q): (&f64, &f64)| if *p > 0.0 { p * (p / q.max(1e-12)).ln() } else { 0.0 };
    p.iter().zip(q).map(term).sum::<f64>().max(0.0)
}

export_plugin! {
    name: "marginal-veto",
    publisher: "coldstart",
    sizer: MarginalVeto,
    needs: [PREDICT_1, LABELS_GET_1],
    cite: "Gao, Zhang, Yu, Arik, Davis and Pfister 2020, Consistency-based Semi-supervised Active Learning",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    const BOUNDS: Bounds = Bounds { least: 8, most: 100 };

    fn size(host: &TestHost, params: &str) -> Sizing {
        let sizing = host.sizer::<MarginalVeto>(params).unwrap().size(host, 5, BOUNDS).unwrap();
        assert_eq!(host.tensors_left(), 0);
        sizing
    }

    /// By hand: the mean prediction is (0.9, 0.1), so that the divergence of (0.5, 0.5) is ln(5 / 3).
    #[test]
    fn a_lopsided_mean_is_a_veto_where_classes_are_alike() {
        let lopsided = TestHost::new(6).probabilities(&[[0.9, 0.1]; 6]);
        let even = TestHost::new(6).probabilities(&[[0.9, 0.1], [0.1, 0.9]].repeat(3));
        for (host, wanted, off) in
            [(lopsided.labelled(&[0, 3]), 6, (5.0_f64 / 3.0).ln()), (even.labelled(&[0, 3]), 2, 0.0)]
        {
            let sizing = size(&host, r#"{"prior": "uniform"}"#);
            assert_eq!(sizing.wanted, wanted);
            // Probabilities are f32.
            assert!((sizing.measures["divergence"] - off).abs() < 1e-6, "{:?}", sizing.measures);
        }
    }

    #[test]
    fn the_labelled_images_are_the_prior() {
        let host = [(0, 0), (1, 0), (2, 0), (3, 1)].into_iter().fold(TestHost::new(9), |h, (id, c)| h.label(id, c));
        let host = host.probabilities(&[[0.75, 0.25]; 9]).labelled(&[0, 1, 2, 3]);
        assert_eq!(size(&host, "{}").wanted, 4);
        assert!(size(&host, r#"{"prior": "uniform"}"#).wanted > 4);
    }

    #[test]
    fn before_there_is_a_model_it_asks_for_the_least() {
        assert_eq!(size(&TestHost::new(9).round(0), "{}").wanted, 8);
        assert_eq!(size(&TestHost::new(2).labelled(&[0, 1]), "{}").wanted, 2);
    }

    /// 0 in p counts for nothing; 0 in q is finite.
    #[test]
    fn divergence_is_finite_and_never_negative() {
        assert_eq!(divergence(&[0.0, 1.0], &[0.5, 0.5]), 2_f64.ln());
        assert!(divergence(&[0.5, 0.5], &[0.0, 1.0]).is_finite());
        assert_eq!(divergence(&[0.5, 0.5], &[0.5, 0.5]), 0.0);
    }
}
