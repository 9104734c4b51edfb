//! One call into a plugin: the host's side of the binary surface.

use super::{Context, Services};
use crate::engine::{self, Outputs, Predictions};
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, Fault, HostRef, RRef, TensorId, TensorInfo};
use coldstart_plugin_api::ops::{self, Output};
use coldstart_plugin_api::tensors::{HostTensor, Tensors};
use coldstart_plugin_api::{Code, Error, Result, Rng, wire};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest artifact: they are small tables and images, and they stay with the run for good.
const LARGEST_ARTIFACT_BYTES: usize = 64 << 20;

/// The services as one call sees them.
pub struct Call<'a> {
    services: &'a Services,
    context: Context<'a>,
    tensors: Tensors,
    predicting: Mutex<Duration>,
}

impl<'a> Call<'a> {
    /// A call with no tensors yet.
    pub fn new(services: &'a Services, context: Context<'a>) -> Call<'a> {
        Call { services, context, tensors: Tensors::default(), predicting: Mutex::default() }
    }

    /// The form in which a plugin gets it.
    pub fn as_host(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    /// The request for `budget` images; its tensors live as long as the call.
    pub fn request(&self, round: u32, budget: usize, unlabelled: &[u64]) -> abi::Request {
        abi::Request {
            round,
            budget: budget as u64,
            seed: self.context.seed,
            unlabelled: self.tensors.insert(HostTensor::of_u64(unlabelled)),
            labelled: self.tensors.insert(HostTensor::of_u64(self.context.labelled)),
            extra: RVec::new(),
        }
    }

    /// Time that the model has taken to answer, so far.
    pub fn predicting(&self) -> Duration {
        *self.predicting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, op: &str, args: &[u8], inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
        if self.services.cancelled.load(Ordering::Relaxed) {
            return Err(Error::new(Code::CANCELLED, "cancelled"));
        }
        let empty = wire::encode(&ops::Empty {});
        match op {
            op if op == ops::POOL_INFO_1.0 => Ok((wire::encode(&self.pool_info()), vec![])),
            op if op == ops::ENV_INFO_1.0 => Ok((wire::encode(&self.services.env), vec![])),
            op if op == ops::POOL_PIXELS_1.0 => Ok((empty, vec![self.pixels(inputs)?])),
            op if op == ops::LABELS_GET_1.0 => Ok((empty, vec![self.labels(inputs)?])),
            op if op == ops::PREDICT_1.0 => Ok((empty, self.predict(&wire::decode(args)?, inputs)?)),
            op if op == ops::ARTIFACT_PUT_1.0 => {
                self.put_artifact(&wire::decode(args)?)?;
                Ok((empty, vec![]))
            }
            _ => Err(Error::new(Code::UNSUPPORTED, format!("this host has no operation `{op}`"))),
        }
    }

    fn pool_info(&self) -> ops::PoolInfo {
        let data = &self.services.data;
        ops::PoolInfo {
            images: data.pool.len() as u64,
            height: data.shape.height as u32,
            width: data.shape.width as u32,
            channels: data.shape.channels as u32,
            classes: data.classes.clone(),
        }
    }

    fn pixels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let (data, positions) = (&self.services.data, self.positions(inputs)?);
        let shape = data.shape;
        let image = |position: &usize| &data.pool.pixels_nhwc[position * shape.bytes()..][..shape.bytes()];
        let bytes = positions.iter().flat_map(image).copied().collect();
        let axes = [positions.len(), shape.height, shape.width, shape.channels];
        Ok(HostTensor { dtype: DType::U8, shape: axes.map(|axis| axis as u64).to_vec(), bytes })
    }

    fn labels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let pool = &self.services.data.pool;
        let label = |id: &u64| match (self.context.labelled.binary_search(id), pool.ids.binary_search(id)) {
            (Ok(_), Ok(position)) => Ok(u64::from(pool.labels[position])),
            _ => Err(Error::new(Code::BAD_PARAMS, format!("the image {id} is not labelled"))),
        };
        let labels: Vec<u64> = self.ids(inputs)?.iter().map(label).collect::<Result<_>>()?;
        Ok(HostTensor::of_u64(&labels))
    }

    fn predict(&self, args: &ops::PredictArgs, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let rows = self.positions(inputs)?;
        let start = Instant::now();
        let wants = |output| args.outputs.contains(&output);
        let outputs = Outputs {
            probabilities: wants(Output::Probabilities),
            logits: wants(Output::Logits),
            embeddings: wants(Output::Embeddings),
        };
        let task = self.services.task.lock();
        let Some(model) = &task.model else {
            return Err(Error::new(Code::UNSUPPORTED, "no model is trained before the initial set is labelled"));
        };
        let predicted = engine::predict(model, &task.pool, &rows, outputs, &mut |progress| {
            self.services.meter.tick("predicting", progress.n_done as u64, progress.n_images as u64);
            match self.services.cancelled.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        let predicted = predicted.map_err(|error| Error::new(Code::HOST, error.to_string()))?;
        *self.predicting.lock().unwrap_or_else(PoisonError::into_inner) += start.elapsed();
        args.outputs.iter().map(|output| as_tensor(&predicted, *output)).collect()
    }

    fn put_artifact(&self, args: &ops::ArtifactArgs) -> Result<()> {
        let bad = |message: &str| Error::new(Code::BAD_PARAMS, format!("artifact `{}`: {message}", args.name));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if args.name.is_empty() || args.name.starts_with('.') || !args.name.chars().all(plain) {
            return Err(bad("a name has letters, digits, `.`, `_` and `-` only, and does not begin with a dot"));
        }
        if args.bytes.len() > LARGEST_ARTIFACT_BYTES {
            return Err(bad("larger than 64 MiB"));
        }
        let folder = self.context.artifacts.as_ref().ok_or_else(|| bad("the run has no folder yet"))?;
        let written =
            std::fs::create_dir_all(folder).and_then(|()| std::fs::write(folder.join(&args.name), &args.bytes));
        written.map_err(|error| Error::new(Code::HOST, format!("artifact `{}`: {error}", args.name)))
    }

    /// Pool positions of the ids in the one input tensor.
    fn positions(&self, inputs: &[TensorId]) -> Result<Vec<usize>> {
        let pool = &self.services.data.pool.ids;
        let position = |id: &u64| {
            pool.binary_search(id)
                .map_err(|_| Error::new(Code::BAD_PARAMS, format!("the image {id} is not in the pool")))
        };
        self.ids(inputs)?.iter().map(position).collect()
    }

    fn ids(&self, inputs: &[TensorId]) -> Result<Vec<u64>> {
        let [ids] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, format!("expected one tensor of ids, got {}", inputs.len())));
        };
        self.tensors.get(*ids)?.as_u64()
    }
}

fn as_tensor(predicted: &Predictions, output: Output) -> Result<HostTensor> {
    let matrix = match output {
        Output::Probabilities => &predicted.probs_nc,
        Output::Logits => &predicted.logits_nc,
        Output::Embeddings => &predicted.embeds_nd,
    };
    let matrix = matrix.as_ref().ok_or_else(|| Error::new(Code::HOST, "the engine left out an output"))?;
    Ok(HostTensor::of_f32(&matrix.values, matrix.n_cols))
}

/// A panic of the host's own must not unwind into the plugin's frames.
fn contained<T>(body: impl FnOnce() -> Result<T>) -> RResult<T, Fault> {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(value)) => ROk(value),
        Ok(Err(error)) => RErr(error.into()),
        Err(_) => RErr(Error::new(Code::HOST, "the host panicked while it served an operation").into()),
    }
}

impl abi::Host for Call<'_> {
    fn supports(&self, op: RStr<'_>) -> bool {
        ops::ALL.iter().any(|known| known.0 == op.as_str())
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, Fault> {
        contained(|| {
            let (answer, tensors) = self.answer(op.as_str(), args.as_slice(), inputs.as_slice())?;
            outputs.extend(tensors.into_iter().map(|tensor| self.tensors.insert(tensor)));
            Ok(answer.into())
        })
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

    fn log_enabled(&self, level: u8, _: RStr<'_>) -> bool {
        match level {
            1 => tracing::enabled!(tracing::Level::ERROR),
            2 => tracing::enabled!(tracing::Level::WARN),
            3 => tracing::enabled!(tracing::Level::INFO),
            4 => tracing::enabled!(tracing::Level::DEBUG),
            _ => tracing::enabled!(tracing::Level::TRACE),
        }
    }

    fn log(&self, level: u8, target: RStr<'_>, message: RStr<'_>, fields: RSlice<'_, u8>) {
        let fields: BTreeMap<String, String> = wire::decode(fields.as_slice()).unwrap_or_default();
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        let plugin = self.context.plugin;
        match level {
            1 => tracing::error!(plugin, "{target}: {message}{fields}"),
            2 => tracing::warn!(plugin, "{target}: {message}{fields}"),
            3 => tracing::info!(plugin, "{target}: {message}{fields}"),
            4 => tracing::debug!(plugin, "{target}: {message}{fields}"),
            _ => tracing::trace!(plugin, "{target}: {message}{fields}"),
        }
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        self.services.meter.tick(stage.as_str(), done, total);
    }

    fn cancelled(&self) -> bool {
        self.services.cancelled.load(Ordering::Relaxed)
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        Rng::for_stream(self.context.seed, stream.as_str()).fill(into.as_mut_slice());
    }
}
