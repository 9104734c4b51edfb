//! One call into a plugin: the host's side of the binary surface.

use super::maths::Maths;
use super::train::{self, About, Items, Training, from_engine};
use super::{Context, Entry, Services, features, write_map};
use crate::engine::{self, Glances, Model, Outputs};
use crate::foreign;
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, Fault, HostRef, RRef, TensorId, TensorInfo};
use coldstart_plugin_api::ops::{self, Output};
use coldstart_plugin_api::tensors::{HostTensor, Tensors};
use coldstart_plugin_api::training::{Target, TrainSpec};
use coldstart_plugin_api::{Code, Error, Result, Rng, wire};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The largest artifact: they are small tables and images, and they stay with the run for good.
const LARGEST_ARTIFACT_BYTES: usize = 64 << 20;

/// What one call may write into the log.
const MOST_LOG_LINES: u32 = 1000;

/// The services as one call sees them.
pub struct Call<'a> {
    services: &'a Services,
    context: Context<'a>,
    tensors: Tensors,
    asked: Mutex<Asked>,
    log_lines: AtomicU32,
}

/// What a strategy had the host do during a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Asked {
    /// Time that networks took to answer.
    pub predicting: Duration,
    /// Time that trainings took, those from the cache included.
    pub training: Duration,
    /// Each training, in order.
    pub trainings: Vec<Training>,
}

impl<'a> Call<'a> {
    /// A call with no tensors yet.
    pub fn new(services: &'a Services, context: Context<'a>) -> Call<'a> {
        Call {
            services,
            context,
            tensors: Tensors::limited(services.tensor_bytes),
            asked: Mutex::default(),
            log_lines: AtomicU32::new(0),
        }
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

    /// What the strategy has asked for so far.
    pub fn asked(&self) -> Asked {
        self.note(|asked| asked.clone())
    }

    fn note<T>(&self, note: impl FnOnce(&mut Asked) -> T) -> T {
        note(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
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
            op if op == ops::PREDICT_1.0 => {
                let ops::PredictArgs { outputs } = wire::decode(args)?;
                let args = ops::PredictArgs3 { model: None, outputs, views: None, dropout: None };
                Ok((empty, self.predict(&args, inputs)?))
            }
            op if op == ops::PREDICT_2.0 => {
                let ops::PredictArgs2 { model, outputs, views } = wire::decode(args)?;
                Ok((empty, self.predict(&ops::PredictArgs3 { model, outputs, views, dropout: None }, inputs)?))
            }
            op if op == ops::PREDICT_3.0 => Ok((empty, self.predict(&wire::decode(args)?, inputs)?)),
            op if op == ops::TRAIN_1.0 => {
                let (answer, records) = self.train(&wire::decode(args)?, inputs)?;
                Ok((wire::encode(&answer), records))
            }
            op if op == ops::REPRESENT_1.0 => {
                let (answer, features) = self.represent(inputs)?;
                Ok((wire::encode(&answer), vec![features]))
            }
            op if op == ops::ORACLE_LABELS_1.0 => Ok((empty, vec![self.oracle_labels(inputs)?])),
            op if op == ops::MAP_PUT_1.0 => {
                self.put_map(&wire::decode(args)?, inputs)?;
                Ok((empty, vec![]))
            }
            op if op == ops::ARTIFACT_PUT_1.0 => {
                self.put_artifact(&wire::decode(args)?)?;
                Ok((empty, vec![]))
            }
            _ => {
                let inputs = inputs.iter().map(|id| self.tensors.get(*id)).collect::<Result<_>>()?;
                Maths { services: self.services, seed: self.context.seed, inputs }.answer(op, args)
            }
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
        Ok(HostTensor::new(DType::U8, axes.map(|axis| axis as u64).to_vec(), bytes))
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

    /// Labels for a strategy that the run marks as an oracle.
    fn oracle_labels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        if !self.services.oracles {
            let message = "labels of unlabelled images are for oracles, and the config allows none";
            let hint = "set `plugins.oracles = true`; every report of the run will say so";
            return Err(Error::new(Code::UNSUPPORTED, message).with("hint", hint));
        }
        let labels = &self.services.data.pool.labels;
        let of = |position: &usize| u64::from(labels[*position]);
        Ok(HostTensor::of_u64(&self.positions(inputs)?.iter().map(of).collect::<Vec<_>>()))
    }

    fn predict(&self, args: &ops::PredictArgs3, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let (ids, rows) = (self.ids(inputs)?, self.positions(inputs)?);
        let bad = |message: String| Error::new(Code::BAD_PARAMS, message);
        if let Some(op) = args.views.iter().flat_map(|views| &views.ops).find(|op| op.n_choices().is_some()) {
            return Err(bad(format!("a view takes no operation with choices, such as {op:?}")));
        }
        if args.views.is_some() && args.dropout.is_some() {
            return Err(bad("dropout goes with the image as it is, not with views".to_owned()));
        }
        let start = Instant::now();
        let wants = |output| args.outputs.contains(&output);
        let asked = Outputs {
            probabilities: wants(Output::Probabilities),
            logits: wants(Output::Logits),
            embeddings: wants(Output::Embeddings),
        };
        // Residuals are made of probabilities, and passes of embeddings: one sweep is enough for all of it.
        let swept = match args.dropout {
            Some(_) => Outputs { probabilities: wants(Output::Residuals), logits: false, embeddings: true },
            None => Outputs { probabilities: asked.probabilities || wants(Output::Residuals), ..asked },
        };
        let observer = &mut |progress: engine::PredictProgress| {
            self.services.meter.tick("predicting", progress.n_done as u64, progress.n_images as u64);
            match self.services.cancelled.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        };
        let seed = self.context.seed;
        let (mut predicted, mut passes) = self.with_model(args.model.as_deref(), |model, images| {
            if let Some(ops::Views { ops, count, clean, reduce }) = &args.views {
                let (count, clean, reduce) = (*count as usize, *clean, *reduce);
                let glances = Glances { ops, count, clean, reduce, seed, ids: &ids };
                return Ok((engine::predict_views(model, images, &rows, swept, glances, observer)?, None));
            }
            let predicted = engine::predict(model, images, &rows, swept, observer)?;
            let (Some(dropout), Some(embeds_nd)) = (args.dropout, &predicted.embeds_nd) else {
                return Ok((predicted, None));
            };
            let passes = engine::predict_passes(model, embeds_nd, asked, dropout, (seed, &ids), observer)?;
            Ok((predicted, Some(passes)))
        })?;
        self.note(|asked| asked.predicting += start.elapsed());
        let n_passes = args.dropout.map_or(1, |dropout| dropout.passes as usize);
        // Made first: they only look at the probabilities, all else is taken away.
        let mut residuals = wants(Output::Residuals).then(|| predicted.probs_nc.as_ref().map(residuals)).flatten();
        let tensor = |output: &Output| match (output, &mut passes) {
            (Output::Residuals, _) => found(residuals.take()).map(of_matrix),
            (Output::Probabilities, Some(passes)) => Ok(in_passes(found(passes.probs_n_kc.take())?, n_passes)),
            (Output::Logits, Some(passes)) => Ok(in_passes(found(passes.logits_n_kc.take())?, n_passes)),
            (Output::Probabilities, None) => found(predicted.probs_nc.take()).map(of_matrix),
            (Output::Logits, None) => found(predicted.logits_nc.take()).map(of_matrix),
            (Output::Embeddings, _) => found(predicted.embeds_nd.take()).map(of_matrix),
        };
        args.outputs.iter().map(tensor).collect()
    }

    /// Ask the current task model, or the trained network of that name.
    fn with_model<T>(
        &self,
        name: Option<&str>,
        ask: impl FnOnce(&Model, &engine::Images) -> std::result::Result<T, engine::EngineError>,
    ) -> Result<T> {
        let Some(name) = name else {
            let task = self.services.task.lock();
            let Some(model) = &task.model else {
                let message = "no model is trained before the initial set is labelled";
                return Err(Error::new(Code::UNSUPPORTED, message));
            };
            return ask(model, &task.pool).map_err(from_engine);
        };
        let mut network = self.services.network.lock().unwrap_or_else(PoisonError::into_inner);
        let model = match network.take().filter(|(known, _)| known == name) {
            Some((_, model)) => model,
            None => train::load(self.services, name)?,
        };
        let (_, model) = network.insert((name.to_owned(), model));
        ask(model, &self.services.task.lock().pool).map_err(from_engine)
    }

    fn train(&self, spec: &TrainSpec, inputs: &[TensorId]) -> Result<(ops::TrainAnswer, Vec<HostTensor>)> {
        let items = self.items(spec, inputs)?;
        let (entry, answer) = self.have_trained(|| train::train(self.services, spec, &items))?;
        let records = train::records(&entry)?;
        Ok((answer, records.iter().map(|record| HostTensor::of_f32(&record.values, record.n_cols)).collect()))
    }

    /// Have something trained, or found in the cache, and note it for the journal.
    fn have_trained(
        &self,
        train: impl FnOnce() -> Result<(Entry<About>, Training)>,
    ) -> Result<(Entry<About>, ops::TrainAnswer)> {
        let start = Instant::now();
        let (entry, training) = train()?;
        let Training { model, cached, loss, accuracy, .. } = training.clone();
        self.note(|asked| {
            asked.training += start.elapsed();
            asked.trainings.push(training);
        });
        Ok((entry, ops::TrainAnswer { model, cached, loss, accuracy }))
    }

    /// The images to train on, with what the inputs or the labels say of them.
    fn items(&self, spec: &TrainSpec, inputs: &[TensorId]) -> Result<Items> {
        let bad = |message: String| Error::new(Code::BAD_PARAMS, message);
        let (ids, targets) = inputs.split_at(inputs.len().min(1));
        let mut items = Items::of(self.positions(ids)?);
        match (&spec.target, targets) {
            (Target::Labels {}, []) => {
                let labels = self.labels(ids)?.as_u64()?.into_iter().map(|label| label as usize).collect();
                items.classes = Some((labels, self.services.data.classes.len()));
            }
            (Target::Classes { classes }, [given]) => {
                let given = self.tensors.get(*given)?.as_u64()?.into_iter().map(|class| class as usize).collect();
                items.classes = Some((given, *classes as usize));
            }
            (Target::Values {}, [given]) => items.values = Some(self.points(&[*given])?),
            (Target::Applied { .. } | Target::Instance {}, []) => {}
            (_, given) => {
                return Err(bad(format!(
                    "{} tensors of targets came with a spec that takes another number",
                    given.len()
                )));
            }
        }
        Ok(items)
    }

    /// The rows of the shared features: all of them in the pool's order are handed over without a copy.
    fn represent(&self, inputs: &[TensorId]) -> Result<(ops::TrainAnswer, HostTensor)> {
        let start = Instant::now();
        let positions = self.positions(inputs)?;
        let (features, training) = features::of_pool(self.services, self.context.features)?;
        let answer = features.answer(training.as_ref());
        self.note(|asked| {
            asked.training += start.elapsed();
            asked.trainings.extend(training);
        });
        Ok((answer, features.rows(&positions)))
    }

    fn points(&self, inputs: &[TensorId]) -> Result<engine::Matrix> {
        let [points] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, format!("expected one tensor of points, got {}", inputs.len())));
        };
        let (values, n_cols) = self.tensors.get(*points)?.as_f32()?;
        let n_rows = values.len().checked_div(n_cols).unwrap_or(0);
        Ok(engine::Matrix { values, n_rows, n_cols })
    }

    fn put_map(&self, args: &ops::MapArgs, inputs: &[TensorId]) -> Result<()> {
        let [ids, places, groups] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, "expected ids, places and groups"));
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if args.name.is_empty() || !args.name.chars().all(plain) {
            let message = format!("map `{}`: a name has letters, digits, `_` and `-` only", args.name);
            return Err(Error::new(Code::BAD_PARAMS, message));
        }
        let folder = self.context.artifacts.as_ref();
        let folder = folder.ok_or_else(|| Error::new(Code::BAD_PARAMS, "the run has no folder yet"))?;
        let (positions, groups) = (self.positions(&[*ids])?, self.tensors.get(*groups)?.as_u64()?);
        let (places, n_cols) = self.tensors.get(*places)?.as_f32()?;
        if n_cols != 2 || places.len() != 2 * positions.len() || groups.len() != positions.len() {
            return Err(Error::new(Code::BAD_PARAMS, "a map needs two numbers and a group for each id"));
        }
        write_map(folder, args, &self.services.data, &positions, &places, &groups, false)
            .map_err(|error| Error::new(Code::HOST, format!("map `{}`: {error}", args.name)))
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

fn found<T>(output: Option<T>) -> Result<T> {
    output.ok_or_else(|| Error::new(Code::HOST, "the engine left out an output, or was asked for one twice"))
}

fn of_matrix(matrix: engine::Matrix) -> HostTensor {
    let shape = [matrix.n_rows, matrix.n_cols].map(|axis| axis as u64);
    HostTensor::of_numbers(matrix.values, shape.to_vec())
}

/// Rows of passes, one after the other, as a tensor \[n, passes, c\].
fn in_passes(matrix: engine::Matrix, n_passes: usize) -> HostTensor {
    let shape = [matrix.n_rows, n_passes, matrix.n_cols / n_passes].map(|axis| axis as u64);
    HostTensor::of_numbers(matrix.values, shape.to_vec())
}

/// Each row of probabilities minus the one-hot vector of its largest one, the first of equal ones.
fn residuals(probs_nc: &engine::Matrix) -> engine::Matrix {
    let mut residuals_nc = probs_nc.clone();
    for row in residuals_nc.values.chunks_mut(probs_nc.n_cols.max(1)) {
        let most = (1..row.len()).fold(0, |most, c| if row[c] > row[most] { c } else { most });
        row[most] -= 1.0;
    }
    residuals_nc
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
        let op = op.as_str();
        let lacking = match op {
            op if op == ops::REPRESENT_1.0 => self.context.features.is_none(),
            op if op == ops::ORACLE_LABELS_1.0 => !self.services.oracles,
            _ => false,
        };
        ops::ALL.iter().any(|known| known.0 == op) && !lacking
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
            for tensor in tensors {
                outputs.push(self.tensors.keep(tensor)?);
            }
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
        // A log line of a plugin's is one line.
        let (target, message, fields) =
            (foreign::word(target.as_str()), foreign::line(message.as_str()), foreign::line(&fields));
        let plugin = self.context.plugin;
        match self.log_lines.fetch_add(1, Ordering::Relaxed) {
            ..MOST_LOG_LINES => {}
            MOST_LOG_LINES => {
                return tracing::warn!(plugin, "{MOST_LOG_LINES} lines in one call: the rest is not shown");
            }
            _ => return,
        }
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
