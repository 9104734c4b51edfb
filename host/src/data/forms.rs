//! How the images and labels of an array lie in it, where it is plain what is meant: the order of axes, and what is white.

use npyz::TypeChar;

use super::npz::Array;

/// Images as an array holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Axes {
    pub n: usize,
    pub height: usize,
    pub width: usize,
    pub channels: usize,
    /// Whether channels come before rows, as PyTorch has them.
    pub channels_first: bool,
}

impl Axes {
    /// The axes (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w); where the second and the last could be channels, it is the last.
    ///
    /// # Errors
    /// With a sentence and a hint, if it is none of them.
    pub(super) fn of(axes: &[usize]) -> Result<Axes, (String, Option<&'static str>)> {
        let last = |n, height, width, channels| Axes { n, height, width, channels, channels_first: false };
        match *axes {
            [n, height, width] => Ok(last(n, height, width, 1)),
            [n, height, width, channels @ (1 | 3)] => Ok(last(n, height, width, channels)),
            [n, channels @ (1 | 3), height, width] => {
                Ok(Axes { channels_first: true, ..last(n, height, width, channels) })
            }
            _ => {
                let hint = match axes {
                    [_, _, _, 4] => Some("leave out the fourth channel: images[..., :3]"),
                    [_, _] => Some("rows of pixels become images by images.reshape(n, h, w)"),
                    [_, _, 1 | 3, _] => Some("images come first: images.transpose(3, 0, 1, 2)"),
                    _ => None,
                };
                Err((format!("shape {axes:?} is not (n, h, w), (n, h, w, 1 or 3) or (n, 1 or 3, h, w)"), hint))
            }
        }
    }

    /// Pixels with their channels last.
    pub(super) fn channels_last(self, pixels: Vec<u8>) -> Vec<u8> {
        let plane = self.height * self.width;
        if !self.channels_first || self.channels == 1 || plane == 0 {
            return pixels;
        }
        let mut turned = vec![0; pixels.len()];
        for (from, to) in pixels.chunks_exact(plane * self.channels).zip(turned.chunks_exact_mut(plane * self.channels))
        {
            for (channel, values) in from.chunks_exact(plane).enumerate() {
                let places = to[channel..].iter_mut().step_by(self.channels);
                places.zip(values).for_each(|(place, value)| *place = *value);
            }
        }
        turned
    }
}

/// Elements in the order of C, of an array whose first axis runs fastest.
pub(super) fn in_c_order(elements: &[u8], axes: &[usize], item_bytes: usize) -> Vec<u8> {
    let mut ordered = Vec::with_capacity(elements.len());
    let n_items = elements.len().checked_div(item_bytes).unwrap_or(0);
    // How far apart neighbours along each axis lie.
    let mut steps = vec![1; axes.len()];
    for axis in 1..axes.len() {
        steps[axis] = steps[axis - 1] * axes[axis - 1];
    }
    let (mut place, mut at) = (vec![0; axes.len()], 0);
    for _ in 0..n_items {
        ordered.extend_from_slice(&elements[at * item_bytes..][..item_bytes]);
        for axis in (0..axes.len()).rev() {
            place[axis] += 1;
            at += steps[axis];
            if place[axis] < axes[axis] {
                break;
            }
            at -= steps[axis] * axes[axis];
            place[axis] = 0;
        }
    }
    ordered
}

/// Whether the order of C and that of Fortran are two: with one axis that is longer than 1 they are one.
pub(super) fn has_two_orders(axes: &[usize]) -> bool {
    axes.iter().filter(|axis| **axis > 1).count() > 1
}

/// The number that is white, where that is plain: 1 in floating-point numbers from 0 to 1, some of which are bright.
pub(super) fn plain_white(images: &Array) -> Option<f64> {
    const BRIGHT: f64 = 0.25;
    if images.kind != TypeChar::Float {
        return None;
    }
    let (mut brightest, mut are_within) = (0f64, true);
    for number in images.numbers()? {
        are_within &= (0.0..=1.0).contains(&number);
        brightest = brightest.max(number);
    }
    (are_within && brightest > BRIGHT).then_some(1.0)
}

/// How an array was read, as a sentence; nothing for one that is as most are.
pub(super) fn how_read(array: &str, ways: &[(bool, &str)]) -> Option<String> {
    let ways: Vec<&str> = ways.iter().filter(|(is_so, _)| *is_so).map(|(_, way)| *way).collect();
    (!ways.is_empty()).then(|| format!("how `{array}` was read: {}", ways.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_told_apart_where_it_is_plain() {
        let axes = |n, height, width, channels, channels_first| Axes { n, height, width, channels, channels_first };
        let rows = [
            (&[5, 8, 9][..], axes(5, 8, 9, 1, false)),
            (&[5, 8, 9, 3], axes(5, 8, 9, 3, false)),
            (&[5, 8, 9, 1], axes(5, 8, 9, 1, false)),
            (&[5, 3, 8, 9], axes(5, 8, 9, 3, true)),
            (&[5, 1, 8, 9], axes(5, 8, 9, 1, true)),
            (&[5, 3, 9, 3], axes(5, 3, 9, 3, false)),
        ];
        for (shape, expected) in rows {
            assert_eq!(Axes::of(shape), Ok(expected));
        }
        for (shape, hint) in [
            (&[5, 8, 9, 4][..], Some("fourth channel")),
            (&[5, 64], Some("reshape")),
            (&[8, 9, 3, 50], Some("images come first")),
            (&[5, 4, 8, 9], None),
            (&[5], None),
        ] {
            let (why, told) = Axes::of(shape).unwrap_err();
            assert!(why.contains("is not (n, h, w)"), "{why}");
            assert_eq!(told.map(|told| told.contains(hint.unwrap_or_default())), hint.map(|_| true), "{shape:?}");
        }
    }

    #[test]
    fn channels_move_behind_their_pixels() {
        let first = Axes::of(&[2, 3, 1, 4]).unwrap();
        let pixels: Vec<u8> = (0..24).collect();
        let expected = [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11, 12, 16, 20, 13, 17, 21, 14, 18, 22, 15, 19, 23];
        assert_eq!(first.channels_last(pixels.clone()), expected);
        assert_eq!(Axes::of(&[2, 1, 4, 3]).unwrap().channels_last(pixels.clone()), pixels);
        assert_eq!(Axes::of(&[6, 1, 2, 2]).unwrap().channels_last(pixels.clone()), pixels);
    }

    /// numpy.asfortranarray(numpy.arange(24).reshape(2, 3, 4)).tobytes("A") has the elements in this order.
    #[test]
    fn the_order_of_fortran_is_turned_to_that_of_c() {
        let mut elements = Vec::new();
        for c in 0..4u16 {
            for b in 0..3 {
                for a in 0..2 {
                    elements.extend((a * 12 + b * 4 + c).to_le_bytes());
                }
            }
        }
        let expected: Vec<u8> = (0..24u16).flat_map(u16::to_le_bytes).collect();
        assert_eq!(in_c_order(&elements, &[2, 3, 4], 2), expected);
        assert!(in_c_order(&[], &[0, 3], 2).is_empty());
        assert!(has_two_orders(&[2, 3]) && !has_two_orders(&[5, 1]) && !has_two_orders(&[5]));
    }

    #[test]
    fn how_an_array_was_read_is_one_line() {
        let ways = [(true, "one"), (false, "two"), (true, "three")];
        assert_eq!(how_read("x", &ways).unwrap(), "how `x` was read: one; three");
        assert_eq!(how_read("x", &ways[1..2]), None);
    }
}
