//! What the tests of several kernels need.

use crate::Points;
use coldstart_plugin_api::Rng;

/// Never stops.
pub(crate) fn on() -> bool {
    true
}

/// The answer, which is the same to the last bit on one thread and on four.
pub(crate) fn on_threads<T: PartialEq + Send>(run: &(dyn Fn() -> T + Sync)) -> T {
    let on = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(run);
    let (one, four) = (on(1), on(4));
    assert!(one == four, "the number of threads shows in the answer");
    one
}

/// `n` points around `blobs` centres; with `steps`, on a grid of so many steps to the unit, where distances tie and points
/// fall on each other.
pub(crate) fn cloud(n: usize, d: usize, blobs: usize, steps: Option<f32>, rng: &mut Rng) -> Vec<f32> {
    let centres: Vec<f32> = (0..blobs * d).map(|_| rng.normal() as f32).collect();
    let mut rows = Vec::with_capacity(n * d);
    for i in 0..n {
        let centre = &centres[i % blobs * d..][..d];
        rows.extend(centre.iter().map(|x| x + rng.normal() as f32));
    }
    if let Some(steps) = steps {
        rows.iter_mut().for_each(|x| *x = (*x * steps).round() / steps);
    }
    rows
}

/// The squared distance of two points, in double precision.
pub(crate) fn squared(a: &Points<'_>, i: usize, b: &Points<'_>, j: usize) -> f64 {
    a.point(i).iter().zip(b.point(j)).map(|(x, y)| (f64::from(*x) - f64::from(y)).powi(2)).sum()
}
