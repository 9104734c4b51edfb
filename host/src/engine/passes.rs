//! Passes under dropout: the classifier alone, over features that one sweep over the images left.

use std::ops::ControlFlow;

use coldstart_plugin_api::Rng;
use coldstart_plugin_api::ops::Dropout;
use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::model::Model;
use super::predict::{Matrix, Outputs, PredictObserver, PredictProgress};

/// Rows that the classifier sees at once; the last block is filled up, so that an answer depends on no other row.
const BLOCK: usize = 1024;

/// What the classifier says of each row in each pass: rows of `passes * c` numbers, a pass after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PassAnswers {
    /// Class probabilities.
    pub probs_n_kc: Option<Matrix>,
    /// Class scores.
    pub logits_n_kc: Option<Matrix>,
}

/// Asks the classifier of `model` about features (n x d), in several passes that leave some out.
///
/// `ids` name the rows: where masks are not shared, they and `seed` decide a row's masks. Only probabilities and logits of
/// `outputs` count. Errs when the chance is none, the features do not fit, or `observer` breaks.
pub fn predict_passes(
    model: &Model,
    embeds_nd: &Matrix,
    outputs: Outputs,
    dropout: Dropout,
    (seed, ids): ([u8; 32], &[u64]),
    observer: &mut PredictObserver<'_>,
) -> Result<PassAnswers, EngineError> {
    if !(0.0..1.0).contains(&dropout.p) || dropout.passes == 0 {
        let Dropout { passes, p, .. } = dropout;
        return Err(EngineError::Input(format!("{passes} passes that leave out a share of {p} cannot be made")));
    }
    if embeds_nd.n_cols != model.n_features() || embeds_nd.n_rows != ids.len() || model.n_tiles() > 1 {
        return Err(EngineError::Input("these features do not fit the classifier".to_owned()));
    }
    let _no_grad = tch::no_grad_guard();
    let masks = Masks { dropout, seed, d: embeds_nd.n_cols };
    let shared: Vec<Vec<f32>> =
        if dropout.shared { (0..dropout.passes).map(|k| masks.of(k, None)).collect() } else { vec![] };
    let (n, c, k) = (embeds_nd.n_rows, model.n_outputs(), dropout.passes as usize);
    let space = |wanted: bool| wanted.then(|| Matrix { values: vec![0.0; n * k * c], n_rows: n, n_cols: k * c });
    let mut answers = PassAnswers { probs_n_kc: space(outputs.probabilities), logits_n_kc: space(outputs.logits) };
    for start in (0..n).step_by(BLOCK) {
        let n_block = BLOCK.min(n - start);
        for pass in 0..dropout.passes {
            if observer(PredictProgress { n_done: start, n_images: n }).is_break() {
                return Err(EngineError::Cancelled);
            }
            let mut x_nd = embeds_nd.values[start * masks.d..][..n_block * masks.d].to_vec();
            for (row, id) in x_nd.chunks_mut(masks.d).zip(&ids[start..]) {
                let own;
                let mask = match shared.get(pass as usize) {
                    Some(mask) => mask,
                    None => {
                        own = masks.of(pass, Some(*id));
                        &own
                    }
                };
                row.iter_mut().zip(mask).for_each(|(x, kept)| *x *= kept);
            }
            x_nd.resize(BLOCK * masks.d, 0.0);
            let asked = guard::calls(|| classify(model, &x_nd, outputs));
            let (logits, probs) = asked.doing("asking the classifier under dropout")?;
            for (space, found) in [(&mut answers.probs_n_kc, probs), (&mut answers.logits_n_kc, logits)] {
                let Some(space) = space else { continue };
                for (i, row) in found.chunks(c).take(n_block).enumerate() {
                    space.values[((start + i) * k + pass as usize) * c..][..c].copy_from_slice(row);
                }
            }
        }
        if let ControlFlow::Break(()) = observer(PredictProgress { n_done: start + n_block, n_images: n }) {
            return Err(EngineError::Cancelled);
        }
    }
    Ok(answers)
}

/// Logits, and probabilities where they are wanted.
fn classify(model: &Model, x_nd: &[f32], outputs: Outputs) -> TorchResult<(Vec<f32>, Vec<f32>)> {
    let x_nd = Tensor::f_from_slice(x_nd)?.f_view([BLOCK as i64, -1])?.f_to_device(model.device().torch())?;
    let logits_nc = model.outputs(&model.inference_pass()?, &x_nd)?;
    let read = |t: Tensor| Vec::<f32>::try_from(t.f_to_device(tch::Device::Cpu)?.f_contiguous()?.f_view([-1])?);
    let probs = if outputs.probabilities { read(logits_nc.f_softmax(1, Kind::Float)?)? } else { vec![] };
    Ok((read(logits_nc)?, probs))
}

/// Draws what each feature counts times: 0, or 1 / (1 - p).
struct Masks {
    dropout: Dropout,
    seed: [u8; 32],
    d: usize,
}

impl Masks {
    fn of(&self, pass: u32, id: Option<u64>) -> Vec<f32> {
        let Dropout { p, clean, .. } = self.dropout;
        if clean && pass == 0 {
            return vec![1.0; self.d];
        }
        let of_image = id.map(|id| format!("/{id}")).unwrap_or_default();
        let mut rng = Rng::for_stream(self.seed, &format!("dropout/{pass}{of_image}"));
        (0..self.d).map(|_| if rng.uniform() < p { 0.0 } else { (1.0 / (1.0 - p)) as f32 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Device, ImageShape, ModelSettings};
    use super::*;

    const PROBS: Outputs = Outputs { probabilities: true, logits: true, embeddings: false };

    fn model() -> Model {
        let settings = ModelSettings { backbone: "convnet".to_owned(), width: Some(4), ..ModelSettings::default() };
        let shape = ImageShape { height: 8, width: 8, channels: 1 };
        Model::new(&settings, shape, 3, &mut Rng::from_seed([1; 32]), &Device::cpu_for_tests()).unwrap()
    }

    fn features(model: &Model, n: usize) -> Matrix {
        let mut rng = Rng::from_seed([2; 32]);
        let d = model.n_features();
        Matrix { values: (0..n * d).map(|_| rng.normal() as f32).collect(), n_rows: n, n_cols: d }
    }

    fn ask(model: &Model, embeds_nd: &Matrix, dropout: Dropout, ids: &[u64]) -> PassAnswers {
        predict_passes(model, embeds_nd, PROBS, dropout, ([3; 32], ids), &mut |_| ControlFlow::Continue(())).unwrap()
    }

    #[test]
    fn a_clean_pass_is_the_classifier_s_own_answer_and_others_differ() {
        let model = model();
        let embeds_nd = features(&model, 5);
        let ids = [4, 7, 9, 11, 12];
        for shared in [true, false] {
            let dropout = Dropout { passes: 3, p: 0.5, shared, clean: true };
            let found = ask(&model, &embeds_nd, dropout, &ids).logits_n_kc.unwrap();
            let undisturbed = Dropout { passes: 1, p: 0.0, shared, clean: false };
            let clean = ask(&model, &embeds_nd, undisturbed, &ids).logits_n_kc.unwrap();
            for i in 0..5 {
                assert_eq!(found.row(i)[..3], *clean.row(i), "shared {shared}");
                assert_ne!(found.row(i)[..3], found.row(i)[3..6], "shared {shared}");
                assert_ne!(found.row(i)[3..6], found.row(i)[6..], "shared {shared}");
            }
        }
    }

    /// The classifier is linear: with shared masks, the difference of two rows depends on their difference alone.
    #[test]
    fn shared_masks_leave_out_the_same_of_every_row() {
        let model = model();
        let mut embeds_nd = features(&model, 2);
        let d = embeds_nd.n_cols;
        let (first, second) = embeds_nd.values.split_at_mut(d);
        second.copy_from_slice(first);
        for (shared, alike) in [(true, true), (false, false)] {
            let dropout = Dropout { passes: 4, p: 0.5, shared, clean: false };
            let found = ask(&model, &embeds_nd, dropout, &[1, 2]).probs_n_kc.unwrap();
            assert_eq!(found.row(0) == found.row(1), alike, "shared {shared}");
        }
    }

    #[test]
    fn the_mean_over_many_passes_comes_close_to_the_clean_logits() {
        let model = model();
        let embeds_nd = features(&model, 1);
        let dropout = Dropout { passes: 4000, p: 0.3, shared: true, clean: false };
        let found = ask(&model, &embeds_nd, dropout, &[0]).logits_n_kc.unwrap();
        let clean = ask(&model, &embeds_nd, Dropout { passes: 1, p: 0.0, ..dropout }, &[0]).logits_n_kc.unwrap();
        for c in 0..3 {
            let of_class: Vec<f64> = found.values.iter().skip(c).step_by(3).map(|x| f64::from(*x)).collect();
            let mean = of_class.iter().sum::<f64>() / 4000.0;
            let variance = of_class.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 4000.0;
            // Five standard errors of a mean of 4000 draws.
            let room = 5.0 * (variance / 4000.0).sqrt();
            assert!((mean - f64::from(clean.values[c])).abs() < room, "{mean} {}", clean.values[c]);
        }
    }

    #[test]
    fn an_answer_depends_on_no_other_row_and_senseless_chances_are_refused() {
        let model = model();
        let embeds_nd = features(&model, BLOCK + 3);
        let ids: Vec<u64> = (0..embeds_nd.n_rows as u64).collect();
        let dropout = Dropout { passes: 2, p: 0.5, shared: false, clean: false };
        let all = ask(&model, &embeds_nd, dropout, &ids).probs_n_kc.unwrap();
        let last = Matrix { values: embeds_nd.row(BLOCK + 2).to_vec(), n_rows: 1, n_cols: embeds_nd.n_cols };
        let alone = ask(&model, &last, dropout, &ids[BLOCK + 2..]).probs_n_kc.unwrap();
        assert_eq!(alone.row(0), all.row(BLOCK + 2));
        for (passes, p) in [(0, 0.5), (1, 1.0), (1, -0.1), (1, f64::NAN)] {
            let dropout = Dropout { passes, p, ..dropout };
            let go_on = &mut |_: PredictProgress| ControlFlow::Continue(());
            assert!(predict_passes(&model, &last, PROBS, dropout, ([0; 32], &[0]), go_on).is_err(), "{passes} {p}");
        }
    }
}
