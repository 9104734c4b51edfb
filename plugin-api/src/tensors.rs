//! The table of tensors that a host keeps for plugins, shared by the program and by [`crate::testing::TestHost`].

use crate::abi::std_types::{RErr, ROk, RResult, RSliceMut};
use crate::abi::{DType, Fault, TensorId, TensorInfo};
use crate::{Code, Error, Result};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The tensors of one call, by slot and generation: an id that was released never finds another tensor.
pub struct Tensors {
    table: Mutex<Table>,
    most_bytes: u64,
}

#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Vec<usize>,
    n_bytes: u64,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    tensor: Option<Arc<HostTensor>>,
}

impl Default for Tensors {
    fn default() -> Tensors {
        Tensors::limited(u64::MAX)
    }
}

/// A tensor in the host's memory: little-endian, row-major.
#[derive(Debug, PartialEq)]
pub struct HostTensor {
    /// The type of the elements.
    pub dtype: DType,
    /// The length of each axis.
    pub shape: Vec<u64>,
    /// `shape`'s product times the element's size.
    pub bytes: Vec<u8>,
}

impl HostTensor {
    /// A vector of ids or class numbers.
    pub fn of_u64(values: &[u64]) -> HostTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        HostTensor { dtype: DType::U64, shape: vec![values.len() as u64], bytes }
    }

    /// A matrix of `values.len() / n_cols` rows.
    pub fn of_f32(values: &[f32], n_cols: usize) -> HostTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let n_rows = values.len().checked_div(n_cols).unwrap_or(0);
        HostTensor { dtype: DType::F32, shape: vec![n_rows as u64, n_cols as u64], bytes }
    }

    /// The elements of a f32 matrix and the length of its rows; errs on any other tensor.
    pub fn as_f32(&self) -> Result<(Vec<f32>, usize)> {
        let (DType::F32, [_, n_cols]) = (self.dtype, &self.shape[..]) else {
            return Err(Error::new(Code::BAD_PARAMS, "expected a matrix of f32"));
        };
        let elements = self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        Ok((elements, *n_cols as usize))
    }

    /// The elements of a u64 tensor; errs on any other.
    pub fn as_u64(&self) -> Result<Vec<u64>> {
        if self.dtype != DType::U64 {
            return Err(Error::new(Code::BAD_PARAMS, "expected a tensor of u64"));
        }
        Ok(self.bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }
}

impl Tensors {
    /// A table that keeps no more than so many bytes for the plugin.
    pub fn limited(most_bytes: u64) -> Tensors {
        Tensors { table: Mutex::default(), most_bytes }
    }

    /// Keep a tensor of the host's own, whatever its size.
    pub fn insert(&self, tensor: HostTensor) -> TensorId {
        let mut table = self.table();
        let free = table.free.pop().unwrap_or_else(|| {
            table.slots.push(Slot::default());
            table.slots.len() - 1
        });
        table.n_bytes += tensor.bytes.len() as u64;
        let slot = &mut table.slots[free];
        slot.generation += 1;
        slot.tensor = Some(Arc::new(tensor));
        TensorId(u64::from(slot.generation) << 32 | free as u64)
    }

    /// Keep a tensor for the plugin; errs when it keeps too many already.
    pub fn keep(&self, tensor: HostTensor) -> Result<TensorId> {
        let kept = self.table().n_bytes;
        if kept.saturating_add(tensor.bytes.len() as u64) > self.most_bytes {
            let message = format!("the tensors of this call take {kept} bytes already: release some");
            return Err(Error::new(Code::OUT_OF_MEMORY, message));
        }
        Ok(self.insert(tensor))
    }

    /// The tensor of an id; errs if it was released or never existed.
    pub fn get(&self, id: TensorId) -> Result<Arc<HostTensor>> {
        let (generation, index) = parts(id);
        let table = self.table();
        let slot = table.slots.get(index).filter(|slot| slot.generation == generation);
        slot.and_then(|slot| slot.tensor.clone())
            .ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("there is no tensor {:#x} (released?)", id.0)))
    }

    /// Forget a tensor; unknown ids are ignored.
    pub fn release(&self, id: TensorId) {
        let (generation, index) = parts(id);
        let mut table = self.table();
        let slot = table.slots.get_mut(index).filter(|slot| slot.generation == generation);
        if let Some(tensor) = slot.and_then(|slot| slot.tensor.take()) {
            table.n_bytes -= tensor.bytes.len() as u64;
            table.free.push(index);
        }
    }

    /// How many tensors are kept.
    pub fn len(&self) -> usize {
        let table = self.table();
        table.slots.len() - table.free.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The border's `tensor_info`.
    pub fn info(&self, id: TensorId) -> RResult<TensorInfo, Fault> {
        match self.get(id) {
            Ok(tensor) => ROk(TensorInfo { dtype: tensor.dtype, shape: tensor.shape.clone().into() }),
            Err(error) => RErr(error.into()),
        }
    }

    /// The border's `tensor_read`: copies what fits from `byte_offset` on and says how many bytes.
    pub fn read(&self, id: TensorId, byte_offset: u64, mut into: RSliceMut<'_, u8>) -> RResult<u64, Fault> {
        match self.get(id) {
            Ok(tensor) => {
                let start = (byte_offset as usize).min(tensor.bytes.len());
                let count = into.len().min(tensor.bytes.len() - start);
                into.as_mut_slice()[..count].copy_from_slice(&tensor.bytes[start..start + count]);
                ROk(count as u64)
            }
            Err(error) => RErr(error.into()),
        }
    }

    /// The border's `tensor_put`; errs when the shape and the number of bytes disagree.
    pub fn put(&self, dtype: DType, shape: &[u64], bytes: &[u8]) -> RResult<TensorId, Fault> {
        let n_bytes = shape.iter().try_fold(dtype.size(), |product, length| product.checked_mul(*length));
        if dtype.size() == 0 || n_bytes != Some(bytes.len() as u64) {
            let message = format!("{} bytes do not make a tensor of type {} and shape {shape:?}", bytes.len(), dtype.0);
            return RErr(Error::new(Code::BAD_PARAMS, message).into());
        }
        match self.keep(HostTensor { dtype, shape: shape.to_vec(), bytes: bytes.to_vec() }) {
            Ok(id) => ROk(id),
            Err(error) => RErr(error.into()),
        }
    }
}

/// Generation and slot.
fn parts(id: TensorId) -> (u32, usize) {
    ((id.0 >> 32) as u32, id.0 as u32 as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_released_id_never_finds_another_tensor() {
        let tensors = Tensors::default();
        let first = tensors.insert(HostTensor::of_u64(&[1, 2]));
        tensors.release(first);
        let second = tensors.insert(HostTensor::of_u64(&[3]));
        assert!(tensors.get(first).is_err());
        tensors.release(first);
        assert_eq!(tensors.get(second).unwrap().as_u64().unwrap(), [3]);
        assert_eq!(tensors.len(), 1);
    }

    #[test]
    fn a_plugin_keeps_only_so_much() {
        let tensors = Tensors::limited(100);
        let own = tensors.insert(HostTensor::of_u64(&[0; 8]));
        let kept = tensors.keep(HostTensor::of_u64(&[0; 4])).unwrap();
        for (n, fits) in [(1, false), (0, true)] {
            let put = tensors.put(DType::U64, &[n], &vec![0; 8 * n as usize]).into_result();
            assert_eq!(put.is_ok(), fits, "{n} more numbers");
        }
        tensors.release(kept);
        tensors.release(kept);
        assert!(tensors.keep(HostTensor::of_u64(&[0; 4])).is_ok());
        tensors.release(own);
        assert!(tensors.keep(HostTensor::of_u64(&[0; 8])).is_ok());
    }

    #[test]
    fn a_shape_that_lies_is_refused() {
        let tensors = Tensors::default();
        for (dtype, shape, n_bytes) in
            [(DType::F32, vec![2, 3], 23), (DType::U64, vec![u64::MAX, 2], 16), (DType(99), vec![1], 1)]
        {
            assert!(tensors.put(dtype, &shape, &vec![0; n_bytes]).is_err());
        }
    }
}
