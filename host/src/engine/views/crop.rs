//! Which part of an image a resized crop takes.

use coldstart_plugin_api::Rng;

use super::between;

/// A part of an image.
pub(super) struct Crop {
    pub(super) top: usize,
    pub(super) left: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

/// Ten tries for a part with a random share of the area and a random ratio; else the largest central part within the ratios.
pub(super) fn inception_crop(height: usize, width: usize, scale: [f64; 2], ratio: [f64; 2], rng: &mut Rng) -> Crop {
    for _ in 0..10 {
        let area = (height * width) as f64 * between(rng, scale);
        let aspect = between(rng, ratio.map(f64::ln)).exp();
        let (w, h) = ((area * aspect).sqrt().round() as usize, (area / aspect).sqrt().round() as usize);
        if (1..=height).contains(&h) && (1..=width).contains(&w) {
            let (top, left) = (rng.below((height - h + 1) as u64), rng.below((width - w + 1) as u64));
            return Crop { top: top as usize, left: left as usize, height: h, width: w };
        }
    }
    let aspect = (width as f64 / height as f64).clamp(ratio[0], ratio[1]);
    let h = height.min((width as f64 / aspect).round() as usize).max(1);
    let w = width.min((height as f64 * aspect).round() as usize).max(1);
    Crop { top: (height - h) / 2, left: (width - w) / 2, height: h, width: w }
}
