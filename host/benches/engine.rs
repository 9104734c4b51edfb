//! The engine's speed and accuracy: step time and images per second of each backbone, and what few labels reach.
//!
//! `cargo bench -p coldstart --bench engine -- speed|accuracy [THREADS]`. `accuracy` reads `fashion-mnist` under
//! COLDSTART_DATA. Times are the best of several repeats of the whole call, on data made before the clock starts; each line
//! is one tab-separated row, so that a run can be kept beside this file.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its rows")]

use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use coldstart::engine::{
    Device, ImageShape, Images, Labelled, Model, ModelSettings, Outputs, Precision, Predictions, Training, open,
    predict, train,
};
use coldstart_plugin_api::Rng;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Backbones at a small and at the published width.
const MODELS: [(&str, usize); 7] = [
    ("convnet", 16),
    ("convnet", 32),
    ("convnet", 64),
    ("resnet20", 16),
    ("resnet20", 64),
    ("resnet18", 16),
    ("resnet18", 64),
];
const FASHION: ImageShape = ImageShape { height: 28, width: 28, channels: 1 };
const CIFAR: ImageShape = ImageShape { height: 32, width: 32, channels: 3 };

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let threads = args.get(1).map_or(Ok(0), |threads| threads.parse())?;
    let device = open("auto", threads)?;
    println!("# {} ({}), {} threads", device.name(), device.id(), device.threads());
    match args.first().map(String::as_str) {
        Some("accuracy") => accuracies(&device),
        _ => speeds(&device),
    }
}

fn speeds(device: &Device) -> Outcome<()> {
    println!("backbone\twidth\tshape\tparameters\tstep of 20 (ms)\tstep of 128 (ms)\tpredict (images/s)");
    for (backbone, width) in MODELS {
        for shape in [FASHION, CIFAR] {
            let mut rng = Rng::from_seed([1; 32]);
            let pixels: Vec<u8> = (0..512 * shape.n_bytes()).map(|_| rng.below(256) as u8).collect();
            let images = Images::new(&pixels, shape, device)?;
            let mut model = new_model(backbone, width, shape, &mut rng, device)?;
            let (small, large) = (step_ms(&mut model, &images, 20)?, step_ms(&mut model, &images, 128)?);
            let rate = predict_rate(&model, &images)?;
            let ImageShape { height, width: side, channels } = shape;
            let n_parameters = model.n_parameters();
            let (size, steps) = (format!("{height}x{side}x{channels}"), format!("{small:.1}\t{large:.1}"));
            println!("{backbone}\t{width}\t{size}\t{n_parameters}\t{steps}\t{rate:.0}");
        }
    }
    Ok(())
}

fn new_model(backbone: &str, width: usize, shape: ImageShape, rng: &mut Rng, device: &Device) -> Outcome<Model> {
    let settings = ModelSettings { backbone: backbone.to_owned(), width: Some(width), ..ModelSettings::default() };
    Ok(Model::new(&settings, shape, 10, rng, device)?)
}

/// The best time of an epoch that is one step of `n` images, the first (warm-up) left out.
fn step_ms(model: &mut Model, images: &Images, n: usize) -> Outcome<f64> {
    let rows: Vec<usize> = (0..n).collect();
    let labels: Vec<usize> = rows.iter().map(|row| row % 10).collect();
    let settings = Training { epochs: 6, min_steps: 0, ..Training::default() };
    let (mut best, mut last) = (f64::INFINITY, Instant::now());
    let labelled = Labelled { images, rows: &rows, labels: &labels };
    train(model, &settings, labelled.into(), &mut Rng::from_seed([2; 32]), &mut |progress| {
        let took = std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64();
        if progress.step > 1 {
            best = best.min(took);
        }
        ControlFlow::Continue(())
    })?;
    Ok(1e3 * best)
}

fn predict_rate(model: &Model, images: &Images) -> Outcome<f64> {
    let rows: Vec<usize> = (0..images.n_images()).collect();
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        predict_all(model, images, &rows)?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(rows.len() as f64 / best)
}

fn predict_all(model: &Model, images: &Images, rows: &[usize]) -> Outcome<Predictions> {
    let outputs = Outputs { probabilities: true, logits: false, embeddings: true };
    Ok(predict(model, images, rows, outputs, &mut |_| ControlFlow::Continue(()))?)
}

fn accuracies(device: &Device) -> Outcome<()> {
    let folder = Path::new(&std::env::var("COLDSTART_DATA")?).join("fashion-mnist");
    let read = |name: &str, header: usize| -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        flate2::read::GzDecoder::new(std::fs::File::open(folder.join(name))?).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(header))
    };
    let pool = Images::new(&read("train-images-idx3-ubyte.gz", 16)?, FASHION, device)?;
    let test = pool.beside(&read("t10k-images-idx3-ubyte.gz", 16)?)?;
    let pool_labels = read("train-labels-idx1-ubyte.gz", 8)?;
    let test_labels = read("t10k-labels-idx1-ubyte.gz", 8)?;
    println!("backbone\twidth\tlabels\tseed\tmin_steps\ttest accuracy (%)\ttraining (s)\tprediction (s)");
    for (backbone, width) in [("convnet", 32), ("resnet20", 16), ("resnet18", 16)] {
        for (n_labels, seed) in [(20, 1), (20, 2), (20, 3), (100, 1), (100, 2), (100, 3)] {
            let mut rng = Rng::from_seed([seed; 32]);
            let rows = rng.sample(pool.n_images(), n_labels);
            let labels: Vec<usize> = rows.iter().map(|&row| usize::from(pool_labels[row])).collect();
            let mut model = new_model(backbone, width, FASHION, &mut rng, device)?;
            let settings = Training { precision: Precision::F32, ..Training::default() };
            let start = Instant::now();
            let labelled = Labelled { images: &pool, rows: &rows, labels: &labels };
            train(&mut model, &settings, labelled.into(), &mut rng, &mut |_| ControlFlow::Continue(()))?;
            let training = start.elapsed().as_secs_f64();
            let accuracy = 100.0 * accuracy(&model, &test, &test_labels)?;
            let prediction = start.elapsed().as_secs_f64() - training;
            let min_steps = settings.min_steps;
            println!(
                "{backbone}\t{width}\t{n_labels}\t{seed}\t{min_steps}\t{accuracy:.1}\t{training:.1}\t{prediction:.1}"
            );
        }
    }
    Ok(())
}

fn accuracy(model: &Model, images: &Images, labels: &[u8]) -> Outcome<f64> {
    let rows: Vec<usize> = (0..labels.len()).collect();
    let probs_nc = predict_all(model, images, &rows)?.probs_nc.ok_or("no probabilities")?;
    let likeliest = |row: usize| {
        let probs_c = probs_nc.row(row);
        (0..probs_c.len()).max_by(|&a, &b| probs_c[a].total_cmp(&probs_c[b]))
    };
    let n_right = rows.iter().filter(|&&row| likeliest(row) == Some(usize::from(labels[row]))).count();
    Ok(n_right as f64 / rows.len() as f64)
}
