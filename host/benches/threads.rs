//! From which size of a step on further threads help: the time of a step by one thread and by all cores.
//!
//! `cargo bench -p coldstart --bench threads > host/benches/results/threads-MACHINE.tsv`
//!
//! The two take turns, so that other work on the machine meets both. A row is a network with its images and batch; `numbers` is
//! images x height x width x channels of the first layer, which `Device::fitting` decides by; times are the medians of all
//! rounds, and in brackets the slowest round's. The load of the machine stands at the beginning and at the end.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its rows")]

use std::ops::ControlFlow;
use std::time::Instant;

use coldstart::engine::{ImageShape, Images, Labelled, Model, ModelSettings, Training, cores, open, train};
use coldstart_plugin_api::Rng;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const NETWORKS: [(&str, usize); 8] = [
    ("convnet", 4),
    ("convnet", 16),
    ("convnet", 32),
    ("resnet20", 4),
    ("resnet20", 16),
    ("resnet18", 4),
    ("resnet18", 16),
    ("resnet18", 32),
];
const SHAPES: [ImageShape; 2] =
    [ImageShape { height: 8, width: 8, channels: 1 }, ImageShape { height: 28, width: 28, channels: 1 }];
const BATCHES: [usize; 3] = [20, 64, 128];
/// Turns of each number of threads, and steps in a turn.
const TURNS: usize = 5;
const STEPS: usize = 6;

fn main() -> Outcome<()> {
    println!("# {}, load {}", open("cpu", 0)?, load());
    println!("network\twidth\timages\tbatch\tnumbers\tstep, 1 thread (ms)\tstep, all cores (ms)\ttimes as fast");
    for (backbone, width) in NETWORKS {
        for shape in SHAPES {
            for batch in BATCHES {
                row((backbone, width), shape, batch)?;
            }
        }
    }
    println!("# load {}", load());
    Ok(())
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn row((backbone, width): (&str, usize), shape: ImageShape, batch: usize) -> Outcome<()> {
    let device = open("cpu", 1)?;
    let mut rng = Rng::from_seed([1; 32]);
    let pixels: Vec<u8> = (0..128 * shape.n_bytes()).map(|_| rng.below(256) as u8).collect();
    let images = Images::new(&pixels, shape, &device)?;
    let settings = ModelSettings { backbone: backbone.to_owned(), width: Some(width), ..ModelSettings::default() };
    let mut model = Model::new(&settings, shape, 10, &mut rng, &device)?;
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        for (threads, times) in [(1, &mut alone), (cores(), &mut together)] {
            open("cpu", threads)?;
            times.extend(steps(&mut model, &images, batch)?);
        }
    }
    let numbers = batch * shape.height * shape.width * width;
    let side = format!("{}x{}", shape.height, shape.width);
    let (alone, together) = (Times::of(alone), Times::of(together));
    let gain = alone.median / together.median;
    println!("{backbone}\t{width}\t{side}\t{batch}\t{numbers}\t{alone}\t{together}\t{gain:.2}");
    Ok(())
}

/// Milliseconds of each step but the first of an epoch, which claims memory.
fn steps(model: &mut Model, images: &Images, batch: usize) -> Outcome<Vec<f64>> {
    let rows: Vec<usize> = (0..batch).collect();
    let labels: Vec<usize> = rows.iter().map(|row| row % 10).collect();
    let settings = Training { epochs: STEPS + 1, min_steps: 0, ..Training::default() };
    let labelled = Labelled { images, rows: &rows, labels: &labels };
    let (mut times, mut last) = (Vec::new(), Instant::now());
    train(model, &settings, labelled.into(), &mut Rng::from_seed([2; 32]), &mut |progress| {
        let took = std::mem::replace(&mut last, Instant::now()).elapsed().as_secs_f64();
        if progress.step > 1 {
            times.push(1e3 * took);
        }
        ControlFlow::Continue(())
    })?;
    Ok(times)
}

/// What a step took.
struct Times {
    median: f64,
    slowest: f64,
}

impl Times {
    fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        Times { median: times[times.len() / 2], slowest: times[times.len() - 1] }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2})", self.median, self.slowest)
    }
}
