//! What is said of a model's predictions: what they are worth, and what more labels would bring.

use crate::session::{Estimate, Interval};

/// Less than this share is not worth a round.
const LITTLE: f64 = 0.01;

/// Sentences about the worth of predictions that were made from `labels` labels.
pub fn sentences(estimate: Option<&Estimate>, labels: usize) -> Vec<String> {
    let Some(estimate) = estimate else {
        return vec![format!("predictions.csv is made from {labels} labels: too few to say what it is worth")];
    };
    vec![accuracy(estimate), is_it_enough(estimate)]
}

fn accuracy(estimate: &Estimate) -> String {
    let Estimate { labels, folds, drawn, accuracy, most_frequent, .. } = estimate;
    let [value, low, high] = [accuracy.value, accuracy.low, accuracy.high].map(|share| format!("{:.0}", 100.0 * share));
    let whose = match drawn {
        Some(drawn) => format!("of all images the model tells about {value} % right, by the {drawn} that were drawn"),
        None => format!("of images like the {labels} labelled ones the model tells about {value} % right"),
    };
    let of_chosen = if drawn.is_some() { "" } else { "; chosen ones are not like all, and `--draw N` draws some" };
    let most = 100.0 * most_frequent;
    format!(
        "{whose} (95 % interval {low} to {high}, {folds}-fold cross-validation; {most:.0} % of the labels are one class){of_chosen}"
    )
}

/// What the next labels are expected to bring.
fn is_it_enough(estimate: &Estimate) -> String {
    let Estimate { more, gain: Interval { value, low, high }, .. } = estimate;
    let points = format!("{:+.1} points ({:+.1} to {:+.1})", 100.0 * value, 100.0 * low, 100.0 * high);
    let verdict = match () {
        () if *high < LITTLE => "it may be enough: less than one point is to be had",
        () if *low > 0.0 => "it is not enough yet",
        () => "whether it is enough cannot be told yet",
    };
    format!("{more} more labels are expected to change that by {points}: {verdict}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_enough_once_little_is_to_be_had() {
        let gain = |low, high| Interval { value: (low + high) / 2.0, low, high };
        for (gain, expected) in [
            (gain(-0.01, 0.005), "it may be enough"),
            (gain(0.01, 0.08), "it is not enough yet"),
            (gain(-0.03, 0.05), "cannot be told yet"),
        ] {
            let accuracy = Interval { value: 0.8, low: 0.7, high: 0.9 };
            let estimate = Estimate {
                format: 1,
                labels: 50,
                folds: 5,
                repeats: 1,
                drawn: None,
                accuracy,
                most_frequent: 0.3,
                more: 20,
                gain,
            };
            let said = sentences(Some(&estimate), 50).join("\n");
            assert!(said.contains(expected) && said.contains("80 % right (95 % interval 70 to 90"), "{said}");
            let drawn = sentences(Some(&Estimate { drawn: Some(12), ..estimate }), 50).join("\n");
            assert!(drawn.contains("of all images the model tells about 80 % right, by the 12 that were"), "{drawn}");
        }
        assert!(sentences(None, 6)[0].contains("6 labels: too few"));
    }
}
