//! The table of tensors that a host keeps for plugins, shared by the program and by [`crate::testing::TestHost`].
//!
//! Numbers are seen as bytes and the other way round, which is right on little-endian machines only.

use crate::abi::std_types::{RErr, ROk, RResult, RSliceMut};
use crate::abi::{DType, Fault, TensorId, TensorInfo};
use crate::{Code, Error, Result};
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const _: () = assert!(cfg!(target_endian = "little"), "tensors are little-endian, and so must be the machine");

/// How many tensors a plugin keeps at once: each costs the host something, however small it is.
pub const MOST_TENSORS: usize = 65_536;

/// How many axes a tensor has that a plugin hands over.
pub const MOST_AXES: usize = 16;

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
    pub bytes: Bytes,
    /// Of a matrix of f32, what each row counts times; absent, 1. So rows have unit length without a copy.
    pub scale: Option<Arc<[f32]>>,
}

/// The bytes of a tensor: its own, or those of something that others look at too, such as a mapped file.
#[derive(Clone)]
pub enum Bytes {
    /// Held for this tensor.
    Own(Vec<u8>),
    /// The same, as the numbers that they were made as.
    Numbers(Vec<f32>),
    /// Held by someone else.
    Shared(Arc<dyn AsRef<[u8]> + Send + Sync>),
}

impl Bytes {
    /// The bytes to change; those of someone else are copied first.
    pub fn to_mut(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Bytes::Own(_)) {
            *self = Bytes::Own(self.to_vec());
        }
        match self {
            Bytes::Own(bytes) => bytes,
            _ => unreachable!("they were just copied"),
        }
    }

    /// How many are held for this tensor alone.
    fn n_own(&self) -> u64 {
        match self {
            Bytes::Own(bytes) => bytes.len() as u64,
            Bytes::Numbers(numbers) => 4 * numbers.len() as u64,
            Bytes::Shared(_) => 0,
        }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Bytes::Own(bytes) => bytes,
            Bytes::Numbers(numbers) => bytemuck::cast_slice(numbers),
            Bytes::Shared(bytes) => bytes.as_ref().as_ref(),
        }
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes::Own(bytes)
    }
}

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.len())
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

/// A matrix of f32 as kernels look at it.
#[derive(Debug)]
pub struct Rows<'t> {
    /// Row after row.
    pub elements: Cow<'t, [f32]>,
    /// The length of a row.
    pub n_cols: usize,
    /// What each row counts times; absent, 1.
    pub scale: Option<&'t [f32]>,
}

impl Rows<'_> {
    /// How many rows there are.
    pub fn n_rows(&self) -> usize {
        self.elements.len().checked_div(self.n_cols).unwrap_or(0)
    }

    /// A row with its scale; panics beyond the last.
    pub fn row(&self, i: usize) -> impl Iterator<Item = f32> {
        let scale = self.scale.map_or(1.0, |scale| scale[i]);
        self.elements[i * self.n_cols..][..self.n_cols].iter().map(move |element| element * scale)
    }
}

impl HostTensor {
    /// Bytes that are held for this tensor alone.
    fn n_own(&self) -> u64 {
        self.bytes.n_own() + 4 * self.scale.as_ref().map_or(0, |scale| scale.len() as u64)
    }

    /// Any tensor, from bytes held for it.
    pub fn new(dtype: DType, shape: Vec<u64>, bytes: Vec<u8>) -> HostTensor {
        HostTensor { dtype, shape, bytes: bytes.into(), scale: None }
    }

    /// A vector of ids, positions or class numbers.
    pub fn of_u64(values: &[u64]) -> HostTensor {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        HostTensor::new(DType::U64, vec![values.len() as u64], bytes)
    }

    /// A matrix of `values.len() / n_cols` rows.
    pub fn of_f32(values: &[f32], n_cols: usize) -> HostTensor {
        let n_rows = values.len().checked_div(n_cols).unwrap_or(0);
        HostTensor::of_axes(values, vec![n_rows as u64, n_cols as u64])
    }

    /// A tensor of f32 of any shape.
    pub fn of_axes(values: &[f32], shape: Vec<u64>) -> HostTensor {
        HostTensor::of_numbers(values.to_vec(), shape)
    }

    /// The same from numbers that nobody else needs, without a copy.
    pub fn of_numbers(values: Vec<f32>, shape: Vec<u64>) -> HostTensor {
        HostTensor { dtype: DType::F32, shape, bytes: Bytes::Numbers(values), scale: None }
    }

    /// The elements of a f32 matrix and the length of its rows; errs on any other tensor.
    pub fn as_f32(&self) -> Result<(Vec<f32>, usize)> {
        let Rows { elements, n_cols, scale } = self.as_rows()?;
        let mut elements = elements.into_owned();
        for (row, scale) in elements.chunks_mut(n_cols.max(1)).zip(scale.unwrap_or_default()) {
            row.iter_mut().for_each(|element| *element *= scale);
        }
        Ok((elements, n_cols))
    }

    /// A f32 matrix as it lies in memory, without a copy if it lies well; errs on any other tensor.
    pub fn as_rows(&self) -> Result<Rows<'_>> {
        let (DType::F32, [_, n_cols]) = (self.dtype, &self.shape[..]) else {
            return Err(Error::new(Code::BAD_PARAMS, "expected a matrix of f32"));
        };
        let elements = match bytemuck::try_cast_slice(&self.bytes) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        };
        Ok(Rows { elements, n_cols: *n_cols as usize, scale: self.scale.as_deref() })
    }

    /// The elements of a f32 tensor of any shape, row-major, without a copy if they lie well; errs on any other tensor, and on one
    /// with a scale.
    pub fn numbers(&self) -> Result<Cow<'_, [f32]>> {
        if self.dtype != DType::F32 || self.scale.is_some() {
            return Err(Error::new(Code::BAD_PARAMS, "expected a tensor of f32, as it was computed"));
        }
        Ok(match bytemuck::try_cast_slice(&self.bytes) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => self.bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect(),
        })
    }

    /// The elements of a u64 tensor; errs on any other.
    pub fn as_u64(&self) -> Result<Vec<u64>> {
        if self.dtype != DType::U64 {
            return Err(Error::new(Code::BAD_PARAMS, "expected a tensor of u64"));
        }
        Ok(self.bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
    }

    /// Copies the bytes from `start` on, as far as they fit, and says how many; a scale is applied.
    fn copy(&self, start: usize, into: &mut [u8]) -> usize {
        let count = into.len().min(self.bytes.len() - start);
        into[..count].copy_from_slice(&self.bytes[start..start + count]);
        let Some(scale) = &self.scale else { return count };
        let row_bytes = 4 * self.shape.get(1).map_or(1, |n_cols| (*n_cols).max(1) as usize);
        // An element that is cut by either end is made whole first.
        for at in (start / 4 * 4..start + count).step_by(4) {
            let element = std::array::from_fn(|i| self.bytes[at + i]);
            let scaled = (f32::from_le_bytes(element) * scale[at / row_bytes]).to_le_bytes();
            for (i, byte) in scaled.into_iter().enumerate() {
                if (start..start + count).contains(&(at + i)) {
                    into[at + i - start] = byte;
                }
            }
        }
        count
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
        table.n_bytes += tensor.n_own();
        let slot = &mut table.slots[free];
        slot.generation += 1;
        slot.tensor = Some(Arc::new(tensor));
        TensorId(u64::from(slot.generation) << 32 | free as u64)
    }

    /// Keep a tensor for the plugin; errs when it keeps too many already.
    pub fn keep(&self, tensor: HostTensor) -> Result<TensorId> {
        if self.len() >= MOST_TENSORS {
            let message = format!("the call keeps {MOST_TENSORS} tensors already: release some");
            return Err(Error::new(Code::OUT_OF_MEMORY, message));
        }
        let kept = self.table().n_bytes;
        if kept.saturating_add(tensor.n_own()) > self.most_bytes {
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
            table.n_bytes -= tensor.n_own();
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
                ROk(tensor.copy(start, into.as_mut_slice()) as u64)
            }
            Err(error) => RErr(error.into()),
        }
    }

    /// The border's `tensor_put`; errs when the shape and the number of bytes disagree.
    pub fn put(&self, dtype: DType, shape: &[u64], bytes: &[u8]) -> RResult<TensorId, Fault> {
        if shape.len() > MOST_AXES {
            let message = format!("a tensor has at most {MOST_AXES} axes, not {}", shape.len());
            return RErr(Error::new(Code::BAD_PARAMS, message).into());
        }
        let n_bytes = shape.iter().try_fold(dtype.size(), |product, length| product.checked_mul(*length));
        if dtype.size() == 0 || n_bytes != Some(bytes.len() as u64) {
            let message = format!("{} bytes do not make a tensor of type {} and shape {shape:?}", bytes.len(), dtype.0);
            return RErr(Error::new(Code::BAD_PARAMS, message).into());
        }
        match self.keep(HostTensor::new(dtype, shape.to_vec(), bytes.to_vec())) {
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

    /// What costs no bytes of elements costs something all the same.
    #[test]
    fn tensors_without_elements_are_counted_and_so_are_axes_and_scales() {
        let tensors = Tensors::limited(100);
        assert!(tensors.put(DType::U8, &[1; MOST_AXES], &[0]).is_ok());
        assert!(tensors.put(DType::U8, &[1; MOST_AXES + 1], &[0]).is_err());
        let scaled = |n: usize| HostTensor {
            scale: Some(vec![1.0; n].into()),
            bytes: Bytes::Shared(Arc::new(vec![0; 4 * n])),
            ..HostTensor::new(DType::F32, vec![n as u64, 1], vec![])
        };
        assert!(tensors.keep(scaled(26)).is_err());
        let kept = tensors.keep(scaled(24)).unwrap();
        tensors.release(kept);
        assert!(tensors.keep(scaled(24)).is_ok());
        let empty = || tensors.keep(HostTensor::new(DType::U8, vec![0], vec![]));
        let n_kept = (0..2 * MOST_TENSORS).take_while(|_| empty().is_ok()).count();
        assert_eq!(n_kept + 2, MOST_TENSORS);
    }

    #[test]
    fn a_scale_is_applied_wherever_a_read_begins_and_ends() {
        let mut tensor = HostTensor::of_f32(&[1.0, 2.0, 3.0, 4.0], 2);
        tensor.scale = Some([0.5, 2.0].into());
        assert_eq!(tensor.as_f32().unwrap().0, [0.5, 1.0, 6.0, 8.0]);
        let whole: Vec<u8> = [0.5f32, 1.0, 6.0, 8.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensors = Tensors::default();
        let id = tensors.insert(tensor);
        for start in 0..=16 {
            for end in start..=16 {
                let mut bytes = vec![0; end - start];
                let read = tensors.read(id, start as u64, bytes.as_mut_slice().into()).into_result().unwrap();
                assert_eq!((read as usize, &bytes[..]), (end - start, &whole[start..end]), "{start}..{end}");
            }
        }
    }

    #[test]
    fn what_others_hold_does_not_count_and_is_copied_before_it_is_changed() {
        let shared: Arc<dyn AsRef<[u8]> + Send + Sync> = Arc::new(1.0f32.to_le_bytes().to_vec());
        let tensor = |bytes| HostTensor { dtype: DType::F32, shape: vec![1, 1], bytes, scale: None };
        let tensors = Tensors::limited(0);
        tensors.keep(tensor(Bytes::Shared(shared.clone()))).unwrap();
        let mut changed = tensor(Bytes::Shared(shared.clone()));
        changed.bytes.to_mut()[3] = 0;
        assert_ne!(*changed.bytes, *shared.as_ref().as_ref());
        assert!(tensors.keep(changed).is_err());
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
