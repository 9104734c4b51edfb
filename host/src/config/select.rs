//! The config of `coldstart select`: settings that suit a folder of photographs and two cores, and what one selection asks for.

use super::{Config, ConfigError, Override};
use crate::data::Kind;
use coldstart_plugin_api::Role;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// What a project begins with, and who chooses where nobody says it.
const BEGINNING: &str = include_str!("select.toml");
/// The table of that file which is no part of a config.
const DEFAULT: &str = "default";

/// Who chooses where nobody says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct DefaultStrategy {
    /// Its name.
    pub strategy: String,
    /// Why, in a few words.
    pub why: String,
}

impl DefaultStrategy {
    /// The one of a role.
    pub fn of(role: Role) -> DefaultStrategy {
        let defaults = beginning().remove(DEFAULT).and_then(|mut roles| roles.as_table_mut()?.remove(role.name()));
        let default = defaults.and_then(|default| default.try_into().ok());
        default.expect("the program's own file names a strategy for each role")
    }

    /// The one that a config names in a role.
    pub fn named_in(config: &str, role: Role) -> Option<String> {
        let table: Table = toml::from_str(config).ok()?;
        Some(table.get(role.name())?.get("strategy")?.as_str()?.to_owned())
    }
}

/// What a project begins with, as it stands in the program's own file.
fn beginning() -> Table {
    toml::from_str(BEGINNING).expect("the program's own file is TOML")
}

/// Keys that stand in the section of whoever chooses, and may be set without its name.
const OF_CHOOSER: [&str; 5] = ["params", "subsample", "stochastic", "balance", "mix"];

/// The config of a selection, and what its mistakes are shown with.
#[derive(Debug)]
pub struct Settings {
    /// The config.
    pub config: Config,
    role: Role,
    strategy: String,
    file: PathBuf,
    text: String,
    overrides: Vec<Override>,
}

impl Settings {
    /// An error of one key's value: where it was typed, or in the project's config.
    pub fn at_key(&self, key: &str, message: String) -> ConfigError {
        let typed = key == format!("{}.strategy", self.role.name());
        if typed && !self.overrides.iter().any(|set| set.covers(key)) {
            let when = match self.role {
                Role::Initial => "before the first label",
                _ => "now that there are labels",
            };
            return ConfigError::in_argument(&format!("--strategy {}", self.strategy), &format!("{message}, {when}"));
        }
        ConfigError::at_key(&self.file, &self.text, &self.overrides, key, message)
    }
}

/// What one selection asks for.
pub struct Choosing<'a> {
    /// `initial` before the first label, `query` afterwards.
    pub role: Role,
    /// The strategy's name.
    pub strategy: &'a str,
    /// How many images.
    pub size: usize,
    /// The folder of images.
    pub images: &'a Path,
    /// The method of `[representation]`, if another one is asked for.
    pub representation: Option<&'a str>,
}

impl Choosing<'_> {
    /// The config for it, from that of the selection before if there was one.
    ///
    /// Settings stay from one selection to the next. Those of the strategy stay with its name: another one begins with its own
    /// defaults. Relative paths in the overrides begin in the working directory.
    pub fn config(&self, file: &Path, before: Option<&str>, overrides: &[Override]) -> Result<Settings, ConfigError> {
        let mut table = match before {
            Some(text) => toml::from_str(text).map_err(|error| ConfigError::no_toml(file, text, &error))?,
            None => beginning(),
        };
        table.remove(DEFAULT);
        self.lay_over(&mut table);
        let text = toml::to_string(&table).expect("it came from TOML");
        let method = self.representation.map(|method| Override::of("representation.method", method));
        let typed = overrides.iter().map(|set| set.clone().within(self.role.name(), &OF_CHOOSER));
        let overrides: Vec<Override> = method.into_iter().chain(typed).collect();
        let config = Config::parse_in(Path::new("."), file, &text, &overrides)?;
        let (strategy, file) = (self.strategy.to_owned(), file.to_owned());
        let settings = Settings { config, role: self.role, strategy, file, text, overrides };
        self.check(&settings.config).map_err(|(key, rule)| settings.at_key(key, rule.to_owned()))?;
        Ok(settings)
    }

    /// What would be passed over in silence is refused.
    fn check(&self, config: &Config) -> Result<(), (&'static str, &'static str)> {
        let dataset = &config.dataset;
        let none_held_out = "must be left out: nothing is drawn from the images, or held out";
        for (key, fits, rule) in [
            ("dataset.kind", dataset.kind == Kind::Folder, "must be `folder`"),
            ("dataset.path", dataset.path.as_deref() == Some(self.images), "must be left out: `--images` says it"),
            ("dataset.imbalance", dataset.imbalance == 1.0, none_held_out),
            ("dataset.label_noise", dataset.label_noise == 0.0, "must be left out: labels are what people say"),
            ("dataset.validation", dataset.validation == 0, none_held_out),
            ("dataset.tuning", dataset.tuning == 0, none_held_out),
        ] {
            if !fits {
                return Err((key, rule));
            }
        }
        Ok(())
    }

    fn is_named_in(&self, table: &Table, role: Role) -> bool {
        let strategy = table.get(role.name()).and_then(|chooser| chooser.get("strategy")?.as_str());
        strategy == Some(self.strategy)
    }

    /// The parameters that the strategy had before: in its role, or in the other one.
    fn params_of(&self, table: &Table) -> Table {
        let other = if self.role == Role::Query { Role::Initial } else { Role::Query };
        let named = [self.role, other].into_iter().filter(|role| self.is_named_in(table, *role));
        let mut params = named.filter_map(|role| table.get(role.name())?.get("params")?.as_table());
        params.find(|params| !params.is_empty()).cloned().unwrap_or_default()
    }

    fn lay_over(&self, table: &mut Table) {
        let dataset = section(table, "dataset");
        dataset.insert("path".to_owned(), Value::String(self.images.display().to_string()));
        let params = self.params_of(table);
        if !self.is_named_in(table, self.role) {
            table.remove(self.role.name());
        }
        for role in [Role::Initial, Role::Query] {
            // The other one is never asked, but a config names both.
            if role == self.role || !table.contains_key(role.name()) {
                let chooser = section(table, role.name());
                chooser.insert("strategy".to_owned(), Value::String(self.strategy.to_owned()));
                chooser.insert("size".to_owned(), Value::Integer(self.size as i64));
                chooser.insert("params".to_owned(), Value::Table(params.clone()));
            }
        }
        section(table, Role::Query.name()).entry("rounds").or_insert(Value::Integer(1));
        if let Some(method) = self.representation {
            let same = table.get("representation").and_then(|section| section.get("method")?.as_str()) == Some(method);
            // Keys of another method do not go with this one.
            if !same {
                table.remove("representation");
            }
        }
    }
}

fn section<'a>(table: &'a mut Table, name: &str) -> &'a mut Table {
    let inner = table.entry(name).or_insert_with(|| Value::Table(Table::new()));
    if !inner.is_table() {
        *inner = Value::Table(Table::new());
    }
    inner.as_table_mut().expect("it is one now")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Size;

    fn config(before: Option<&str>, role: Role, strategy: &str, set: &[&str]) -> Config {
        let overrides: Vec<Override> = set.iter().map(|set| set.parse().unwrap()).collect();
        let choosing = Choosing { role, strategy, size: 7, images: Path::new("/photos"), representation: None };
        choosing.config(Path::new("config.toml"), before, &overrides).unwrap().config
    }

    #[test]
    fn settings_stay_and_parameters_stay_with_their_strategy() {
        let first =
            config(None, Role::Initial, "one", &["training.epochs=5", "params.k=3", "dataset.shape=[32, 32, 3]"]);
        assert_eq!((first.initial.strategy.as_str(), first.initial.size), ("one", Size::Of(7)));
        assert_eq!(first.initial.params["k"], 3);
        let text = first.to_toml();
        for (role, strategy, kept) in [
            (Role::Initial, "one", true),
            (Role::Initial, "two", false),
            (Role::Query, "one", true),
            (Role::Query, "two", false),
        ] {
            let next = config(Some(&text), role, strategy, &[]);
            assert_eq!((next.training.epochs, next.dataset.shape), (5, Some([32, 32, 3])));
            let (name, params) = match role {
                Role::Initial => (next.initial.strategy, next.initial.params),
                _ => (next.query.strategy, next.query.params),
            };
            assert_eq!((name.as_str(), params.contains_key("k")), (strategy, kept), "{role:?} {strategy}");
        }
    }

    #[test]
    fn what_has_no_meaning_here_is_refused() {
        let choosing = Choosing {
            role: Role::Initial,
            strategy: "one",
            size: 7,
            images: Path::new("/photos"),
            representation: None,
        };
        for set in [
            "dataset.validation=3",
            "dataset.tuning=3",
            "dataset.imbalance=2",
            "dataset.label_noise=0.1",
            "dataset.path=/other",
        ] {
            let error = choosing.config(Path::new("config.toml"), None, &[set.parse().unwrap()]).unwrap_err();
            assert!(error.to_string().contains(set.split('=').next().unwrap()), "{error}");
        }
    }

    #[test]
    fn each_role_has_a_default_that_config_texts_do_not_name() {
        for role in [Role::Initial, Role::Query] {
            let DefaultStrategy { strategy, why } = DefaultStrategy::of(role);
            assert!(!strategy.is_empty() && !why.is_empty());
            let text = config(None, role, "one", &[]).to_toml();
            assert_eq!(DefaultStrategy::named_in(&text, role).as_deref(), Some("one"));
            assert!(!text.contains(&format!("[{DEFAULT}")), "{text}");
        }
    }

    #[test]
    fn a_key_of_the_chooser_needs_no_section() {
        let query = config(None, Role::Query, "one", &["balance=true", "query.subsample=9", "seed=4"]);
        assert_eq!((query.query.balance, query.query.subsample, query.seed), (true, Some(9), 4));
    }
}
