//! The order in which PT4AL goes through the pool, and how it is cut into groups.

use std::cmp::Reverse;
use std::ops::Range;

/// The positions of the losses from the highest down; equal losses go to the lowest position.
///
/// The order that the paper describes.
pub fn numeric_order(losses_n: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..losses_n.len()).collect();
    // `+ 0.0` turns -0 into 0, which is the same loss.
    order.sort_by(|a, b| (losses_n[*b] + 0.0).total_cmp(&(losses_n[*a] + 0.0)));
    order
}

/// The positions of the losses in the order of the released code: each printed as Python prints a float, sorted as text,
/// reversed; equal texts go to the lowest position.
///
/// A loss below 1e-4 is printed like `9.99e-05`, and so comes before `4.4`: the first group is then mostly the easiest
/// images, where the paper means the hardest.
pub fn text_order(losses_n: &[f32]) -> Vec<usize> {
    // Python has no f32: the code prints the double of the same value.
    let texts_n: Vec<String> = losses_n.iter().map(|loss| python_repr(f64::from(*loss))).collect();
    let mut order: Vec<usize> = (0..losses_n.len()).collect();
    order.sort_by_key(|i| Reverse(&texts_n[*i]));
    order
}

/// A finite number as Python's `repr` writes it: the shortest digits that read back as the same number, with an exponent
/// of two digits or more below 1e-4 and from 1e16 on.
fn python_repr(number: f64) -> String {
    let scientific = format!("{number:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the format puts an exponent");
    let exponent: i32 = exponent.parse().expect("an exponent is a whole number");
    if !(-4..16).contains(&exponent) {
        return format!("{mantissa}e{exponent:+03}");
    }
    let plain = number.to_string();
    if plain.contains('.') { plain } else { plain + ".0" }
}

/// The part of an order of `n` images that is group `group` of `groups`.
///
/// The cuts are at `floor(i * n / groups)`: every image is in one group, and groups differ by one image at the most.
pub fn group_range(n: usize, groups: usize, group: usize) -> Range<usize> {
    let cut = |i: usize| (i as u128 * n as u128 / groups as u128) as usize;
    cut(group)..cut(group + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::Rng;
    use std::collections::BTreeSet;

    fn sorted(losses_n: &[f32], order: &[usize]) -> Vec<f32> {
        order.iter().map(|i| losses_n[*i]).collect()
    }

    #[test]
    fn six_losses_in_both_orders() {
        let losses = [0.5, 9.99e-05, 0.0312, 4.4, 1.2e-06, 0.0005];
        assert_eq!(sorted(&losses, &numeric_order(&losses)), [4.4, 0.5, 0.0312, 0.0005, 9.99e-05, 1.2e-06]);
        assert_eq!(sorted(&losses, &text_order(&losses)), [9.99e-05, 4.4, 1.2e-06, 0.5, 0.0312, 0.0005]);
    }

    #[test]
    fn equal_losses_go_to_the_lowest_position() {
        let losses = [0.5, 2e-5, 0.5, 2e-5, 0.5];
        assert_eq!(numeric_order(&losses), [0, 2, 4, 1, 3]);
        assert_eq!(text_order(&losses), [1, 3, 0, 2, 4]);
        assert_eq!(numeric_order(&[-0.0, 0.0]), [0, 1]);
    }

    /// The left side typed into Python 3, the right side its answer.
    #[test]
    fn numbers_are_printed_as_python_prints_them() {
        for (number, printed) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (4.4, "4.4"),
            (0.1 + 0.2, "0.30000000000000004"),
            (0.0005, "0.0005"),
            (0.0001, "0.0001"),
            (0.00009999, "9.999e-05"),
            (9.99e-05, "9.99e-05"),
            (1.2e-06, "1.2e-06"),
            (1e-5, "1e-05"),
            (1e-100, "1e-100"),
            (5e-324, "5e-324"),
            (123456789.0, "123456789.0"),
            (9999999999999998.0, "9999999999999998.0"),
            (1e16, "1e+16"),
            (1.5e16, "1.5e+16"),
            (1e22, "1e+22"),
            (1e300, "1e+300"),
            (f64::from(9.99e-05f32), "9.989999671233818e-05"),
            (f64::from(4.4f32), "4.400000095367432"),
        ] {
            assert_eq!(python_repr(number), printed);
        }
    }

    /// As many losses as CIFAR-10 has images, a twelfth of them below 1e-4 and a few above 1; 20 000 of them
    /// stand there twice.
    fn many_losses() -> Vec<f32> {
        let mut rng = Rng::for_stream([0; 32], "losses");
        let mut draw = || {
            let (low, high) = match rng.below(100) {
                0..8 => (-6.8, -4.0),
                8..99 => (-4.0, 0.0),
                _ => (0.0, 0.64),
            };
            10f64.powf(low + (high - low) * rng.uniform()) as f32
        };
        let mut losses: Vec<f32> = (0..30_000).map(|_| draw()).collect();
        losses.extend_from_within(..20_000);
        losses
    }

    /// Written from the definition of the digits, without the standard library's shortest ones: the least precision that
    /// reads back as the same number, the point put in by hand.
    fn slow_repr(number: f64) -> String {
        let reads_back = |text: &String| text.parse() == Ok(number);
        let shortest = (0..20).map(|precision| format!("{number:.precision$e}")).find(reads_back).unwrap();
        let (mantissa, exponent) = shortest.split_once('e').unwrap();
        let (digits, exponent) = (mantissa.replace('.', ""), exponent.parse::<i32>().unwrap());
        match exponent {
            ..-4 => format!("{mantissa}e-{:02}", -exponent),
            -4..0 => format!("0.{}{digits}", "0".repeat((-exponent - 1) as usize)),
            _ => {
                let (whole, part) = digits.split_at(digits.len().min(1 + exponent as usize));
                format!("{whole}.{}", if part.is_empty() { "0" } else { part })
            }
        }
    }

    #[test]
    fn the_numeric_order_of_fifty_thousand_is_exact() {
        let losses = many_losses();
        // The bits of positive floats are ordered as the floats are.
        let slow: BTreeSet<_> = losses.iter().enumerate().map(|(i, loss)| (Reverse(loss.to_bits()), i)).collect();
        assert!(numeric_order(&losses).into_iter().eq(slow.into_iter().map(|(_, i)| i)));
    }

    #[test]
    fn the_text_order_of_fifty_thousand_is_exact_and_begins_with_the_easiest() {
        let losses = many_losses();
        let texts = losses.iter().map(|loss| slow_repr(f64::from(*loss)));
        let slow: BTreeSet<_> = texts.enumerate().map(|(i, text)| (Reverse(text), i)).collect();
        let order = text_order(&losses);
        assert!(order.iter().eq(slow.iter().map(|(_, i)| i)));

        let first = &order[group_range(50_000, 10, 0)];
        let easiest = first.iter().filter(|i| losses[**i] < 1e-4).count();
        assert_eq!(easiest, losses.iter().filter(|loss| **loss < 1e-4).count(), "all of the easiest are there");
        assert!(easiest > 3_500 && first.iter().any(|i| losses[*i] > 4.0), "{easiest} of the 5000 are easiest");
    }

    #[test]
    fn groups_hold_every_image_once_and_differ_by_one() {
        for (n, groups) in [(50_000, 10), (17, 5), (3, 10), (0, 4), (8, 1)] {
            let ranges: Vec<_> = (0..groups).map(|group| group_range(n, groups, group)).collect();
            assert!(ranges.iter().cloned().flatten().eq(0..n));
            let sizes = ranges.iter().map(ExactSizeIterator::len);
            assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }
}
