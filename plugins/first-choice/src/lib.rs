//! `first-choice`: of every cluster the images that a contrastive pretext finds hardest to tell from others (Chen, Bai,
//! Huang, Lu, Wen, Yuille and Zhou 2023, Making Your First Choice: To Address Cold Start Problem in Medical Active
//! Learning; known by its repository as CSVAL).
//!
//! MoCo v2 is trained on the pool. In every epoch each image has a probability of being matched with its own other view;
//! the mean over epochs is its confidence, the standard deviation its variability. K-means cuts the pool into clusters
//! for diversity, and the set takes the images of least confidence, a cluster at a time.
//!
//! Settings are those of the authors' CIFAR-10 training: batches of 512, learning rate 0.06, weight decay 5e-4, a queue
//! of 4096 keys, momentum 0.999, temperature 0.1, 5 of 200 epochs of warm-up. Where paper and released code differ:
//!
//! - Clusters are of features, as in the paper, or of their UMAP layout in the plane, as in the code: `space`.
//! - The paper takes budget / clusters images of each cluster. As in the code, the clusters are shuffled once and then give
//!   an image each in turn, so that any budget is met; with fewer images than clusters the first ones give one each.
//! - The temperature of the matching is the printed 0.05. The code divides one tensor in place by 0.2, 0.1, 0.05 and 0.01
//!   in turn, so that what it calls 0.05 is 0.001: a match is then as good as sure or as good as excluded.
//!
//! Departures: the network is the run's own, not a ResNet-50; confidences are those of one pass over the images an epoch.

use coldstart_plugin_api::ops::{KMeansArgs, MapArgs};
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::training::{Measure, Objective, Pass, Record, Setting};
use std::fmt::Write;

mod map;
mod umap;

pub use map::{DatasetMap, End, round_robin};

/// Which images are wanted and how the pool is clustered.
#[derive(Params)]
struct FirstChoiceParams {
    /// Which images come first. hard: least confidence, the paper's choice. easy: most confidence. ambiguous: most
    /// variability.
    #[param(default = "hard")]
    end: End,
    /// Divides the cosines before the softmax that matches the two views of an image. The paper prints 0.05; what the
    /// released code computes under that name is 0.001.
    #[param(default = 0.05, min = 0.00001)]
    temperature: f64,
    /// Into how many clusters the pool is cut; fewer if there are fewer images.
    #[param(default = 30, min = 1)]
    clusters: u32,
    /// Passes of the contrastive training over the pool. The paper says 200, the released configuration for CIFAR-10 800.
    #[param(default = 200, min = 1)]
    epochs: u32,
    /// What is clustered. features: the network's features, as in the paper. umap: their layout in the plane, as in the
    /// released code.
    #[param(default = "features")]
    space: Space,
    /// The seed of the contrastive training; absent, the run's. Clusters and their order are drawn from the run's in any case.
    seed: Option<u64>,
}

/// Where the pool is clustered.
#[derive(Params, Clone, Copy)]
enum Space {
    Features,
    Umap,
}

struct FirstChoice {
    params: FirstChoiceParams,
}

impl Strategy for FirstChoice {
    type Params = FirstChoiceParams;

    fn new(params: FirstChoiceParams, _: &Host<'_>) -> Result<Self> {
        Ok(FirstChoice { params })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let pool = request.pool();
        let trained = host.train(&self.pretext(), &pool)?;
        let map = match &trained.records[..] {
            [probabilities_en] if probabilities_en.n_cols() == pool.len() => DatasetMap::of(probabilities_en),
            _ => {
                return Err(Error::new(Code::HOST, "the pretext did not leave a probability for each image and epoch"));
            }
        };
        let cluster_n = if pool.len() <= self.params.clusters as usize {
            (0..pool.len()).collect()
        } else {
            self.cluster(host.predict(&pool)?.of(&trained).embeddings()?, request, host)?
        };
        keep(&map, &pool, &cluster_n, host)?;

        let mut ranking = map.ranking(self.params.end);
        ranking.retain(|i| request.unlabelled.binary_search(&pool[*i]).is_ok());
        let picks = round_robin(&ranking, &cluster_n, &mut request.rng("cluster order"), request.budget);
        let measure_n = map.measure(self.params.end);
        Ok(Selection {
            ids: picks.iter().map(|i| pool[*i]).collect(),
            scores: picks.iter().map(|i| measure_n[*i] as f32).collect(),
        })
    }
}

impl FirstChoice {
    fn pretext(&self) -> TrainSpec {
        let temperature = self.params.temperature;
        let published = TrainSpec {
            objective: Objective::InfoNce {
                temperature: 0.1,
                queue: 4096,
                momentum: 0.999,
                groups: 8,
                symmetric: false,
            },
            warmup_epochs: 5,
            epochs: 200,
            record: vec![Record { measure: Measure::PairProbability { temperature }, pass: Pass::Training }],
            seed: self.params.seed,
            ..TrainSpec::moco_v2(Setting::Cifar)
        };
        published.with_epochs(self.params.epochs)
    }

    /// The cluster of each image, with scikit-learn's settings of that time.
    fn cluster(&self, features_nd: Matrix, request: &Request, host: &Host<'_>) -> Result<Vec<usize>> {
        let points_nd = match self.params.space {
            Space::Features => features_nd,
            Space::Umap => umap::embed(&features_nd, host, request.rng("umap"))?,
        };
        let clusters = self.params.clusters;
        let args =
            KMeansArgs { clusters, iterations: 300, restarts: 10, tolerance: 1e-4, stream: "clusters".to_owned() };
        Ok(host.kmeans(&points_nd, &args)?.of_point)
    }
}

/// Keep the map of the whole pool with the run, to look at and as a table.
fn keep(map: &DatasetMap, pool: &[u64], cluster_n: &[usize], host: &Host<'_>) -> Result<()> {
    let mut table = String::from("id,confidence,variability,cluster\n");
    for (i, id) in pool.iter().enumerate() {
        let (confidence, variability) = (map.confidence_n[i], map.variability_n[i]);
        writeln!(table, "{id},{confidence},{variability},{}", cluster_n[i]).expect("a string takes any text");
    }
    host.put_artifact("dataset-map.csv", table.into_bytes())?;
    let args = MapArgs {
        name: "dataset-map".to_owned(),
        title: "How hard it is to match an image with itself".to_owned(),
        x_axis: "variability".to_owned(),
        y_axis: "confidence".to_owned(),
        group: "cluster".to_owned(),
    };
    let places = map.variability_n.iter().zip(&map.confidence_n).flat_map(|(x, y)| [*x as f32, *y as f32]);
    let clusters: Vec<u64> = cluster_n.iter().map(|cluster| *cluster as u64).collect();
    host.put_map(&args, pool, &Matrix::new(places.collect(), 2)?, &clusters)
}

export_plugin! {
    name: "first-choice",
    publisher: "coldstart",
    roles: [Initial],
    strategy: FirstChoice,
    criterion: PRETEXT,
    needs: [TRAIN_1, PREDICT_2, KMEANS_1, KNN_1, ARTIFACT_PUT_1, MAP_PUT_1],
    cite: "Chen, Bai, Huang, Lu, Wen, Yuille and Zhou 2023, Making Your First Choice: To Address Cold Start Problem in Medical Active Learning",
}

#[cfg(test)]
mod tests;
