//! What plugins are told of the run that they are in.

use super::Strategy;
use crate::config::{Config, Seat};
use crate::engine::Learner;
use crate::plugin::{StrategyName, is_script};
use coldstart_plugin_api::Role;
use coldstart_plugin_api::ops::{LearnerInfo, RunInfo, StrategyInfo};
use std::borrow::Borrow;
use std::path::Path;

/// What is told of a run of `config`; criteria are those of the strategies at hand.
pub fn run_info(config: &Config, strategies: &[impl Borrow<Strategy>]) -> RunInfo {
    RunInfo {
        initial: strategy_info(&config.initial.strategy, Role::Initial, strategies),
        query: strategy_info(&config.query.strategy, Role::Query, strategies),
        learner: learner_info(&config.training.learner),
        query_size: config.query.size as u64,
        until: config.query.until.map(|until| until as u64),
    }
}

/// The same for an adviser that is told of another query strategy than the run's: its name, and nothing else of it.
pub fn as_if(run: &RunInfo, query: &str) -> RunInfo {
    RunInfo { query: StrategyInfo { name: bare_name(query), criterion: String::new() }, ..run.clone() }
}

fn strategy_info(named: &str, role: Role, strategies: &[impl Borrow<Strategy>]) -> StrategyInfo {
    let seat = Seat::first(role);
    let found = strategies.iter().map(Borrow::borrow).find(|strategy| strategy.seat == seat);
    match found {
        Some(Strategy { manifest, .. }) => {
            StrategyInfo { name: manifest.name.clone(), criterion: manifest.criterion.clone() }
        }
        None => StrategyInfo { name: bare_name(named), criterion: String::new() },
    }
}

/// The name alone, without publisher and version; of a script that of its file.
pub fn bare_name(named: &str) -> String {
    match StrategyName::parse(named) {
        Ok(parsed) if !is_script(Path::new(named)) => parsed.name().to_owned(),
        _ => Path::new(named).file_stem().unwrap_or_default().to_string_lossy().into_owned(),
    }
}

fn learner_info(learner: &Learner) -> LearnerInfo {
    LearnerInfo { name: learner.name().to_owned(), frozen: learner.is_probe() }
}
