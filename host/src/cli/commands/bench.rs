//! `coldstart bench`: what this machine does with the standard cases.

use super::print_json;
use crate::bench::{self, Outcome};
use crate::cli::args::Bench;
use crate::cli::console::Console;
use crate::cli::problem::Problem;
use crate::engine::{self, Device, TORCH_VERSION};
use crate::operations::Meter;
use serde::Serialize;

/// What is printed as JSON.
#[derive(Serialize)]
struct Table {
    coldstart: &'static str,
    torch: &'static str,
    device: String,
    device_name: String,
    threads: usize,
    bf16: bool,
    seed: u8,
    cases: Vec<Outcome>,
}

/// `coldstart bench [CASE ...]`.
pub fn bench(bench: &Bench, console: &Console) -> Result<(), Problem> {
    let device = engine::open(&bench.device, bench.threads)?;
    let wanted = |name: &str| bench.cases.is_empty() || bench.cases.iter().any(|part| name.contains(part.as_str()));
    let cases: Vec<_> = bench::cases().into_iter().filter(|case| wanted(&case.name)).collect();
    if cases.is_empty() {
        let known: Vec<String> = bench::cases().into_iter().map(|case| case.name).collect();
        return Err(Problem::usage("no case has such a name", Some(format!("known are: {}", known.join("; ")))));
    }
    if !bench.json {
        heading(&device);
    }
    let mut outcomes = Vec::new();
    let n_cases = cases.len() as u64;
    for (done, case) in (0..).zip(cases) {
        console.tick(&case.name, done, n_cases);
        let outcome = case.run(&device, bench.repeats as usize)?;
        console.clear();
        if !bench.json {
            row(&outcome);
        }
        outcomes.push(outcome);
    }
    if bench.json {
        print_json(&Table {
            coldstart: env!("CARGO_PKG_VERSION"),
            torch: TORCH_VERSION,
            device: device.id(),
            device_name: device.name().to_owned(),
            threads: device.threads(),
            bf16: device.has_bf16(),
            seed: bench::SEED,
            cases: outcomes,
        });
    }
    Ok(())
}

fn heading(device: &Device) {
    let bf16 = if device.has_bf16() { "bf16" } else { "f32" };
    outln!(
        "coldstart {}, libtorch {TORCH_VERSION}, {} ({}), {} threads, {bf16}, seed {}",
        env!("CARGO_PKG_VERSION"),
        device.name(),
        device.id(),
        device.threads(),
        bench::SEED
    );
    outln!("{:<34} {:>12} {:>12}   where the time goes", "case", "time (ms)", "images/s");
}

fn row(Outcome { case, unit, seconds, images_per_second, phases, .. }: &Outcome) {
    let phases: Vec<String> = phases.iter().map(|(name, share)| format!("{name} {:.0} %", 100.0 * share)).collect();
    let time = format!("{:.1}/{unit}", 1e3 * seconds);
    outln!("{case:<34} {time:>12} {images_per_second:>12.0}   {}", phases.join(", "));
}
