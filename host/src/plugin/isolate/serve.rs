//! What a worker asks the host, answered by the same object that a plugin in this process would call.

use super::frames::{Answer, Ask};
use crate::limits;
use crate::plugin::load::seal;
use coldstart_plugin_api::abi::std_types::{RSliceMut, RVec};
use coldstart_plugin_api::abi::{self, DType, HostRef, TensorId, TensorInfo};
use coldstart_plugin_api::{Code, Error};
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

/// Bytes that go from a tensor to its memory file in one step.
const STEP: usize = 1 << 20;

/// The answer, and the descriptor that goes with it.
pub fn serve(host: &HostRef<'_>, ask: Ask) -> (Answer, Option<OwnedFd>) {
    let answered = match ask {
        Ask::TensorRead { tensor } => return read(host, TensorId(tensor)),
        Ask::Supports { op } => Ok(Answer::Supported { yes: host.supports(op.as_str().into()) }),
        Ask::Invoke { op, args, inputs } => invoke(host, &op, &args, &inputs),
        Ask::TensorInfo { tensor } => info(host, TensorId(tensor)).map(|info| described(&info)),
        Ask::TensorPut { dtype, shape, bytes } => {
            let kept = host.tensor_put(DType(dtype), shape.as_slice().into(), bytes.as_slice().into());
            kept.into_result().map(|tensor| Answer::Kept { tensor: tensor.0 })
        }
        Ask::Random { stream, count } => random(host, &stream, count),
    };
    (answered.unwrap_or_else(|fault| Answer::Fault(fault.into())), None)
}

fn invoke(host: &HostRef<'_>, op: &str, args: &[u8], inputs: &[u64]) -> Result<Answer, abi::Fault> {
    let inputs: Vec<TensorId> = inputs.iter().copied().map(TensorId).collect();
    let mut outputs = RVec::new();
    let answer = host.invoke(op.into(), args.into(), inputs.as_slice().into(), &mut outputs).into_result()?;
    Ok(Answer::Invoked { answer: answer.into_vec(), outputs: outputs.iter().map(|tensor| tensor.0).collect() })
}

fn random(host: &HostRef<'_>, stream: &str, count: u64) -> Result<Answer, abi::Fault> {
    if let Err(excess) = limits::RANDOM.check(count) {
        return Err(Error::new(Code::BAD_PARAMS, excess.to_string()).into());
    }
    let mut bytes = vec![0; count as usize];
    host.rng_fill(stream.into(), RSliceMut::from(bytes.as_mut_slice()));
    Ok(Answer::Random { bytes })
}

fn info(host: &HostRef<'_>, tensor: TensorId) -> Result<TensorInfo, abi::Fault> {
    host.tensor_info(tensor).into_result()
}

fn described(info: &TensorInfo) -> Answer {
    Answer::Tensor { dtype: info.dtype.0, shape: info.shape.to_vec() }
}

/// A tensor as a sealed memory file, which the worker can read and nobody can change.
fn read(host: &HostRef<'_>, tensor: TensorId) -> (Answer, Option<OwnedFd>) {
    let failed = |error: io::Error| -> abi::Fault {
        Error::new(Code::HOST, format!("a tensor cannot be handed over: {error}")).into()
    };
    let read = info(host, tensor).and_then(|info| {
        let memfd = rustix::fs::memfd_create("coldstart-tensor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
        let mut file = File::from(memfd.map_err(|error| failed(error.into()))?);
        let (mut buffer, mut offset) = (vec![0; STEP], 0);
        loop {
            let into = RSliceMut::from(buffer.as_mut_slice());
            let count = host.tensor_read(tensor, offset, into).into_result()?;
            if count == 0 {
                return Ok((described(&info), seal(file).map_err(failed)?));
            }
            file.write_all(&buffer[..count as usize]).map_err(failed)?;
            offset += count;
        }
    });
    match read {
        Ok((answer, memfd)) => (answer, Some(memfd)),
        Err(fault) => (Answer::Fault(fault.into()), None),
    }
}
