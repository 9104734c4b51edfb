//! The host's maths on tensors that it keeps: nothing large crosses the border.

use crate::abi::DType;
use crate::host::missing_output;
use crate::ops::{self, Op};
use crate::{Code, Error, Matrix, Result, Tensor};
use serde::Serialize;

/// Points in clusters.
#[derive(Debug, Clone, PartialEq)]
pub struct Clusters {
    /// The cluster of each point, from 0.
    pub of_point: Vec<usize>,
    /// The centres, k x d.
    pub centres_kd: Matrix,
    /// The sum of squared distances to the centres.
    pub inertia: f64,
}

/// The nearest points of each point or query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Their positions, n x k, nearest first.
    pub positions_nk: Vec<usize>,
    /// How far they are, n x k.
    pub distances_nk: Matrix,
}

/// Points in the order picked.
#[derive(Debug, Clone, PartialEq)]
pub struct Picks {
    /// Their positions.
    pub positions: Vec<usize>,
    /// A number for each: its distance, or its gain.
    pub scores: Vec<f32>,
}

/// Class probabilities of several passes.
#[derive(Debug, Clone, PartialEq)]
pub struct Passes {
    rows: Matrix,
    n_classes: usize,
}

impl Passes {
    /// How many images.
    pub fn n_rows(&self) -> usize {
        self.rows.n_rows()
    }

    /// How many passes.
    pub fn n_passes(&self) -> usize {
        self.rows.n_cols() / self.n_classes
    }

    /// How many classes.
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    /// The passes of image `i`, each a slice of probabilities.
    ///
    /// # Panics
    /// If there is no such image.
    pub fn of(&self, i: usize) -> impl ExactSizeIterator<Item = &[f32]> {
        self.rows.row(i).chunks_exact(self.n_classes)
    }
}

/// What [`Tensor::coverage`] is to do; see [`ops::CoverageArgs`].
pub struct Coverage<'t> {
    /// The most picks.
    pub k: usize,
    /// How far a centre covers.
    pub kernel: ops::Kernel,
    /// Positions of the centres so far.
    pub centres: &'t [usize],
    /// A weight for each point.
    pub weights: Option<&'t [f32]>,
    /// A radius for each centre.
    pub radii: Option<&'t [f32]>,
    /// Positions of the points that may be picked, ascending.
    pub candidates: Option<&'t [usize]>,
    /// A bonus for each point, and its share.
    pub bonus: Option<(&'t [f32], f64)>,
}

impl Coverage<'_> {
    /// Cover with `k` picks under this kernel, with nothing else given.
    pub fn new(k: usize, kernel: ops::Kernel) -> Self {
        Coverage { k, kernel, centres: &[], weights: None, radii: None, candidates: None, bonus: None }
    }
}

impl<'h, 'a> Tensor<'h, 'a> {
    /// Rows at Euclidean length 1; see [`ops::NORMALIZE_1`].
    pub fn unit(&self) -> Result<Tensor<'h, 'a>> {
        self.one(ops::NORMALIZE_1, &ops::Empty {}, &[self])
    }

    /// The rows at these positions; see [`ops::GATHER_1`].
    pub fn gather(&self, positions: &[usize]) -> Result<Tensor<'h, 'a>> {
        self.one(ops::GATHER_1, &ops::Empty {}, &[self, &self.put_positions(positions)?])
    }

    /// Positions of the `k` largest (or smallest) numbers; see [`ops::TOPK_1`].
    pub fn topk(&self, k: usize, largest: bool) -> Result<Vec<usize>> {
        self.one(ops::TOPK_1, &ops::TopkArgs { k: k as u64, largest }, &[self])?.read_positions()
    }

    /// Positions of all numbers in order; see [`ops::ARGSORT_1`].
    pub fn argsort(&self, descending: bool) -> Result<Vec<usize>> {
        self.one(ops::ARGSORT_1, &ops::ArgsortArgs { descending }, &[self])?.read_positions()
    }

    /// One number for each image from its class probabilities; see [`ops::REDUCE_1`].
    pub fn reduce(&self, measure: ops::Measure) -> Result<Vec<f32>> {
        self.one(ops::REDUCE_1, &ops::ReduceArgs { measure }, &[self])?.read_numbers()
    }

    /// Cut the points into clusters; see [`ops::KMEANS_1`].
    pub fn kmeans(&self, args: &ops::KMeansArgs) -> Result<Clusters> {
        let (ops::KMeansAnswer { inertia }, tensors) = self.host.invoke(ops::KMEANS_1, args, &[self])?;
        let [of_point, centres] = &tensors[..] else { return Err(missing_output(ops::KMEANS_1)) };
        Ok(Clusters { of_point: of_point.read_positions()?, centres_kd: centres.read_matrix()?, inertia })
    }

    /// The `k` nearest other points of each point; see [`ops::KNN_1`].
    pub fn knn(&self, k: u32) -> Result<Neighbours> {
        let (ops::Empty {}, tensors) = self.host.invoke(ops::KNN_1, &ops::KnnArgs { k }, &[self])?;
        neighbours(ops::KNN_1, &tensors)
    }

    /// The `k` nearest of `points` (or of those of them at `among`, ascending) for each of these; see [`ops::NEAREST_1`].
    pub fn nearest(&self, points: &Tensor<'h, 'a>, k: u32, among: Option<&[usize]>) -> Result<Neighbours> {
        let args = ops::NearestArgs { k, among: among.is_some() };
        let among = among.map(|among| self.put_positions(among)).transpose()?;
        let inputs: Vec<&Tensor> = [self, points].into_iter().chain(&among).collect();
        let (ops::Empty {}, tensors) = self.host.invoke(ops::NEAREST_1, &args, &inputs)?;
        neighbours(ops::NEAREST_1, &tensors)
    }

    /// Points drawn by squared distance; see [`ops::KMEANS_PP_1`].
    pub fn kmeans_pp(&self, args: &ops::KMeansPpArgs) -> Result<Vec<usize>> {
        self.one(ops::KMEANS_PP_1, args, &[self])?.read_positions()
    }

    /// The same of the outer products of these rows and those of `others`.
    pub fn outer_kmeans_pp(&self, others: &Tensor<'h, 'a>, args: &ops::KMeansPpArgs) -> Result<Vec<usize>> {
        self.one(ops::KMEANS_PP_1, args, &[self, others])?.read_positions()
    }

    /// The farthest points one by one, with their distances; see [`ops::K_CENTER_1`].
    pub fn k_center(&self, args: &ops::KCenterArgs, centres: &[usize]) -> Result<Picks> {
        let centres = self.put_positions(centres)?;
        let (ops::Empty {}, tensors) = self.host.invoke(ops::K_CENTER_1, args, &[self, &centres])?;
        picks(ops::K_CENTER_1, &tensors)
    }

    /// The points that cover most one by one, with their gains; see [`ops::COVERAGE_1`].
    pub fn coverage(&self, wanted: &Coverage<'_>) -> Result<(Picks, ops::CoverageAnswer)> {
        let args = ops::CoverageArgs {
            k: wanted.k as u64,
            kernel: wanted.kernel,
            weights: wanted.weights.is_some(),
            radii: wanted.radii.is_some(),
            candidates: wanted.candidates.is_some(),
            bonus: wanted.bonus.map(|(_, share)| share),
        };
        let numbers = |numbers: Option<&[f32]>| numbers.map(|numbers| self.host.put_numbers(numbers, 1)).transpose();
        let centres = self.put_positions(wanted.centres)?;
        let candidates = wanted.candidates.map(|candidates| self.put_positions(candidates)).transpose()?;
        let (weights, radii) = (numbers(wanted.weights)?, numbers(wanted.radii)?);
        let bonus = numbers(wanted.bonus.map(|(bonus, _)| bonus))?;
        let optional = weights.iter().chain(&radii).chain(&candidates).chain(&bonus);
        let inputs: Vec<&Tensor> = [self, &centres].into_iter().chain(optional).collect();
        let (answer, tensors) = self.host.invoke(ops::COVERAGE_1, &args, &inputs)?;
        Ok((picks(ops::COVERAGE_1, &tensors)?, answer))
    }

    /// For each of these the sum of a kernel over `points`; see [`ops::KERNEL_SUMS_1`].
    pub fn kernel_sums(
        &self,
        points: &Tensor<'h, 'a>,
        kernel: ops::Kernel,
        weights: Option<&[f32]>,
    ) -> Result<Vec<f32>> {
        let args = ops::KernelSumsArgs { kernel, weights: weights.is_some() };
        let weights = weights.map(|weights| self.host.put_numbers(weights, 1)).transpose()?;
        let inputs: Vec<&Tensor> = [self, points].into_iter().chain(&weights).collect();
        self.one(ops::KERNEL_SUMS_1, &args, &inputs)?.read_numbers()
    }

    /// The weighted sum of the points of each group; see [`ops::GROUP_SUMS_1`].
    pub fn group_sums(&self, groups: &[usize], n_groups: usize, weights: &[f32]) -> Result<Matrix> {
        let inputs = (self.put_positions(groups)?, self.host.put_numbers(weights, 1)?);
        let args = ops::GroupSumsArgs { groups: n_groups as u64 };
        self.one(ops::GROUP_SUMS_1, &args, &[self, &inputs.0, &inputs.1])?.read_matrix()
    }

    /// How many rows.
    pub fn n_rows(&self) -> Result<usize> {
        Ok(self.shape(DType::F32)?.first().copied().unwrap_or(0) as usize)
    }

    /// All elements of a f32 tensor as one list; errs as [`Tensor::read_matrix`] does.
    pub fn read_numbers(&self) -> Result<Vec<f32>> {
        let n_in_row = self.shape(DType::F32)?.get(1..).map_or(1, |axes| axes.iter().product());
        self.read_finite(n_in_row)
    }

    /// The class probabilities of several passes; errs as [`Tensor::read_matrix`] does.
    pub fn read_passes(&self) -> Result<Passes> {
        let shape = self.shape(DType::F32)?;
        let [_, n_passes, n_classes] = shape[..] else {
            return Err(Error::new(
                Code::HOST,
                format!("expected images, passes and classes, got the shape {shape:?}"),
            ));
        };
        let n_in_row = n_passes * n_classes;
        let rows = Matrix::new(self.read_finite(n_in_row)?, n_in_row as usize)?;
        Ok(Passes { rows, n_classes: n_classes as usize })
    }

    fn read_positions(&self) -> Result<Vec<usize>> {
        Ok(self.read_u64()?.into_iter().map(|position| position as usize).collect())
    }

    fn put_positions(&self, positions: &[usize]) -> Result<Tensor<'h, 'a>> {
        let positions: Vec<u64> = positions.iter().map(|position| *position as u64).collect();
        self.host.put_ids(&positions)
    }

    fn one<A: Serialize>(&self, op: Op, args: &A, inputs: &[&Tensor<'_, '_>]) -> Result<Tensor<'h, 'a>> {
        first(op, self.host.invoke(op, args, inputs)?)
    }
}

fn first<'h, 'a>(op: Op, (_, tensors): (ops::Empty, Vec<Tensor<'h, 'a>>)) -> Result<Tensor<'h, 'a>> {
    tensors.into_iter().next().ok_or_else(|| missing_output(op))
}

fn neighbours(op: Op, tensors: &[Tensor<'_, '_>]) -> Result<Neighbours> {
    let [positions, distances] = tensors else { return Err(missing_output(op)) };
    Ok(Neighbours { positions_nk: positions.read_positions()?, distances_nk: distances.read_matrix()? })
}

fn picks(op: Op, tensors: &[Tensor<'_, '_>]) -> Result<Picks> {
    let [positions, scores] = tensors else { return Err(missing_output(op)) };
    let picks = Picks { positions: positions.read_positions()?, scores: scores.read_numbers()? };
    if picks.positions.len() != picks.scores.len() {
        return Err(Error::new(Code::HOST, format!("{}: a pick without a number, or the other way round", op.0)));
    }
    Ok(picks)
}
