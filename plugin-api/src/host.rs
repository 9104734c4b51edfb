//! What a strategy sees of the program: typed wrappers over the operations of [`crate::ops`].

use crate::abi::std_types::{RSlice, RSliceMut, RStr, RVec};
use crate::abi::{DType, HostRef, TensorId};
use crate::maths::{Clusters, Neighbours, Passes};
use crate::ops::{self, Dropout, Op, Output, TrainAnswer, Views};
use crate::training::TrainSpec;
use crate::{Code, Error, Result, log_bridge, wire};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeSet;

/// The host, for the length of one call.
pub struct Host<'a> {
    raw: HostRef<'a>,
}

impl<'a> Host<'a> {
    pub(crate) fn new(raw: HostRef<'a>) -> Host<'a> {
        Host { raw }
    }

    /// Whether the host offers an operation; what the manifest lists under `needs` it does.
    pub fn supports(&self, op: Op) -> bool {
        self.raw.supports(RStr::from(op.0))
    }

    /// The pool: its size, the images' shape, the classes.
    pub fn pool(&self) -> Result<ops::PoolInfo> {
        self.message(ops::POOL_INFO_1, &ops::Empty {})
    }

    /// Threads and device.
    pub fn env(&self) -> Result<ops::EnvInfo> {
        self.message(ops::ENV_INFO_1, &ops::Empty {})
    }

    /// What the run is: its strategies, its learner, its end.
    pub fn run(&self) -> Result<ops::RunInfo> {
        self.message(ops::RUN_INFO_1, &ops::Empty {})
    }

    /// What the model said of images before they were labelled, in the last `rounds` rounds or in all; see
    /// [`ops::PREQUENTIAL_1`].
    pub fn prequential(&self, rounds: Option<u32>) -> Result<Vec<Prequential>> {
        let args = ops::PrequentialArgs { rounds };
        let (ops::Empty {}, outputs) = self.invoke(ops::PREQUENTIAL_1, &args, &[])?;
        let columns = outputs.iter().map(Tensor::read_u64).collect::<Result<Vec<_>>>()?;
        let [ids, rounds, predicted, labels] = &columns[..] else {
            return Err(missing_output(ops::PREQUENTIAL_1));
        };
        if [rounds, predicted, labels].iter().any(|column| column.len() != ids.len()) {
            return Err(Error::new(Code::HOST, format!("{}: columns of different lengths", ops::PREQUENTIAL_1.0)));
        }
        let row = |i: usize| Prequential {
            id: ids[i],
            round: u32::try_from(rounds[i]).unwrap_or(u32::MAX),
            predicted: predicted[i],
            label: labels[i],
        };
        Ok((0..ids.len()).map(row).collect())
    }

    /// Ask the current model about images (`ids` of the pool, in any order; answers keep that order).
    ///
    /// Nothing is computed before an output is asked for. Errs with [`Code::UNSUPPORTED`] in round 0, when no model is
    /// trained, and when an id is not in the pool.
    pub fn predict(&self, ids: &[u64]) -> Result<Predict<'_, 'a>> {
        Ok(Predict { host: self, ids: self.put_ids(ids)?, model: None, views: None, dropout: None })
    }

    /// Have a network trained on the images `ids` as `spec` says; what was trained before comes from the cache.
    ///
    /// Errs before any work when the spec has a part that the host does not know, or whose parts do not fit.
    pub fn train(&self, spec: &TrainSpec, ids: &[u64]) -> Result<Trained> {
        self.train_with(spec, &[&self.put_ids(ids)?])
    }

    /// As [`Host::train`], with the class of each image: for a spec whose target is
    /// [`Classes`](crate::training::Target::Classes).
    pub fn train_to_classes(&self, spec: &TrainSpec, ids: &[u64], classes: &[u64]) -> Result<Trained> {
        self.train_with(spec, &[&self.put_ids(ids)?, &self.put_ids(classes)?])
    }

    /// As [`Host::train`], with a row of numbers for each image: for a spec whose target is
    /// [`Values`](crate::training::Target::Values).
    pub fn train_to_values(&self, spec: &TrainSpec, ids: &[u64], values_nk: &Matrix) -> Result<Trained> {
        self.train_with(spec, &[&self.put_ids(ids)?, &self.put_matrix(values_nk)?])
    }

    fn train_with(&self, spec: &TrainSpec, inputs: &[&Tensor<'_, '_>]) -> Result<Trained> {
        spec.check()?;
        let (TrainAnswer { model, cached, loss, accuracy }, tensors) = self.invoke(ops::TRAIN_1, spec, inputs)?;
        let records = tensors.iter().map(Tensor::read_matrix).collect::<Result<_>>()?;
        Ok(Trained { model, cached, loss, accuracy, records })
    }

    /// Features of pool images from the run's shared representation, a row per id.
    ///
    /// The first call trains it, or finds it in the cache. Errs when the config has no section `[representation]`.
    pub fn represent(&self, ids: &[u64]) -> Result<Matrix> {
        let ids = self.put_ids(ids)?;
        let (TrainAnswer { .. }, tensors) = self.invoke(ops::REPRESENT_1, &ops::Empty {}, &[&ids])?;
        tensors.first().ok_or_else(|| missing_output(ops::REPRESENT_1))?.read_matrix()
    }

    /// As [`Host::represent`]; the features stay in the host, for its maths.
    pub fn representation(&self, ids: &[u64]) -> Result<Tensor<'_, 'a>> {
        let ids = self.put_ids(ids)?;
        let (TrainAnswer { .. }, tensors) = self.invoke(ops::REPRESENT_1, &ops::Empty {}, &[&ids])?;
        tensors.into_iter().next().ok_or_else(|| missing_output(ops::REPRESENT_1))
    }

    /// Hand points over to the host, for its maths.
    pub fn points(&self, points_nd: &Matrix) -> Result<Tensor<'_, 'a>> {
        self.put_matrix(points_nd)
    }

    /// Cut `points_nd` into clusters; see [`ops::KMEANS_1`].
    pub fn kmeans(&self, points_nd: &Matrix, args: &ops::KMeansArgs) -> Result<Clusters> {
        self.points(points_nd)?.kmeans(args)
    }

    /// The `k` nearest other points of each of `points_nd`; see [`ops::KNN_1`].
    pub fn knn(&self, points_nd: &Matrix, k: u32) -> Result<Neighbours> {
        self.points(points_nd)?.knn(k)
    }

    /// The class of any pool image, for an oracle; see [`ops::ORACLE_LABELS_1`].
    pub fn oracle_labels(&self, ids: &[u64]) -> Result<Vec<u64>> {
        let ids = self.put_ids(ids)?;
        self.tensor(ops::ORACLE_LABELS_1, &ops::Empty {}, &[&ids])?.read_u64()
    }

    /// Keep a map of images with the run: `places[i]` and `groups[i]` belong to `ids[i]`. The report draws it.
    pub fn put_map(&self, args: &ops::MapArgs, ids: &[u64], places: &Matrix, groups: &[u64]) -> Result<()> {
        let inputs = (self.put_ids(ids)?, self.put_matrix(places)?, self.put_ids(groups)?);
        self.invoke(ops::MAP_PUT_1, args, &[&inputs.0, &inputs.1, &inputs.2]).map(|(ops::Empty {}, _)| ())
    }

    /// What another strategy chooses of `candidates`, most wanted first; see [`ops::STRATEGY_SELECT_1`].
    ///
    /// Errs when the manifest names no such strategy, when a candidate is no unlabelled image or stands there twice, when there are fewer
    /// of them than are to be chosen, and when the strategy fails: then the round ends with its error, whatever is answered.
    pub fn choose_by(&self, args: &ops::SelectArgs, candidates: &[u64]) -> Result<Vec<u64>> {
        let tensor = self.put_ids(candidates)?;
        let chosen = self.tensor(ops::STRATEGY_SELECT_1, args, &[&tensor])?.read_u64()?;
        let of_host = |message: String| Error::new(Code::HOST, format!("{}: {message}", ops::STRATEGY_SELECT_1.0));
        if chosen.len() as u64 != args.count {
            return Err(of_host(format!("{} images, not {}", chosen.len(), args.count)));
        }
        let mut left: BTreeSet<u64> = candidates.iter().copied().collect();
        match chosen.iter().find(|id| !left.remove(id)) {
            Some(id) => Err(of_host(format!("the image {id} is no candidate, or is chosen twice"))),
            None => Ok(chosen),
        }
    }

    /// The class of each labelled image in `ids`; errs if one of them is not labelled.
    pub fn labels(&self, ids: &[u64]) -> Result<Vec<u64>> {
        let ids = self.put_ids(ids)?;
        let labels = self.tensor(ops::LABELS_GET_1, &ops::Empty {}, &[&ids])?;
        labels.read_u64()
    }

    /// The pixels of pool images: `pixels[i * height * width * channels ..]` is image `ids[i]`, row by row, channels last.
    pub fn pixels(&self, ids: &[u64]) -> Result<Vec<u8>> {
        let ids = self.put_ids(ids)?;
        let pixels = self.tensor(ops::POOL_PIXELS_1, &ops::Empty {}, &[&ids])?;
        pixels.read_bytes()
    }

    /// Keep a small file with the run (`name` without folders): tables and images that the report or a person reads.
    pub fn put_artifact(&self, name: &str, bytes: Vec<u8>) -> Result<()> {
        let args = ops::ArtifactArgs { name: name.to_owned(), bytes };
        self.message(ops::ARTIFACT_PUT_1, &args).map(|ops::Empty {}| ())
    }

    /// Tell the user how far a long call has come.
    pub fn progress(&self, stage: &str, done: u64, total: u64) {
        self.raw.progress(RStr::from(stage), done, total);
    }

    /// Errs with [`Code::CANCELLED`] once the user has cancelled; call it in long loops and pass the error on with `?`.
    pub fn check(&self) -> Result<()> {
        log_bridge::flush(&self.raw);
        if self.raw.cancelled() {
            return Err(Error::new(Code::CANCELLED, "cancelled"));
        }
        Ok(())
    }

    /// Call any operation by its name: message in, message and tensors out.
    ///
    /// This is how an operation is reached that this version of the kit has no wrapper for.
    pub fn invoke<A: Serialize, R: DeserializeOwned>(
        &self,
        op: Op,
        args: &A,
        inputs: &[&Tensor<'_, '_>],
    ) -> Result<(R, Vec<Tensor<'_, 'a>>)> {
        self.check()?;
        let inputs: Vec<TensorId> = inputs.iter().map(|tensor| tensor.id).collect();
        let args = wire::encode(args);
        let mut outputs = RVec::new();
        let answer = self.raw.invoke(
            RStr::from(op.0),
            RSlice::from(args.as_slice()),
            RSlice::from(inputs.as_slice()),
            &mut outputs,
        );
        let outputs = outputs.into_iter().map(|id| Tensor { host: self, id }).collect();
        let answer = answer.into_result().map_err(|fault| context(op, fault.into()))?;
        Ok((wire::decode(&answer)?, outputs))
    }

    fn message<A: Serialize, R: DeserializeOwned>(&self, op: Op, args: &A) -> Result<R> {
        Ok(self.invoke(op, args, &[])?.0)
    }

    fn tensor<A: Serialize>(&self, op: Op, args: &A, inputs: &[&Tensor<'_, '_>]) -> Result<Tensor<'_, 'a>> {
        let (ops::Empty {}, outputs) = self.invoke(op, args, inputs)?;
        outputs.into_iter().next().ok_or_else(|| missing_output(op))
    }

    pub(crate) fn put_ids(&self, ids: &[u64]) -> Result<Tensor<'_, 'a>> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.put(DType::U64, &[ids.len() as u64], &bytes)
    }

    fn put_matrix(&self, matrix: &Matrix) -> Result<Tensor<'_, 'a>> {
        self.put_numbers(&matrix.elements, matrix.n_cols)
    }

    pub(crate) fn put_numbers(&self, elements: &[f32], n_cols: usize) -> Result<Tensor<'_, 'a>> {
        let bytes: Vec<u8> = elements.iter().flat_map(|element| element.to_le_bytes()).collect();
        self.put(DType::F32, &[elements.len().checked_div(n_cols).unwrap_or(0) as u64, n_cols as u64], &bytes)
    }

    pub(crate) fn put(&self, dtype: DType, shape: &[u64], bytes: &[u8]) -> Result<Tensor<'_, 'a>> {
        let id = self.raw.tensor_put(dtype, RSlice::from(shape), RSlice::from(bytes)).into_result()?;
        Ok(Tensor { host: self, id })
    }
}

/// What the model said of an image before it was labelled, and its label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prequential {
    /// The image.
    pub id: u64,
    /// The round that labelled it.
    pub round: u32,
    /// The class that the model of the round before found most probable.
    pub predicted: u64,
    /// Its class.
    pub label: u64,
}

impl Prequential {
    /// Whether the model was right.
    pub fn is_right(&self) -> bool {
        self.predicted == self.label
    }
}

/// A trained network and what it recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// Its name, for [`Predict::of`].
    pub model: String,
    /// Whether it came from the cache.
    pub cached: bool,
    /// The mean loss of the last epoch.
    pub loss: f64,
    /// The share of images whose target was the most probable class in the last epoch, if there are classes.
    pub accuracy: Option<f64>,
    /// One for each record of the spec: a row for each epoch (or one row, for the final pass), a column for each image.
    pub records: Vec<Matrix>,
}

fn context(op: Op, mut error: Error) -> Error {
    error.message = format!("{}: {}", op.0, error.message);
    error
}

pub(crate) fn missing_output(op: Op) -> Error {
    Error::new(Code::HOST, format!("{}: the host answered without the tensor it promises", op.0))
}

/// A question to the model, before it says which outputs it wants.
pub struct Predict<'h, 'a> {
    host: &'h Host<'a>,
    ids: Tensor<'h, 'a>,
    model: Option<String>,
    views: Option<Views>,
    dropout: Option<Dropout>,
}

impl<'h, 'a> Predict<'h, 'a> {
    /// Ask this network instead of the current task model; needs [`ops::PREDICT_2`].
    pub fn of(mut self, model: &Trained) -> Self {
        self.model = Some(model.model.clone());
        self
    }

    /// Look at random views of each image; needs [`ops::PREDICT_2`].
    pub fn over(mut self, views: Views) -> Self {
        self.views = Some(views);
        self
    }

    /// Look several times, each time without some features; needs [`ops::PREDICT_3`].
    pub fn under(mut self, dropout: Dropout) -> Self {
        self.dropout = Some(dropout);
        self
    }

    /// Class probabilities, a row per id.
    pub fn probabilities(self) -> Result<Matrix> {
        self.only(Output::Probabilities)
    }

    /// Class scores before the softmax, a row per id.
    pub fn logits(self) -> Result<Matrix> {
        self.only(Output::Logits)
    }

    /// Features before the last layer, a row per id.
    pub fn embeddings(self) -> Result<Matrix> {
        self.only(Output::Embeddings)
    }

    /// Class probabilities of several passes under dropout.
    pub fn passes(self) -> Result<Passes> {
        let [probs] = self.kept([Output::Probabilities])?;
        probs.read_passes()
    }

    /// Several outputs from one pass over the images, in the order asked.
    pub fn outputs<const N: usize>(self, wanted: [Output; N]) -> Result<[Matrix; N]> {
        let tensors = self.kept(wanted)?;
        let matrices = tensors.iter().map(Tensor::read_matrix).collect::<Result<Vec<_>>>()?;
        matrices.try_into().map_err(|_| missing_output(ops::PREDICT_1))
    }

    /// As [`Predict::outputs`]; they stay in the host, for its maths.
    pub fn kept<const N: usize>(self, wanted: [Output; N]) -> Result<[Tensor<'h, 'a>; N]> {
        let (host, model, views, outputs, ids) = (self.host, self.model, self.views, wanted.to_vec(), [&self.ids]);
        // The older revision suffices where it can, so that an older host does too.
        let (ops::Empty {}, tensors) = match (model, views, self.dropout) {
            (model, views, dropout) if dropout.is_some() || wanted.contains(&Output::Residuals) => {
                host.invoke(ops::PREDICT_3, &ops::PredictArgs3 { model, outputs, views, dropout }, &ids)?
            }
            (None, None, _) => host.invoke(ops::PREDICT_1, &ops::PredictArgs { outputs }, &ids)?,
            (model, views, _) => host.invoke(ops::PREDICT_2, &ops::PredictArgs2 { model, outputs, views }, &ids)?,
        };
        tensors.try_into().map_err(|_| missing_output(ops::PREDICT_1))
    }

    fn only(self, output: Output) -> Result<Matrix> {
        let [matrix] = self.outputs([output])?;
        Ok(matrix)
    }
}

/// A tensor that the host keeps until this handle is dropped.
pub struct Tensor<'h, 'a> {
    pub(crate) host: &'h Host<'a>,
    id: TensorId,
}

impl Tensor<'_, '_> {
    /// The elements of a f32 tensor \[n, m\]; errs if it is anything else or holds a NaN or an infinity.
    pub fn read_matrix(&self) -> Result<Matrix> {
        let shape = self.shape(DType::F32)?;
        let [n_rows, n_cols] = shape[..] else {
            return Err(Error::new(Code::HOST, format!("expected a matrix, got the shape {shape:?}")));
        };
        Ok(Matrix { elements: self.read_finite(n_cols)?, n_rows: n_rows as usize, n_cols: n_cols as usize })
    }

    /// The elements of a f32 tensor of any shape, row-major; errs on a NaN or an infinity and names its row.
    pub(crate) fn read_finite(&self, n_in_row: u64) -> Result<Vec<f32>> {
        let bytes = self.read_bytes()?;
        let elements: Vec<f32> = bytes.as_chunks().0.iter().map(|element| f32::from_le_bytes(*element)).collect();
        match elements.iter().position(|element| !element.is_finite()) {
            Some(at) => {
                let message =
                    format!("the model's output holds {} at row {}", elements[at], at / n_in_row.max(1) as usize);
                Err(Error::new(Code::HOST, message))
            }
            None => Ok(elements),
        }
    }

    /// The elements of a u64 tensor.
    pub fn read_u64(&self) -> Result<Vec<u64>> {
        self.shape(DType::U64)?;
        let bytes = self.read_bytes()?;
        Ok(bytes.as_chunks().0.iter().map(|element| u64::from_le_bytes(*element)).collect())
    }

    /// All bytes, little-endian, row-major.
    pub fn read_bytes(&self) -> Result<Vec<u8>> {
        let info = self.host.raw.tensor_info(self.id).into_result()?;
        let n_elements: u64 = info.shape.iter().product();
        let mut bytes = vec![0; (n_elements * info.dtype.size()) as usize];
        let read = self.host.raw.tensor_read(self.id, 0, RSliceMut::from(bytes.as_mut_slice())).into_result()?;
        if read != bytes.len() as u64 {
            let message = format!("the host gave {read} of a tensor's {} bytes", bytes.len());
            return Err(Error::new(Code::HOST, message));
        }
        Ok(bytes)
    }

    /// The length of each axis; errs if the elements are of another type.
    pub fn shape(&self, dtype: DType) -> Result<Vec<u64>> {
        let info = self.host.raw.tensor_info(self.id).into_result()?;
        if info.dtype != dtype {
            let message = format!("expected elements of type {}, got {}", dtype.0, info.dtype.0);
            return Err(Error::new(Code::HOST, message));
        }
        Ok(info.shape.into_vec())
    }
}

impl Drop for Tensor<'_, '_> {
    fn drop(&mut self) {
        self.host.raw.tensor_release(self.id);
    }
}

/// Reads a u64 tensor that the request names, without taking it over.
pub(crate) fn read_request_ids(host: &Host<'_>, id: TensorId) -> Result<Vec<u64>> {
    // The host owns the request's tensors: a handle that is never dropped never releases them.
    std::mem::ManuallyDrop::new(Tensor { host, id }).read_u64()
}

/// A dense matrix of f32 in row-major order; every element is finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Matrix {
    elements: Vec<f32>,
    n_rows: usize,
    n_cols: usize,
}

impl Matrix {
    /// The matrix with these elements, row after row; errs if one is not finite or they do not fill whole rows.
    pub fn new(elements: Vec<f32>, n_cols: usize) -> Result<Matrix> {
        if n_cols == 0 || !elements.len().is_multiple_of(n_cols) {
            return Err(Error::plugin(format!("{} elements do not make rows of {n_cols}", elements.len())));
        }
        if let Some(at) = elements.iter().position(|element| !element.is_finite()) {
            return Err(Error::plugin(format!("the element at row {} is {}", at / n_cols, elements[at])));
        }
        Ok(Matrix { n_rows: elements.len() / n_cols, n_cols, elements })
    }

    /// How many rows.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// How many columns.
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// The rows in order, each a slice of `n_cols` elements.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        (0..self.n_rows).map(|i| self.row(i))
    }

    /// All elements, row after row.
    pub fn elements(&self) -> &[f32] {
        &self.elements
    }

    /// Row `i`.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.elements[i * self.n_cols..][..self.n_cols]
    }
}

impl DType {
    /// 32-bit float.
    pub const F32: DType = DType(0);
    /// 64-bit unsigned integer.
    pub const U64: DType = DType(1);
    /// Byte.
    pub const U8: DType = DType(2);

    /// Bytes of one element; 0 for a type that this version does not know.
    pub fn size(self) -> u64 {
        match self {
            DType::F32 => 4,
            DType::U64 => 8,
            DType::U8 => 1,
            _ => 0,
        }
    }
}
