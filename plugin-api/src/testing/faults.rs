//! What can go wrong with a host, on request: a strategy should end such calls with an error that tells the cause.

use super::answers::Answer;
use super::{TestHost, lock};
use crate::abi::DType;
use crate::ops::{Op, Output};
use crate::tensors::HostTensor;
use crate::{Code, Error, Result, Rng};
use std::collections::BTreeMap;

/// What this host does wrong.
#[derive(Default)]
pub(super) struct Faults {
    failing: BTreeMap<&'static str, Error>,
    cancelled_at: Option<usize>,
    nan: Option<Output>,
    short: bool,
    garbling: Option<u64>,
}

impl TestHost {
    /// Let every call of an operation fail with this error.
    pub fn failing(mut self, op: Op, error: Error) -> TestHost {
        self.faults.failing.insert(op.0, error);
        self
    }

    /// Pretend that the user cancels during the operation number `call`, counted from 0 over all that a strategy asks:
    /// it and all later ones end with [`Code::CANCELLED`].
    pub fn cancelled_at(mut self, call: usize) -> TestHost {
        self.faults.cancelled_at = Some(call);
        self
    }

    /// Let the model's output hold a NaN, in the middle row of every answer.
    pub fn nan_in(mut self, output: Output) -> TestHost {
        self.faults.nan = Some(output);
        self
    }

    /// Let every answer of the model, of the representation and of a training lack a row, as a faulty host's would.
    pub fn short_answers(mut self) -> TestHost {
        self.faults.short = true;
        self
    }

    /// Damage about half of all answers, at random: messages cut off or with a bit turned, tensors left out, of another
    /// shape or type, or with a NaN in them. The same seed damages the same.
    pub fn garbling(mut self, seed: u64) -> TestHost {
        self.faults.garbling = Some(seed);
        self
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.faults.cancelled_at.is_some_and(|at| lock(&self.calls).len() > at)
    }

    /// Count a call, and end it here if it is one that goes wrong.
    pub(super) fn count(&self, op: &str) -> Result<()> {
        lock(&self.calls).push(op.to_owned());
        if self.is_cancelled() {
            return Err(Error::new(Code::CANCELLED, "cancelled"));
        }
        if !self.offers(op) {
            return Err(Error::new(Code::UNSUPPORTED, "this test host does not offer it"));
        }
        self.faults.failing.get(op).map_or(Ok(()), |error| Err(error.clone()))
    }

    /// An answer on its way out, damaged if that is wanted.
    pub(super) fn garbled(&self, (mut message, mut tensors): Answer) -> Answer {
        let Some(seed) = self.faults.garbling else { return (message, tensors) };
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Rng::for_stream(key, &format!("garbling {}", lock(&self.calls).len()));
        let at = |rng: &mut Rng, length: usize| rng.below(length.max(1) as u64) as usize;
        match (rng.below(8), message.len(), tensors.len()) {
            (0, 1.., _) => message.truncate(at(&mut rng, message.len())),
            (1, 1.., _) => {
                let damaged = at(&mut rng, message.len());
                message[damaged] ^= 1 << rng.below(8);
            }
            (2, _, 1..) => _ = tensors.pop(),
            (3 | 4, _, n @ 1..) => damage(&mut tensors[at(&mut rng, n)], &mut rng),
            _ => {}
        }
        (message, tensors)
    }

    /// An output of a model, as this host spoils it.
    pub(super) fn spoilt(&self, output: Output, mut tensor: HostTensor) -> HostTensor {
        let row_bytes = tensor.bytes.len().checked_div(tensor.shape[0] as usize).unwrap_or(0);
        if self.faults.nan == Some(output) && row_bytes > 0 {
            let middle = tensor.shape[0] as usize / 2 * row_bytes;
            tensor.bytes.to_mut()[middle..middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        self.shortened(tensor)
    }

    /// The tensor without its last row, where answers are short.
    pub(super) fn shortened(&self, mut tensor: HostTensor) -> HostTensor {
        if self.faults.short && tensor.shape[0] > 0 {
            let row_bytes = tensor.bytes.len() / tensor.shape[0] as usize;
            let left = tensor.bytes.len() - row_bytes;
            tensor.bytes.to_mut().truncate(left);
            tensor.shape[0] -= 1;
        }
        tensor
    }
}

/// Another shape, another type, fewer elements, or a NaN; shape and bytes still agree.
fn damage(tensor: &mut HostTensor, rng: &mut Rng) {
    let n_elements: u64 = tensor.shape.iter().product();
    tensor.scale = None;
    match rng.below(4) {
        0 => tensor.shape = vec![n_elements],
        1 => (tensor.dtype, tensor.shape) = (DType::U8, vec![tensor.bytes.len() as u64]),
        2 => {
            let n_left = rng.below(n_elements + 1);
            tensor.bytes.to_mut().truncate((n_left * tensor.dtype.size()) as usize);
            tensor.shape = vec![n_left, 1];
        }
        _ => {
            let nan = f32::NAN.to_le_bytes();
            tensor.bytes.to_mut().chunks_exact_mut(4).step_by(3).for_each(|element| element.copy_from_slice(&nan));
        }
    }
}
