//! `power-bald`: images drawn without replacement, each with a chance in proportion to a power of its BALD score (Kirsch,
//! Farquhar, Atighehchian, Jesson, Branchaud-Charron and Gal 2023, Stochastic Batch Acquisition: A Simple Baseline for
//! Deep Active Learning).
//!
//! The highest scores alone would bring near copies of one image. Drawing is done by Gumbel noise: the images with the
//! highest `beta log BALD + noise` are such a draw, and this sum is the score that is reported. `beta` is 1 in the paper;
//! 0 draws uniformly, and the larger it is, the more it is `bald`.
//!
//! The logarithm of no disagreement is minus infinity, which no score may be: a BALD score within the rounding of f32,
//! zero included, counts as the least positive number, so that such images come after all others and among themselves by
//! chance. Passes under dropout are those of `bald`.

use coldstart_plugin_api::ops::{Dropout, Measure};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::recipes::reduced_passes;

/// What a difference of two entropies in f32 may be where there is none.
const ROUNDING: f32 = 1e-7;

/// The passes, and how much their disagreement counts.
#[derive(Params)]
struct PowerBaldParams {
    /// Passes under dropout.
    #[param(default = 20, min = 2, max = 1000)]
    passes: u32,
    /// The probability that a feature is left out of a pass.
    #[param(default = 0.5, min = 0.01, max = 0.99)]
    p: f64,
    /// The power of the BALD score that chances are in proportion to.
    #[param(default = 1.0, min = 0.0, max = 1000000.0)]
    beta: f64,
}

struct PowerBald {
    dropout: Dropout,
    beta: f64,
}

impl Strategy for PowerBald {
    type Params = PowerBaldParams;

    fn new(PowerBaldParams { passes, p, beta }: PowerBaldParams, _: &Host<'_>) -> Result<Self> {
        Ok(PowerBald { dropout: Dropout { passes, p, shared: true, clean: false }, beta })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let mut rng = request.rng("gumbel");
        let bald_n = reduced_passes(host, &request.unlabelled, self.dropout, Measure::Bald)?;
        let scores_n = bald_n.into_iter().map(|bald| (self.beta * log(bald) + gumbel(&mut rng)) as f32).collect();
        Ok(Selection::highest(request, scores_n))
    }
}

/// The logarithm of a score; that of the least positive number where there is none to speak of.
fn log(bald: f32) -> f64 {
    f64::from(if bald > ROUNDING { bald } else { f32::MIN_POSITIVE }).ln()
}

/// A draw from the standard Gumbel distribution: minus the logarithm of an exponential one.
fn gumbel(rng: &mut Rng) -> f64 {
    let exponential = -(1.0 - rng.uniform()).ln();
    -exponential.max(f64::MIN_POSITIVE).ln()
}

export_plugin! {
    name: "power-bald",
    publisher: "coldstart",
    roles: [Query],
    strategy: PowerBald,
    criterion: DISAGREEMENT,
    needs: [PREDICT_3, REDUCE_1],
    asks: [Dropout],
    cite: "Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron and Gal 2023, Stochastic Batch Acquisition: A Simple Baseline for Deep Active Learning",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    /// BALD .1366920 and .1847125, then twice 0: two passes that are the same.
    fn divided() -> TestHost {
        TestHost::new(4).passes(&[
            [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]],
            [[0.8, 0.2], [0.5, 0.5], [0.1, 0.9]],
            [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]],
            [[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]],
        ])
    }

    fn seed(i: u16) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&i.to_le_bytes());
        seed
    }

    /// How often each image comes first, of 3000 draws; a count's standard deviation is at most 27.4, and 137 is five.
    #[test]
    fn chances_are_in_proportion_to_the_power_of_the_score() {
        let (a, b) = (0.1366920f64, 0.1847125f64);
        for beta in [0.0, 1.0, 4.0] {
            let (share_a, share_b) = if beta == 0.0 { (0.25, 0.25) } else { (a.powf(beta), b.powf(beta)) };
            let whole = if beta == 0.0 { 1.0 } else { share_a + share_b };
            let mut counts = [0.0; 4];
            for i in 0..3000 {
                let params = format!(r#"{{"passes": 3, "beta": {beta}}}"#);
                let ids = divided().seed(seed(i)).select::<PowerBald>(&params, 1).unwrap().ids;
                counts[ids[0] as usize] += 1.0;
            }
            for (count, share) in counts.iter().zip([share_a / whole, share_b / whole]) {
                assert!((count - 3000.0 * share).abs() < 137.0, "{beta}: {counts:?}");
            }
        }
    }

    #[test]
    fn images_without_any_disagreement_come_last_and_by_chance() {
        let lasts: Vec<u64> = (0..40)
            .map(|i| {
                let ids = divided().seed(seed(i)).select::<PowerBald>(r#"{"passes": 3}"#, 4).unwrap().ids;
                assert!(ids[..2].iter().all(|id| *id < 2), "{ids:?}");
                ids[3]
            })
            .collect();
        assert!(lasts.contains(&2) && lasts.contains(&3));
    }

    #[test]
    fn a_large_power_is_bald() {
        let selection = divided().select::<PowerBald>(r#"{"passes": 3, "beta": 100000}"#, 2).unwrap();
        assert_eq!(selection.ids, [1, 0]);
    }

    #[test]
    fn every_budget_is_met_on_every_pool() {
        for (what, host) in [
            ("plausible", TestHost::plausible(40, 4, 1)),
            ("undecided", TestHost::plausible(40, 4, 1).undecided()),
            ("one class", TestHost::plausible(40, 1, 1)),
        ] {
            let host = host.labelled(&[3, 17, 39]);
            for (beta, budget) in [(1.0, 0), (1.0, 1), (1.0, 36), (1.0, 37), (1e6, 37), (0.0, 37)] {
                let params = format!(r#"{{"beta": {beta}}}"#);
                let selection = host.select::<PowerBald>(&params, budget).unwrap();
                let mut ids = selection.ids.clone();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget, "{what}");
                assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
                assert!(selection.scores.iter().all(|score| score.is_finite()), "{what}");
                assert_eq!(host.select::<PowerBald>(&params, budget).unwrap(), selection, "{what}");
                assert_eq!(host.tensors_left(), 0);
            }
        }
    }

    /// 20 000 draws: the mean is Euler's constant, the standard deviation pi / sqrt 6 = 1.2825; .05 is five errors of the mean.
    #[test]
    fn the_noise_is_standard_gumbel() {
        let mut rng = Rng::from_seed([8; 32]);
        let mean = (0..20_000).map(|_| gumbel(&mut rng)).sum::<f64>() / 20_000.0;
        assert!((mean - 0.577_215_7).abs() < 0.05, "{mean}");
    }
}
