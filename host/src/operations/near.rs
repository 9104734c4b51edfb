//! Images that are nearly the same: their features lie much closer than those of neighbours do.

use super::Services;
use super::features::{Representation, of_pool};
use super::maths::of_kernel;
use coldstart_kernels::{self as kernels, Points};
use coldstart_plugin_api::Result;

/// Each image is compared with so many of its nearest ones.
const NEIGHBOURS: usize = 8;

/// Two images that are nearly the same.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearPair {
    /// Positions in the pool, the lower one first.
    pub images: [usize; 2],
    /// The distance of their features, as a share of the median distance of an image from its nearest one.
    pub share: f64,
}

/// The pairs of images of the pool whose features are at most `share` as far apart as an image and its nearest one usually are, the
/// nearest pairs first.
///
/// Of more than eight images that are nearly the same, each is compared with the eight nearest ones. Errs as making the features does.
pub fn near_pairs(services: &Services, features: &Representation, share: f64) -> Result<Vec<NearPair>> {
    let (features, _) = of_pool(services, Some(features))?;
    let rows = features.given();
    let values: &[f32] = bytemuck::cast_slice((*rows.bytes).as_ref());
    let points = Points::new(values, rows.n_cols).map_err(of_kernel)?;
    pairs(&points, share, services.tensor_bytes as usize, &|| services.goes_on())
}

fn pairs(points: &Points<'_>, share: f64, memory: usize, go_on: kernels::GoOn<'_>) -> Result<Vec<NearPair>> {
    let k = NEIGHBOURS.min(points.n().saturating_sub(1));
    if k == 0 {
        return Ok(Vec::new());
    }
    let neighbours = kernels::knn(points, k, memory, go_on).map_err(of_kernel)?;
    let usual = median(neighbours.distances.iter().step_by(k).copied().collect());
    let mut pairs = Vec::new();
    for (i, (&near, &distance)) in neighbours.positions.iter().zip(&neighbours.distances).enumerate() {
        let image = i / k;
        // A pair that each sees among its nearest is met twice.
        let is_met_first = image < near || !neighbours.positions[near * k..][..k].contains(&image);
        let is_near = f64::from(distance) <= share * usual;
        if is_near && is_met_first {
            let relative = if usual > 0.0 { f64::from(distance) / usual } else { 0.0 };
            pairs.push(NearPair { images: [image.min(near), image.max(near)], share: relative });
        }
    }
    pairs.sort_by(|a, b| a.share.total_cmp(&b.share).then(a.images.cmp(&b.images)));
    Ok(pairs)
}

fn median(mut values: Vec<f32>) -> f64 {
    values.sort_by(f32::total_cmp);
    values.get(values.len() / 2).copied().map_or(0.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_are_much_nearer_than_usual_are_named_once() {
        // A grid of points one apart, and beside two of them others.
        let mut rows: Vec<f32> = (0..25).flat_map(|i| [(i % 5) as f32, (i / 5) as f32]).collect();
        rows.extend([2.0, 2.05, 4.1, 0.0]);
        let points = Points::new(&rows, 2).unwrap();
        let found = pairs(&points, 0.2, 1 << 20, &|| true).unwrap();
        assert_eq!(found.iter().map(|pair| pair.images).collect::<Vec<_>>(), [[12, 25], [4, 26]]);
        assert!((found[0].share - 0.05).abs() < 1e-5 && (found[1].share - 0.1).abs() < 1e-5, "{found:?}");
        assert_eq!(pairs(&points, 0.01, 1 << 20, &|| true).unwrap(), []);
        assert_eq!(pairs(&Points::new(&[1.0, 2.0], 2).unwrap(), 1.0, 1 << 20, &|| true).unwrap(), []);
    }

    #[test]
    fn the_same_everywhere_is_near() {
        let rows = [1.0f32; 6];
        let found = pairs(&Points::new(&rows, 2).unwrap(), 0.3, 1 << 20, &|| true).unwrap();
        assert_eq!(found.iter().map(|pair| pair.images).collect::<Vec<_>>(), [[0, 1], [0, 2], [1, 2]]);
    }
}
