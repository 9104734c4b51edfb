//! `probe`: no query strategy before the model's uncertainty tells where it is wrong.
//!
//! That uncertain images are those that the model gets wrong is what uncertainty sampling assumes, and it can be tested on the
//! labelled images themselves: the class of an image was unknown to the model that was there when the image was chosen. So before
//! each round the model's prediction and uncertainty for every unlabelled image are kept, and once the round's images have their
//! labels, the area under the ROC curve of uncertainty for being wrong is counted among them. Pairs of images of one round alone are
//! compared, since models of different rounds are not unsure on one scale; the last `rounds` rounds count, by their pairs. Start
//! when the lower end of the one-sided 95 % interval (Hanley and McNeil 1982, The Meaning and Use of the Area under a Receiver
//! Operating Characteristic Curve) is above 0.5 by `margin`.
//!
//! The rule is ours, and nobody has published it. The images of a round are a fair probe only where the strategy that chose them
//! did not look at the model: as long as a random initial strategy goes on, they are.

use coldstart_plugin_api::ops::Measure;
use coldstart_plugin_api::prelude::*;
use coldstart_plugin_api::wire;

/// Images of which the model is asked at a time.
const BLOCK: usize = 8192;
/// Standard errors below the estimate at the lower end of a one-sided 95 % interval.
const ONE_SIDED_95: f64 = 1.645;

/// How unsure a model is of an image.
#[derive(Clone, Copy, Debug, Params)]
enum Uncertainty {
    /// 1 minus the difference of the two highest probabilities.
    Margin,
    /// Minus the sum of p log p.
    Entropy,
    /// 1 minus the highest probability.
    LeastConfidence,
}

/// When uncertainty is believed.
#[derive(Params)]
struct ProbeParams {
    /// What is tested. margin: 1 minus the difference of the two highest probabilities. entropy, and least-confidence: 1 minus the
    /// highest.
    #[param(default = "margin")]
    uncertainty: Uncertainty,
    /// How far above 0.5 the lower end of the interval must lie.
    #[param(default = 0.05, min = 0.0, max = 0.5)]
    margin: f64,
    /// How many rounds count, the last ones.
    #[param(default = 3, min = 1)]
    rounds: u32,
}

struct Probe {
    params: ProbeParams,
    /// What the model said before the last round.
    before: Option<Predictions>,
    /// What became of it in earlier rounds, the last one last.
    rounds: Vec<Pairs>,
}

/// The most probable class of every image that was unlabelled, and how unsure the model was, in the order of ids.
struct Predictions {
    labelled: Vec<u64>,
    classes: Vec<u32>,
    uncertainties: Vec<f32>,
}

/// The images of a round: how many the model got wrong and right, and in how many pairs the wrong one was the less sure; ties half.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Pairs {
    wrong: u32,
    right: u32,
    in_order: f64,
}

impl Sizer for Probe {
    type Params = ProbeParams;

    fn new(params: ProbeParams, _: &Host<'_>) -> Result<Self> {
        Ok(Probe { params, before: None, rounds: Vec::new() })
    }

    fn size(&mut self, request: &Request, bounds: Bounds, host: &Host<'_>) -> Result<Sizing> {
        if request.labelled.is_empty() {
            return Ok(Sizing::of(bounds.least, "there is no model to ask yet"));
        }
        if let Some(before) = self.before.take() {
            self.rounds.push(before.outcome(request, host)?);
            let too_many = self.rounds.len().saturating_sub(self.params.rounds as usize);
            self.rounds.drain(..too_many);
        }
        self.before = Some(Predictions::of(request, self.params.uncertainty, host)?);
        let Some((area, error)) = area(&self.rounds) else {
            return Ok(Sizing::go_on(
                request,
                "there are not yet both right and wrong predictions of newly labelled images",
            ));
        };
        let lower = area - ONE_SIDED_95 * error;
        let reason = format!("uncertainty finds the wrong predictions with an area of {area:.2}, at least {lower:.2}");
        let sizing = match lower > 0.5 + self.params.margin {
            true => Sizing::enough(request, reason),
            false => Sizing::go_on(request, reason),
        };
        let tried: u32 = self.rounds.iter().map(|round| round.wrong + round.right).sum();
        Ok(sizing.with("area", area).with("area_lower", lower).with("images", f64::from(tried)))
    }

    fn save(&self) -> Result<Vec<u8>> {
        let before = self.before.as_ref().map(|said| (&said.labelled, &said.classes, &said.uncertainties));
        let rounds: Vec<(u32, u32, f64)> = self.rounds.iter().map(|r| (r.wrong, r.right, r.in_order)).collect();
        Ok(wire::encode(&(before, rounds)))
    }

    fn load(&mut self, state: &[u8]) -> Result<()> {
        type Said = (Vec<u64>, Vec<u32>, Vec<f32>);
        let (before, rounds): (Option<Said>, Vec<(u32, u32, f64)>) = wire::decode(state)?;
        self.before = before.map(|(labelled, classes, uncertainties)| Predictions { labelled, classes, uncertainties });
        self.rounds = rounds.into_iter().map(|(wrong, right, in_order)| Pairs { wrong, right, in_order }).collect();
        Ok(())
    }
}

impl Predictions {
    fn of(request: &Request, uncertainty: Uncertainty, host: &Host<'_>) -> Result<Predictions> {
        let (mut classes, mut uncertainties) = (Vec::new(), Vec::new());
        for ids in request.unlabelled.chunks(BLOCK) {
            let [probs_nc] = host.predict(ids)?.kept([Output::Probabilities])?;
            uncertainties.extend(probs_nc.reduce(uncertainty.measure())?);
            let highest =
                |probs: &[f32]| (0..probs.len()).fold(0, |best, c| if probs[c] > probs[best] { c } else { best });
            classes.extend(probs_nc.read_matrix()?.rows().map(|probs| highest(probs) as u32));
        }
        Ok(Predictions { labelled: request.labelled.clone(), classes, uncertainties })
    }

    /// What became of the images that have been labelled since.
    fn outcome(&self, request: &Request, host: &Host<'_>) -> Result<Pairs> {
        let pool = request.pool();
        let unlabelled: Vec<u64> = pool.into_iter().filter(|id| self.labelled.binary_search(id).is_err()).collect();
        if unlabelled.len() != self.classes.len() || self.classes.len() != self.uncertainties.len() {
            return Err(Error::plugin("the stored predictions are of another pool"));
        }
        let new: Vec<u64> =
            request.labelled.iter().copied().filter(|id| self.labelled.binary_search(id).is_err()).collect();
        let (mut wrong, mut right) = (Vec::new(), Vec::new());
        for (id, class) in new.iter().zip(host.labels(&new)?) {
            if let Ok(at) = unlabelled.binary_search(id) {
                let is_right = u64::from(self.classes[at]) == class;
                if is_right { &mut right } else { &mut wrong }.push(self.uncertainties[at]);
            }
        }
        Ok(Pairs::of(&wrong, &right))
    }
}

impl Pairs {
    fn of(wrong: &[f32], right: &[f32]) -> Pairs {
        let order = |wrong: f32, right: f32| match wrong.total_cmp(&right) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        };
        let in_order = wrong.iter().flat_map(|w| right.iter().map(move |r| order(*w, *r))).sum();
        Pairs { wrong: wrong.len() as u32, right: right.len() as u32, in_order }
    }

    fn count(&self) -> f64 {
        f64::from(self.wrong) * f64::from(self.right)
    }
}

/// The area under the curve over the pairs of all rounds, and its standard error; none if there is no pair.
fn area(rounds: &[Pairs]) -> Option<(f64, f64)> {
    let pairs: f64 = rounds.iter().map(Pairs::count).sum();
    if pairs == 0.0 {
        return None;
    }
    let area = rounds.iter().map(|round| round.in_order).sum::<f64>() / pairs;
    let with_pairs = rounds.iter().filter(|round| round.count() > 0.0);
    let variance: f64 =
        with_pairs.map(|r| (r.count() / pairs).powi(2) * variance(area, f64::from(r.wrong), f64::from(r.right))).sum();
    Some((area, variance.sqrt()))
}

/// Of an area `a` from `m` positive and `n` negative cases (Hanley and McNeil 1982, equation 2).
fn variance(a: f64, m: f64, n: f64) -> f64 {
    let (q1, q2) = (a / (2.0 - a), 2.0 * a * a / (1.0 + a));
    ((a * (1.0 - a) + (m - 1.0) * (q1 - a * a) + (n - 1.0) * (q2 - a * a)) / (m * n)).max(0.0)
}

impl Uncertainty {
    fn measure(self) -> Measure {
        match self {
            Uncertainty::Margin => Measure::Margin,
            Uncertainty::Entropy => Measure::Entropy,
            Uncertainty::LeastConfidence => Measure::LeastConfidence,
        }
    }
}

export_plugin! {
    name: "probe",
    publisher: "coldstart",
    sizer: Probe,
    needs: [PREDICT_1, REDUCE_1, LABELS_GET_1],
    cite: "Hanley and McNeil 1982, The Meaning and Use of the Area under a Receiver Operating Characteristic Curve",
}

#[cfg(test)]
mod tests {
    use super::*;
    use coldstart_plugin_api::testing::{TestHost, TestInstance};

    const BOUNDS: Bounds = Bounds { least: 8, most: 100 };

    /// `python3 -c "a,m,n=.8,10,20; q1=a/(2-a); q2=2*a*a/(1+a); print(((a*(1-a)+(m-1)*(q1-a*a)+(n-1)*(q2-a*a))/(m*n))**.5)"`
    #[test]
    fn the_standard_error_is_that_of_hanley_and_mcneil() {
        assert!((variance(0.8, 10.0, 20.0).sqrt() - 0.093571125650788).abs() < 1e-12);
        // Sure of everything: no error.
        assert_eq!(variance(1.0, 3.0, 4.0), 0.0);
    }

    #[test]
    fn rounds_count_by_their_pairs_and_models_are_not_compared() {
        assert_eq!(Pairs::of(&[0.9, 0.2], &[0.2, 0.1]), Pairs { wrong: 2, right: 2, in_order: 3.5 });
        // Each round is in perfect order, though the wrong ones of one model are surer than the right ones of the other.
        let rounds = [Pairs::of(&[0.9], &[0.8]), Pairs::of(&[0.2, 0.2], &[0.1])];
        assert_eq!(area(&rounds).unwrap().0, 1.0);
        assert_eq!(area(&[Pairs::of(&[], &[0.5])]), None);
    }

    /// A model that says class 0 of everything, and of images of class 1 (the odd ones) is unsure, or not (`knows`).
    fn host(labelled: &[u64], knows: bool) -> TestHost {
        let unsure = |id: u64| if knows { id % 2 == 1 } else { id % 4 < 2 };
        let rows: Vec<[f32; 2]> = (0..80).map(|id| if unsure(id) { [0.6, 0.4] } else { [0.9, 0.1] }).collect();
        (0..80).fold(TestHost::new(80), |host, id| host.label(id, id % 2)).probabilities(&rows).labelled(labelled)
    }

    fn ask(probe: &mut TestInstance, labelled: std::ops::Range<u64>, knows: bool) -> Sizing {
        let host = host(&labelled.collect::<Vec<_>>(), knows);
        let sizing = probe.size(&host, 20, BOUNDS).unwrap();
        assert_eq!(host.tensors_left(), 0);
        sizing
    }

    #[test]
    fn it_starts_once_uncertainty_tells_what_is_wrong() {
        for knows in [true, false] {
            let mut probe = host(&[], knows).sizer::<Probe>("{}").unwrap();
            assert_eq!(probe.size(&TestHost::new(80).round(0), 20, BOUNDS).unwrap().wanted, 8);
            // Of the images of the initial set no model has said anything.
            assert_eq!(ask(&mut probe, 0..8, knows).wanted, 28);
            // A run that is resumed knows what was said.
            let mut resumed = host(&[], knows).sizer::<Probe>("{}").unwrap();
            resumed.load(&probe.save().unwrap()).unwrap();
            let sizing = ask(&mut resumed, 0..28, knows);
            assert_eq!(sizing, ask(&mut probe, 0..28, knows));
            let (wanted, area) = if knows { (28, 1.0) } else { (48, 0.5) };
            assert_eq!((sizing.wanted, sizing.measures["area"]), (wanted, area), "{sizing:?}");
        }
    }

    #[test]
    fn only_the_last_rounds_count() {
        let mut probe = host(&[], true).sizer::<Probe>(r#"{"rounds": 1}"#).unwrap();
        ask(&mut probe, 0..8, true);
        assert_eq!(ask(&mut probe, 0..28, false).measures["images"], 20.0);
        let last = ask(&mut probe, 0..40, false);
        assert_eq!((last.measures["images"], last.measures["area"]), (12.0, 0.5));
        assert!(probe.load(&[3]).is_err());
    }
}
