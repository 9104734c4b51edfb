//! The operations on points and numbers: from tensors to kernels and back.

use super::Services;
use super::train::from_engine;
use crate::engine;
use coldstart_kernels::{self as kernels, Cloud, Kernel, Measure, Points};
use coldstart_plugin_api::ops::{self, First};
use coldstart_plugin_api::tensors::{HostTensor, Rows};
use coldstart_plugin_api::{Code, Error, Result, Rng, wire};
use std::sync::Arc;

/// Message and tensors.
type Answer = (Vec<u8>, Vec<HostTensor>);

/// One question: the tensors that came with it, and what it may draw on.
pub struct Maths<'a> {
    /// What the run has.
    pub services: &'a Services,
    /// The seed of the call.
    pub seed: [u8; 32],
    /// The tensors that came with the question, in order.
    pub inputs: Vec<Arc<HostTensor>>,
}

impl Maths<'_> {
    /// The answer to an operation of selection's maths; errs on any other.
    pub fn answer(&self, op: &str, args: &[u8]) -> Result<Answer> {
        let only = |tensors: Vec<HostTensor>| (wire::encode(&ops::Empty {}), tensors);
        match op {
            op if op == ops::KMEANS_1.0 => self.kmeans(&wire::decode(args)?),
            op if op == ops::KNN_1.0 => self.knn(&wire::decode(args)?).map(only),
            op if op == ops::NEAREST_1.0 => self.nearest(&wire::decode(args)?).map(only),
            op if op == ops::KMEANS_PP_1.0 => self.kmeans_pp(&wire::decode(args)?).map(only),
            op if op == ops::K_CENTER_1.0 => self.k_center(&wire::decode(args)?).map(only),
            op if op == ops::COVERAGE_1.0 => self.coverage(&wire::decode(args)?),
            op if op == ops::KERNEL_SUMS_1.0 => self.kernel_sums(&wire::decode(args)?).map(only),
            op if op == ops::GROUP_SUMS_1.0 => self.group_sums(&wire::decode(args)?).map(only),
            op if op == ops::NORMALIZE_1.0 => self.normalize().map(only),
            op if op == ops::GATHER_1.0 => self.gather().map(only),
            op if op == ops::REDUCE_1.0 => self.reduce(&wire::decode(args)?).map(only),
            op if op == ops::TOPK_1.0 => {
                let ops::TopkArgs { k, largest } = wire::decode(args)?;
                let numbers = self.input(0)?.numbers()?;
                let k = numbers.len().min(k as usize);
                Ok(only(vec![of_positions(&kernels::topk(&numbers, k, largest).map_err(of_kernel)?)]))
            }
            op if op == ops::ARGSORT_1.0 => {
                let ops::ArgsortArgs { descending } = wire::decode(args)?;
                let order = kernels::argsort(&self.input(0)?.numbers()?, descending);
                Ok(only(vec![of_positions(&order.map_err(of_kernel)?)]))
            }
            _ => Err(Error::new(Code::UNSUPPORTED, format!("this host has no operation `{op}`"))),
        }
    }

    fn kmeans(&self, args: &ops::KMeansArgs) -> Result<Answer> {
        let ops::KMeansArgs { iterations, restarts, tolerance, .. } = *args;
        if !(tolerance.is_finite() && tolerance >= 0.0) {
            return bad(format!("a tolerance of {tolerance} is none"));
        }
        let k = args.clusters as usize;
        let effort = kernels::Effort { iterations: iterations as usize, restarts: restarts as usize, tolerance };
        let (rows, mut rng) = (self.input(0)?.as_rows()?, self.rng(&args.stream));
        let n_cols = rows.n_cols;
        let (of_point, centres, inertia) = if self.services.device.is_cpu() {
            let found = kernels::kmeans(&points(&rows)?, k, effort, &mut rng, &self.go_on());
            let found = found.map_err(of_kernel)?;
            (found.of_point, found.centres, found.inertia)
        } else {
            let found = engine::kmeans(&self.matrix()?, k, effort, &mut rng, &self.services.device, &self.go_on());
            let found = found.map_err(from_engine)?;
            (found.of_point, found.centres_kd.values, found.inertia)
        };
        let tensors = vec![of_positions(&of_point), HostTensor::of_f32(&centres, n_cols)];
        Ok((wire::encode(&ops::KMeansAnswer { inertia }), tensors))
    }

    fn knn(&self, args: &ops::KnnArgs) -> Result<Vec<HostTensor>> {
        let (rows, k) = (self.input(0)?.as_rows()?, args.k as usize);
        self.check_size(rows.elements.len().checked_div(rows.n_cols).unwrap_or(0), k)?;
        if self.services.device.is_cpu() {
            // A part of what tensors may take: the answer itself is one.
            let memory = usize::try_from(self.services.tensor_bytes / 4).unwrap_or(usize::MAX);
            return Ok(table(&kernels::knn(&points(&rows)?, k, memory, &self.go_on()).map_err(of_kernel)?, k));
        }
        let found = engine::knn(&self.matrix()?, k, &self.services.device, &self.go_on()).map_err(from_engine)?;
        let (positions, distances) = (found.positions_nk, found.distances_nk.values);
        Ok(table(&kernels::Neighbours { positions, distances }, k))
    }

    fn nearest(&self, args: &ops::NearestArgs) -> Result<Vec<HostTensor>> {
        let (queries, rows, k) = (self.input(0)?.as_rows()?, self.input(1)?.as_rows()?, args.k as usize);
        let among = if args.among { Some(self.positions(2)?) } else { None };
        let queries = points(&queries)?;
        self.check_size(queries.n(), k)?;
        let found = kernels::nearest(&queries, &points(&rows)?, k, among.as_deref(), &self.go_on());
        Ok(table(&found.map_err(of_kernel)?, k))
    }

    /// Whether a table of so many rows and columns of positions and distances may be made; it is what a quadratic question
    /// would take.
    fn check_size(&self, n: usize, k: usize) -> Result<()> {
        self.services.check_size(n, k.saturating_mul(12), || format!("{k} neighbours of {n} points"))
    }

    fn kmeans_pp(&self, args: &ops::KMeansPpArgs) -> Result<Vec<HostTensor>> {
        let first = match args.first {
            First::Drawn => kernels::First::Drawn,
            First::LargestNorm => kernels::First::LargestNorm,
        };
        let rows = self.inputs.iter().map(|tensor| tensor.as_rows()).collect::<Result<Vec<_>>>()?;
        let cloud = match &rows[..] {
            [rows] => Cloud::Dense(points(rows)?),
            [first, second] => Cloud::Outer(points(first)?, points(second)?),
            rows => return bad(format!("expected one or two tensors of points, got {}", rows.len())),
        };
        let drawn = kernels::kmeans_pp(&cloud, args.k as usize, first, &mut self.rng(&args.stream), &self.go_on());
        Ok(vec![of_positions(&drawn.map_err(of_kernel)?)])
    }

    fn k_center(&self, args: &ops::KCenterArgs) -> Result<Vec<HostTensor>> {
        let (rows, centres) = (self.input(0)?.as_rows()?, self.positions(1)?);
        let mut rng = self.rng(&args.stream);
        let found = kernels::k_center(&points(&rows)?, args.k as usize, &centres, &mut rng, &self.go_on());
        let found = found.map_err(of_kernel)?;
        Ok(vec![of_positions(&found.positions), HostTensor::of_f32(&found.distances, 1)])
    }

    fn coverage(&self, args: &ops::CoverageArgs) -> Result<Answer> {
        let (rows, centres) = (self.input(0)?.as_rows()?, self.positions(1)?);
        let mut next = 2;
        let mut optional = |there: bool| {
            next += usize::from(there);
            there.then(|| next - 1)
        };
        let numbers = |at: Option<usize>| at.map(|at| self.input(at)?.numbers()).transpose();
        let (weights, radii) = (numbers(optional(args.weights))?, numbers(optional(args.radii))?);
        let candidates = optional(args.candidates).map(|at| self.positions(at)).transpose()?;
        let bonus = numbers(optional(args.bonus.is_some()))?;
        let wanted = kernels::Coverage {
            kernel: of_message(args.kernel),
            weights: weights.as_deref(),
            centres: &centres,
            radii: radii.as_deref(),
            candidates: candidates.as_deref(),
            bonus: bonus.as_deref().zip(args.bonus),
        };
        let found = kernels::coverage(&points(&rows)?, args.k as usize, &wanted, &self.go_on()).map_err(of_kernel)?;
        let answer = ops::CoverageAnswer { before: found.coverage_before, after: found.coverage };
        let tensors = vec![of_positions(&found.positions), HostTensor::of_f32(&found.gains, 1)];
        Ok((wire::encode(&answer), tensors))
    }

    fn kernel_sums(&self, args: &ops::KernelSumsArgs) -> Result<Vec<HostTensor>> {
        let (queries, rows) = (self.input(0)?.as_rows()?, self.input(1)?.as_rows()?);
        let weights = if args.weights { Some(self.input(2)?.numbers()?) } else { None };
        let (queries, rows, kernel) = (points(&queries)?, points(&rows)?, of_message(args.kernel));
        // Of points with themselves each pair is looked at once.
        let sums = match Arc::ptr_eq(&self.inputs[0], &self.inputs[1]) {
            true => kernels::self_kernel_sums(&rows, weights.as_deref(), kernel, &self.go_on()),
            false => kernels::kernel_sums(&queries, &rows, weights.as_deref(), kernel, &self.go_on()),
        };
        Ok(vec![HostTensor::of_f32(&sums.map_err(of_kernel)?, 1)])
    }

    fn group_sums(&self, args: &ops::GroupSumsArgs) -> Result<Vec<HostTensor>> {
        let (rows, groups, weights) = (self.input(0)?.as_rows()?, self.positions(1)?, self.input(2)?.numbers()?);
        let n_groups = usize::try_from(args.groups).unwrap_or(usize::MAX);
        self.services.check_size(n_groups, 4 * rows.n_cols + 8, || format!("sums of {n_groups} groups"))?;
        let sums = kernels::group_sums(&points(&rows)?, &groups, n_groups, Some(&weights));
        Ok(vec![HostTensor::of_f32(&sums.map_err(of_kernel)?, rows.n_cols)])
    }

    /// The same elements with a scale: nothing is copied that someone else holds.
    fn normalize(&self) -> Result<Vec<HostTensor>> {
        let tensor = self.input(0)?;
        let rows = tensor.as_rows()?;
        let own: Option<Arc<[f32]>> = tensor.scale.clone();
        let unit = points(&rows)?.unit_scale();
        let scale = match own {
            Some(own) => own.iter().zip(&unit).map(|(own, unit)| own * unit).collect(),
            None => unit.into(),
        };
        let (dtype, shape, bytes) = (tensor.dtype, tensor.shape.clone(), tensor.bytes.clone());
        Ok(vec![HostTensor { dtype, shape, bytes, scale: Some(scale) }])
    }

    fn gather(&self) -> Result<Vec<HostTensor>> {
        let (tensor, positions) = (self.input(0)?, self.positions(1)?);
        let n = tensor.shape.first().copied().unwrap_or(0) as usize;
        if let Some(position) = positions.iter().find(|position| **position >= n) {
            return bad(format!("there is no row {position} of {n}"));
        }
        let row_bytes = tensor.bytes.len().checked_div(n).unwrap_or(0);
        self.services.check_size(positions.len(), row_bytes, || format!("{} rows", positions.len()))?;
        let mut bytes = Vec::with_capacity(positions.len() * row_bytes);
        positions.iter().for_each(|i| bytes.extend_from_slice(&tensor.bytes[i * row_bytes..][..row_bytes]));
        let shape = [&[positions.len() as u64], tensor.shape.get(1..).unwrap_or_default()].concat();
        let scale = tensor.scale.as_ref().map(|scale| positions.iter().map(|i| scale[*i]).collect());
        Ok(vec![HostTensor { scale, ..HostTensor::new(tensor.dtype, shape, bytes) }])
    }

    fn reduce(&self, args: &ops::ReduceArgs) -> Result<Vec<HostTensor>> {
        let probs = self.input(0)?;
        let (n_passes, n_classes) = match probs.shape[..] {
            [_, n_classes] => (1, n_classes as usize),
            [_, n_passes, n_classes] => (n_passes as usize, n_classes as usize),
            _ => return bad(format!("probabilities have two or three axes, not the shape {:?}", probs.shape)),
        };
        let measure = match args.measure {
            ops::Measure::Entropy => Measure::Entropy,
            ops::Measure::LeastConfidence => Measure::LeastConfidence,
            ops::Measure::Margin => Measure::Margin,
            ops::Measure::ExpectedEntropy => Measure::ExpectedEntropy,
            ops::Measure::Bald => Measure::Bald,
            ops::Measure::VariationRatio => Measure::VariationRatio,
            ops::Measure::VoteRatio => Measure::VoteRatio,
        };
        let numbers = probs.numbers()?;
        let scores = kernels::reduce(&numbers, n_passes, n_classes, measure).map_err(of_kernel)?;
        Ok(vec![HostTensor::of_f32(&scores, 1)])
    }

    fn input(&self, i: usize) -> Result<&HostTensor> {
        let missing = || Error::new(Code::BAD_PARAMS, format!("an input is missing: {} came", self.inputs.len()));
        self.inputs.get(i).map(|tensor| &**tensor).ok_or_else(missing)
    }

    fn positions(&self, i: usize) -> Result<Vec<usize>> {
        Ok(self.input(i)?.as_u64()?.into_iter().map(|position| position as usize).collect())
    }

    /// The first input as the engine takes it.
    fn matrix(&self) -> Result<engine::Matrix> {
        let (values, n_cols) = self.input(0)?.as_f32()?;
        let n_rows = values.len().checked_div(n_cols).unwrap_or(0);
        Ok(engine::Matrix { values, n_rows, n_cols })
    }

    fn rng(&self, stream: &str) -> Rng {
        Rng::for_stream(self.seed, stream)
    }

    fn go_on(&self) -> impl Fn() -> bool + Sync {
        || self.services.goes_on()
    }
}

fn points<'t>(rows: &'t Rows<'_>) -> Result<Points<'t>> {
    let points = Points::new(&rows.elements, rows.n_cols).map_err(of_kernel)?;
    match rows.scale {
        Some(scale) => points.scaled(scale).map_err(of_kernel),
        None => Ok(points),
    }
}

/// The kernels compute in f32.
fn of_message(kernel: ops::Kernel) -> Kernel {
    match kernel {
        ops::Kernel::TopHat { radius } => Kernel::TopHat { radius: radius as f32 },
        ops::Kernel::Rbf { bandwidth } => Kernel::Rbf { bandwidth: bandwidth as f32 },
        ops::Kernel::Laplace { bandwidth } => Kernel::Laplace { bandwidth: bandwidth as f32 },
        ops::Kernel::Power { alpha, horizon } => Kernel::Power { alpha: alpha as f32, horizon: horizon as f32 },
    }
}

fn of_positions(positions: &[usize]) -> HostTensor {
    HostTensor::of_u64(&positions.iter().map(|position| *position as u64).collect::<Vec<_>>())
}

fn table(found: &kernels::Neighbours, k: usize) -> Vec<HostTensor> {
    let mut table = of_positions(&found.positions);
    table.shape = vec![(found.positions.len() / k.max(1)) as u64, k as u64];
    vec![table, HostTensor::of_f32(&found.distances, k)]
}

fn bad<T>(message: String) -> Result<T> {
    Err(Error::new(Code::BAD_PARAMS, message))
}

/// What a kernel refuses is the asker's mistake.
pub fn of_kernel(error: kernels::Error) -> Error {
    match error {
        kernels::Error::Cancelled => Error::new(Code::CANCELLED, "cancelled"),
        kernels::Error::Input(message) => Error::new(Code::BAD_PARAMS, message),
    }
}
