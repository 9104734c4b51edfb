//! Parameters of a strategy: a struct with a JSON Schema that is known without running anything.

use crate::{Code, Error, Result};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

pub use coldstart_plugin_api_derive::Params;

/// A strategy's parameters; derive it.
///
/// The derive denies unknown fields, fills defaults, checks ranges, and writes the JSON Schema (2020-12) that stands in
/// the manifest. It is a derive of our own, and not the one of schemars, because the schema has to be a constant.
///
/// ```
/// use coldstart_plugin_api::Params;
///
/// /// How to weigh the two terms.
/// #[derive(Params)]
/// struct Mixed {
///     /// Weight of the second term, without unit.
///     #[param(default = 0.5, min = 0.0, max = 1.0)]
///     weight: f64,
///     /// How distances are measured.
///     #[param(default = "cosine")]
///     metric: Metric,
///     /// Images a class, by strategy.
///     #[param(default = [("entropy", 6), ("margin", 2)], min = 1)]
///     sizes: std::collections::BTreeMap<String, u32>,
///     /// Which shares are tried, without unit.
///     #[param(default = [0.1, 0.5], max = 1.0)]
///     shares: Vec<f64>,
/// }
///
/// #[derive(Params, Debug, PartialEq)]
/// enum Metric { Cosine, Euclidean }
///
/// let params = <Mixed as Params>::from_json(r#"{"weight": 0.25}"#).unwrap();
/// assert_eq!((params.weight, params.metric), (0.25, Metric::Cosine));
/// assert_eq!((params.sizes["entropy"], params.shares), (6, vec![0.1, 0.5]));
/// assert!(<Mixed as Params>::from_json(r#"{"wieght": 0.25}"#).is_err());
/// assert!(<Mixed as Params>::from_json(r#"{"sizes": {"margin": 0}}"#).is_err());
/// assert!(<Mixed as Params>::from_json(r#"{"shares": [0.5, 1.5]}"#).is_err());
/// assert!(<Mixed as Params>::from_json(r#"[0.25, "cosine"]"#).is_err());
/// ```
pub trait Params: DeserializeOwned {
    /// The JSON Schema of the whole object.
    const SCHEMA: &'static str;

    /// Ranges that the type alone does not say; the derive writes it.
    ///
    /// Errs with a JSON pointer to the field.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Parse and check; errors carry [`Code::BAD_PARAMS`].
    fn from_json(json: &str) -> Result<Self> {
        // serde would take a list of the fields' values too.
        if !json.trim_start().starts_with('{') {
            return Err(Error::new(Code::BAD_PARAMS, "bad params: they must be a JSON object"));
        }
        let params: Self =
            serde_json::from_str(json).map_err(|error| Error::new(Code::BAD_PARAMS, format!("bad params: {error}")))?;
        params.check()?;
        Ok(params)
    }
}

/// A type that a field of a parameter struct can have: numbers, `bool`, `String`, enums without data that derive [`Params`],
/// `Option` of them, tables of them (`BTreeMap<String, T>`) and lists of them (`Vec<T>`), both since 1.3.
pub trait ParamType {
    /// The inside of the type's JSON Schema object, without braces; of a table or a list that of its values.
    const SCHEMA: &'static str;
    /// What stands before it.
    const OPENING: &'static str = "";
    /// What stands behind it, and behind the range.
    const CLOSING: &'static str = "";
    /// The least value of the type, or empty where the type has none.
    const MINIMUM: &'static str = "";
}

macro_rules! param_types {
    ($($schema:literal, $minimum:literal: $($type:ty)+;)+) => { $($(
        impl ParamType for $type {
            const SCHEMA: &'static str = $schema;
            const MINIMUM: &'static str = $minimum;
        }
    )+)+ };
}
param_types! {
    r#""type":"integer""#, "0": u8 u16 u32 u64 usize;
    r#""type":"integer""#, "": i32 i64;
    r#""type":"number""#, "": f32 f64;
    r#""type":"boolean""#, "": bool;
    r#""type":"string""#, "": String;
}

impl<T: ParamType> ParamType for Option<T> {
    const SCHEMA: &'static str = T::SCHEMA;
    const MINIMUM: &'static str = T::MINIMUM;
}

impl<T: ParamType> ParamType for BTreeMap<String, T> {
    const SCHEMA: &'static str = T::SCHEMA;
    const OPENING: &'static str = r#""type":"object","additionalProperties":{"#;
    const CLOSING: &'static str = "}";
    const MINIMUM: &'static str = T::MINIMUM;
}

impl<T: ParamType> ParamType for Vec<T> {
    const SCHEMA: &'static str = T::SCHEMA;
    const OPENING: &'static str = r#""type":"array","items":{"#;
    const CLOSING: &'static str = "}";
    const MINIMUM: &'static str = T::MINIMUM;
}

/// The parameters of another strategy, which only that one understands. Since 1.3.
#[derive(Debug, Clone, Default, PartialEq, serde::Deserialize)]
#[serde(transparent)]
pub struct Settings(pub serde_json::Map<String, serde_json::Value>);

impl ParamType for Settings {
    const SCHEMA: &'static str = r#""type":"object""#;
}

/// The parameters of a strategy that has none.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoParams {}

impl Params for NoParams {
    const SCHEMA: &'static str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
}

/// A range violation with its JSON pointer, for the derive.
#[doc(hidden)]
pub fn out_of_range(field: &str, value: impl std::fmt::Display, range: &str) -> Error {
    Error::new(Code::BAD_PARAMS, format!("bad params: `{field}` is {value}, but must be {range}"))
        .with("pointer", format!("/{field}"))
}
