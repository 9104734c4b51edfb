//! One call into a plugin: the host's side of the binary surface.

use super::components::{self, ComponentAsk, Part};
use super::maths::Maths;
use super::task::{Question, TaskModel, found};
use super::train::{self, About, Items, Training};
use super::{Artifacts, Context, Entry, Remembered, Services, draw_map, features, put, refused};
use crate::engine;
use crate::foreign;
use crate::limits::{self, shortened};
use crate::wait;
use coldstart_plugin_api::__private::abi_stable::type_level::downcasting::TD_Opaque;
use coldstart_plugin_api::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RVec};
use coldstart_plugin_api::abi::{self, DType, Fault, HostRef, RRef, TensorId, TensorInfo};
use coldstart_plugin_api::ops::{self, Output, PredictArgs3};
use coldstart_plugin_api::tensors::{HostTensor, Tensors};
use coldstart_plugin_api::training::{Target, TrainSpec};
use coldstart_plugin_api::{Code, Error, Prequential, Result, Rng, wire};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// The services as one call sees them.
pub struct Call<'a> {
    services: &'a Services,
    context: Context<'a>,
    tensors: Tensors,
    asked: Mutex<Asked>,
    /// What operations have taken so far.
    worked: Mutex<Duration>,
    /// Bytes of the run's artifacts in other rounds.
    in_other_rounds: OnceLock<u64>,
    logged: Mutex<Logged>,
    /// What the task model said during this call, for those that are a part of it.
    remembered: Remembered,
}

/// What a call has written into the log.
#[derive(Debug, Default)]
struct Logged {
    lines: u64,
    bytes: u64,
    lines_left_out: u64,
    bytes_left_out: u64,
}

impl Logged {
    /// Whether one more line of so many bytes may be written; counted in any case.
    fn admits(&mut self, bytes: u64) -> bool {
        let fits = self.lines < limits::LOG_LINES.most && self.bytes + bytes <= limits::LOG_BYTES.most;
        let (lines, sum) = match fits {
            true => (&mut self.lines, &mut self.bytes),
            false => (&mut self.lines_left_out, &mut self.bytes_left_out),
        };
        *lines += 1;
        *sum += bytes;
        fits
    }
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

impl Asked {
    /// What a part of the call asked for comes on top.
    pub fn add(&mut self, more: Asked) {
        self.predicting += more.predicting;
        self.training += more.training;
        self.trainings.extend(more.trainings);
    }
}

impl<'a> Call<'a> {
    /// A call with no tensors yet.
    pub fn new(services: &'a Services, context: Context<'a>) -> Call<'a> {
        Call {
            services,
            context,
            tensors: Tensors::limited(services.tensor_bytes),
            asked: Mutex::default(),
            worked: Mutex::default(),
            in_other_rounds: OnceLock::new(),
            logged: Mutex::default(),
            remembered: Remembered::default(),
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

    /// Do something for the plugin within the time that is left for this call.
    fn in_time<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        if self.services.is_cancelled() || wait::interrupted() {
            return Err(Error::new(Code::CANCELLED, "cancelled"));
        }
        let worked = || self.worked.lock().unwrap_or_else(PoisonError::into_inner);
        let left = self.services.host_time.saturating_sub(*worked());
        let start = Instant::now();
        // A component's time is a part of that of the call which it belongs to.
        let outer = self.context.part.and_then(|part| part.until);
        self.services.set_until(start.checked_add(left).into_iter().chain(outer).min());
        let done = work();
        self.services.set_until(outer);
        *worked() += start.elapsed();
        match done {
            Err(error) if error.code == Code::CANCELLED && !self.services.is_cancelled() => Err(self.too_long()),
            done => done,
        }
    }

    fn too_long(&self) -> Error {
        let (seconds, times) = (self.services.host_time.as_secs_f64(), limits::HOST_TIME.most + 1);
        let message = format!("the program has worked {seconds} s for this call, {times} times `plugins.timeout`");
        Error::new(Code::HOST, message).with("hint", "ask for less, or raise `plugins.timeout`")
    }

    fn answer(&self, op: &str, args: &[u8], inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
        limits::INPUTS.check(inputs.len() as u64).map_err(refused)?;
        let empty = wire::encode(&ops::Empty {});
        match op {
            op if op == ops::POOL_INFO_1.0 => Ok((wire::encode(&self.pool_info()), vec![])),
            op if op == ops::ENV_INFO_1.0 => Ok((wire::encode(&self.services.env), vec![])),
            op if op == ops::POOL_PIXELS_1.0 => Ok((empty, vec![self.pixels(inputs)?])),
            op if op == ops::LABELS_GET_1.0 => Ok((empty, vec![self.labels(inputs)?])),
            op if op == ops::PREDICT_1.0 => {
                let ops::PredictArgs { outputs } = wire::decode(args)?;
                let args = PredictArgs3 { model: None, outputs, views: None, dropout: None };
                Ok((empty, self.predict(&args, inputs)?))
            }
            op if op == ops::PREDICT_2.0 => {
                let ops::PredictArgs2 { model, outputs, views } = wire::decode(args)?;
                Ok((empty, self.predict(&PredictArgs3 { model, outputs, views, dropout: None }, inputs)?))
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
            op if op == ops::RUN_INFO_1.0 => Ok((wire::encode(self.context.run), vec![])),
            op if op == ops::PREQUENTIAL_1.0 => Ok((empty, self.prequential(wire::decode(args)?))),
            op if op == ops::STRATEGY_SELECT_1.0 => Ok((empty, vec![self.choose(&wire::decode(args)?, inputs)?])),
            op if op == ops::ORACLE_LABELS_1.0 => Ok((empty, vec![self.oracle_labels(inputs)?])),
            op if op == ops::MAP_PUT_1.0 => {
                self.put_map(&wire::decode(args)?, inputs)?;
                Ok((empty, vec![]))
            }
            op if op == ops::ARTIFACT_PUT_1.0 => {
                self.put_artifact(wire::decode(args)?)?;
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
            images: self.pool().len() as u64,
            height: data.shape.height as u32,
            width: data.shape.width as u32,
            channels: data.shape.channels as u32,
            classes: data.classes.clone(),
        }
    }

    /// What the model said of images before they were labelled: ids, rounds, predicted classes, labels.
    fn prequential(&self, args: ops::PrequentialArgs) -> Vec<HostTensor> {
        let first = args.rounds.map_or(0, |rounds| self.context.round.saturating_sub(rounds));
        let rows = || self.context.prequential.iter().filter(|row| row.round >= first);
        let column = |of: fn(&Prequential) -> u64| HostTensor::of_u64(&rows().map(of).collect::<Vec<_>>());
        vec![column(|row| row.id), column(|row| row.round.into()), column(|row| row.predicted), column(|row| row.label)]
    }

    fn pixels(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let (data, positions) = (&self.services.data, self.positions(inputs)?);
        let (shape, n) = (data.shape, positions.len());
        if !shape.has_pixels() {
            return Err(without_images("its pixels"));
        }
        self.services.check_size(n, shape.bytes(), || format!("the pixels of {n} images"))?;
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

    fn predict(&self, args: &PredictArgs3, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let (ids, rows) = (self.ids(inputs)?, self.positions(inputs)?);
        let bad = |message: String| Error::new(Code::BAD_PARAMS, message);
        for op in args.views.iter().flat_map(|views| &views.ops) {
            op.check()?;
            if op.n_choices().is_some() {
                return Err(bad(format!("a view takes no operation with choices, such as {op:?}")));
            }
        }
        if args.views.is_some() && args.dropout.is_some() {
            return Err(bad("dropout goes with the image as it is, not with views".to_owned()));
        }
        let start = Instant::now();
        let PredictArgs3 { model, outputs, views, dropout } = args;
        if let (Some(remembered), None, None, None) = (self.remembered(), model, views, dropout) {
            let answers = self.predict_once(remembered, &rows, outputs)?;
            self.note(|asked| asked.predicting += start.elapsed());
            return Ok(answers.into_iter().map(of_matrix).collect());
        }
        let (views, dropout, seed) = (views.as_ref(), *dropout, self.context.seed);
        let question = Question { rows: &rows, ids: &ids, outputs, views, dropout, seed };
        let (n, n_passes) = (rows.len(), dropout.map_or(1, |d| d.passes as usize));
        let mut answers = self.with_model(model.as_deref(), |model, images| {
            let n_numbers = |output: &Output| {
                let passes = if is_in_passes(*output) { n_passes } else { 1 };
                model.width(*output).unwrap_or(0).saturating_mul(passes)
            };
            let n_each = outputs.iter().map(n_numbers).fold(0, usize::saturating_add);
            let what = || format!("{n_each} numbers for each of {n} images");
            self.services.check_size(n, n_each.saturating_mul(4), what)?;
            model.answer(images, &question, self.services)
        })?;
        self.note(|asked| asked.predicting += start.elapsed());
        let mut taken = |output: Output| found(answers.take(output));
        let tensor = |output: &Output| match dropout {
            Some(_) if is_in_passes(*output) => Ok(in_passes(taken(*output)?, n_passes)),
            _ => taken(*output).map(of_matrix),
        };
        outputs.iter().map(tensor).collect()
    }

    /// Where the task model's answers are remembered: in a call of a composing strategy, and in all that are a part of it.
    fn remembered(&self) -> Option<&Remembered> {
        let own = self.context.components.map(|_| &self.remembered);
        self.context.part.map(|part| part.remembered).or(own)
    }

    /// The task model on these rows of the pool as they are; rows that it was asked about before are not asked about again.
    fn predict_once(&self, remembered: &Remembered, rows: &[usize], outputs: &[Output]) -> Result<Vec<engine::Matrix>> {
        let ids = &self.services.data.pool.ids;
        self.with_model(None, |model, images| {
            let n_each = outputs.iter().map(|output| model.width(*output).unwrap_or(0)).fold(0, usize::saturating_add);
            let what = || format!("{n_each} numbers for each of {} images", rows.len());
            self.services.check_size(rows.len(), n_each.saturating_mul(4), what)?;
            remembered.answer(rows, outputs, self.services.tensor_bytes, |unknown| {
                let ids: Vec<u64> = unknown.iter().map(|row| ids[*row]).collect();
                model.answer(images, &Question::plain(unknown, &ids, outputs), self.services)
            })
        })
    }

    /// What another strategy chooses of some images.
    fn choose(&self, args: &ops::SelectArgs, inputs: &[TensorId]) -> Result<HostTensor> {
        let Some(components) = self.context.components else {
            let message = "this strategy names no others: its manifest says under `composes` which parameters do";
            return Err(Error::new(Code::UNSUPPORTED, message));
        };
        if !self.services.goes_on() {
            return Err(Error::new(Code::CANCELLED, "cancelled"));
        }
        let labelled = self.context.labelled;
        let candidates = components::candidates(self.ids(inputs)?, args.count, self.pool(), labelled)?;
        let pool = components::merged(&candidates, labelled);
        let forgotten = Artifacts::Forgotten;
        let ask = ComponentAsk {
            name: &args.strategy,
            count: args.count as usize,
            candidates: &candidates,
            keep: args.keep,
            seed: self.seed_for(args),
            round: self.context.round,
            labelled,
            prequential: self.context.prequential,
            part: Part { pool: &pool, until: self.services.until(), remembered: &self.remembered },
            artifacts: if args.keep { &self.context.artifacts } else { &forgotten },
        };
        let choice = components.choose(&ask)?;
        self.note(|asked| asked.add(choice.asked));
        Ok(HostTensor::of_u64(&choice.ids))
    }

    /// The seed of a component's call: drawn from this call's, for the component and the stream.
    fn seed_for(&self, args: &ops::SelectArgs) -> [u8; 32] {
        let mut seed = [0; 32];
        Rng::for_stream(self.context.seed, &format!("{}/{}", args.strategy, args.stream)).fill(&mut seed);
        seed
    }

    /// Ask the current task model, or the trained network of that name.
    fn with_model<T>(
        &self,
        name: Option<&str>,
        ask: impl FnOnce(&dyn TaskModel, &engine::Images) -> Result<T>,
    ) -> Result<T> {
        let Some(name) = name else {
            let task = self.services.task.lock();
            let Some(model) = task.current() else {
                let message = "no model is trained before the initial set is labelled";
                return Err(Error::new(Code::UNSUPPORTED, message));
            };
            return ask(model, &task.pool);
        };
        let mut network = self.services.network.lock().unwrap_or_else(PoisonError::into_inner);
        let model = match network.take().filter(|(known, _)| known == name) {
            Some((_, model)) => model,
            None => train::load(self.services, name)?,
        };
        let (_, model) = network.insert((name.to_owned(), model));
        ask(model, &self.services.task.lock().pool)
    }

    fn train(&self, spec: &TrainSpec, inputs: &[TensorId]) -> Result<(ops::TrainAnswer, Vec<HostTensor>)> {
        if !self.services.data.shape.has_pixels() {
            return Err(without_images("a network that is trained on it"));
        }
        limits::TRAININGS.check(self.note(|asked| asked.trainings.len() as u64) + 1).map_err(refused)?;
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
        Ok((answer, features.rows(self.services, &positions)?))
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
        let (positions, groups) = (self.positions(&[*ids])?, self.tensors.get(*groups)?.as_u64()?);
        let (places, n_cols) = self.tensors.get(*places)?.as_f32()?;
        if n_cols != 2 || places.len() != 2 * positions.len() || groups.len() != positions.len() {
            return Err(Error::new(Code::BAD_PARAMS, "a map needs two numbers and a group for each id"));
        }
        let Some(folder) = self.folder()? else { return Ok(()) };
        let failed = |error| Error::new(Code::HOST, format!("map `{}`: {error}", args.name));
        let files = draw_map(args, &self.services.data, &positions, &places, &groups, false).map_err(failed)?;
        self.charge(folder, &files)?;
        put(folder, &files).map_err(failed)
    }

    /// Errs when the round's or the run's folder of artifacts would hold more than it may with these files.
    fn charge(&self, folder: &Path, files: &[(String, Vec<u8>)]) -> Result<()> {
        let new = files.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        let (n_files, bytes) = inside(folder);
        let elsewhere = *self.in_other_rounds.get_or_init(|| in_siblings(folder));
        let all = limits::ARTIFACT_FILES.check(n_files + files.len() as u64);
        let all = all.and_then(|()| limits::ARTIFACTS_OF_A_ROUND.check(bytes + new));
        all.and_then(|()| limits::ARTIFACTS_OF_A_RUN.check(elsewhere + bytes + new)).map_err(refused)
    }

    fn put_artifact(&self, args: ops::ArtifactArgs) -> Result<()> {
        let bad = |message: &str| Error::new(Code::BAD_PARAMS, format!("artifact `{}`: {message}", args.name));
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if args.name.is_empty() || args.name.starts_with('.') || !args.name.chars().all(plain) {
            return Err(bad("a name has letters, digits, `.`, `_` and `-` only, and does not begin with a dot"));
        }
        limits::ARTIFACT.check(args.bytes.len() as u64).map_err(refused)?;
        let Some(folder) = self.folder().map_err(|error| bad(&error.message))? else { return Ok(()) };
        let name = args.name.clone();
        let files = [(args.name, args.bytes)];
        self.charge(folder, &files)?;
        put(folder, &files).map_err(|error| Error::new(Code::HOST, format!("artifact `{name}`: {error}")))
    }

    /// Where artifacts go; none where they are forgotten. Errs before the run has a folder.
    fn folder(&self) -> Result<Option<&Path>> {
        match &self.context.artifacts {
            Artifacts::NoFolder => Err(Error::new(Code::BAD_PARAMS, "the run has no folder yet")),
            Artifacts::Forgotten => Ok(None),
            Artifacts::In(folder) => Ok(Some(folder)),
        }
    }

    /// The images that the plugin sees, ascending: the pool, or to a component its part of it.
    fn pool(&self) -> &[u64] {
        self.context.part.map_or(&self.services.data.pool.ids, |part| part.pool)
    }

    /// Pool positions of the ids in the one input tensor.
    fn positions(&self, inputs: &[TensorId]) -> Result<Vec<usize>> {
        let (seen, pool) = (self.pool(), &self.services.data.pool.ids);
        let position = |id: &u64| {
            let position = pool.binary_search(id).ok().filter(|_| seen.binary_search(id).is_ok());
            position.ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("the image {id} is not in the pool")))
        };
        self.ids(inputs)?.iter().map(position).collect()
    }

    fn ids(&self, inputs: &[TensorId]) -> Result<Vec<u64>> {
        let [ids] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, format!("expected one tensor of ids, got {}", inputs.len())));
        };
        let (ids, n_images) = (self.tensors.get(*ids)?, self.services.data.pool.len() as u64);
        let most = limits::IDS.at(limits::IDS.most.saturating_mul(n_images));
        most.check(ids.shape.iter().product()).map_err(refused)?;
        ids.as_u64()
    }
}

/// How many files a folder holds, and how many bytes in them.
fn inside(folder: &Path) -> (u64, u64) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = files.filter_map(|file| file.metadata().ok()).map(|metadata| metadata.len());
    sizes.fold((0, 0), |(n, sum), size| (n + 1, sum + size))
}

/// Bytes in the folders beside a folder.
fn in_siblings(folder: &Path) -> u64 {
    let beside = folder.parent().into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    beside.map(|entry| entry.path()).filter(|other| other != folder).map(|other| inside(&other).1).sum()
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let logged = self.logged.get_mut().unwrap_or_else(PoisonError::into_inner);
        if logged.lines_left_out > 0 {
            let plugin = self.context.plugin;
            let (most, bytes) = (limits::LOG_LINES.figure(), limits::LOG_BYTES.figure());
            tracing::warn!(
                plugin,
                "{} lines of its log ({}) are left out: a call writes {most} and {bytes} at most",
                logged.lines_left_out,
                limits::Unit::Bytes.say(logged.bytes_left_out),
            );
        }
    }
}

/// Whether dropout makes many of this output.
fn is_in_passes(output: Output) -> bool {
    matches!(output, Output::Probabilities | Output::Logits)
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

/// The error about something that only images have.
fn without_images(what: &str) -> Error {
    let message = format!("the data set has features and no images: there is no such thing as {what}");
    Error::new(Code::UNSUPPORTED, message)
        .with("hint", "choose a strategy that looks at features and predictions alone")
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
            op if op == ops::STRATEGY_SELECT_1.0 => self.context.components.is_none(),
            op if op == ops::ORACLE_LABELS_1.0 => !self.services.oracles,
            op if op == ops::POOL_PIXELS_1.0 || op == ops::TRAIN_1.0 => !self.services.data.shape.has_pixels(),
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
            let asked = || self.answer(op.as_str(), args.as_slice(), inputs.as_slice());
            let (answer, tensors) = self.in_time(asked)?;
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
        let said = (target.len() + message.len() + fields.len()) as u64;
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        // What is cut counts as long as it is shown.
        if !logged.admits(said.min(limits::LOG_LINE.most)) {
            return;
        }
        drop(logged);
        let fields = if fields.len() > limits::LOG_LINE.length() { &[] } else { fields.as_slice() };
        let fields: BTreeMap<String, String> = wire::decode(fields).unwrap_or_default();
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        // A log line of a plugin's is one line.
        let (target, message, fields) =
            (foreign::word(target.as_str()), foreign::line(message.as_str()), foreign::line(&fields));
        let plugin = self.context.plugin;
        let line = shortened(format!("{target}: {message}{fields}"), limits::LOG_LINE.length());
        match level {
            1 => tracing::error!(plugin, "{line}"),
            2 => tracing::warn!(plugin, "{line}"),
            3 => tracing::info!(plugin, "{line}"),
            4 => tracing::debug!(plugin, "{line}"),
            _ => tracing::trace!(plugin, "{line}"),
        }
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        let stage = stage.as_str();
        let end = (0..=stage.len().min(limits::STAGE.length())).rev().find(|at| stage.is_char_boundary(*at));
        self.services.meter.tick(&stage[..end.unwrap_or(0)], done, total);
    }

    fn cancelled(&self) -> bool {
        self.services.is_cancelled() || wait::interrupted()
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        Rng::for_stream(self.context.seed, stream.as_str()).fill(into.as_mut_slice());
    }
}
