//! The test host as the border sees it.

use super::{TestHost, lock};
use crate::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RVec};
use crate::abi::{self, DType, Fault, TensorId, TensorInfo};
use crate::{Rng, ops};

/// Lines beyond this many are not kept.
const MOST_HEARD: usize = 100_000;

impl TestHost {
    fn hear(&self, line: String) {
        let mut heard = lock(&self.heard);
        if heard.len() < MOST_HEARD {
            heard.push(line);
        }
    }
}

impl abi::Host for TestHost {
    fn supports(&self, op: RStr<'_>) -> bool {
        ops::ALL.iter().any(|known| known.0 == op.as_str()) && self.offers(op.as_str())
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, Fault> {
        match self.answer(op.as_str(), args.as_slice(), inputs.as_slice()) {
            Ok(answer) => {
                let (answer, tensors) = self.garbled(answer);
                outputs.extend(tensors.into_iter().map(|tensor| self.tensors.insert(tensor)));
                ROk(answer.into())
            }
            Err(error) => RErr(error.into()),
        }
    }

    fn tensor_info(&self, tensor: TensorId) -> RResult<TensorInfo, Fault> {
        self.tensors.info(tensor)
    }

    fn tensor_read(&self, tensor: TensorId, byte_offset: u64, into: RSliceMut<'_, u8>) -> RResult<u64, Fault> {
        self.tensors.read(tensor, byte_offset, into)
    }

    fn tensor_put(&self, dtype: DType, shape: RSlice<'_, u64>, bytes: RSlice<'_, u8>) -> RResult<TensorId, Fault> {
        self.tensors.put(dtype, shape.as_slice(), bytes.as_slice())
    }

    fn tensor_release(&self, tensor: TensorId) {
        self.tensors.release(tensor);
    }

    fn log_enabled(&self, _: u8, _: RStr<'_>) -> bool {
        true
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, _: RSlice<'_, u8>) {
        self.hear(format!("{level} {target}: {message}"));
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        self.hear(format!("progress {stage}: {done}/{total}"));
        let mut progress = lock(&self.progress);
        if progress.len() < MOST_HEARD {
            progress.push((stage.as_str().to_owned(), done, total));
        }
    }

    fn cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        Rng::for_stream(self.seed, stream.as_str()).fill(into.as_mut_slice());
    }
}
