//! One instance of a loaded strategy, and what the host demands of its answers.

use super::error::{PluginCode, PluginError};
use super::load::Library;
use coldstart_plugin_api::abi::std_types::RSlice;
use coldstart_plugin_api::abi::{self, HostRef, SelectorBox};
use coldstart_plugin_api::{Code, Error, Selection};
use std::collections::BTreeSet;

/// A strategy that can be asked.
pub struct Instance {
    name: String,
    selector: SelectorBox,
}

impl Instance {
    /// Create an instance with these parameters (JSON).
    pub fn create(library: &Library, params_json: &str, host: HostRef<'_>) -> Result<Instance, PluginError> {
        let name = library.manifest.name.clone();
        let selector = library.entry.create(&name, params_json, host).into_result();
        let selector = selector.map_err(|fault| failed(&name, fault, PluginCode::Create))?;
        Ok(Instance { name, selector })
    }

    /// Ask for a selection. The answer is not checked yet: see [`check_selection`].
    pub fn select(&mut self, request: &abi::Request, host: HostRef<'_>) -> Result<Selection, PluginError> {
        let answer = self.selector.select(request, host).into_result();
        let selection = answer.map_err(|fault| failed(&self.name, fault, PluginCode::Select))?;
        Ok(Selection { ids: selection.ids.into_vec(), scores: selection.scores.into_vec() })
    }

    /// The state to store after a round.
    pub fn save(&self) -> Result<Vec<u8>, PluginError> {
        let state = self.selector.save().into_result();
        Ok(state.map_err(|fault| failed(&self.name, fault, PluginCode::Select))?.into_vec())
    }

    /// Take up a stored state.
    pub fn load(&mut self, state: &[u8]) -> Result<(), PluginError> {
        let loaded = self.selector.load(RSlice::from(state)).into_result();
        loaded.map_err(|fault| match failed(&self.name, fault, PluginCode::Create) {
            // It is the stored state that does not fit, not what a user wrote.
            PluginError { code: PluginCode::Params, message, .. } => {
                PluginError::new(PluginCode::Create, &self.name, format!("refuses its stored state: {message}"))
            }
            error => error,
        })
    }
}

/// A fault in the host's words; `otherwise` is the code for a failure of the strategy's own.
fn failed(name: &str, fault: abi::Fault, otherwise: PluginCode) -> PluginError {
    let error = Error::from(fault);
    let code = match error.code {
        Code::PANICKED => PluginCode::Panicked,
        Code::POISONED => PluginCode::Poisoned,
        Code::UNSUPPORTED => PluginCode::Operation,
        Code::BAD_PARAMS if otherwise == PluginCode::Create => PluginCode::Params,
        _ => otherwise,
    };
    if let Some(backtrace) = error.details.get("backtrace") {
        tracing::debug!("`{name}` panicked {backtrace}");
    }
    let place = error.details.get("backtrace").and_then(|backtrace| backtrace.lines().next()).unwrap_or_default();
    let found = PluginError::new(code, name, format!("{} {place}", error.message).trim());
    match error.details.get("hint") {
        Some(hint) => found.with_hint(hint.as_str()),
        None => found,
    }
}

/// What every answer must fulfil: as many ids as asked for, from the unlabelled ones, none twice, scores for all or
/// none, and finite. Errs at the first violation; nothing is repaired.
///
/// `unlabelled` is ascending.
pub fn check_selection(
    name: &str,
    selection: &Selection,
    unlabelled: &[u64],
    budget: usize,
) -> Result<(), PluginError> {
    let invalid = |message: String| Err(PluginError::new(PluginCode::Selection, name, message));
    let (ids, scores) = (&selection.ids, &selection.scores);
    let asked = budget.min(unlabelled.len());
    if ids.len() != asked {
        return invalid(format!("chose {} images, {asked} were asked for", ids.len()));
    }
    if let Some(id) = ids.iter().find(|id| unlabelled.binary_search(id).is_err()) {
        return invalid(format!("chose the image {id}, which is not among the unlabelled ones"));
    }
    let mut seen = BTreeSet::new();
    if let Some(id) = ids.iter().find(|id| !seen.insert(**id)) {
        return invalid(format!("chose the image {id} twice"));
    }
    if !scores.is_empty() && scores.len() != ids.len() {
        return invalid(format!("gave {} scores for {} images", scores.len(), ids.len()));
    }
    match scores.iter().position(|score| !score.is_finite()) {
        Some(at) => invalid(format!("gave the score {} to the image {}", scores[at], ids[at])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_selection_is_named() {
        let unlabelled = [2, 3, 5, 7];
        for (ids, scores, budget, expected) in [
            (vec![5, 2], vec![], 2, None),
            (vec![5, 2], vec![0.5, 0.1], 2, None),
            (vec![7, 5, 3, 2], vec![], 9, None),
            (vec![], vec![], 0, None),
            (vec![5], vec![], 2, Some("chose 1 images, 2 were asked for")),
            (vec![5, 2, 3], vec![], 2, Some("chose 3 images")),
            (vec![5, 4], vec![], 2, Some("the image 4, which is not among")),
            (vec![5, 5], vec![], 2, Some("the image 5 twice")),
            (vec![5, 2], vec![0.5], 2, Some("1 scores for 2 images")),
            (vec![5, 2], vec![0.5, f32::NAN], 2, Some("the score NaN to the image 2")),
            (vec![5, 2], vec![f32::INFINITY, 0.0], 2, Some("the score inf to the image 5")),
        ] {
            let checked = check_selection("toy", &Selection { ids, scores }, &unlabelled, budget);
            match (checked, expected) {
                (Ok(()), None) => {}
                (Err(error), Some(expected)) => {
                    assert_eq!(error.code, PluginCode::Selection);
                    assert!(error.message.contains(expected), "{}", error.message);
                }
                (checked, expected) => panic!("expected {expected:?}, got {checked:?}"),
            }
        }
    }
}
