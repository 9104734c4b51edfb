//! Rounds that a run is given beyond those of its config.
//!
//! The config stays as it was, and the journal says when the run ends now: so the files that the run began with are still those, and
//! a run that is stopped among its new rounds goes on with them.

use super::{SessionError, budget, rounds_of_finished};
use crate::config::Config;
use crate::experiment::{Budget, End, Record, RunDir};
use std::path::Path;

/// Makes a run's config end when the journal says so, or `asked` does.
///
/// Errs where `asked` is no later than the run ends now.
pub fn extend(config: &mut Config, record: &Record, asked: Option<End>, dir: &RunDir) -> Result<(), SessionError> {
    if let Some(end) = record.extended {
        set(config, end);
    }
    let Some(end) = asked else { return Ok(()) };
    let now = budget(config);
    set(config, end);
    check(now, budget(config), labels_so_far(dir)?).map_err(SessionError::of_key)?;
    let root = std::path::absolute(dir.root()).unwrap_or_else(|_| dir.root().to_owned());
    if let Some(study) = study_of(&root) {
        let problem = format!("cannot be given to one run of the study `{}`: its runs end alike", study.display());
        return Err(SessionError::of_key((argument(end).to_owned(), problem)));
    }
    Ok(())
}

fn set(config: &mut Config, end: End) {
    (config.query.rounds, config.query.until) = match end {
        End::Rounds(rounds) => (Some(rounds), None),
        End::Labels(until) => (None, Some(until)),
    };
}

/// How a user says it.
fn argument(end: End) -> &'static str {
    match end {
        End::Rounds(_) => "--rounds",
        End::Labels(_) => "--until",
    }
}

/// How many labels a finished run has; 0 for one that is not finished.
fn labels_so_far(dir: &RunDir) -> Result<usize, SessionError> {
    let rounds = rounds_of_finished(dir)?.unwrap_or_default();
    Ok(rounds.last().map_or(0, |last| last.labels))
}

/// Errs, with the argument and the rest of the sentence, where a run would not end later than now.
fn check(now: Budget, later: Budget, labelled: usize) -> Result<(), (String, String)> {
    let labels_now = now.labels().max(labelled);
    let problem = match (now.end, later.end) {
        (End::Rounds(now), End::Rounds(later)) if later <= now => {
            format!("is {later}, and the run ends after {now} rounds beside the first anyway")
        }
        (_, End::Labels(until)) if until <= labels_now => {
            format!("is {until}, and the run ends with {labels_now} labels anyway")
        }
        (End::Labels(_), End::Rounds(rounds)) if later.labels() <= labels_now => {
            format!("is {rounds}, and the run ends with {labels_now} labels anyway, which is no less")
        }
        _ => return Ok(()),
    };
    Err((argument(later.end).to_owned(), problem))
}

/// The study that a run's folder belongs to, if it does.
fn study_of(run: &Path) -> Option<&Path> {
    let study = run.parent()?.parent()?;
    study.join("plan.csv").is_file().then_some(study)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_later_or_the_argument_is_refused() {
        let budget = |end| Budget { initial: 5, query: 10, end };
        for (now, later, labelled, expected) in [
            (End::Rounds(2), End::Rounds(3), 25, Ok(())),
            (End::Rounds(2), End::Rounds(2), 25, Err("`--rounds` is 2, and the run ends after 2")),
            (End::Rounds(2), End::Rounds(1), 0, Err("`--rounds` is 1")),
            (End::Rounds(2), End::Labels(26), 25, Ok(())),
            (End::Rounds(2), End::Labels(25), 0, Err("`--until` is 25, and the run ends with 25")),
            // A sizer has made the initial set larger.
            (End::Rounds(2), End::Labels(40), 45, Err("`--until` is 40, and the run ends with 45")),
            (End::Labels(30), End::Labels(31), 30, Ok(())),
            (End::Labels(30), End::Labels(30), 30, Err("`--until` is 30, and the run ends with 30")),
            (End::Labels(30), End::Rounds(3), 30, Ok(())),
            (End::Labels(30), End::Rounds(2), 30, Err("`--rounds` is 2, and the run ends with 30 labels")),
        ] {
            let found = check(budget(now), budget(later), labelled);
            let found = found.map_err(|(argument, problem)| format!("`{argument}` {problem}"));
            match (found, expected) {
                (Ok(()), Ok(())) => {}
                (Err(error), Err(part)) => assert!(error.starts_with(part), "{error}"),
                (found, expected) => panic!("{now:?} {later:?}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
