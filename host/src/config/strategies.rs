//! The sections `[initial]` and `[query]`: who chooses, how many, and what is done around whoever chooses.

use super::{Override, Representation, defaults};
use coldstart_plugin_api::Role;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt::Formatter;

/// The section `[initial]`: who chooses the initial set, and how many images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Initial {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images in the initial set, or that a sizer says how many.
    pub size: Size,
    /// Who says how many, where `size` is `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sizer: Option<SizerSettings>,
    /// Sizers that are asked in every round and not followed: what each would have said is kept with the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub advisers: Vec<SizerSettings>,
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

/// How many images the initial set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// So many.
    Of(usize),
    /// As many as the sizer says; in a config `"auto"`.
    Auto,
}

const AUTO: &str = "auto";

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "const": AUTO }] })
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Size::Of(images) => serializer.serialize_u64(*images as u64),
            Size::Auto => serializer.serialize_str(AUTO),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct ImagesOrAuto;
        impl Visitor<'_> for ImagesOrAuto {
            type Value = Size;

            fn expecting(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number of images, or \"auto\"")
            }

            fn visit_i64<E: de::Error>(self, images: i64) -> Result<Size, E> {
                usize::try_from(images).map(Size::Of).map_err(|_| E::invalid_value(Unexpected::Signed(images), &self))
            }

            fn visit_u64<E: de::Error>(self, images: u64) -> Result<Size, E> {
                Ok(Size::Of(usize::try_from(images).unwrap_or(usize::MAX)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                if text == AUTO { Ok(Size::Auto) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
            }
        }
        deserializer.deserialize_any(ImagesOrAuto)
    }
}

/// Where a config names a sizer, and between which bounds it may choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizerSettings {
    /// Named as strategies are.
    pub strategy: String,
    /// The smallest initial set; absent, the images of a query round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub least: Option<usize>,
    /// The largest one.
    #[serde(default = "defaults::most")]
    #[schemars(range(min = 1))]
    pub most: usize,
    /// The query strategy that an adviser is told of, by name; absent, the run's. One run then tells what a sizer says to several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Its own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// The section `[query]`: who chooses afterwards, how many images a round, and for how many rounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Query {
    /// `name`, `publisher/name`, `name@^1.2`, or a script `file.py` relative to the config's folder.
    pub strategy: String,
    /// Images a round.
    #[schemars(range(min = 1))]
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
    #[schemars(extend("default" = false))]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mix {
    /// Named as the first.
    pub strategy: String,
    /// Its share of each choice, between 0 and 1; rounded to whole images, a half away from 0.
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub weight: f64,
    /// Its own parameters.
    #[serde(default)]
    pub params: serde_json::Map<String, serde_json::Value>,
}

/// Where a config names a strategy or a sizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// What it is asked for.
    pub role: Role,
    /// Which one in its role: 0 is the strategy itself, 1 the one mixed in; 0 is the sizer that is followed, 1 the first adviser.
    pub number: u32,
}

impl Seat {
    /// The first one in a role.
    pub fn first(role: Role) -> Seat {
        Seat { role, number: 0 }
    }

    /// The section that names it, such as `query.mix`.
    pub fn section(self) -> String {
        match (self.role, self.number) {
            (Role::Sizer, 0) => "initial.sizer".to_owned(),
            (Role::Sizer, _) => "initial.advisers".to_owned(),
            (role, 0) => role.name().to_owned(),
            (role, _) => format!("{}.mix", role.name()),
        }
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
    /// The sizers, each with its number: 0 is followed, the others are advisers.
    pub fn sizers(&self) -> impl Iterator<Item = (u32, &SizerSettings)> {
        self.sizer.iter().map(|sizer| (0, sizer)).chain((1..).zip(&self.advisers))
    }

    /// The fewest images that it may have; a query round labels `query`.
    pub fn least(&self, query: usize) -> usize {
        match (self.size, &self.sizer) {
            (Size::Of(images), _) => images,
            (Size::Auto, sizer) => sizer.as_ref().and_then(|sizer| sizer.least).unwrap_or(query),
        }
    }

    /// The most images that it may have; a query round labels `query`.
    pub fn most(&self, query: usize) -> usize {
        match (self.size, &self.sizer) {
            (Size::Auto, Some(sizer)) => sizer.most,
            _ => self.least(query),
        }
    }

    /// Whether size and sizers fit each other.
    pub(super) fn check_size(&self, query: usize) -> Result<(), (String, String)> {
        let wrong = |key: &str, rule: &str| Err((format!("initial.{key}"), rule.to_owned()));
        match (self.size, &self.sizer) {
            (Size::Of(0), _) => return wrong("size", "must be at least 1"),
            (Size::Of(_), Some(_)) => {
                return wrong("sizer", "needs `initial.size = \"auto\"`; `initial.advisers` only says");
            }
            (Size::Auto, None) => return wrong("size", "is \"auto\": name who says how many in `[initial.sizer]`"),
            _ => {}
        }
        if self.sizer.as_ref().is_some_and(|sizer| sizer.query.is_some()) {
            return wrong("sizer.query", "is for advisers: the run follows this sizer, and has a query strategy");
        }
        for (number, sizer) in self.sizers() {
            let key = |key: &str| format!("{}.{key}", if number == 0 { "sizer" } else { "advisers" });
            let least = sizer.least.unwrap_or(query);
            if least == 0 {
                return wrong(&key("least"), "must be at least 1");
            }
            if sizer.most < least {
                let rule = format!("must be at least `least`, which is {least}");
                return wrong(&key("most"), &rule);
            }
        }
        Ok(())
    }

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

    /// What to do where there are two keys that say when to end: the one that is not set on the command line has to go.
    pub(super) fn hint(&self, key: &str, overrides: &[Override]) -> Option<String> {
        if key != "query.until" || self.rounds.is_none() || self.until.is_none() {
            return None;
        }
        let is_set = |key: &str| overrides.iter().any(|set| set.covers(key));
        let other = if is_set("query.rounds") && !is_set("query.until") { "query.until" } else { "query.rounds" };
        Some(format!("`--unset {other}` leaves it out for once; or delete one of the two in the config"))
    }

    /// How many labels there are at the end; the fewest, where a sizer says how many there are at the start.
    pub fn labels_at_the_end(&self, initial: usize) -> usize {
        let rounds = self.rounds.unwrap_or(0) as usize;
        self.until.unwrap_or(initial + rounds * self.size)
    }

    /// What is done around its strategy.
    pub fn around(&self) -> Around {
        Around { subsample: self.subsample, balance: self.balance, stochastic: self.stochastic }
    }
}

/// How likely an image is to be chosen, from its score or its rank (Kirsch et al. 2023, Stochastic Batch Acquisition): drawn one
/// by one without replacement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stochastic {
    /// In proportion to `score^beta`; a score of 0 or less comes last.
    Power {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        beta: f64,
    },
    /// In proportion to `exp(beta * score)`.
    Softmax {
        /// How strongly the score counts.
        #[serde(default = "defaults::beta")]
        #[schemars(extend("exclusiveMinimum" = 0))]
        beta: f64,
    },
    /// In proportion to `rank^-beta`, the best at rank 1.
    Softrank {
        /// How strongly the rank counts.
        #[serde(default = "defaults::beta")]
        #[schemars(extend("exclusiveMinimum" = 0))]
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
