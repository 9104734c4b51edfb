//! A host for tests: runs a strategy as the program does, without the program, libtorch or a GPU.
//!
//! The strategy is called through the same binary surface as in a loaded library, so panics, parameters and wrong
//! answers are met here as they would be there.

use crate::abi::std_types::{RErr, ROk, RResult, RSlice, RSliceMut, RStr, RString, RVec};
use crate::abi::{self, DType, Fault, HostRef, RRef, TensorId, TensorInfo};
use crate::ops::{self, Op, Output};
use crate::tensors::{HostTensor, Tensors};
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
    outputs: BTreeMap<&'static str, (Vec<f32>, usize)>,
    missing: Vec<&'static str>,
    round: u32,
    seed: [u8; 32],
    tensors: Tensors,
    heard: Mutex<Vec<String>>,
    artifacts: Mutex<BTreeMap<String, Vec<u8>>>,
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
            missing: Vec::new(),
            round: 1,
            seed: [0; 32],
            tensors: Tensors::default(),
            heard: Mutex::new(Vec::new()),
            artifacts: Mutex::new(BTreeMap::new()),
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
                let outputs = args.outputs.iter().map(|output| self.rows(*output, &positions));
                Ok((empty, outputs.collect::<Result<_>>()?))
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

    fn rows(&self, output: Output, positions: &[usize]) -> Result<HostTensor> {
        let Some((elements, n_cols)) = self.outputs.get(output.name()) else {
            return Err(Error::new(Code::UNSUPPORTED, format!("this test host has no {}", output.name())));
        };
        let rows: Vec<f32> =
            positions.iter().flat_map(|position| &elements[position * n_cols..][..*n_cols]).copied().collect();
        Ok(HostTensor::of_f32(&rows, *n_cols))
    }
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
