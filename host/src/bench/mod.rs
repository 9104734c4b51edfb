//! The standard cases of `coldstart bench`: what a step, a prediction and a round of a probe take on this machine.
//!
//! Everything goes through the engine's public calls, on random images, so that a case measures what a run does.

use crate::engine::{
    self, Device, EngineError, ImageShape, Images, Labelled, Learner, LinearProbe, Model, ModelSettings, Outputs,
    Phases, PredictProgress, PretextJob, Targets, TrainProgress, Training,
};
use coldstart_plugin_api::Rng;
use coldstart_plugin_api::training::{Setting, TrainSpec};
use serde::Serialize;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

/// The seed of every image and weight here.
pub const SEED: u8 = 1;

const CIFAR: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };
const FASHION: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };
const BATCH: usize = 128;

/// What one case came to.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The case.
    pub case: String,
    /// What `seconds` is the time of.
    pub unit: &'static str,
    /// The median.
    pub seconds: f64,
    /// How many times it was timed.
    pub repeats: usize,
    /// Images in it.
    pub images: usize,
    /// Images a second.
    pub images_per_second: f64,
    /// The share of the time that each phase of a step takes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<(&'static str, f64)>,
}

/// A case: its name, and how it is run with so many repeats.
pub struct Case {
    /// What it is called.
    pub name: String,
    run: Box<Run>,
}

type Run = dyn Fn(&Device, usize) -> Result<Outcome, EngineError>;

impl Case {
    fn new(name: String, run: impl Fn(&Device, usize) -> Result<Outcome, EngineError> + 'static) -> Case {
        Case { name, run: Box::new(run) }
    }

    /// Times it `repeats` times on `device`, after a warm-up.
    pub fn run(&self, device: &Device, repeats: usize) -> Result<Outcome, EngineError> {
        (self.run)(device, repeats)
    }
}

/// All cases, in the order in which they are shown.
pub fn cases() -> Vec<Case> {
    let networks = [("resnet18", 64), ("resnet18", 16), ("wrn-28-2", 16), ("convnet", 32)];
    let mut cases = Vec::new();
    for (backbone, width) in networks {
        for (data, shape) in [("32x32x3", CIFAR), ("28x28x1", FASHION)] {
            // One network on both shapes is enough to tell what the shape does.
            if shape == FASHION && backbone != "convnet" {
                continue;
            }
            let name = format!("{backbone}-{width} {data}");
            cases.push(Case::new(format!("train {name}"), move |device, repeats| {
                step((backbone, width), shape, device, repeats)
            }));
            cases.push(Case::new(format!("predict {name}"), move |device, repeats| {
                prediction((backbone, width), shape, device, repeats)
            }));
        }
    }
    for (method, width) in [("moco-v2", 64), ("moco-v2", 16), ("rotation", 64), ("rotation", 16)] {
        cases.push(Case::new(format!("{method} resnet18-{width} 32x32x3"), move |device, repeats| {
            pretext(method, width, device, repeats)
        }));
    }
    cases.push(Case::new("linear-probe round, 50000 x 512".to_owned(), probe));
    cases
}

fn images(n: usize, shape: ImageShape, device: &Device) -> Result<Images, EngineError> {
    let mut rng = Rng::from_seed([SEED; 32]);
    let pixels: Vec<u8> = (0..n * shape.n_bytes()).map(|_| rng.below(256) as u8).collect();
    Images::new(&pixels, shape, device)
}

fn model((backbone, width): (&str, usize), shape: ImageShape, device: &Device) -> Result<Model, EngineError> {
    let settings = ModelSettings { backbone: backbone.to_owned(), width: Some(width), ..ModelSettings::default() };
    let mut model = Model::new(&settings, shape, 10, &mut Rng::from_seed([SEED; 32]), device)?;
    model.predict_in(Training::default().precision);
    Ok(model)
}

/// Steps that are not timed: memory is claimed and kernels are chosen in them.
const WARM_UP: usize = 3;

fn step(network: (&str, usize), shape: ImageShape, device: &Device, repeats: usize) -> Result<Outcome, EngineError> {
    let images = images(4 * BATCH, shape, device)?;
    let mut model = model(network, shape, device)?;
    let rows: Vec<usize> = (0..4 * BATCH).collect();
    let labels: Vec<usize> = rows.iter().map(|row| row % 10).collect();
    let settings = Training { epochs: 1, min_steps: WARM_UP + repeats, ..Training::default() };
    let labelled = Labelled { images: &images, rows: &rows, labels: &labels };
    let mut laps = Laps::new(device);
    let rng = &mut Rng::from_seed([SEED; 32]);
    let record = engine::train(&mut model, &settings, labelled.into(), rng, &mut |_: TrainProgress| laps.lap())?;
    let Phases { augmentation, forward, backward, optimizer } = record.phases;
    let all = augmentation + forward + backward + optimizer;
    let share = |part: Duration| part.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE);
    let phases =
        [("augmentation", augmentation), ("forward", forward), ("backward", backward), ("optimizer", optimizer)];
    let name = format!("train {}-{} {}", network.0, network.1, told(shape));
    let outcome = laps.outcome(name, "step", BATCH);
    Ok(Outcome { phases: phases.map(|(name, part)| (name, share(part))).to_vec(), ..outcome })
}

fn prediction(
    network: (&str, usize),
    shape: ImageShape,
    device: &Device,
    repeats: usize,
) -> Result<Outcome, EngineError> {
    let n = 32 * BATCH;
    let (images, model) = (images(n, shape, device)?, model(network, shape, device)?);
    let rows: Vec<usize> = (0..n).collect();
    let outputs = Outputs { probabilities: true, embeddings: true, ..Outputs::default() };
    let mut laps = Laps::new(device);
    for _ in 0..=repeats.div_ceil(5) {
        engine::predict(&model, &images, &rows, outputs, &mut go_on)?;
        let _ = laps.lap();
    }
    Ok(laps.outcome(format!("predict {}-{} {}", network.0, network.1, told(shape)), "pass", n))
}

fn pretext(method: &str, width: usize, device: &Device, repeats: usize) -> Result<Outcome, EngineError> {
    let bad = |error: coldstart_plugin_api::Error| EngineError::Input(error.message);
    let spec = TrainSpec::preset(method, Setting::Cifar).map_err(bad)?;
    let n = 4 * spec.batch_size as usize;
    let spec = TrainSpec { epochs: (WARM_UP + repeats).div_ceil(4) as u32, ..spec };
    let images = images(n, CIFAR, device)?;
    let settings = ModelSettings { width: Some(width), ..ModelSettings::default() };
    let rows: Vec<usize> = (0..n).collect();
    let job = PretextJob {
        spec: &spec,
        images: &images,
        rows: &rows,
        targets: Targets::None,
        model: &settings,
        precision: Training::default().precision,
        seed: [SEED; 32],
        checkpoint: None,
    };
    let mut laps = Laps::new(device);
    engine::pretext(job, device, &mut |_: TrainProgress| laps.lap())?;
    Ok(laps.outcome(format!("{method} resnet18-{width} 32x32x3"), "step", spec.batch_size as usize))
}

/// A round of a linear probe: fit it at 100 labels, predict the pool, take the ten images with the least margin.
fn probe(device: &Device, repeats: usize) -> Result<Outcome, EngineError> {
    let shape = ImageShape { height: 8, width: 8, channels: 1 };
    let n = 50_000;
    let mut images = images(n, shape, device)?;
    let mut model = model(("resnet18", 64), shape, device)?;
    model.freeze("untrained");
    engine::remember(&mut images, &model, &mut go_on)?;
    let settings = Training { learner: Learner::LinearProbe(LinearProbe::default()), ..Training::default() };
    let mut rng = Rng::from_seed([SEED; 32]);
    let rows: Vec<usize> = (0..n).collect();
    let outputs = Outputs { probabilities: true, ..Outputs::default() };
    let mut laps = Laps::new(device);
    for _ in 0..repeats + WARM_UP {
        let picked = rng.sample(n, 100);
        let labels: Vec<usize> = picked.iter().map(|_| rng.below(10) as usize).collect();
        engine::fit(&mut model, &settings, Labelled { images: &images, rows: &picked, labels: &labels })?;
        let probs_nc = engine::predict(&model, &images, &rows, outputs, &mut go_on)?.probs_nc;
        let absent = || EngineError::Input("the engine left out the probabilities".to_owned());
        let probs_nc = probs_nc.ok_or_else(absent)?;
        let margin = |row: usize| {
            let (mut first, mut second) = (0.0, 0.0);
            for &p in probs_nc.row(row) {
                if p > first {
                    (first, second) = (p, first);
                } else if p > second {
                    second = p;
                }
            }
            first - second
        };
        let mut margins: Vec<(f32, usize)> = (0..n).map(|row| (margin(row), row)).collect();
        margins.select_nth_unstable_by(10, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        std::hint::black_box(&margins[..10]);
        let _ = laps.lap();
    }
    Ok(laps.outcome("linear-probe round, 50000 x 512".to_owned(), "round", n))
}

fn go_on(_: PredictProgress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn told(ImageShape { height, width, channels }: ImageShape) -> String {
    format!("{height}x{width}x{channels}")
}

/// Times from one call to the next.
struct Laps<'a> {
    device: &'a Device,
    since: Instant,
    took: Vec<f64>,
}

impl<'a> Laps<'a> {
    fn new(device: &'a Device) -> Self {
        Laps { device, since: Instant::now(), took: Vec::new() }
    }

    fn lap(&mut self) -> ControlFlow<()> {
        self.device.wait();
        let now = Instant::now();
        self.took.push((now - self.since).as_secs_f64());
        self.since = now;
        ControlFlow::Continue(())
    }

    fn outcome(mut self, case: String, unit: &'static str, images: usize) -> Outcome {
        let mut took = self.took.split_off(WARM_UP.min(self.took.len() - 1));
        took.sort_by(f64::total_cmp);
        let seconds = took[took.len() / 2];
        let images_per_second = images as f64 / seconds;
        Outcome { case, unit, seconds, repeats: took.len(), images, images_per_second, phases: vec![] }
    }
}
