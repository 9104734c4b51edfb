//! The sections `[initial]` and `[query]`: who chooses, how many, and what is done around whoever chooses.

use super::{Representation, defaults};
use coldstart_plugin_api::Role;
use serde::{Deserialize, Serialize};

/// The section `[initial]`: who chooses the initial set, and how many images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images in the initial set.
    pub size: usize,
    /// The seed of this choice; absent, the run's. Runs that differ in their seed alone then begin with the same images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// So many unlabelled images, drawn anew in each round, are all that the strategy may choose from; absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<usize>,
    /// Chance instead of the best scores; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic: Option<Stochastic>,
    /// The strategy's own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Features of the pool for this strategy; absent, those of the section `[representation]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<Representation>,
    /// Another strategy that chooses a share; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
}

/// The section `[query]`: who chooses afterwards, how many images a round, and for how many rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images a round.
    pub size: usize,
    /// Rounds after round 0; or else there is `until`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
    /// Labels at the end, those of the initial set among them; the last round may be smaller than the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<usize>,
    /// So many unlabelled images, drawn anew in each round, are all that the strategy may choose from; absent, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<usize>,
    /// Chance instead of the best scores; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stochastic: Option<Stochastic>,
    /// Whether every class that the model predicts gets the same share of a round, the best of each first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub balance: bool,
    /// The strategy's own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
    /// Features of the pool for this strategy; absent, those of the section `[representation]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub representation: Option<Representation>,
    /// Another strategy that chooses a share; absent, none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mix: Option<Mix>,
}

/// A second strategy, which chooses a share of the images, among those that the first has left. What else the section says holds
/// for both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Named as the first.
    pub strategy: String,
    /// Its share of each choice, between 0 and 1; rounded to whole images, a half away from 0.
    pub weight: f64,
    /// Its own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// Where a config names a strategy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// What the strategy is asked for.
    pub role: Role,
    /// Whether it is the one mixed in.
    pub mixed: bool,
}

impl Seat {
    /// The section that names it, such as `query.mix`.
    pub fn section(self) -> String {
        format!("{}{}", self.role.name(), if self.mixed { ".mix" } else { "" })
    }
}

/// What is done around a strategy, whichever it is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Around {
    /// How many unlabelled images it may choose from.
    pub subsample: Option<usize>,
    /// Whether every predicted class gets the same share.
    pub balance: bool,
    /// Chance instead of the best scores.
    pub stochastic: Option<Stochastic>,
}

impl Initial {
    /// What is done around its strategy.
    pub fn around(&self) -> Around {
        Around { subsample: self.subsample, balance: false, stochastic: self.stochastic }
    }
}

impl Query {
    /// Whether it says when to end, once, and not before the initial set.
    pub(super) fn check_end(&self, initial: usize) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: String| Err((format!("query.{key}"), rule));
        match (self.rounds, self.until) {
            (None, None) => {
                wrong("rounds", "is missing: how many rounds; or `until`: how many labels at the end".into())
            }
            (Some(_), Some(_)) => {
                wrong("until", "does not go with `query.rounds`: one of them says when to end".into())
            }
            (_, Some(until)) if until < initial => {
                wrong("until", format!("must be at least `initial.size`, which is {initial}"))
            }
            _ => Ok(()),
        }
    }

    /// What is done around its strategy.
    pub fn around(&self) -> Around {
        Around { subsample: self.subsample, balance: self.balance, stochastic: self.stochastic }
    }
}

/// How likely an image is to be chosen, from its score or its rank (Kirsch et al. 2023, Stochastic Batch Acquisition): drawn one
/// by one without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stochastic {
    /// In proportion to `score^beta`; a score of 0 or less comes last.
    Power {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
    /// In proportion to `exp(beta * score)`.
    Softmax {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
    /// In proportion to `rank^-beta`, the best at rank 1.
    Softrank {
        /// How strongly the rank counts.
        #[serde(default = "defaults::beta")]
        beta: f64,
    },
}

impl Stochastic {
    /// How strongly score or rank counts.
    pub fn beta(self) -> f64 {
        match self {
            Stochastic::Power { beta } | Stochastic::Softmax { beta } | Stochastic::Softrank { beta } => beta,
        }
    }
}

impl Around {
    pub(super) fn check(&self, section: &str, size: usize) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: String| Err((format!("{section}.{key}"), rule));
        if self.subsample.is_some_and(|subsample| subsample < size) {
            return wrong("subsample", format!("must be at least `{section}.size`, which is {size}"));
        }
        if self.stochastic.is_some_and(|how| !(how.beta() > 0.0 && how.beta().is_finite())) {
            return wrong("stochastic.beta", "must be a number above 0".to_owned());
        }
        if self.balance && self.stochastic.is_some() {
            return wrong("balance", "takes the best of each class, and does not go with `stochastic`".to_owned());
        }
        Ok(())
    }
}
