//! `u-herding`: the images to which most of what the model is unsure of is alike, one by one (Bae, Sutherland and Oliveira
//! 2025, Uncertainty Herding: One Active Learning Method for All Label Budgets).
//!
//! It is max-herding with each image weighted by the model's uncertainty, and a kernel that narrows as labels come in: from
//! coverage of everything at the start to the most unsure images in the end. Features are those of the run's representation
//! at unit length, the kernel is `exp(-d^2 / h^2)`. As in the released code, the uncertainty is 1 minus the margin of the
//! two highest probabilities after temperature scaling, h is the smallest distance between two labelled images, the
//! temperature is the one of 1.0, 1.1 ... 20.0 with the least expected calibration error, at most 35 000 unlabelled images
//! may be picked, and without any label all weights and h are 1, which is max-herding itself. Departures:
//!
//! - The released code calibrates on labelled images that it holds out. Here none is kept from training: the class of an
//!   image was unknown to the model that chose it, so what that model said of the last images chosen is the held-out part.
//!   Before such images have got their labels the temperature is 1.
//! - h is the smallest distance that is not 0: a copy among the labelled would make it 0.
//! - More than 100 000 images are represented by so many.
//! - Where no image adds any uncertainty, as with a model that is sure of everything, the rest is chosen as if all weights were
//!   1, and drawn from the seed where even that adds nothing.

use coldstart_plugin_api::ops::Kernel;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::radius::Places;
use coldstart_plugin_api::wire;

mod calibration;
mod uncertainty;

use uncertainty::Uncertainty;

/// The kernel's bandwidth where labels do not say it.
const BANDWIDTH: f64 = 1.0;

/// Images of which the model is asked at a time.
const BLOCK: usize = 8192;

/// How uncertainty is measured.
#[derive(Params)]
struct UHerdingParams {
    /// How unsure a model is of an image. margin: 1 minus the difference of its two highest probabilities. entropy, and
    /// least-confidence: 1 minus the highest.
    #[param(default = "margin")]
    uncertainty: Uncertainty,
    /// Divides the class scores before the softmax; absent, the one that calibrates the model on the images chosen last.
    #[param(min = 0.01)]
    temperature: Option<f64>,
    /// The kernel's bandwidth; absent, the smallest positive distance between two labelled images.
    #[param(min = 0.000001)]
    bandwidth: Option<f64>,
    /// At most so many unlabelled images, drawn from the seed, that may be picked; never fewer than the budget. Time grows
    /// with this number times the pool.
    #[param(default = 35000, min = 1)]
    candidates: u32,
    /// At most so many images, the labelled ones and others drawn from the seed, stand for the pool: similarity to them alone
    /// counts, and only they may be picked.
    #[param(default = 100000, min = 1)]
    references: u32,
}

struct UHerding {
    params: UHerdingParams,
    /// The images chosen last, with the class scores that the model gave them which chose them.
    held_out: Vec<(u64, Vec<f32>)>,
}

impl Strategy for UHerding {
    type Params = UHerdingParams;

    fn new(params: UHerdingParams, _: &Host<'_>) -> Result<Self> {
        Ok(UHerding { params, held_out: Vec::new() })
    }

    fn select(&mut self, request: &Request, host: &Host<'_>) -> Result<Selection> {
        let places = Places::of(request).at_most(self.params.references, request);
        let points = places.features(host, true)?;
        if request.round == 0 || request.labelled.is_empty() {
            return self.herd(&points, &places, self.params.bandwidth.unwrap_or(BANDWIDTH), None, request);
        }
        let bandwidth = match self.params.bandwidth {
            Some(bandwidth) => bandwidth,
            None => smallest_distance(&points, &places.labelled)?,
        };
        let temperature = match self.params.temperature {
            Some(temperature) => temperature,
            None => self.calibrate(request, host)?,
        };
        let weight_n = self.weigh(&places, temperature, host)?;
        let selection = self.herd(&points, &places, bandwidth, Some(&weight_n), request)?;
        let logits_bc = logits(&selection.ids, host)?;
        self.held_out = selection.ids.iter().copied().zip(logits_bc.rows().map(<[f32]>::to_vec)).collect();
        Ok(selection)
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(wire::encode(&self.held_out))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        self.held_out = wire::decode(state)?;
        Ok(())
    }
}

impl UHerding {
    /// Greedy coverage of these weights; of every image alike where they leave nothing to cover.
    fn herd(
        &self,
        points: &Tensor<'_, '_>,
        places: &Places,
        bandwidth: f64,
        weight_n: Option<&[f32]>,
        request: &Request,
    ) -> Result<Selection> {
        let candidates = places.candidates(self.params.candidates, request);
        let cover = |k: usize, centres: &[usize], weights| {
            let candidates = candidates.as_deref();
            points.coverage(&Coverage { centres, weights, candidates, ..Coverage::new(k, Kernel::Rbf { bandwidth }) })
        };
        let (mut picks, _) = cover(request.budget, &places.labelled, weight_n)?;
        let n_missing = request.budget.saturating_sub(picks.positions.len());
        if weight_n.is_some() && n_missing > 0 {
            let centres = [&places.labelled[..], &picks.positions].concat();
            let (more, _) = cover(n_missing, &centres, None)?;
            picks.positions.extend(more.positions);
            picks.scores.extend(more.scores);
        }
        places.selection(&picks, request)
    }

    /// The temperature for a model, from the last images whose class it did not know when it was asked.
    fn calibrate(&self, request: &Request, host: &Host<'_>) -> Result<f64> {
        let labelled = |(id, _): &&(u64, Vec<f32>)| request.labelled.binary_search(id).is_ok();
        let (ids, logits): (Vec<u64>, Vec<&[f32]>) =
            self.held_out.iter().filter(labelled).map(|(id, logits_c)| (*id, &logits_c[..])).unzip();
        Ok(calibration::temperature(&logits, &host.labels(&ids)?))
    }

    /// How unsure the model is of each image of the pool; labelled ones count nothing.
    fn weigh(&self, places: &Places, temperature: f64, host: &Host<'_>) -> Result<Vec<f32>> {
        let mut weight_n = vec![0.0; places.pool.len()];
        for positions in places.unlabelled.chunks(BLOCK) {
            let logits_bc = logits(&places.ids(positions)?, host)?;
            for (i, logits_c) in positions.iter().zip(logits_bc.rows()) {
                weight_n[*i] = self.params.uncertainty.of(&calibration::softmax(logits_c, temperature)) as f32;
            }
        }
        Ok(weight_n)
    }
}

/// The model's class scores of these images, one row each.
fn logits(ids: &[u64], host: &Host<'_>) -> Result<Matrix> {
    let logits_bc = host.predict(ids)?.logits()?;
    if logits_bc.n_rows() != ids.len() {
        return Err(Error::new(Code::HOST, format!("{} rows for {} images", logits_bc.n_rows(), ids.len())));
    }
    Ok(logits_bc)
}

/// The smallest positive distance between two labelled images; 1 where there are no two apart.
fn smallest_distance(points: &Tensor<'_, '_>, labelled: &[usize]) -> Result<f64> {
    let mut distinct = labelled.to_vec();
    while distinct.len() > 1 {
        let nearest = points.gather(&distinct)?.knn(1)?;
        let distances = nearest.distances_nk.elements();
        // Of copies the first stays: those after it have it, or one between, as their nearest.
        let is_copy = |i: usize, j: usize| distances.get(i).is_some_and(|distance| *distance == 0.0) && j < i;
        let copies: Vec<bool> = nearest.positions_nk.iter().enumerate().map(|(i, j)| is_copy(i, *j)).collect();
        if !copies.contains(&true) {
            let apart = distances.iter().copied().filter(|distance| *distance > 0.0);
            return Ok(apart.reduce(f32::min).map_or(BANDWIDTH, f64::from));
        }
        let mut copies = copies.iter();
        distinct.retain(|_| copies.next() != Some(&true));
    }
    Ok(BANDWIDTH)
}

export_plugin! {
    name: "u-herding",
    publisher: "coldstart",
    roles: [Initial, Query],
    strategy: UHerding,
    criterion: STAGED,
    needs: [REPRESENT_1, NORMALIZE_1, COVERAGE_1, PREDICT_1, LABELS_GET_1, GATHER_1, KNN_1],
    cite: "Bae, Sutherland and Oliveira 2025, Uncertainty Herding: One Active Learning Method for All Label Budgets",
}

#[cfg(test)]
mod tests;
