//! A training's state as a file, so that a long one goes on after a kill.
//!
//! Behind the tensors, in the form of safetensors, stands a hash of them: a training never goes on from a file that rotted.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use tch::{Kind, TchError, Tensor};

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
    let sealed = seal(&partial).and_then(|()| fs::rename(&partial, file));
    sealed.map_err(|error| failed(error.to_string()))
}

/// What stands before the hash at the end of a checkpoint.
const MARK: &[u8] = b"coldstart sha256";
/// Bytes of the hash.
const HASH_BYTES: usize = 32;

/// Appends the hash of what is in the file, and sees to it that all of it is on disk.
fn seal(file: &Path) -> io::Result<()> {
    let hash = Sha256::digest(fs::read(file)?);
    let mut file = OpenOptions::new().append(true).open(file)?;
    file.write_all(&[MARK, &hash[..]].concat())?;
    file.sync_all()
}

/// The tensors of a checkpoint; errs when they are not those that were stored.
fn read(file: &Path) -> Result<Vec<(String, Tensor)>, EngineError> {
    let failed = |problem: String| EngineError::weights(file, problem);
    let bytes = fs::read(file).map_err(|error| failed(error.to_string()))?;
    let n = bytes.len().saturating_sub(MARK.len() + HASH_BYTES);
    let (tensors, seal) = bytes.split_at(n);
    if seal != [MARK, &Sha256::digest(tensors)[..]].concat() {
        return Err(failed("it is not what was stored".to_owned()));
    }
    let tensors = SafeTensors::deserialize(tensors).map_err(|error| failed(error.to_string()))?;
    let tensor = |(name, view)| Ok((name, Tensor::try_from(view)?));
    let tensors: Result<_, TchError> = tensors.tensors().into_iter().map(tensor).collect();
    tensors.map_err(|error| failed(error.to_string()))
}

/// Takes up a state that [`store`] wrote for the same job; errs when it is of another one.
pub(super) fn restore(file: &Path, state: &mut State) -> Result<(), EngineError> {
    let failed = |problem: String| EngineError::weights(file, problem);
    let stored = read(file)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_that_rotted_is_not_gone_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.checkpoint");
        Tensor::write_safetensors(&[("a", Tensor::from_slice(&[0.5f32, -2.0]))], &file).unwrap();
        // As an earlier version stored it.
        assert!(read(&file).unwrap_err().to_string().contains("not what was stored"));
        seal(&file).unwrap();
        assert_eq!(read(&file).unwrap().len(), 1);
        let whole = fs::read(&file).unwrap();
        for bit in 0..8 * whole.len() {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &flipped).unwrap();
            assert!(read(&file).is_err(), "bit {bit}");
        }
        for n in [0, 10, whole.len() - 1] {
            fs::write(&file, &whole[..n]).unwrap();
            assert!(read(&file).is_err(), "{n} bytes");
        }
    }
}
