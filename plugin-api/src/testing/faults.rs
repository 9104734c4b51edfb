//! What can go wrong with a host, on request: a strategy should end such calls with an error that tells the cause.

use super::{TestHost, lock};
use crate::ops::{Op, Output};
use crate::tensors::HostTensor;
use crate::{Code, Error, Result};
use std::collections::BTreeMap;

/// What this host does wrong.
#[derive(Default)]
pub(super) struct Faults {
    failing: BTreeMap<&'static str, Error>,
    cancelled_at: Option<usize>,
    nan: Option<Output>,
    short: bool,
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

    /// An output of a model, as this host spoils it.
    pub(super) fn spoilt(&self, output: Output, mut tensor: HostTensor) -> HostTensor {
        let row_bytes = tensor.bytes.len().checked_div(tensor.shape[0] as usize).unwrap_or(0);
        if self.faults.nan == Some(output) && row_bytes > 0 {
            let middle = tensor.shape[0] as usize / 2 * row_bytes;
            tensor.bytes[middle..middle + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        self.shortened(tensor)
    }

    /// The tensor without its last row, where answers are short.
    pub(super) fn shortened(&self, mut tensor: HostTensor) -> HostTensor {
        if self.faults.short && tensor.shape[0] > 0 {
            let row_bytes = tensor.bytes.len() / tensor.shape[0] as usize;
            tensor.bytes.truncate(tensor.bytes.len() - row_bytes);
            tensor.shape[0] -= 1;
        }
        tensor
    }
}
