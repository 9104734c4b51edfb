//! The dataset map: how sure and how steady a training was of each image, and which images that makes the first.

use coldstart_plugin_api::{Matrix, Params, Rng};

/// What a training says of each image, in the order of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetMap {
    /// The mean over epochs.
    pub confidence_n: Vec<f64>,
    /// The population standard deviation over epochs.
    pub variability_n: Vec<f64>,
}

/// Which images of the map come first.
#[derive(Params, Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Least confidence.
    Hard,
    /// Most confidence.
    Easy,
    /// Most variability.
    Ambiguous,
}

impl DatasetMap {
    /// The map of what was recorded in each epoch (a row) of each image (a column); there must be at least one epoch.
    pub fn of(record_en: &Matrix) -> DatasetMap {
        let n_epochs = record_en.n_rows() as f64;
        let mut confidence_n = vec![0.0; record_en.n_cols()];
        for epoch_n in record_en.rows() {
            confidence_n.iter_mut().zip(epoch_n).for_each(|(mean, value)| *mean += f64::from(*value) / n_epochs);
        }
        let mut variability_n = vec![0.0; record_en.n_cols()];
        for epoch_n in record_en.rows() {
            for ((variance, mean), value) in variability_n.iter_mut().zip(&confidence_n).zip(epoch_n) {
                *variance += (f64::from(*value) - mean).powi(2) / n_epochs;
            }
        }
        variability_n.iter_mut().for_each(|variance| *variance = variance.sqrt());
        DatasetMap { confidence_n, variability_n }
    }

    /// The measure that an end looks at.
    pub fn measure(&self, end: End) -> &[f64] {
        match end {
            End::Hard | End::Easy => &self.confidence_n,
            End::Ambiguous => &self.variability_n,
        }
    }

    /// The positions of all images, most wanted first; equal ones go to the lowest position.
    pub fn ranking(&self, end: End) -> Vec<usize> {
        let measure_n = self.measure(end);
        let mut ranking: Vec<usize> = (0..measure_n.len()).collect();
        match end {
            End::Hard => ranking.sort_by(|a, b| measure_n[*a].total_cmp(&measure_n[*b])),
            End::Easy | End::Ambiguous => ranking.sort_by(|a, b| measure_n[*b].total_cmp(&measure_n[*a])),
        }
        ranking
    }
}

/// The first `budget` of the ranked images when each cluster in turn gives its next one.
///
/// The clusters take their turns in an order that is shuffled once; `cluster_n[i]` is the cluster of the image at position
/// i. A cluster that has no more is passed over.
pub fn round_robin(ranking: &[usize], cluster_n: &[usize], rng: &mut Rng, budget: usize) -> Vec<usize> {
    let n_clusters = cluster_n.iter().map(|cluster| cluster + 1).max().unwrap_or(0);
    let mut members_k = vec![Vec::new(); n_clusters];
    ranking.iter().for_each(|&i| members_k[cluster_n[i]].push(i));
    rng.shuffle(&mut members_k);
    let turns = members_k.iter().map(Vec::len).max().unwrap_or(0);
    let given = |turn: usize| members_k.iter().filter_map(move |members| members.get(turn).copied());
    (0..turns).flat_map(given).take(budget).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (.2, .4, .9) has the mean .5 and the variance .26 / 3. (.8792477, .9999537, 1), the pair probabilities of cosine .8
    /// against .1, .3, -.2 and 0 at the temperatures .2, .05 and .001, has the mean .9597338 and, by Python's
    /// `statistics.pvariance`, the variance .0032390. The inputs are f32: 1e-7 is their rounding.
    #[test]
    fn mean_and_deviation_over_epochs_equal_the_closed_form() {
        let record = vec![0.2, 0.8792477, 0.5, 0.4, 0.9999537, 0.5, 0.9, 1.0, 0.5];
        let map = DatasetMap::of(&Matrix::new(record, 3).unwrap());
        for (i, (confidence, variance)) in
            [(0.5, 0.26 / 3.0), (0.959_733_8, 0.003_239_006_5), (0.5, 0.0)].into_iter().enumerate()
        {
            assert!((map.confidence_n[i] - confidence).abs() < 1e-7, "{map:?}");
            assert!((map.variability_n[i].powi(2) - variance).abs() < 1e-7, "{map:?}");
        }
    }

    #[test]
    fn each_end_has_its_ranking_and_ties_go_to_the_lowest() {
        let map =
            DatasetMap { confidence_n: vec![0.5, 0.1, 0.9, 0.1, 0.9], variability_n: vec![0.2, 0.1, 0.2, 0.4, 0.0] };
        assert_eq!(map.ranking(End::Hard), [1, 3, 0, 2, 4]);
        assert_eq!(map.ranking(End::Easy), [2, 4, 0, 1, 3]);
        assert_eq!(map.ranking(End::Ambiguous), [3, 0, 2, 1, 4]);
    }

    #[test]
    fn clusters_give_their_next_image_in_turn() {
        let cluster_n = [0, 0, 0, 0, 1, 1, 2];
        let ranking = [3, 5, 2, 6, 1, 4, 0];
        let order = |seed| round_robin(&ranking, &cluster_n, &mut Rng::from_seed([seed; 32]), 7);
        let mut firsts = std::collections::BTreeSet::new();
        for seed in 0..30 {
            let order = order(seed);
            // The clusters' best, then their second ones, then what the largest has left.
            let sorted = |part: &[usize]| {
                let mut part = part.to_vec();
                part.sort_unstable();
                part
            };
            assert_eq!(sorted(&order[..3]), [3, 5, 6]);
            assert_eq!(sorted(&order[3..5]), [2, 4]);
            assert_eq!(order[5..], [1, 0]);
            // Turn two keeps the order of turn one.
            let place = |cluster: usize, part: &[usize]| part.iter().position(|i| cluster_n[*i] == cluster).unwrap();
            assert_eq!(place(0, &order[..3]) < place(1, &order[..3]), place(0, &order[3..5]) < place(1, &order[3..5]));
            firsts.insert(order[0]);
        }
        assert_eq!(firsts.len(), 3, "each cluster is first for some seed");
        assert_eq!(order(4), order(4));
    }

    #[test]
    fn a_longer_budget_only_adds() {
        let (ranking, cluster_n): (Vec<usize>, Vec<usize>) = (0..20).map(|i| (i * 7 % 20, i % 6)).unzip();
        let picks = |budget| round_robin(&ranking, &cluster_n, &mut Rng::from_seed([1; 32]), budget);
        let all = picks(20);
        assert!((0..25).all(|budget| picks(budget) == all[..budget.min(20)]));
    }
}
