//! One learning curve: values at numbers of labels, joined by straight lines and never continued beyond its ends.

/// Numbers of labels, from the first to the second.
pub(in crate::report) type Range = (f64, f64);

/// How many labels a curve needs for a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::report) enum Reached {
    /// It gets there with so many labels.
    With(f64),
    /// Its first point, at so many labels, is there already.
    Before(f64),
    /// No point of it is there.
    Never,
}

/// The value at a number of labels, interpolated between neighbours; none outside the curve.
///
/// `curve` holds (labels, value) with labels that grow, here and below.
pub(in crate::report) fn at(curve: &[(f64, f64)], labels: f64) -> Option<f64> {
    let next = curve.iter().position(|(x, _)| *x >= labels)?;
    let (x1, y1) = curve[next];
    if x1 == labels {
        return Some(y1);
    }
    let (x0, y0) = *curve.get(next.checked_sub(1)?)?;
    Some(y0 + (y1 - y0) * (labels - x0) / (x1 - x0))
}

/// The area below the curve over `range`, divided by the width of the range: a mean over labels. None where the curve does not
/// cover the range, or the range is empty.
pub(in crate::report) fn area_per_label(curve: &[(f64, f64)], range: Range) -> Option<f64> {
    let (low, high) = range;
    if low >= high {
        return None;
    }
    let inner = curve.iter().copied().filter(|(x, _)| low < *x && *x < high);
    let part: Vec<(f64, f64)> =
        [(low, at(curve, low)?)].into_iter().chain(inner).chain([(high, at(curve, high)?)]).collect();
    let trapezoids = part.windows(2).map(|ends| (ends[1].0 - ends[0].0) * (ends[0].1 + ends[1].1) / 2.0);
    Some(trapezoids.sum::<f64>() / (high - low))
}

/// The area below the curve over the rounds within `range`, each step of a round as wide as the next: the AUBC of Lüth et al.
/// 2023. None for fewer than two rounds there, or where the curve does not cover the range.
pub(in crate::report) fn area_per_round(curve: &[(f64, f64)], range: Range) -> Option<f64> {
    let (low, high) = range;
    at(curve, low).and(at(curve, high))?;
    let values: Vec<f64> = curve.iter().filter(|(x, _)| low <= *x && *x <= high).map(|(_, y)| *y).collect();
    let steps = values.windows(2).map(|ends| (ends[0] + ends[1]) / 2.0);
    (values.len() > 1).then(|| steps.sum::<f64>() / (values.len() - 1) as f64)
}

/// The fewest labels with which the curve is at `value` or above, interpolated.
pub(in crate::report) fn first_reaching(curve: &[(f64, f64)], value: f64) -> Reached {
    let Some(place) = curve.iter().position(|(_, y)| *y >= value) else { return Reached::Never };
    let (x1, y1) = curve[place];
    let Some((x0, y0)) = place.checked_sub(1).map(|before| curve[before]) else { return Reached::Before(x1) };
    Reached::With(x0 + (x1 - x0) * (value - y0) / (y1 - y0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVE: [(f64, f64); 5] = [(20.0, 0.4), (30.0, 0.6), (60.0, 0.55), (80.0, 0.7), (120.0, 0.75)];

    /// Made with NumPy 2.4: `numpy.interp(labels, x, y)`. Tolerance: a rounding.
    #[test]
    fn values_are_interpolated_and_never_extrapolated() {
        let rows = [
            (20.0, Some(0.4)),
            (24.0, Some(0.48)),
            (50.0, Some(0.566_666_666_666_666_7)),
            (80.0, Some(0.7)),
            (120.0, Some(0.75)),
            (19.9, None),
            (120.1, None),
        ];
        for (labels, expected) in rows {
            let got = at(&CURVE, labels);
            assert!(
                got.zip(expected).map_or(got == expected, |(got, expected)| (got - expected).abs() < 1e-15),
                "{labels}: {got:?} {expected:?}"
            );
        }
        assert_eq!(at(&[], 3.0), None);
    }

    /// Made with NumPy 2.4: `grid = numpy.union1d(x[(x > low) & (x < high)], [low, high])`, then
    /// `numpy.trapezoid(numpy.interp(grid, x, y), grid) / (high - low)`. Tolerance: a few roundings.
    #[test]
    fn areas_per_label_are_those_of_numpy() {
        let rows = [
            ((20.0, 120.0), Some(0.637_5)),
            ((25.0, 100.0), Some(0.623_333_333_333_333_3)),
            ((35.0, 50.0), Some(0.579_166_666_666_666_6)),
            ((10.0, 50.0), None),
            ((50.0, 130.0), None),
            ((50.0, 50.0), None),
        ];
        for (range, expected) in rows {
            let got = area_per_label(&CURVE, range);
            assert!(
                got.zip(expected).map_or(got == expected, |(got, expected)| (got - expected).abs() < 1e-14),
                "{range:?}: {got:?} {expected:?}"
            );
        }
    }

    /// The first row is the AUBC of .4, .6, .7, .75, which is .625: `numpy.trapezoid(y, dx=1/3)`.
    #[test]
    fn areas_per_round_weigh_rounds_alike() {
        let curve = [(10.0, 0.4), (20.0, 0.6), (40.0, 0.7), (80.0, 0.75)];
        let rows = [((10.0, 80.0), Some(0.625)), ((15.0, 40.0), Some(0.65)), ((21.0, 79.0), None), ((5.0, 80.0), None)];
        for (range, expected) in rows {
            let got = area_per_round(&curve, range);
            assert!(
                got.zip(expected).map_or(got == expected, |(got, expected)| (got - expected).abs() < 1e-15),
                "{range:?}: {got:?} {expected:?}"
            );
        }
    }

    #[test]
    fn a_value_is_reached_where_the_curve_first_crosses_it() {
        let rows = [
            (0.5, Reached::With(25.0)),
            (0.6, Reached::With(30.0)),
            (0.625, Reached::With(70.0)),
            (0.4, Reached::Before(20.0)),
            (0.1, Reached::Before(20.0)),
            (0.76, Reached::Never),
        ];
        for (value, expected) in rows {
            match (first_reaching(&CURVE, value), expected) {
                (Reached::With(got), Reached::With(expected)) => {
                    assert!((got - expected).abs() < 1e-12, "{value}: {got}")
                }
                (got, expected) => assert_eq!(got, expected, "{value}"),
            }
        }
    }
}
