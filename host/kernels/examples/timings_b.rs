//! How long coverage, kernel sums, measures of uncertainty and principal components take: a TSV of seconds.
//!
//! Points are a mixture of Gaussians at unit length, whose spread is that of their centres. Arguments: n, d, blobs.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "an example prints its rows")]

use coldstart_kernels::{
    Coverage, Kernel, Measure, Points, argsort, coverage, group_sums, handcrafted, principal, reduce, self_kernel_sums,
    topk,
};
use coldstart_plugin_api::Rng;
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args().skip(1).map(|text| text.parse()).collect::<Result<_, _>>()?;
    let at = |i: usize, usual: usize| numbers.get(i).copied().unwrap_or(usual);
    let (n, d, blobs) = (at(0, 50_000), at(1, 512), at(2, 100));
    let rows = mixture(n, d, blobs);
    let points = Points::new(&rows, d)?;
    let unit = points.unit_scale();
    let points = points.scaled(&unit)?;
    let on = || true;
    println!("kernel\tseconds\tprocessor seconds\tnote");

    for neighbours in [100, 300] {
        let radius = radius_of(&points, neighbours);
        let hat = Kernel::TopHat { radius };
        timed("degrees", || {
            let degrees = self_kernel_sums(&points, None, hat, &on).unwrap_or_default();
            format!("radius {radius:.3}, mean degree {:.0}", degrees.iter().sum::<f32>() / n as f32)
        });
        for k in [100, 1000] {
            timed(&format!("coverage top-hat k={k}"), || cover(&points, k, &Coverage::by(hat)));
        }
        let bonus: Vec<f32> = (0..n).map(|i| (i % 97) as f32).collect();
        let how = Coverage { bonus: Some((&bonus, 0.5)), ..Coverage::by(hat) };
        timed("coverage top-hat with bonus k=100", || cover(&points, 100, &how));
    }
    for (bandwidth, k) in [(1.0, 100), (1.0, 1000), (0.5, 100)] {
        let how = Coverage::by(Kernel::Rbf { bandwidth });
        timed(&format!("coverage rbf h={bandwidth} k={k}"), || cover(&points, k, &how));
    }
    timed("kernel sums rbf", || {
        let sums = self_kernel_sums(&points, None, Kernel::Rbf { bandwidth: 1.0 }, &on).unwrap_or_default();
        format!("mean {:.4}", sums.iter().sum::<f32>() / (n * n) as f32)
    });
    let groups: Vec<usize> = (0..n).map(|i| i % blobs).collect();
    timed("group sums", || format!("{}", group_sums(&points, &groups, blobs, None).unwrap_or_default().len()));
    timed("principal 64, whitened", || {
        format!("{}", principal(&points, 64, true, &mut Rng::from_seed([1; 32]), &on).unwrap_or_default().len())
    });

    let probs = probabilities(n, 20, 10);
    for measure in [Measure::Bald, Measure::Entropy, Measure::Margin, Measure::VoteRatio] {
        timed(&format!("reduce {measure:?}, 20 passes, 10 classes"), || {
            let scores = reduce(&probs, 20, 10, measure).unwrap_or_default();
            format!("mean {:.4}", scores.iter().sum::<f32>() / n as f32)
        });
    }
    timed("topk 1000", || format!("{:?}", topk(&probs[..n], 1000, true).unwrap_or_default().first()));
    timed("argsort", || format!("{:?}", argsort(&probs[..n], true).unwrap_or_default().first()));
    let pixels: Vec<u8> = (0..10_000 * 32 * 32 * 3).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    timed("handcrafted, 10000 images of 32 x 32 x 3", || {
        format!("d {}", handcrafted(&pixels, 32, 32, 3).map_or(0, |(_, d)| d))
    });
    Ok(())
}

fn cover(points: &Points<'_>, k: usize, how: &Coverage<'_>) -> String {
    match coverage(points, k, how, &|| true) {
        Ok(covered) => format!("{} picks, coverage {:.4}", covered.positions.len(), covered.coverage),
        Err(error) => error.to_string(),
    }
}

fn timed(name: &str, run: impl FnOnce() -> String) {
    let (start, busy) = (Instant::now(), processor_seconds());
    let note = run();
    println!("{name}\t{:.4}\t{:.2}\t{note}", start.elapsed().as_secs_f64(), processor_seconds() - busy);
}

/// What all threads have used up to now, in hundredths; 0 where there is no /proc. On a machine that others load, this says more
/// than the time that went by.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    after_name.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0
}

fn mixture(n: usize, d: usize, blobs: usize) -> Vec<f32> {
    let mut rng = Rng::from_seed([1; 32]);
    // A table of normal numbers is much faster to draw from, and nobody here looks at the tails.
    let table: Vec<f32> = (0..1 << 16).map(|_| rng.normal() as f32).collect();
    let mut normal = || table[rng.next_u32() as usize >> 16];
    let centres: Vec<f32> = (0..blobs * d).map(|_| normal()).collect();
    (0..n).flat_map(|i| (0..d).map(move |j| i % blobs * d + j)).map(|at| centres[at] + normal()).collect()
}

/// The radius of a ball that holds so many points, on the mean over some of them.
fn radius_of(points: &Points<'_>, neighbours: usize) -> f32 {
    let some = 50;
    let distances = (0..some).flat_map(|i| (0..points.n()).map(move |j| points.squared_distance(i * 7, points, j)));
    let mut distances: Vec<f32> = distances.collect();
    distances.sort_unstable_by(f32::total_cmp);
    distances[neighbours * some].sqrt()
}

fn probabilities(n: usize, passes: usize, classes: usize) -> Vec<f32> {
    let mut rng = Rng::from_seed([2; 32]);
    let mut probs: Vec<f32> = (0..n * passes * classes).map(|_| (rng.next_u32() >> 8) as f32 + 1.0).collect();
    for row in probs.chunks_exact_mut(classes) {
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|p| *p /= sum);
    }
    probs
}
