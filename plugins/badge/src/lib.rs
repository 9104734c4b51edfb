//! `badge`: images whose gradients are long and unlike each other (Ash, Zhang, Krishnamurthy, Langford and Agarwal 2020,
//! Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds).
//!
//! An image's gradient is that of the loss at the last layer, without its bias, as if the most probable class were true:
//! the outer product of the probabilities minus that class's one-hot vector and the features before the last layer. The
//! images are the seeds of k-means++ on these gradients: the longest one first, as in the released code, then each with a
//! chance in proportion to its squared distance to the nearest one chosen. Labelled images do not count as chosen.
//!
//! The gradients, classes times features long, are never formed: length and distance follow from those of the factors.
//! Where all gradients left are the same, as when the model is sure of every image, the released code divides 0 by 0; here
//! any other image is as probable as the next.

use coldstart_plugin_api::ops::{First, KMeansPpArgs};
use coldstart_plugin_api::prelude::*;

struct Badge;

impl Strategy for Badge {
    type Params = NoParams;

    fn new(_: NoParams, _: &Host<'_>) -> Result<Self> {
        Ok(Badge)
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        if request.budget == 0 {
            return Ok(Selection::of(Vec::new()));
        }
        let [residuals_nc, embeds_nd] =
            host.predict(&request.unlabelled)?.kept([Output::Residuals, Output::Embeddings])?;
        let args = KMeansPpArgs { k: request.budget as u64, first: First::LargestNorm, stream: "seeds".to_owned() };
        let seeds = residuals_nc.outer_kmeans_pp(&embeds_nd, &args)?;
        Ok(Selection::of(seeds.into_iter().map(|i| request.unlabelled[i]).collect()))
    }
}

export_plugin! {
    name: "badge",
    publisher: "coldstart",
    roles: [Query],
    strategy: Badge,
    criterion: GRADIENT,
    needs: [PREDICT_3, KMEANS_PP_1],
    asks: [Embeddings],
    cite: "Ash, Zhang, Krishnamurthy, Langford and Agarwal 2020, Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::TestHost;

    fn seed(i: u16) -> [u8; 32] {
        let mut seed = [0; 32];
        seed[..2].copy_from_slice(&i.to_le_bytes());
        seed
    }

    /// The gradient formed, block after block.
    fn gradient(probs: [f64; 3], embeds: [f64; 2]) -> Vec<f64> {
        let most = (0..3).fold(0, |most, c| if probs[c] > probs[most] { c } else { most });
        let residual = |c: usize| probs[c] - f64::from(u8::from(c == most));
        (0..3).flat_map(|c| embeds.map(|h| residual(c) * h)).collect()
    }

    fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    }

    const PROBS: [[f64; 3]; 4] = [[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.5, 0.3, 0.2], [1.0, 0.0, 0.0]];
    const EMBEDS: [[f64; 2]; 4] = [[1.0, 2.0], [2.0, -1.0], [0.5, 0.5], [3.0, 3.0]];

    fn four() -> TestHost {
        TestHost::new(4)
            .probabilities(&PROBS.map(|row| row.map(|p| p as f32)))
            .output(Output::Embeddings, &EMBEDS.map(|row| row.map(|h| h as f32)))
    }

    /// Squared lengths .70 and 2.70, squared distance 3.40. Then how often each image comes second, of 2000: a count's
    /// standard deviation is at most 22.4, and 112 is five of them.
    #[test]
    fn the_longest_gradient_comes_first_and_the_next_by_squared_distance() {
        let gradients: Vec<Vec<f64>> = (0..4).map(|i| gradient(PROBS[i], EMBEDS[i])).collect();
        assert!(squared_distance(&gradients[0], &[-0.3, -0.6, 0.2, 0.4, 0.1, 0.2]) < 1e-30);
        for (a, b, expected) in [(0, 3, 0.70), (1, 3, 2.70), (0, 1, 3.40)] {
            // The fourth gradient is zero: distances to it are lengths.
            assert!((squared_distance(&gradients[a], &gradients[b]) - expected).abs() < 1e-12);
        }
        let weights: Vec<f64> = gradients.iter().map(|g| squared_distance(g, &gradients[1])).collect();
        let mut counts = [0.0; 4];
        for i in 0..2000 {
            let ids = four().seed(seed(i)).select::<Badge>("{}", 2).unwrap().ids;
            assert_eq!(ids[0], 1);
            counts[ids[1] as usize] += 1.0;
        }
        for (count, weight) in counts.iter().zip(&weights) {
            assert!((count - 2000.0 * weight / weights.iter().sum::<f64>()).abs() < 112.0, "{counts:?} {weights:?}");
        }
    }

    #[test]
    fn labelled_images_are_neither_chosen_nor_in_the_way() {
        let ids = four().labelled(&[1]).select::<Badge>("{}", 1).unwrap().ids;
        assert_eq!(ids, [0]);
    }

    #[test]
    fn equal_lengths_go_to_the_lowest_id() {
        let host = TestHost::plausible(30, 3, 1).undecided().all_alike().labelled(&[0, 1]);
        assert_eq!(host.select::<Badge>("{}", 1).unwrap().ids, [2]);
    }

    #[test]
    fn every_budget_is_met_on_every_pool() {
        let sure = TestHost::new(40).probabilities(&[[1.0, 0.0]; 40]).output(Output::Embeddings, &[[1.0, 2.0]; 40]);
        for (what, host) in [
            ("plausible", TestHost::plausible(40, 4, 1)),
            ("undecided", TestHost::plausible(40, 4, 1).undecided()),
            ("all the same", TestHost::plausible(40, 4, 1).undecided().all_alike()),
            ("one class", TestHost::plausible(40, 1, 1)),
            ("sure", sure),
        ] {
            let host = host.labelled(&[3, 17, 39]);
            for budget in [0, 1, 36, 37] {
                let selection = host.select::<Badge>("{}", budget).unwrap();
                let mut ids = selection.ids.clone();
                ids.sort_unstable();
                ids.dedup();
                assert_eq!(ids.len(), budget, "{what}");
                assert!(ids.iter().all(|id| ![3, 17, 39].contains(id)), "{what}");
                assert_eq!(host.select::<Badge>("{}", budget).unwrap(), selection, "{what}");
                assert_eq!(host.tensors_left(), 0);
            }
        }
    }

    #[test]
    fn a_permuted_pool_has_the_same_longest_gradient() {
        let host = TestHost::plausible(60, 5, 2).shuffled(3);
        let first = host.select::<Badge>("{}", 1).unwrap().ids[0];
        assert_eq!(host.image_of(first), TestHost::plausible(60, 5, 2).select::<Badge>("{}", 1).unwrap().ids[0]);
    }
}
