//! A frozen backbone under a linear classifier: what the backbone makes of the images is kept, so that a round costs the fit of
//! the classifier and one product over the pool.

use std::ops::ControlFlow;

use tch::{Kind, Tensor};

use super::cluster::upload;
use super::device::{Device, alone};
use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::images::{Features, Images};
use super::model::Model;
use super::predict::{Collected, Matrix, Outputs, PredictObserver, PredictProgress, Predictions, Space, predict};
use super::probe::{Costs, Judged, Moments, logistic};
use super::settings::{Learner, Training};
use super::train::{Labelled, class_weights};

/// Keeps what the frozen backbone of `model` makes of every one of `images`, unless it is kept already.
///
/// Errs when the model is not frozen or does not fit the images, and when `observer` breaks.
pub fn remember(images: &mut Images, model: &Model, observer: &mut PredictObserver<'_>) -> Result<(), EngineError> {
    let Some(name) = model.frozen() else {
        return Err(EngineError::Input("the features of a network that learns cannot be kept".to_owned()));
    };
    if images.features(name).is_some() {
        return Ok(());
    }
    if !model.sees_images() {
        return Err(EngineError::Input(format!("the features `{name}` of these images are not given")));
    }
    let rows: Vec<usize> = (0..images.n_images()).collect();
    let outputs = Outputs { embeddings: true, ..Outputs::default() };
    let embeds_nd = predict(model, images, &rows, outputs, observer)?.embeds_nd;
    let absent = || EngineError::Input("the network gave no features".to_owned());
    let embeds_nd = embeds_nd.ok_or_else(absent)?;
    check_finite(&embeds_nd, name)?;
    let kept = || -> TorchResult<Features> {
        let values_nd = upload(&embeds_nd, model.device())?;
        Ok(Features { of: name.clone(), moments: Moments::of(&values_nd)?, values_nd, source: None })
    };
    images.keep(guard::calls(kept).doing("keeping features")?);
    Ok(())
}

/// Errs at the first feature that is no number, which no classifier can stand on.
fn check_finite(embeds_nd: &Matrix, name: &str) -> Result<(), EngineError> {
    match embeds_nd.values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(at) => {
            let (row, column, value) = (at / embeds_nd.n_cols, at % embeds_nd.n_cols, embeds_nd.values[at]);
            Err(EngineError::Input(format!("the backbone `{name}` makes {value} of image {row}, in feature {column}")))
        }
    }
}

/// What fitting a classifier came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fit {
    /// The mean cross-entropy of the labelled images, without the penalty.
    pub loss: f64,
    /// The share of them that is told right.
    pub accuracy: f64,
}

/// Up to so many numbers of labelled features are fitted to by one thread.
const SMALL: usize = 1 << 20;

/// Fits the classifier of a frozen `model` to the labelled images, whose features are [kept](remember): multinomial logistic
/// regression with the penalty of `settings`, on features that are centred and scaled over the whole set, labelled or not, as
/// the probe's [`Scale`](super::Scale) says. Its weights are then those of an ordinary head, so that all that can be asked of a
/// network can be asked of this one.
///
/// The same inputs give the same bits. Errs when the features are not kept, or the inputs do not fit.
pub fn fit(model: &mut Model, settings: &Training, labelled: Labelled<'_>) -> Result<Fit, EngineError> {
    settings.validate()?;
    labelled.check(model, 1)?;
    let Some(features) = model.frozen().and_then(|name| labelled.images.features(name)) else {
        return Err(EngineError::Input("the features of these images are not kept".to_owned()));
    };
    let Labelled { rows, labels, .. } = labelled;
    let probe = probe_of(features, (rows, labels), model.n_outputs(), settings)?;
    model.set_classifier(&probe.weights_cd, &probe.bias_c).doing(FITTING)?;
    Ok(probe.fit)
}

const FITTING: &str = "fitting a linear probe";

/// Features of a whole set apart from its images, such as another program has computed, for linear probes.
pub struct FeatureSet {
    features: Features,
}

impl FeatureSet {
    /// Puts the features, one row for each image of the set, on `device`.
    pub fn new(features_nd: &Matrix, device: &Device) -> Result<Self, EngineError> {
        let kept = || -> TorchResult<Features> {
            let values_nd = upload(features_nd, device)?;
            Ok(Features { of: "a set".into(), moments: Moments::of(&values_nd)?, values_nd, source: None })
        };
        Ok(FeatureSet { features: guard::calls(kept).doing("putting features on the device")? })
    }

    /// Fits a linear probe to some rows and their labels, as [`fit`] does.
    ///
    /// Errs when rows, labels and classes do not fit each other.
    pub fn probe(
        &self,
        rows: &[usize],
        labels: &[usize],
        n_classes: usize,
        settings: &Training,
    ) -> Result<Probe, EngineError> {
        settings.validate()?;
        let n_rows = self.features.values_nd.size()[0] as usize;
        let fits = rows.len() == labels.len() && !rows.is_empty();
        if !fits || rows.iter().any(|row| *row >= n_rows) || labels.iter().any(|label| *label >= n_classes) {
            return Err(EngineError::Input(
                "the rows, labels and classes of a linear probe do not fit each other".to_owned(),
            ));
        }
        probe_of(&self.features, (rows, labels), n_classes, settings)
    }
}

/// A linear classifier of features as they are.
pub struct Probe {
    weights_cd: Tensor,
    bias_c: Tensor,
    /// What its fit came to.
    pub fit: Fit,
}

impl Probe {
    /// The share of rows that it tells right.
    pub fn accuracy(&self, on: Judged<'_>) -> Result<f64, EngineError> {
        let device = self.weights_cd.device();
        let judge = || -> TorchResult<f64> {
            let (n, d) = (on.features_nd.n_rows as i64, on.features_nd.n_cols as i64);
            let x_nd = Tensor::f_from_slice(&on.features_nd.values)?.f_view([n, d])?.f_to_device(device)?;
            let logits_nc = x_nd.f_linear(&self.weights_cd, Some(&self.bias_c))?;
            share_right(&logits_nc, &integers(on.labels, device)?)
        };
        guard::calls(judge).doing("judging a linear probe")
    }
}

/// The probe that [`fit`] puts into a model.
fn probe_of(
    features: &Features,
    (rows, labels): (&[usize], &[usize]),
    n_classes: usize,
    settings: &Training,
) -> Result<Probe, EngineError> {
    let Learner::LinearProbe(learner) = settings.learner else {
        return Err(EngineError::Input("only a linear probe is fitted to kept features".to_owned()));
    };
    let fitted = || -> TorchResult<Probe> {
        let _no_grad = tch::no_grad_guard();
        let device = features.values_nd.device();
        let labels_n = integers(labels, device)?;
        let standard = features.moments.standard(learner.scale)?;
        let x_nd = standard.apply(&features.values_nd.f_index_select(0, &integers(rows, device)?)?)?;
        let weights_c = settings
            .class_balance
            .then(|| Tensor::f_from_slice(&class_weights(labels, n_classes))?.f_to_device(device));
        let (weights_c, smoothing) = (weights_c.transpose()?, settings.label_smoothing);
        let costs = Costs { penalty: learner.penalty, weights_c, smoothing };
        let solve = || logistic((&x_nd, &labels_n), n_classes, &costs);
        let (weights_cd, bias_c) = if x_nd.numel() <= SMALL { alone(solve) } else { solve() }?;
        let logits_nc = x_nd.f_linear(&weights_cd, Some(&bias_c))?;
        let fit = Fit {
            loss: costs.nll(&logits_nc, &labels_n)?.f_double_value(&[])?,
            accuracy: share_right(&logits_nc, &labels_n)?,
        };
        let (weights_cd, bias_c) = standard.undo(&weights_cd, &bias_c)?;
        Ok(Probe { weights_cd, bias_c, fit })
    };
    guard::calls(fitted).doing(FITTING)
}

fn share_right(logits_nc: &Tensor, labels_n: &Tensor) -> TorchResult<f64> {
    let right = logits_nc.f_argmax(1, false)?.f_eq_tensor(labels_n)?.f_to_kind(Kind::Double)?;
    right.f_mean(Kind::Double)?.f_double_value(&[])
}

fn integers(values: &[usize], device: tch::Device) -> TorchResult<Tensor> {
    let values: Vec<i64> = values.iter().map(|&value| value as i64).collect();
    Tensor::f_from_slice(&values)?.f_to_device(device)
}

/// [`predict`] from features that are kept.
///
/// The classifier sees the whole set whatever is asked for, so an answer depends on no other row.
pub(super) fn predict_kept(
    model: &Model,
    features: &Features,
    rows: &[usize],
    outputs: Outputs,
    observer: &mut PredictObserver<'_>,
) -> Result<Predictions, EngineError> {
    let doing = "predicting from kept features";
    let _no_grad = tch::no_grad_guard();
    let n_images = rows.len();
    let asked = || -> TorchResult<Predictions> {
        let rows: Vec<i64> = rows.iter().map(|&row| row as i64).collect();
        let rows = Tensor::f_from_slice(&rows)?.f_to_device(features.values_nd.device())?;
        let wants_logits = outputs.logits || outputs.probabilities;
        let logits_nc = wants_logits.then(|| {
            let all_nc = model.outputs(&model.inference_pass()?, &features.values_nd)?;
            all_nc.f_index_select(0, &rows)
        });
        let logits_nc = logits_nc.transpose()?;
        let probs_nc = logits_nc.as_ref().filter(|_| outputs.probabilities).map(|l| l.f_softmax(1, Kind::Float));
        let embeds_nd = outputs.embeddings.then(|| features.values_nd.f_index_select(0, &rows));
        let collected = Collected {
            probs_nc: probs_nc.transpose()?.map(Space::OnDevice),
            logits_nc: logits_nc.filter(|_| outputs.logits).map(Space::OnDevice),
            embeds_nd: embeds_nd.transpose()?.map(Space::OnDevice),
        };
        collected.take(n_images)
    };
    let predictions = guard::calls(asked).doing(doing)?;
    match observer(PredictProgress { n_done: n_images, n_images }) {
        ControlFlow::Continue(()) => Ok(predictions),
        ControlFlow::Break(()) => Err(EngineError::Cancelled),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{LinearProbe, Scale};
    use super::super::{ImageShape, ModelSettings};
    use super::*;
    use coldstart_plugin_api::Rng;

    const SHAPE: ImageShape = ImageShape { height: 8, width: 8, channels: 1 };
    const ALL: Outputs = Outputs { probabilities: true, logits: true, embeddings: true };

    fn go_on(_: PredictProgress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    /// Sixty noisy images of three brightnesses, a frozen random network that has seen them, and the settings of a probe.
    fn frozen() -> (Model, Images, Vec<usize>, Training) {
        let mut rng = Rng::from_seed([8; 32]);
        let labels: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let pixels: Vec<u8> = labels
            .iter()
            .flat_map(|&label| vec![label as u64 * 60; 64])
            .map(|base| (base + rng.below(90)) as u8)
            .collect();
        let device = Device::cpu_for_tests();
        let mut images = Images::new(&pixels, SHAPE, &device).unwrap();
        let settings = ModelSettings { backbone: "convnet".to_owned(), width: Some(4), ..ModelSettings::default() };
        let mut model = Model::new(&settings, SHAPE, 3, &mut rng, &device).unwrap();
        model.freeze("random");
        remember(&mut images, &model, &mut go_on).unwrap();
        let training = Training { learner: Learner::LinearProbe(LinearProbe::default()), ..Training::default() };
        (model, images, labels, training)
    }

    fn part<'a>(images: &'a Images, rows: &'a [usize], labels: &'a [usize]) -> Labelled<'a> {
        Labelled { images, rows, labels: &labels[..rows.len()] }
    }

    #[test]
    fn kept_features_answer_as_the_network_does() {
        let (mut model, images, labels, training) = frozen();
        let rows: Vec<usize> = (0..12).collect();
        let fitted = fit(&mut model, &training, part(&images, &rows, &labels)).unwrap();
        assert!(fitted.accuracy > 0.9, "{fitted:?}");
        let asked = [59, 3, 3, 20];
        let kept = predict(&model, &images, &asked, ALL, &mut go_on).unwrap();
        model.freeze("another, of which nothing is kept");
        let whole = predict(&model, &images, &asked, ALL, &mut go_on).unwrap();
        for (kept, whole) in
            [(kept.probs_nc, whole.probs_nc), (kept.logits_nc, whole.logits_nc), (kept.embeds_nd, whole.embeds_nd)]
        {
            let (kept, whole) = (kept.unwrap(), whole.unwrap());
            assert_eq!((kept.n_rows, kept.n_cols), (whole.n_rows, whole.n_cols));
            for (kept, whole) in kept.values.iter().zip(&whole.values) {
                // The same sums in another order, of numbers of order 10.
                assert!((kept - whole).abs() < 1e-4, "{kept} is not {whole}");
            }
        }
    }

    #[test]
    fn an_answer_depends_on_no_other_row() {
        let (mut model, images, labels, training) = frozen();
        let rows: Vec<usize> = (0..60).collect();
        fit(&mut model, &training, part(&images, &rows[..9], &labels)).unwrap();
        let all = predict(&model, &images, &rows, ALL, &mut go_on).unwrap().logits_nc.unwrap();
        for row in [0, 17, 59] {
            let alone = predict(&model, &images, &[row], ALL, &mut go_on).unwrap().logits_nc.unwrap();
            assert_eq!(alone.row(0), all.row(row));
        }
    }

    /// At the optimum the slope of the cost is 0, also where there are fewer images than features and the fit was found among
    /// combinations of the images.
    #[test]
    fn the_fit_is_an_optimum() {
        let (mut model, images, labels, training) = frozen();
        for n in [6, 60] {
            let rows: Vec<usize> = (0..n).collect();
            fit(&mut model, &training, part(&images, &rows, &labels)).unwrap();
            let features = images.features("random").unwrap();
            let standard = features.moments.standard(Scale::Shared).unwrap();
            let x_nd = standard.apply(&features.values_nd.narrow(0, 0, n as i64)).unwrap();
            let asked = predict(&model, &images, &rows, ALL, &mut go_on).unwrap();
            let error: Vec<f64> = (0..n)
                .flat_map(|i| (0..3).map(move |c| (i, c)))
                .map(|(i, c)| {
                    f64::from(asked.probs_nc.as_ref().unwrap().row(i)[c]) - f64::from(u8::from(labels[i] == c))
                })
                .collect();
            let error_nc = Tensor::from_slice(&error).view([n as i64, 3]).to_kind(Kind::Float) / n as f64;
            let head = model.classifier().unwrap();
            let weights = head / &standard.inverse_scale;
            let slope = error_nc.tr().mm(&x_nd) + weights * 1e-2;
            // L-BFGS stops where f32 sees no descent: slopes that begin at order 1 fall to some 1e-4.
            let steepest = slope.abs().max().double_value(&[]);
            assert!(steepest < 1e-3, "{n} images: {steepest}");
        }
    }

    /// Two classes far apart in the first two of 64 directions, with little noise in all others; and the same points turned.
    struct Turned {
        plain: Matrix,
        turned: Matrix,
        labels: Vec<usize>,
    }

    fn turned() -> Turned {
        const D: usize = 64;
        let mut rng = Rng::from_seed([4; 32]);
        let labels: Vec<usize> = (0..400).map(|i| i % 2).collect();
        let mut row = |label: usize| -> Vec<f32> {
            let side = if label == 1 { 3.0 } else { -3.0 };
            let at = |at: usize, noise: f64| if at < 2 { side + noise } else { 0.1 * noise };
            (0..D).map(|i| at(i, rng.normal()) as f32).collect()
        };
        let plain: Vec<f32> = labels.iter().flat_map(|&label| row(label)).collect();
        let noise: Vec<f32> = (0..D * D).map(|_| rng.normal() as f32).collect();
        let (rotation, _) = Tensor::linalg_qr(&Tensor::from_slice(&noise).view([D as i64, D as i64]), "reduced");
        let rotated = Tensor::from_slice(&plain).view([-1, D as i64]).mm(&rotation);
        let matrix = |values| Matrix { values, n_rows: 400, n_cols: D };
        let rotated = Vec::<f32>::try_from(rotated.contiguous().view([-1])).unwrap();
        Turned { plain: matrix(plain), turned: matrix(rotated), labels }
    }

    /// A rotation of the features is no other set of features: a probe with one scale says the same of both, and one that
    /// divides each column by its deviation does not.
    #[test]
    fn a_probe_with_a_shared_scale_does_not_see_a_rotation() {
        let device = Device::cpu_for_tests();
        let Turned { plain, turned, labels } = turned();
        let (rows, held): (Vec<usize>, Vec<usize>) = ((0..14).collect(), (200..400).collect());
        let accuracy = |features_nd: &Matrix, scale: Scale| {
            let training = Training {
                learner: Learner::LinearProbe(LinearProbe { scale, ..LinearProbe::default() }),
                ..Training::default()
            };
            let set = FeatureSet::new(features_nd, &device).unwrap();
            let probe = set.probe(&rows, &labels[..14], 2, &training).unwrap();
            let values = held.iter().flat_map(|&row| features_nd.row(row).to_vec()).collect();
            let test = Matrix { values, n_rows: held.len(), n_cols: features_nd.n_cols };
            let labels: Vec<usize> = held.iter().map(|&row| labels[row]).collect();
            (probe.accuracy(Judged { features_nd: &test, labels: &labels }).unwrap(), probe.fit.loss)
        };
        let ((here, loss), (there, loss_turned)) = (accuracy(&plain, Scale::Shared), accuracy(&turned, Scale::Shared));
        // One of 200 rows may lie so close to the border that the rounding of f32 decides.
        assert!(
            (here - there).abs() < 0.006 && (loss - loss_turned).abs() < 1e-3,
            "{here} {there} {loss} {loss_turned}"
        );
        let (whitened, _) = accuracy(&plain, Scale::Columns);
        let (not_quite, _) = accuracy(&turned, Scale::Columns);
        assert!(here > whitened + 0.05 && not_quite > whitened, "{here} {whitened} {not_quite}");
    }

    #[test]
    fn what_is_not_kept_is_asked_for() {
        let (mut model, images, labels, training) = frozen();
        model.freeze("another");
        let error = fit(&mut model, &training, part(&images, &[0, 1], &labels)).unwrap_err();
        assert!(error.to_string().contains("not kept"), "{error}");
    }
}
