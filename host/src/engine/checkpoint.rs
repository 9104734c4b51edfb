//! A training's state as a file, so that a long one goes on after a kill.

use std::fs;
use std::path::Path;

use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::pretext::State;

/// Writes the state; the file appears whole or not at all.
pub(super) fn store(file: &Path, state: &mut State) -> Result<(), EngineError> {
    let failed = |problem: String| EngineError::weights(file, problem);
    let mut tensors = numbers(state).doing("storing a checkpoint")?;
    for (name, tensor) in tensors_of(state) {
        let tensor = tensor.f_detach().and_then(|tensor| tensor.f_to_device(tch::Device::Cpu)?.f_contiguous());
        tensors.push((name, tensor.doing("storing a checkpoint")?));
    }
    let partial = file.with_extension("partial");
    Tensor::write_safetensors(&tensors, &partial).map_err(|error| failed(error.to_string()))?;
    let synced = fs::File::open(&partial).and_then(|file| file.sync_all());
    synced.and_then(|()| fs::rename(&partial, file)).map_err(|error| failed(error.to_string()))
}

/// Takes up a state that [`store`] wrote for the same job; errs when it is of another one.
pub(super) fn restore(file: &Path, state: &mut State) -> Result<(), EngineError> {
    let failed = |problem: String| EngineError::weights(file, problem);
    let stored = Tensor::read_safetensors(file).map_err(|error| failed(error.to_string()))?;
    let find = |name: &str| {
        let found = stored.iter().find(|(stored, _)| stored == name);
        found.map(|(_, tensor)| tensor).ok_or_else(|| failed(format!("it has no `{name}`")))
    };
    {
        let _no_grad = tch::no_grad_guard();
        for (name, tensor) in tensors_of(state) {
            let source = find(&name)?;
            if source.size() != tensor.size() {
                return Err(failed(format!("`{name}` is {:?} and not {:?}", source.size(), tensor.size())));
            }
            tensor.f_copy_(source).doing("reading a checkpoint")?;
        }
    }
    let doing = "reading a checkpoint";
    let progress: Vec<i64> = Vec::try_from(find("progress")?).doing(doing)?;
    let outcome: Vec<f64> = Vec::try_from(find("outcome")?).doing(doing)?;
    let ([epoch, at, n_steps], [loss, accuracy]) = (&progress[..], &outcome[..]) else {
        return Err(failed("its progress makes no sense".to_owned()));
    };
    state.epoch = *epoch as usize;
    state.loss = *loss;
    state.accuracy = Some(*accuracy).filter(|accuracy| accuracy.is_finite());
    if let Some(place) = state.memory.at() {
        *place = *at;
    }
    if let (_, Some(steps)) = state.update.memory() {
        *steps = *n_steps as i32;
    }
    for (i, kept) in state.kept.iter_mut().enumerate() {
        *kept = Vec::try_from(find(&format!("kept.{i}"))?).doing(doing)?;
    }
    Ok(())
}

/// The numbers and records of a state.
fn numbers(state: &mut State) -> TorchResult<Vec<(String, Tensor)>> {
    let at = state.memory.at().map_or(0, |at| *at);
    let n_steps = state.update.memory().1.map_or(0, |steps| i64::from(*steps));
    let outcome = [state.loss, state.accuracy.unwrap_or(f64::NAN)];
    let mut numbers = vec![
        ("progress".to_owned(), Tensor::f_from_slice(&[state.epoch as i64, at, n_steps])?),
        ("outcome".to_owned(), Tensor::f_from_slice(&outcome)?.f_to_kind(Kind::Double)?),
    ];
    for (i, kept) in state.kept.iter().enumerate() {
        numbers.push((format!("kept.{i}"), Tensor::f_from_slice(kept)?));
    }
    Ok(numbers)
}

/// The tensors of a state.
fn tensors_of(state: &mut State) -> Vec<(String, &mut Tensor)> {
    let mut tensors =
        vec![("params".to_owned(), &mut state.model.params), ("stats".to_owned(), &mut state.model.stats)];
    tensors.extend(state.update.memory().0.into_iter().map(|(name, tensor)| (format!("update.{name}"), tensor)));
    tensors.extend(state.memory.tensors().into_iter().map(|(name, tensor)| (format!("memory.{name}"), tensor)));
    tensors
}
