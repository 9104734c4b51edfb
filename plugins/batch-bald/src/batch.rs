//! The greedy search: what a label still says of the pass, once the labels of the batch are known.
//!
//! Let an outcome be one string of labels of the images chosen so far. By the chain rule, adding an image raises the score
//! by the mutual information of its label and the pass given the outcome: the mean over outcomes of the entropy of the
//! label's probabilities, which are those of the passes weighted by how probable the outcome makes each pass, minus the
//! mean over passes of the entropy. So all that has to be kept of the chosen images is that weight of each pass, for each
//! outcome; probabilities of long strings, too small for any float, never appear.

use coldstart_plugin_api::{Passes, Result, Rng};

/// Rises are sums of some thousand logarithms; two that differ by less may come out in either order.
const ROUNDING: f64 = 1e-10;

/// A chosen candidate.
pub struct Pick {
    pub candidate: usize,
    /// By how much it raised the score.
    pub rise: f64,
}

/// Greedily the `budget` candidates with the highest joint score; equal rises go to the lowest candidate.
///
/// At most `most_outcomes` outcomes are followed. `go_on` hears how many are chosen, and its error ends the search.
pub fn choose(
    probs_mkc: &Passes,
    budget: usize,
    most_outcomes: usize,
    rng: &mut Rng,
    go_on: impl Fn(usize) -> Result<()>,
) -> Result<Vec<Pick>> {
    let mut left: Vec<Candidate> = (0..probs_mkc.n_rows()).map(|at| Candidate::new(at, probs_mkc)).collect();
    let mut outcomes = Outcomes::of_nothing(probs_mkc.n_passes());
    let mut picks: Vec<Pick> = Vec::with_capacity(budget);
    while picks.len() < budget && !left.is_empty() {
        go_on(picks.len())?;
        let best = best(&mut left, &outcomes, probs_mkc);
        let Candidate { at, rise, .. } = left.remove(best);
        picks.push(Pick { candidate: at, rise });
        outcomes = match outcomes.followed(at, probs_mkc, most_outcomes) {
            Some(followed) => followed,
            None => outcomes.drawn(&picks, probs_mkc, most_outcomes, rng),
        };
    }
    Ok(picks)
}

/// An image that may still be chosen.
struct Candidate {
    at: usize,
    /// The mean over passes of its label's entropy.
    expected_entropy: f64,
    /// The last rise that was computed: no rise after it is higher.
    rise: f64,
}

impl Candidate {
    fn new(at: usize, probs_mkc: &Passes) -> Candidate {
        let entropies = probs_mkc.of(at).flatten().map(|p| surprise(f64::from(*p)));
        let expected_entropy = entropies.sum::<f64>() / probs_mkc.n_passes() as f64;
        Candidate { at, expected_entropy, rise: f64::INFINITY }
    }
}

/// Where in `left` the highest rise is; only rises that may be the highest are computed.
fn best(left: &mut [Candidate], outcomes: &Outcomes, probs_mkc: &Passes) -> usize {
    let mut most_promising: Vec<usize> = (0..left.len()).collect();
    most_promising.sort_by(|a, b| left[*b].rise.total_cmp(&left[*a].rise));
    let mut best: Option<usize> = None;
    for i in most_promising {
        if best.is_some_and(|best| left[i].rise + ROUNDING < left[best].rise) {
            break;
        }
        left[i].rise = outcomes.entropy_of(left[i].at, probs_mkc) - left[i].expected_entropy;
        let higher = |best: usize| left[i].rise > left[best].rise || (left[i].rise == left[best].rise && i < best);
        if best.is_none_or(higher) {
            best = Some(i);
        }
    }
    best.unwrap_or(0)
}

/// Outcomes side by side in a tile: so many sums stay in registers.
const TILE: usize = 16;

/// The outcomes that are followed: all there are, or as many drawn ones.
struct Outcomes {
    n_passes: usize,
    /// How much each counts; they sum to 1. Where all are followed, an outcome's probability.
    share_s: Vec<f64>,
    /// How probable an outcome makes each pass: tiles of `n_passes` rows. For each outcome the passes sum to 1.
    posteriors: Vec<[f64; TILE]>,
    drawn: bool,
}

impl Outcomes {
    /// The one outcome where no image is chosen.
    fn of_nothing(n_passes: usize) -> Outcomes {
        let mut nothing = Outcomes { n_passes, share_s: Vec::new(), posteriors: Vec::new(), drawn: false };
        nothing.push(1.0, &vec![1.0 / n_passes as f64; n_passes]);
        nothing
    }

    fn push(&mut self, share: f64, posterior_k: &[f64]) {
        let lane = self.share_s.len() % TILE;
        if lane == 0 {
            self.posteriors.resize(self.posteriors.len() + self.n_passes, [0.0; TILE]);
        }
        self.share_s.push(share);
        let tile = self.posteriors.iter_mut().rev().take(self.n_passes).rev();
        tile.zip(posterior_k).for_each(|(row, weight)| row[lane] = *weight);
    }

    fn posterior(&self, s: usize) -> Vec<f64> {
        self.posteriors[s / TILE * self.n_passes..][..self.n_passes].iter().map(|row| row[s % TILE]).collect()
    }

    /// The entropy of an image's label once the outcome is known, in the mean over outcomes.
    fn entropy_of(&self, image: usize, probs_mkc: &Passes) -> f64 {
        let mut entropy = 0.0;
        for class in 0..probs_mkc.n_classes() {
            let probs_k: Vec<f64> = probs_mkc.of(image).map(|probs_c| f64::from(probs_c[class])).collect();
            for (share_t, tile) in self.share_s.chunks(TILE).zip(self.posteriors.chunks_exact(self.n_passes)) {
                let mut mixed_t = [0.0; TILE];
                for (posterior_t, p) in tile.iter().zip(&probs_k) {
                    mixed_t.iter_mut().zip(posterior_t).for_each(|(mixed, weight)| *mixed += weight * p);
                }
                entropy += share_t.iter().zip(mixed_t).map(|(share, p)| share * surprise(p)).sum::<f64>();
            }
        }
        entropy
    }

    /// Every outcome with every label of one more image; none if that were too many, or if outcomes are drawn.
    fn followed(&self, image: usize, probs_mkc: &Passes, most: usize) -> Option<Outcomes> {
        if self.drawn || self.share_s.len() * probs_mkc.n_classes() > most {
            return None;
        }
        let mut followed = Outcomes { share_s: Vec::new(), posteriors: Vec::new(), ..*self };
        for (s, share) in self.share_s.iter().enumerate() {
            let posterior_k = self.posterior(s);
            for class in 0..probs_mkc.n_classes() {
                let (chance, updated_k) = observe(&posterior_k, image, class, probs_mkc);
                // What cannot happen need not be followed.
                if chance > 0.0 {
                    followed.push(share * chance, &updated_k);
                }
            }
        }
        Some(followed)
    }

    /// Outcomes of the chosen images drawn from each pass in turn: those so far with a label more of the last image, or
    /// all labels of the first ones.
    fn drawn(&self, picks: &[Pick], probs_mkc: &Passes, most: usize, rng: &mut Rng) -> Outcomes {
        let n_passes = self.n_passes;
        let n_outcomes = (most / n_passes).max(1) * n_passes;
        let images = if self.drawn { &picks[picks.len() - 1..] } else { picks };
        let mut drawn = Outcomes { n_passes, share_s: Vec::new(), posteriors: Vec::new(), drawn: true };
        for s in 0..n_outcomes {
            let mut posterior_k = if self.drawn { self.posterior(s) } else { vec![1.0 / n_passes as f64; n_passes] };
            for image in images.iter().map(|pick| pick.candidate) {
                let class = draw(probs_mkc.of(image).nth(s % n_passes).unwrap_or_default(), rng);
                posterior_k = observe(&posterior_k, image, class, probs_mkc).1;
            }
            drawn.push(1.0 / n_outcomes as f64, &posterior_k);
        }
        drawn
    }
}

/// How probable an image's class is, and how probable it then makes each pass; what cannot happen changes nothing.
fn observe(posterior_k: &[f64], image: usize, class: usize, probs_mkc: &Passes) -> (f64, Vec<f64>) {
    let joint = posterior_k.iter().zip(probs_mkc.of(image)).map(|(weight, probs_c)| weight * f64::from(probs_c[class]));
    let mut joint_k: Vec<f64> = joint.collect();
    let chance: f64 = joint_k.iter().sum();
    if chance > 0.0 {
        joint_k.iter_mut().for_each(|joint| *joint /= chance);
        return (chance, joint_k);
    }
    (0.0, posterior_k.to_vec())
}

/// A class with these probabilities, which sum to 1 up to rounding.
fn draw(probs_c: &[f32], rng: &mut Rng) -> usize {
    let mut at = rng.uniform() * probs_c.iter().map(|p| f64::from(*p)).sum::<f64>();
    let passed = |p: &f32| {
        at -= f64::from(*p);
        at < 0.0
    };
    let possible = || probs_c.iter().rposition(|p| *p > 0.0).unwrap_or(0);
    probs_c.iter().position(passed).unwrap_or_else(possible)
}

/// A term of an entropy.
fn surprise(p: f64) -> f64 {
    if p > 0.0 { -p * p.ln() } else { 0.0 }
}
