//! Seconds of each kernel on a mixture of normal blobs: `cargo run --release -p coldstart-kernels --example timings`.
//!
//! Arguments: points (50 000), numbers of each (512), and a word that a kernel's name must contain.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its rows")]

use coldstart_kernels::{Cloud, Effort, First, Points, k_center, kmeans, kmeans_pp, knn, nearest};
use coldstart_plugin_api::Rng;
use std::time::Instant;

/// Blobs of the mixture; their centres lie about as far from each other as their points do.
const BLOBS: usize = 100;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let n: usize = args.next().map_or(Ok(50_000), |n| n.parse())?;
    let d: usize = args.next().map_or(Ok(512), |d| d.parse())?;
    let wanted = args.next().unwrap_or_default();

    let (rows, residuals) = (mixture(n, d, 1), mixture(n, 10, 2));
    let points = Points::new(&rows, d)?;
    let scale = points.unit_scale();
    let unit = points.scaled(&scale)?;
    let outer = Cloud::Outer(Points::new(&residuals, 10)?, points);
    let go_on = &|| true;

    println!("kernel\tseconds");
    let time = |name: &str, kernel: &dyn Fn(&mut Rng) -> coldstart_kernels::Result<usize>| {
        if name.contains(&wanted) {
            let seconds = (0..3).map(|_| {
                let start = Instant::now();
                kernel(&mut Rng::from_seed([7; 32])).map(|_| start.elapsed().as_secs_f64())
            });
            let best = seconds.collect::<Result<Vec<f64>, _>>()?.into_iter().fold(f64::INFINITY, f64::min);
            println!("{name}\t{best:.4}");
        }
        Ok::<(), coldstart_kernels::Error>(())
    };
    time("squares", &|_| Ok(points.squares().len()))?;
    for k in [100, 1000] {
        time(&format!("k_center {k}"), &|rng| Ok(k_center(&points, k, &[], rng, go_on)?.positions.len()))?;
        time(&format!("k_center {k} unit"), &|rng| Ok(k_center(&unit, k, &[], rng, go_on)?.positions.len()))?;
        let dense = Cloud::Dense(points);
        time(&format!("kmeans_pp dense {k}"), &|rng| Ok(kmeans_pp(&dense, k, First::Drawn, rng, go_on)?.len()))?;
        let first = First::LargestNorm;
        time(&format!("kmeans_pp outer {k}"), &|rng| Ok(kmeans_pp(&outer, k, first, rng, go_on)?.len()))?;
    }
    let rounds = Effort { iterations: 25, restarts: 1, tolerance: 0.0 };
    time("kmeans 100", &|rng| Ok(kmeans(&points, 100, rounds, rng, go_on)?.of_point.len()))?;
    time("kmeans 100 unit", &|rng| Ok(kmeans(&unit, 100, rounds, rng, go_on)?.of_point.len()))?;
    time("kmeans 500", &|rng| Ok(kmeans(&points, 500, rounds, rng, go_on)?.of_point.len()))?;
    let few = Points::new(&rows[..100 * d], d)?;
    time("nearest 1 of 100", &|_| Ok(nearest(&points, &few, 1, None, go_on)?.positions.len()))?;
    time("nearest 20 to 100", &|_| Ok(nearest(&few, &points, 20, None, go_on)?.positions.len()))?;
    time("knn 20", &|_| Ok(knn(&points, 20, usize::MAX, go_on)?.positions.len()))?;
    time("knn 20 unit", &|_| Ok(knn(&unit, 20, usize::MAX, go_on)?.positions.len()))?;
    Ok(())
}

/// Blobs around normal centres, each point as far from its own as two centres are from each other.
fn mixture(n: usize, d: usize, seed: u8) -> Vec<f32> {
    let mut rng = Rng::from_seed([seed; 32]);
    let centres: Vec<f32> = (0..BLOBS * d).map(|_| rng.normal() as f32).collect();
    let mut rows = Vec::with_capacity(n * d);
    for _ in 0..n {
        let centre = rng.below(BLOBS as u64) as usize * d;
        rows.extend(centres[centre..centre + d].iter().map(|centre| centre + 1.4 * approximately_normal(&mut rng)));
    }
    rows
}

/// The sum of four uniform numbers, at variance 1: fast, and round enough.
fn approximately_normal(rng: &mut Rng) -> f32 {
    let word = rng.next_u64();
    let sum: u64 = (0..4).map(|i| (word >> (16 * i)) & 0xffff).sum();
    (sum as f32 / 65536.0 - 2.0) * 3f32.sqrt()
}
