//! Features in `.safetensors`.

use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::columns::{bare, is_id, is_no_feature, the_one};
use super::rows::Rows;
use super::table::{Ask, Table, matrix_axes, no_ids};
use crate::data::error::{DataError, Place};
use crate::data::labels::Label;
use crate::data::npz::of_half;
use crate::data::unpacked;

/// Reads a file; none where it has no tensors of the part that is asked for.
pub(super) fn read(path: &Path, ask: &Ask) -> Result<Option<Table>, DataError> {
    let wrong = |why: String| DataError::malformed(path, Place::Whole, why);
    if let Some(text) = &ask.text {
        return Err(wrong(format!("has no `{text}`: tensors hold no text")).with_hint("Parquet and .npz can hold text"));
    }
    let bytes = unpacked::read_file(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(format!("not safetensors ({error})")))?;
    let tensors = file.tensors();
    let all: Vec<&str> = tensors.iter().map(|(name, _)| name.as_str()).collect();
    let is_chosen = ask.arrays.chosen(&all);
    let chosen: Vec<&(String, TensorView)> =
        tensors.iter().zip(is_chosen).filter(|(_, is_chosen)| *is_chosen).map(|(tensor, _)| tensor).collect();
    if chosen.is_empty() {
        return Ok(None);
    }
    let names: Vec<&str> = chosen.iter().map(|(name, _)| name.as_str()).collect();
    let label = ask.labels.find(&names).map_err(wrong)?;
    let labels = label.map(|at| labels_of_tensor(&chosen[at].1)).map(|labels| labels.map_err(wrong)).transpose()?;
    let ids = chosen.iter().find(|(name, _)| is_id(&bare(name).0));
    let ids = ids.map(|(_, tensor)| ids_of_tensor(tensor).ok_or_else(|| no_ids(path))).transpose()?;
    let matrices: Vec<&(String, TensorView)> = chosen.into_iter().filter(|tensor| is_matrix(tensor)).collect();
    let names: Vec<&str> = matrices.iter().map(|(name, _)| name.as_str()).collect();
    let (_, tensor) = matrices[the_one(&names).map_err(wrong)?];
    let [n_rows, n_cols] = matrix_axes(path, tensor.shape())?;
    if let Some(labels) = labels.as_ref().filter(|labels| labels.len() != n_rows) {
        return Err(wrong(format!("holds {} labels, but {n_rows} rows", labels.len())));
    }
    let rows = Rows::Read(floats(tensor));
    Ok(Some(Table { ids, names: None, labels, texts: None, rows, n_rows, n_cols }))
}

fn is_matrix((name, tensor): &(String, TensorView<'_>)) -> bool {
    let is_float = matches!(tensor.dtype(), Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
    tensor.shape().len() >= 2 && is_float && !is_no_feature(name)
}

fn floats(tensor: &TensorView<'_>) -> Vec<f32> {
    let halves = |widen: &dyn Fn(u16) -> f32| {
        tensor.data().as_chunks().0.iter().map(|half| widen(u16::from_le_bytes(*half))).collect()
    };
    match tensor.dtype() {
        Dtype::F64 => tensor.data().as_chunks().0.iter().map(|x| f64::from_le_bytes(*x) as f32).collect(),
        Dtype::F16 => halves(&of_half),
        Dtype::BF16 => halves(&|half| f32::from_bits(u32::from(half) << 16)),
        _ => tensor.data().as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect(),
    }
}

fn ids_of_tensor(ids: &TensorView<'_>) -> Option<Vec<u64>> {
    integers(ids)?.into_iter().map(|id| u64::try_from(id).ok()).collect()
}

fn labels_of_tensor(labels: &TensorView<'_>) -> Result<Vec<Label>, String> {
    let n_other = labels.shape().iter().skip(1).product::<usize>();
    match integers(labels) {
        Some(labels) if n_other == 1 => Ok(labels.into_iter().map(Label::Number).collect()),
        Some(_) => Err(format!("has labels of shape {:?}: one whole number for each row is needed", labels.shape())),
        None => Err("has labels that are no whole numbers".to_owned()),
    }
}

fn integers(tensor: &TensorView<'_>) -> Option<Vec<i64>> {
    let bytes = tensor.data();
    Some(match tensor.dtype() {
        Dtype::I64 => bytes.as_chunks().0.iter().map(|x| i64::from_le_bytes(*x)).collect(),
        Dtype::U64 => {
            let all: Option<Vec<i64>> =
                bytes.as_chunks().0.iter().map(|x| i64::try_from(u64::from_le_bytes(*x)).ok()).collect();
            all?
        }
        Dtype::I32 => bytes.as_chunks().0.iter().map(|x| i32::from_le_bytes(*x).into()).collect(),
        Dtype::U32 => bytes.as_chunks().0.iter().map(|x| u32::from_le_bytes(*x).into()).collect(),
        Dtype::I16 => bytes.as_chunks().0.iter().map(|x| i16::from_le_bytes(*x).into()).collect(),
        Dtype::U16 => bytes.as_chunks().0.iter().map(|x| u16::from_le_bytes(*x).into()).collect(),
        Dtype::I8 => bytes.iter().map(|x| i64::from(*x as i8)).collect(),
        Dtype::U8 => bytes.iter().map(|x| i64::from(*x)).collect(),
        _ => return None,
    })
}
