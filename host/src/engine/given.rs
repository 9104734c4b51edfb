//! Features that were computed elsewhere, or without a network, as what a linear probe stands on.

use std::sync::Arc;

use tch::{Kind, Tensor};

use super::error::{EngineError, TorchResult, While};
use super::guard;
use super::images::{Features, Images};
use super::probe::Moments;

/// Bytes that others may look at too.
pub type SharedBytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A row of features for each image of a set, n x d f32, little-endian, row after row.
#[derive(Clone)]
pub struct GivenRows {
    /// The numbers. They begin at a multiple of four bytes.
    pub bytes: SharedBytes,
    /// Numbers in a row.
    pub n_cols: usize,
}

impl GivenRows {
    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        (*self.bytes).as_ref().len() / (size_of::<f32>() * self.n_cols.max(1))
    }
}

/// Keeps `rows` as what the features called `name` are of `images`, for a model [over them](super::Model::over_features), unless
/// features of that name are kept already.
///
/// On the CPU nothing is copied, so that rows in a mapped file take no memory of the process. Errs when there is not a row for
/// each image, or the numbers do not lie where f32 can.
pub fn give(images: &mut Images, name: &str, rows: &GivenRows) -> Result<(), EngineError> {
    if images.features(name).is_some() {
        return Ok(());
    }
    let wrong = |problem: String| Err(EngineError::Input(problem));
    let bytes = (*rows.bytes).as_ref();
    let (n_rows, n_images) = (rows.n_rows(), images.n_images());
    if n_rows != n_images || bytes.len() != n_rows * rows.n_cols * size_of::<f32>() {
        return wrong(format!("{n_rows} rows of features are not one for each of {n_images} images"));
    }
    if !bytes.as_ptr().cast::<f32>().is_aligned() {
        return wrong("features do not begin where numbers of four bytes can".to_owned());
    }
    let kept = || -> TorchResult<Features> {
        let values_nd = seen(bytes, [n_rows as i64, rows.n_cols as i64])?.f_to_device(images.device())?;
        let moments = Moments::of(&values_nd)?;
        Ok(Features { of: name.into(), values_nd, moments, source: Some(rows.bytes.clone()) })
    };
    let kept = guard::calls(kept).doing("keeping features")?;
    images.keep(kept);
    Ok(())
}

/// The bytes as a matrix, without a copy.
fn seen(bytes: &[u8], size: [i64; 2]) -> TorchResult<Tensor> {
    let strides = [size[1], 1];
    // SAFETY: there are `size` numbers, which begin at a multiple of four bytes. Whoever calls keeps the bytes as long as the
    // tensor, and nothing ever writes to features that are kept.
    unsafe { Tensor::f_from_blob(bytes.as_ptr(), &size, &strides, Kind::Float, tch::Device::Cpu) }
}
