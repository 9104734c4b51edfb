//! Numbers that become the bytes of images.

use std::path::Path;

use super::error::{DataError, Place};

/// The byte of a pixel, where `max_value` is white; `None` for a number outside 0 to `max_value`.
pub(super) fn byte_of(value: f64, max_value: f64) -> Option<u8> {
    (0.0..=max_value).contains(&value).then(|| (value * 255.0 / max_value).round() as u8)
}

/// Holds the brightest pixel of a part against what white is said to be.
///
/// Images without a pixel above a quarter of white are told of. Where `max_value` is 255 or the like and no pixel is above 1,
/// pixels from 0 to 1 are meant, and every image would be black.
///
/// # Errors
/// If no pixel is above 1, but white is.
pub(super) fn check_brightest(path: &Path, brightest: f64, max_value: f64) -> Result<(), DataError> {
    if max_value > 1.0 && brightest <= 1.0 {
        let why = format!("no pixel is above {brightest}, but white is {max_value} (`dataset.max_value`)");
        let hint = if brightest > 0.0 {
            "`dataset.max_value = 1` reads pixels from 0 to 1"
        } else {
            "every image is black: were the pixels cut off when they became whole numbers?"
        };
        return Err(DataError::malformed(path, Place::Whole, why).with_hint(hint));
    }
    if brightest < max_value / 4.0 {
        tracing::warn!(
            "`{}`: no pixel is above {brightest}, but white is {max_value}: `dataset.max_value` says which value is white",
            path.display()
        );
    }
    Ok(())
}

/// The brightest of some bytes.
pub(super) fn brightest(pixels: &[u8]) -> f64 {
    f64::from(pixels.iter().copied().max().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_255_and_nothing_lies_outside() {
        let rows = [
            (0.0, 1.0, Some(0)),
            (1.0, 1.0, Some(255)),
            (0.5, 1.0, Some(128)),
            (16.0, 16.0, Some(255)),
            (4095.0, 4095.0, Some(255)),
        ];
        for (value, max_value, byte) in rows {
            assert_eq!(byte_of(value, max_value), byte, "{value} of {max_value}");
        }
        for value in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(byte_of(value, 1.0), None, "{value}");
        }
    }

    #[test]
    fn pixels_from_0_to_1_are_not_read_as_bytes() {
        for (brightest, max_value, is_refused) in [
            (1.0, 255.0, true),
            (0.9, 255.0, true),
            (0.0, 255.0, true),
            (1.0, 1.0, false),
            (2.0, 255.0, false),
            (1.0, 16.0, true),
        ] {
            let checked = check_brightest(Path::new("x"), brightest, max_value);
            assert_eq!(checked.is_err(), is_refused, "{brightest} of {max_value}");
        }
    }
}
