//! A host for tests: runs a strategy as the program does, without the program, libtorch or a GPU.
//!
//! The strategy is called through the same binary surface as in a loaded library, so panics, parameters and wrong
//! answers are met here as they would be there.

use crate::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use crate::abi::{self, DType, Fault, HostRef, RRef, TensorId, TensorInfo};
use crate::ops::{self, Op, Output};
use crate::tensors::{HostTensor, Tensors};
use crate::training::{Pass, TrainSpec};
use crate::{Code, Error, Request, Result, Rng, Selection, export, wire};
use abi_stable::type_level::downcasting::TD_Opaque;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// A pool, a pretended model, and a record of what a strategy did with them.
///
/// ```
/// # use coldstart_plugin_api::*;
/// # use coldstart_plugin_api::testing::TestHost;
/// # struct First;
/// # impl Strategy for First {
/// #     type Params = NoParams;
/// #     fn new(_: NoParams, _: &Host<'_>) -> Result<Self> { Ok(First) }
/// #     fn select(&mut self, request: &Request, _: &Host<'_>) -> Result<Selection> {
/// #         Ok(Selection::of(request.unlabelled[..request.budget].to_vec()))
/// #     }
/// # }
/// let host = TestHost::new(10).labelled(&[0, 3]);
/// let selection = host.select::<First>("{}", 2).unwrap();
/// assert_eq!(selection.ids, [1, 2]);
/// ```
pub struct TestHost {
    ids: Vec<u64>,
    labelled: Vec<u64>,
    labels: BTreeMap<u64, u64>,
    outputs: BTreeMap<&'static str, Rows>,
    trainings: BTreeMap<String, Training>,
    representation: Option<Rows>,
    missing: Vec<&'static str>,
    round: u32,
    seed: [u8; 32],
    tensors: Tensors,
    heard: Mutex<Vec<String>>,
    artifacts: Mutex<BTreeMap<String, Vec<u8>>>,
    specs: Mutex<Vec<TrainSpec>>,
    maps: Mutex<Vec<TestMap>>,
}

/// One row for each pool image, and how long a row is.
type Rows = (Vec<f32>, usize);

/// What a pretended training leaves behind.
#[derive(Default)]
struct Training {
    records: Vec<Vec<Vec<f32>>>,
    outputs: BTreeMap<&'static str, Rows>,
}

/// A map that a strategy put.
#[derive(Debug, Clone, PartialEq)]
pub struct TestMap {
    /// What it says of itself.
    pub args: ops::MapArgs,
    /// The images.
    pub ids: Vec<u64>,
    /// Two numbers for each image.
    pub places: Vec<f32>,
    /// A group for each image.
    pub groups: Vec<u64>,
}

impl TestHost {
    /// A pool of `n` one-pixel images with the ids 0..n, none labelled, and no model.
    pub fn new(n: u64) -> TestHost {
        TestHost::with_ids((0..n).collect())
    }

    /// A pool with these ids, ascending.
    pub fn with_ids(ids: Vec<u64>) -> TestHost {
        TestHost {
            ids,
            labelled: Vec::new(),
            labels: BTreeMap::new(),
            outputs: BTreeMap::new(),
            trainings: BTreeMap::new(),
            representation: None,
            missing: Vec::new(),
            round: 1,
            seed: [0; 32],
            tensors: Tensors::default(),
            heard: Mutex::new(Vec::new()),
            artifacts: Mutex::new(BTreeMap::new()),
            specs: Mutex::new(Vec::new()),
            maps: Mutex::new(Vec::new()),
        }
    }

    /// Make these images the labelled set.
    pub fn labelled(mut self, ids: &[u64]) -> TestHost {
        self.labelled = ids.to_vec();
        self.labelled.sort_unstable();
        self
    }

    /// Say the class of a pool image; a strategy can read it once the image is labelled.
    pub fn label(mut self, id: u64, class: u64) -> TestHost {
        self.labels.insert(id, class);
        self
    }

    /// Pretend a model that answers these class probabilities, one row for each pool image.
    pub fn probabilities<const C: usize>(self, rows: &[[f32; C]]) -> TestHost {
        self.output(Output::Probabilities, rows)
    }

    /// Pretend a model with this output, one row for each pool image.
    pub fn output<const M: usize>(mut self, output: Output, rows: &[[f32; M]]) -> TestHost {
        self.outputs.insert(output.name(), (rows.concat(), M));
        self
    }

    /// Pretend that a training whose spec has this name leaves these records: for each record its rows (one for each
    /// epoch, or one), for each row a number for each pool image.
    pub fn trained(mut self, name: &str, records: Vec<Vec<Vec<f32>>>) -> TestHost {
        self.trainings.entry(name.to_owned()).or_default().records = records;
        self
    }

    /// Pretend that the network of that training has this output, one row for each pool image.
    pub fn trained_output<const M: usize>(mut self, name: &str, output: Output, rows: &[[f32; M]]) -> TestHost {
        let training = self.trainings.entry(name.to_owned()).or_default();
        training.outputs.insert(output.name(), (rows.concat(), M));
        self
    }

    /// Pretend a shared representation, one row for each pool image.
    pub fn representation<const D: usize>(mut self, rows: &[[f32; D]]) -> TestHost {
        self.representation = Some((rows.concat(), D));
        self
    }

    /// Stop offering an operation.
    pub fn without(mut self, op: Op) -> TestHost {
        self.missing.push(op.0);
        self
    }

    /// The round to ask in (1 unless told otherwise).
    pub fn round(mut self, round: u32) -> TestHost {
        self.round = round;
        self
    }

    /// The seed of the request.
    pub fn seed(mut self, seed: [u8; 32]) -> TestHost {
        self.seed = seed;
        self
    }

    /// What a request for `budget` images looks like here.
    pub fn request(&self, budget: usize) -> Request {
        let unlabelled: Vec<u64> =
            self.ids.iter().copied().filter(|id| self.labelled.binary_search(id).is_err()).collect();
        Request {
            round: self.round,
            budget: budget.min(unlabelled.len()),
            seed: self.seed,
            unlabelled,
            labelled: self.labelled.clone(),
        }
    }

    /// Make an instance with these parameters (JSON) and ask it once.
    pub fn select<S: crate::Strategy>(&self, params_json: &str, budget: usize) -> Result<Selection> {
        let mut instance = export::instance::<S>(params_json, self.as_ref())?;
        let request = self.request(budget);
        let request = abi::Request {
            round: request.round,
            budget: request.budget as u64,
            seed: request.seed,
            unlabelled: self.tensors.insert(HostTensor::of_u64(&request.unlabelled)),
            labelled: self.tensors.insert(HostTensor::of_u64(&request.labelled)),
            extra: RVec::new(),
        };
        let selection = instance.select(&request, self.as_ref()).into_result();
        self.tensors.release(request.unlabelled);
        self.tensors.release(request.labelled);
        let selection = selection?;
        Ok(Selection { ids: selection.ids.into_vec(), scores: selection.scores.into_vec() })
    }

    /// What the strategy logged, as `level target: message`.
    pub fn logged(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The artifacts that the strategy put, by name.
    pub fn artifacts(&self) -> BTreeMap<String, Vec<u8>> {
        self.artifacts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The specs that the strategy had trained, in order.
    pub fn specs(&self) -> Vec<TrainSpec> {
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The maps that the strategy put, in order.
    pub fn maps(&self) -> Vec<TestMap> {
        self.maps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tensors that were not released: 0 after a well-behaved call.
    pub fn tensors_left(&self) -> usize {
        self.tensors.len()
    }

    fn as_ref(&self) -> HostRef<'_> {
        HostRef::from_ptr(RRef::new(self), TD_Opaque)
    }

    fn answer(&self, op: &str, args: &[u8], inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
        if self.missing.contains(&op) {
            return Err(Error::new(Code::UNSUPPORTED, "this test host does not offer it"));
        }
        let empty = wire::encode(&ops::Empty {});
        match op {
            op if op == ops::POOL_INFO_1.0 => Ok((wire::encode(&self.pool_info()), vec![])),
            op if op == ops::ENV_INFO_1.0 => {
                Ok((wire::encode(&ops::EnvInfo { threads: 1, device: "cpu".to_owned() }), vec![]))
            }
            op if op == ops::POOL_PIXELS_1.0 => {
                let positions = self.positions(inputs)?;
                let shape = vec![positions.len() as u64, 1, 1, 1];
                let bytes = positions.iter().map(|position| *position as u8).collect();
                Ok((empty, vec![HostTensor { dtype: DType::U8, shape, bytes }]))
            }
            op if op == ops::LABELS_GET_1.0 => Ok((empty, vec![self.labels_of(inputs)?])),
            op if op == ops::PREDICT_1.0 => {
                let args: ops::PredictArgs = wire::decode(args)?;
                let positions = self.positions(inputs)?;
                let outputs = args.outputs.iter().map(|output| rows(&self.outputs, *output, &positions));
                Ok((empty, outputs.collect::<Result<_>>()?))
            }
            op if op == ops::PREDICT_2.0 => Ok((empty, self.predict(&wire::decode(args)?, inputs)?)),
            op if op == ops::TRAIN_1.0 => self.train(wire::decode(args)?, inputs),
            op if op == ops::REPRESENT_1.0 => {
                let missing = || Error::new(Code::UNSUPPORTED, "this test host has no representation");
                let features = pick(self.representation.as_ref().ok_or_else(missing)?, &self.positions(inputs)?);
                Ok((wire::encode(&answer_of("representation")), vec![features]))
            }
            op if op == ops::KMEANS_1.0 => self.kmeans(&wire::decode(args)?, inputs),
            op if op == ops::KNN_1.0 => Ok((empty, self.knn(&wire::decode(args)?, inputs)?)),
            op if op == ops::MAP_PUT_1.0 => {
                let [ids, places, groups] = inputs else {
                    return Err(Error::new(Code::BAD_PARAMS, "expected ids, places and groups"));
                };
                let map = TestMap {
                    args: wire::decode(args)?,
                    ids: self.tensors.get(*ids)?.as_u64()?,
                    places: self.tensors.get(*places)?.as_f32()?.0,
                    groups: self.tensors.get(*groups)?.as_u64()?,
                };
                self.maps.lock().unwrap_or_else(PoisonError::into_inner).push(map);
                Ok((empty, vec![]))
            }
            op if op == ops::ARTIFACT_PUT_1.0 => {
                let args: ops::ArtifactArgs = wire::decode(args)?;
                self.artifacts.lock().unwrap_or_else(PoisonError::into_inner).insert(args.name, args.bytes);
                Ok((empty, vec![]))
            }
            _ => Err(Error::new(Code::UNSUPPORTED, "no such operation")),
        }
    }

    fn pool_info(&self) -> ops::PoolInfo {
        let n_classes = self.outputs.get(Output::Probabilities.name()).map_or(2, |(_, n_cols)| *n_cols);
        let classes = (0..n_classes).map(|class| class.to_string()).collect();
        ops::PoolInfo { images: self.ids.len() as u64, height: 1, width: 1, channels: 1, classes }
    }

    fn positions(&self, inputs: &[TensorId]) -> Result<Vec<usize>> {
        let position = |id: &u64| {
            self.ids.binary_search(id).map_err(|_| Error::new(Code::BAD_PARAMS, format!("id {id} is not in the pool")))
        };
        self.input(inputs)?.iter().map(position).collect()
    }

    fn labels_of(&self, inputs: &[TensorId]) -> Result<HostTensor> {
        let label = |id: &u64| {
            let labelled = self.labelled.binary_search(id).is_ok();
            let label = self.labels.get(id).filter(|_| labelled).copied();
            label.ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("id {id} is not labelled")))
        };
        let labels: Vec<u64> = self.input(inputs)?.iter().map(label).collect::<Result<_>>()?;
        Ok(HostTensor::of_u64(&labels))
    }

    fn input(&self, inputs: &[TensorId]) -> Result<Vec<u64>> {
        let [ids] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, "expected one input tensor of ids"));
        };
        self.tensors.get(*ids)?.as_u64()
    }

    /// Views change nothing here: their mean is the pretended output, their variance is the output times itself.
    fn predict(&self, args: &ops::PredictArgs2, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let positions = self.positions(inputs)?;
        let outputs = match &args.model {
            None => &self.outputs,
            Some(name) => {
                let known = self.trainings.get(name);
                &known.ok_or_else(|| Error::new(Code::BAD_PARAMS, format!("no model `{name}`")))?.outputs
            }
        };
        let varied = args.views.as_ref().is_some_and(|views| views.reduce == ops::Reduce::Variance);
        let output = |output: &Output| {
            let (mut elements, n_cols) = rows(outputs, *output, &positions)?.as_f32()?;
            elements.iter_mut().filter(|_| varied).for_each(|element| *element *= *element);
            Ok(HostTensor::of_f32(&elements, n_cols))
        };
        args.outputs.iter().map(output).collect()
    }

    fn train(&self, spec: TrainSpec, inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
        spec.check()?;
        let positions = self.positions(&inputs[..inputs.len().min(1)])?;
        let training = self.trainings.get(&spec.name).ok_or_else(|| {
            Error::new(Code::UNSUPPORTED, format!("this test host pretends no training `{}`", spec.name))
        })?;
        if training.records.len() != spec.record.len() {
            let (pretended, asked) = (training.records.len(), spec.record.len());
            return Err(Error::new(Code::HOST, format!("{pretended} records are pretended, {asked} were asked for")));
        }
        let record = |(record, spec): (&Vec<Vec<f32>>, &crate::training::Record)| {
            assert!(spec.pass == Pass::Training || record.len() == 1, "the final pass leaves one row");
            let rows = record.iter().flat_map(|row| positions.iter().map(|position| row[*position]));
            HostTensor::of_f32(&rows.collect::<Vec<f32>>(), positions.len())
        };
        let records = training.records.iter().zip(&spec.record).map(record).collect();
        let answer = answer_of(&spec.name);
        self.specs.lock().unwrap_or_else(PoisonError::into_inner).push(spec);
        Ok((wire::encode(&answer), records))
    }

    /// Lloyd's algorithm from the first points, as plainly as it can be written.
    fn kmeans(&self, args: &ops::KMeansArgs, inputs: &[TensorId]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
        let points = self.points(inputs)?;
        let k = args.clusters as usize;
        if k == 0 || k > points.len() {
            return Err(Error::new(Code::BAD_PARAMS, format!("{} points do not make {k} clusters", points.len())));
        }
        let mut centres = points[..k].to_vec();
        let nearest = |centres: &[Vec<f32>], point: &Vec<f32>| {
            (0..k).fold(
                0,
                |best, c| if distance(&centres[c], point) < distance(&centres[best], point) { c } else { best },
            )
        };
        for _ in 0..args.iterations {
            let clusters: Vec<usize> = points.iter().map(|point| nearest(&centres, point)).collect();
            for (c, centre) in centres.iter_mut().enumerate() {
                let members: Vec<&Vec<f32>> =
                    points.iter().zip(&clusters).filter(|(_, of)| **of == c).map(|(point, _)| point).collect();
                if !members.is_empty() {
                    let mean = |d: usize| members.iter().map(|point| point[d]).sum::<f32>() / members.len() as f32;
                    *centre = (0..centre.len()).map(mean).collect();
                }
            }
        }
        let clusters: Vec<u64> = points.iter().map(|point| nearest(&centres, point) as u64).collect();
        let inertia = points.iter().zip(&clusters).map(|(p, c)| f64::from(distance(&centres[*c as usize], p))).sum();
        let answer = wire::encode(&ops::KMeansAnswer { inertia });
        Ok((answer, vec![HostTensor::of_u64(&clusters), HostTensor::of_f32(&centres.concat(), centres[0].len())]))
    }

    fn knn(&self, args: &ops::KnnArgs, inputs: &[TensorId]) -> Result<Vec<HostTensor>> {
        let points = self.points(inputs)?;
        let k = args.k as usize;
        if k == 0 || k >= points.len() {
            return Err(Error::new(Code::BAD_PARAMS, format!("{} points do not have {k} others each", points.len())));
        }
        let (mut positions, mut distances) = (Vec::new(), Vec::new());
        for (i, point) in points.iter().enumerate() {
            let mut others: Vec<(f32, usize)> = points
                .iter()
                .enumerate()
                .filter(|(j, _)| *j != i)
                .map(|(j, other)| (distance(point, other), j))
                .collect();
            others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            positions.extend(others[..k].iter().map(|(_, j)| *j as u64));
            distances.extend(others[..k].iter().map(|(squared, _)| squared.sqrt()));
        }
        let mut table = HostTensor::of_u64(&positions);
        table.shape = vec![points.len() as u64, k as u64];
        Ok(vec![table, HostTensor::of_f32(&distances, k)])
    }

    fn points(&self, inputs: &[TensorId]) -> Result<Vec<Vec<f32>>> {
        let [points] = inputs else {
            return Err(Error::new(Code::BAD_PARAMS, "expected one input tensor of points"));
        };
        let (elements, n_cols) = self.tensors.get(*points)?.as_f32()?;
        Ok(elements.chunks(n_cols.max(1)).map(<[f32]>::to_vec).collect())
    }
}

/// Squared Euclidean.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

fn answer_of(model: &str) -> ops::TrainAnswer {
    ops::TrainAnswer { model: model.to_owned(), cached: false, loss: 0.0, accuracy: None }
}

fn rows(outputs: &BTreeMap<&'static str, Rows>, output: Output, positions: &[usize]) -> Result<HostTensor> {
    let missing = || Error::new(Code::UNSUPPORTED, format!("this test host has no {}", output.name()));
    Ok(pick(outputs.get(output.name()).ok_or_else(missing)?, positions))
}

fn pick((elements, n_cols): &Rows, positions: &[usize]) -> HostTensor {
    let rows: Vec<f32> =
        positions.iter().flat_map(|position| &elements[position * n_cols..][..*n_cols]).copied().collect();
    HostTensor::of_f32(&rows, *n_cols)
}

impl abi::Host for TestHost {
    fn supports(&self, op: RStr<'_>) -> bool {
        ops::ALL.iter().any(|known| known.0 == op.as_str()) && !self.missing.contains(&op.as_str())
    }

    fn invoke(
        &self,
        op: RStr<'_>,
        args: RSlice<'_, u8>,
        inputs: RSlice<'_, TensorId>,
        outputs: &mut RVec<TensorId>,
    ) -> RResult<RVec<u8>, Fault> {
        match self.answer(op.as_str(), args.as_slice(), inputs.as_slice()) {
            Ok((answer, tensors)) => {
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
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{level} {target}: {message}"));
    }

    fn progress(&self, stage: RStr<'_>, done: u64, total: u64) {
        let stage = RString::from(stage);
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("progress {stage}: {done}/{total}"));
    }

    fn cancelled(&self) -> bool {
        false
    }

    fn rng_fill(&self, stream: RStr<'_>, mut into: RSliceMut<'_, u8>) {
        Rng::for_stream(self.seed, stream.as_str()).fill(into.as_mut_slice());
    }
}
