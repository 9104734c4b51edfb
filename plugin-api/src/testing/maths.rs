//! The operations on points, as plainly as they can be written.

use super::answers::Answer;
use crate::ops::{self, KMeansAnswer, KMeansArgs, Kernel, KnnArgs, Measure};
use crate::tensors::{HostTensor, Rows};
use crate::{Code, Error, Result, Rng, wire};
use std::sync::Arc;

/// Beyond so many points, answers are rough, so that a test with a million of them ends.
const MANY: usize = 5_000;

/// Such an operation's answer to these inputs, with the call's seed.
pub(super) fn answer(op: &str, args: &[u8], inputs: &[Arc<HostTensor>], seed: [u8; 32]) -> Result<Answer> {
    let empty = wire::encode(&ops::Empty {});
    let rng = |stream: &str| Rng::for_stream(seed, stream);
    match op {
        op if op == ops::KMEANS_1.0 => kmeans(&wire::decode(args)?, &points(inputs, 0)?),
        op if op == ops::KNN_1.0 => Ok((empty, knn(&wire::decode(args)?, &points(inputs, 0)?)?)),
        op if op == ops::NORMALIZE_1.0 => Ok((empty, vec![unit(&points(inputs, 0)?)])),
        op if op == ops::GATHER_1.0 => Ok((empty, vec![gather(input(inputs, 0)?, &positions(inputs, 1)?)?])),
        op if op == ops::TOPK_1.0 => {
            let ops::TopkArgs { k, largest } = wire::decode(args)?;
            let order = argsort(&owned(input(inputs, 0)?)?, largest);
            Ok((empty, vec![of_positions(&order[..order.len().min(k as usize)])]))
        }
        op if op == ops::ARGSORT_1.0 => {
            let ops::ArgsortArgs { descending } = wire::decode(args)?;
            Ok((empty, vec![of_positions(&argsort(&owned(input(inputs, 0)?)?, descending))]))
        }
        op if op == ops::REDUCE_1.0 => {
            let ops::ReduceArgs { measure } = wire::decode(args)?;
            Ok((empty, vec![reduce(input(inputs, 0)?, measure)?]))
        }
        op if op == ops::NEAREST_1.0 => Ok((empty, nearest(&wire::decode(args)?, inputs)?)),
        op if op == ops::KMEANS_PP_1.0 => {
            let args: ops::KMeansPpArgs = wire::decode(args)?;
            Ok((empty, vec![of_positions(&kmeans_pp(&args, inputs, rng(&args.stream))?)]))
        }
        op if op == ops::K_CENTER_1.0 => {
            let args: ops::KCenterArgs = wire::decode(args)?;
            Ok((empty, k_center(&args, &points(inputs, 0)?, &positions(inputs, 1)?, rng(&args.stream))?))
        }
        op if op == ops::COVERAGE_1.0 => coverage(&wire::decode(args)?, inputs),
        op if op == ops::KERNEL_SUMS_1.0 => Ok((empty, vec![kernel_sums(&wire::decode(args)?, inputs)?])),
        op if op == ops::GROUP_SUMS_1.0 => Ok((empty, vec![group_sums(&wire::decode(args)?, inputs)?])),
        _ => Err(Error::new(Code::UNSUPPORTED, "no such operation")),
    }
}

fn input(inputs: &[Arc<HostTensor>], i: usize) -> Result<&HostTensor> {
    let missing = || Error::new(Code::BAD_PARAMS, format!("an input is missing: there are {}", inputs.len()));
    inputs.get(i).map(|tensor| &**tensor).ok_or_else(missing)
}

fn points(inputs: &[Arc<HostTensor>], i: usize) -> Result<Vec<Vec<f32>>> {
    let rows = rows(inputs, i)?;
    Ok((0..rows.n_rows()).map(|i| rows.row(i).collect()).collect())
}

/// Points where they lie: a strategy may ask a thousand times about a million of them.
fn rows(inputs: &[Arc<HostTensor>], i: usize) -> Result<Rows<'_>> {
    let rows = input(inputs, i)?.as_rows()?;
    if let Some(at) = rows.elements.iter().position(|element| !element.is_finite()) {
        return bad(format!("point {} holds {}", at / rows.n_cols, rows.elements[at]));
    }
    Ok(rows)
}

/// Positions, each below a million millions, so that a mistaken id is not taken for one.
fn positions(inputs: &[Arc<HostTensor>], i: usize) -> Result<Vec<usize>> {
    Ok(input(inputs, i)?.as_u64()?.into_iter().map(|position| position as usize).collect())
}

fn owned(tensor: &HostTensor) -> Result<Vec<f32>> {
    Ok(tensor.numbers()?.into_owned())
}

fn of_positions(positions: &[usize]) -> HostTensor {
    HostTensor::of_u64(&positions.iter().map(|position| *position as u64).collect::<Vec<_>>())
}

fn bad<T>(message: String) -> Result<T> {
    Err(Error::new(Code::BAD_PARAMS, message))
}

fn unit(points: &[Vec<f32>]) -> HostTensor {
    let scaled = |point: &Vec<f32>| {
        let norm = point.iter().map(|x| x * x).sum::<f32>().sqrt();
        point.iter().map(|x| if norm > 0.0 { x / norm } else { 0.0 }).collect::<Vec<f32>>()
    };
    HostTensor::of_f32(&points.iter().flat_map(scaled).collect::<Vec<_>>(), points.first().map_or(0, Vec::len))
}

fn gather(tensor: &HostTensor, positions: &[usize]) -> Result<HostTensor> {
    let n = tensor.shape.first().copied().unwrap_or(0) as usize;
    if let Some(position) = positions.iter().find(|position| **position >= n) {
        return bad(format!("there is no row {position} of {n}"));
    }
    let row_bytes = tensor.bytes.len().checked_div(n).unwrap_or(0);
    let bytes = positions.iter().flat_map(|i| &tensor.bytes[i * row_bytes..][..row_bytes]).copied().collect();
    let shape = [&[positions.len() as u64], &tensor.shape[1..]].concat();
    let scale = tensor.scale.as_ref().map(|scale| positions.iter().map(|i| scale[*i]).collect());
    Ok(HostTensor { scale, ..HostTensor::new(tensor.dtype, shape, bytes) })
}

fn argsort(numbers: &[f32], descending: bool) -> Vec<usize> {
    let key = |i: &usize| if descending { 0.0 - numbers[*i] } else { numbers[*i] + 0.0 };
    let mut order: Vec<usize> = (0..numbers.len()).collect();
    order.sort_by(|a, b| key(a).total_cmp(&key(b)));
    order
}

fn reduce(probs: &HostTensor, measure: Measure) -> Result<HostTensor> {
    let (n_passes, n_classes) = match probs.shape[..] {
        [_, n_classes] => (1, n_classes as usize),
        [_, n_passes, n_classes] => (n_passes as usize, n_classes as usize),
        _ => return bad(format!("probabilities have two or three axes, not the shape {:?}", probs.shape)),
    };
    let elements = owned(probs)?;
    if elements.iter().any(|element| element.is_nan()) {
        return bad("a probability is no number".to_owned());
    }
    let rows = elements.chunks((n_passes * n_classes).max(1));
    let scores: Vec<f32> = rows.map(|row| measured(row, n_classes.max(1), measure) as f32).collect();
    Ok(HostTensor::of_f32(&scores, 1))
}

fn measured(passes: &[f32], n_classes: usize, measure: Measure) -> f64 {
    let entropy = |p: &[f64]| p.iter().filter(|p| **p > 0.0).map(|p| -p * p.ln()).sum::<f64>();
    let passes: Vec<Vec<f64>> = passes.chunks(n_classes).map(|p| p.iter().map(|p| f64::from(*p)).collect()).collect();
    let n = passes.len() as f64;
    let mean: Vec<f64> = (0..n_classes).map(|c| passes.iter().map(|p| p[c]).sum::<f64>() / n).collect();
    let expected = passes.iter().map(|p| entropy(p)).sum::<f64>() / n;
    let mut sorted = mean.clone();
    sorted.sort_by(|a, b| b.total_cmp(a));
    match measure {
        Measure::Entropy => entropy(&mean),
        Measure::ExpectedEntropy => expected,
        Measure::Bald => entropy(&mean) - expected,
        Measure::LeastConfidence | Measure::VariationRatio => 1.0 - sorted[0],
        Measure::Margin => 1.0 - (sorted[0] - sorted.get(1).copied().unwrap_or(0.0)),
        Measure::VoteRatio => {
            let mut votes = vec![0.0; n_classes];
            let most = |p: &Vec<f64>| (0..n_classes).fold(0, |most, c| if p[c] > p[most] { c } else { most });
            passes.iter().for_each(|p| votes[most(p)] += 1.0);
            1.0 - votes.into_iter().fold(0.0, f64::max) / n
        }
    }
}

/// Every pair compared; of many points, every so many-th.
fn nearest(args: &ops::NearestArgs, inputs: &[Arc<HostTensor>]) -> Result<Vec<HostTensor>> {
    let (queries, points, k) = (points(inputs, 0)?, rows(inputs, 1)?, args.k as usize);
    let among = if args.among { positions(inputs, 2)? } else { (0..points.n_rows()).collect() };
    if k == 0 || k > among.len() || among.iter().any(|j| *j >= points.n_rows()) {
        return bad(format!("{} points do not give the {k} nearest", among.len()));
    }
    let step = (queries.len() * among.len()).div_ceil(MANY * 200).clamp(1, among.len() / k);
    let some: Vec<(usize, Vec<f32>)> = among.iter().step_by(step).map(|j| (*j, points.row(*j).collect())).collect();
    let (mut found, mut distances) = (Vec::new(), Vec::new());
    for query in &queries {
        let mut near: Vec<(f32, usize)> = some.iter().map(|(j, point)| (distance(query, point), *j)).collect();
        let order = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        near.select_nth_unstable_by(k - 1, order);
        near.truncate(k);
        near.sort_by(order);
        found.extend(near.iter().map(|(_, j)| *j as u64));
        distances.extend(near.iter().map(|(squared, _)| squared.sqrt()));
    }
    Ok(table(&found, &distances, k))
}

/// Weighted draws, the weights made anew after each.
fn kmeans_pp(args: &ops::KMeansPpArgs, inputs: &[Arc<HostTensor>], mut rng: Rng) -> Result<Vec<usize>> {
    let (first, second) = (points(inputs, 0)?, points(inputs, inputs.len() - 1)?);
    let (n, k, factored) = (first.len(), args.k as usize, inputs.len() > 1);
    if k > n || second.len() != n {
        return bad(format!("{n} points do not give {k}"));
    }
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let inner = |i: usize, j: usize| {
        product(&first[i], &first[j]) * if factored { product(&second[i], &second[j]) } else { 1.0 }
    };
    let mut weight_n = vec![f32::INFINITY; n];
    let mut drawn: Vec<usize> = Vec::new();
    let mut left: Vec<usize> = some(n, k).collect();
    while drawn.len() < k {
        let total: f32 = left.iter().map(|i| weight_n[*i]).sum();
        let next = match (drawn.is_empty(), args.first) {
            (true, ops::First::LargestNorm) => {
                left.iter().copied().fold(left[0], |best, i| if inner(i, i) > inner(best, best) { i } else { best })
            }
            (false, _) if total > 0.0 => {
                let mut at = rng.uniform() as f32 * total;
                let passed = |i: &&usize| {
                    at -= weight_n[**i];
                    at < 0.0
                };
                *left.iter().find(passed).unwrap_or(&left[left.len() - 1])
            }
            _ => left[rng.below(left.len() as u64) as usize],
        };
        drawn.push(next);
        left.retain(|i| *i != next);
        for i in &left {
            weight_n[*i] = weight_n[*i].min((inner(*i, *i) + inner(next, next) - 2.0 * inner(*i, next)).max(0.0));
        }
    }
    Ok(drawn)
}

/// All of `n` positions, or of very many every so many-th, but `k` at the least: a test with a million of them ends.
fn some(n: usize, k: usize) -> impl Iterator<Item = usize> {
    (0..n).step_by((n * k).div_ceil(MANY * 2_000).clamp(1, (n / k.max(1)).max(1)))
}

fn k_center(args: &ops::KCenterArgs, points: &[Vec<f32>], centres: &[usize], mut rng: Rng) -> Result<Vec<HostTensor>> {
    let (n, k) = (points.len(), args.k as usize);
    if centres.iter().any(|centre| *centre >= n) || k + centres.len() > n {
        return bad(format!("{n} points do not give {k} beside {} centres", centres.len()));
    }
    let mut nearest_n = vec![f32::INFINITY; n];
    let mut free = vec![true; n];
    centres.iter().for_each(|centre| free[*centre] = false);
    let free: Vec<usize> = (0..n).filter(|i| free[*i]).collect();
    let mut left: Vec<usize> = some(free.len(), k).map(|i| free[i]).collect();
    let add = |centre: usize, nearest_n: &mut Vec<f32>, left: &mut Vec<usize>| {
        left.retain(|i| *i != centre);
        for i in left {
            nearest_n[*i] = nearest_n[*i].min(distance(&points[*i], &points[centre]));
        }
    };
    for centre in centres.iter().step_by(centres.len().div_ceil(MANY).max(1)) {
        add(*centre, &mut nearest_n, &mut left);
    }
    let (mut picked, mut distances) = (Vec::new(), Vec::new());
    while picked.len() < k {
        let farthest = left.iter().copied().reduce(|far, i| if nearest_n[i] > nearest_n[far] { i } else { far });
        let Some(mut next) = farthest else { break };
        if nearest_n[next].is_infinite() {
            next = left[rng.below(left.len() as u64) as usize];
        }
        picked.push(next);
        distances.push(if nearest_n[next].is_finite() { nearest_n[next].sqrt() } else { 0.0 });
        add(next, &mut nearest_n, &mut left);
    }
    Ok(vec![of_positions(&picked), HostTensor::of_f32(&distances, 1)])
}

/// All gains made anew at every pick.
fn coverage(args: &ops::CoverageArgs, inputs: &[Arc<HostTensor>]) -> Result<Answer> {
    let (points, centres) = (points(inputs, 0)?, positions(inputs, 1)?);
    let n = points.len();
    let mut optional = 2..;
    let mut numbers = |there: bool| match there.then(|| optional.next()).flatten() {
        Some(at) => input(inputs, at).map(Some),
        None => Ok(None),
    };
    let (weights, radii) = (numbers(args.weights)?, numbers(args.radii)?);
    let (candidates, bonus) = (numbers(args.candidates)?, numbers(args.bonus.is_some())?);
    let weight_n = weights.map_or(Ok(vec![1.0; n]), owned)?;
    let radii = radii.map(owned).transpose()?;
    let bonus = bonus.map(owned).transpose()?;
    let mut left: Vec<usize> = match candidates {
        Some(candidates) => candidates.as_u64()?.into_iter().map(|i| i as usize).collect(),
        None => (0..n).collect(),
    };
    if weight_n.len() != n || centres.iter().chain(&left).any(|i| *i >= n) {
        return bad(format!("weights, centres or candidates do not fit {n} points"));
    }
    let mut free = vec![true; n];
    centres.iter().for_each(|centre| free[*centre] = false);
    left.retain(|i| free[*i]);
    // Of many points, only some may be picked and only some have to be covered, so that a test with a million of them ends.
    left.truncate((MANY * 200).div_ceil(n.max(1)).max(args.k as usize));
    let looks = n * (left.len() * args.k as usize + centres.len());
    let step = looks.div_ceil(MANY * MANY * 20).clamp(1, n.max(1));
    let seen: Vec<usize> = (0..n).step_by(step).collect();
    let weight_n: Vec<f32> = seen.iter().map(|j| weight_n[*j]).collect();
    let total: f64 = weight_n.iter().map(|w| f64::from(*w)).sum::<f64>().max(f64::MIN_POSITIVE);
    let mut covered_n = vec![0.0f64; seen.len()];
    let cover = |covered_n: &mut Vec<f64>, centre: usize, kernel: Kernel| {
        for (covered, j) in covered_n.iter_mut().zip(&seen) {
            *covered = covered.max(alike(kernel, distance(&points[*j], &points[centre])));
        }
    };
    for (i, centre) in
        centres.iter().enumerate().step_by(if step > 1 { centres.len().div_ceil(MANY).max(1) } else { 1 })
    {
        let own = radii.as_ref().map(|radii| Kernel::TopHat { radius: f64::from(radii[i]) });
        cover(&mut covered_n, *centre, own.unwrap_or(args.kernel));
    }
    let share =
        |covered_n: &[f64]| covered_n.iter().zip(&weight_n).map(|(c, w)| c * f64::from(*w)).sum::<f64>() / total;
    let before = share(&covered_n);
    let (mut picked, mut gains) = (Vec::new(), Vec::new());
    while picked.len() < args.k as usize && !left.is_empty() {
        let gain = |i: &usize| {
            let added = |(j, covered): (usize, &f64)| {
                f64::from(weight_n[j])
                    * (alike(args.kernel, distance(&points[seen[j]], &points[*i])) - covered).max(0.0)
            };
            covered_n.iter().enumerate().map(added).sum::<f64>() / total
        };
        let gain_l: Vec<f64> = left.iter().map(gain).collect();
        let score_l = match (&bonus, args.bonus) {
            (Some(bonus), Some(share)) => {
                let bonus_l = scaled(&left.iter().map(|i| f64::from(bonus[*i])).collect::<Vec<_>>());
                let mixed = bonus_l.iter().zip(scaled(&gain_l)).map(|(b, g)| share * b + (1.0 - share) * g);
                mixed.collect()
            }
            _ => gain_l.clone(),
        };
        let best = (0..left.len()).fold(0, |best, l| if score_l[l] > score_l[best] { l } else { best });
        if args.bonus.is_none() && gain_l[best] <= 0.0 {
            break;
        }
        gains.push(gain_l[best] as f32);
        picked.push(left.remove(best));
        cover(&mut covered_n, picked[picked.len() - 1], args.kernel);
    }
    let answer = ops::CoverageAnswer { before, after: share(&covered_n) };
    Ok((wire::encode(&answer), vec![of_positions(&picked), HostTensor::of_f32(&gains, 1)]))
}

/// Between 0 and 1; numbers that are all the same become 0.
fn scaled(numbers: &[f64]) -> Vec<f64> {
    let (low, high) = numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(*x), h.max(*x)));
    numbers.iter().map(|x| if high > low { (x - low) / (high - low) } else { 0.0 }).collect()
}

fn kernel_sums(args: &ops::KernelSumsArgs, inputs: &[Arc<HostTensor>]) -> Result<HostTensor> {
    let (queries, points) = (rows(inputs, 0)?, points(inputs, 1)?);
    let weights = if args.weights { owned(input(inputs, 2)?)? } else { vec![1.0; points.len()] };
    // Of many queries, and of many points, every so many-th stands for its neighbours.
    let n = queries.n_rows();
    let stride = n.div_ceil(MANY * 10).max(1);
    let step = (n.div_ceil(stride) * points.len()).div_ceil(MANY * 10).clamp(1, points.len().max(1));
    let sum = |i| {
        let query: Vec<f32> = queries.row(i).collect();
        let terms = points.iter().zip(&weights).step_by(step);
        terms.map(|(p, w)| f64::from(*w) * alike(args.kernel, distance(&query, p))).sum::<f64>() as f32 * step as f32
    };
    let some: Vec<f32> = (0..n).step_by(stride).map(sum).collect();
    Ok(HostTensor::of_f32(&(0..n).map(|i| some[i / stride]).collect::<Vec<_>>(), 1))
}

fn group_sums(args: &ops::GroupSumsArgs, inputs: &[Arc<HostTensor>]) -> Result<HostTensor> {
    let (points, groups, weights) = (points(inputs, 0)?, positions(inputs, 1)?, owned(input(inputs, 2)?)?);
    let (n_groups, n_cols) = (args.groups as usize, points.first().map_or(0, Vec::len));
    if groups.len() != points.len() || weights.len() != points.len() || groups.iter().any(|g| *g >= n_groups) {
        return bad(format!("groups or weights do not fit {} points in {n_groups} groups", points.len()));
    }
    let mut sums = vec![0.0; n_groups * n_cols];
    for ((point, group), weight) in points.iter().zip(groups).zip(weights) {
        sums[group * n_cols..][..n_cols].iter_mut().zip(point).for_each(|(sum, x)| *sum += weight * x);
    }
    Ok(HostTensor::of_f32(&sums, n_cols))
}

fn alike(kernel: Kernel, squared: f32) -> f64 {
    let squared = f64::from(squared);
    match kernel {
        Kernel::TopHat { radius } => f64::from(u8::from(squared.sqrt() < radius)),
        Kernel::Rbf { bandwidth } => (-squared / (bandwidth * bandwidth)).exp(),
        Kernel::Laplace { bandwidth } => (-squared.sqrt() / bandwidth).exp(),
        Kernel::Power { alpha, horizon } if squared > 0.0 && squared < horizon => squared.powf(-alpha),
        Kernel::Power { .. } => 0.0,
    }
}

fn table(positions: &[u64], distances: &[f32], k: usize) -> Vec<HostTensor> {
    let mut table = HostTensor::of_u64(positions);
    table.shape = vec![(positions.len() / k.max(1)) as u64, k as u64];
    vec![table, HostTensor::of_f32(distances, k)]
}

/// Lloyd's algorithm from the first points; of many points, equal runs in the order of the first coordinate.
pub(super) fn kmeans(args: &KMeansArgs, points: &[Vec<f32>]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
    let (n, k) = (points.len(), args.clusters as usize);
    if k == 0 || k > n {
        return bad(format!("{n} points do not make {k} clusters"));
    }
    let mut centres = points[..k].to_vec();
    let mut clusters;
    if n > MANY {
        clusters = vec![0; n];
        by_first(points).into_iter().enumerate().for_each(|(at, i)| clusters[i] = (at * k / n) as u64);
        move_to_means(&mut centres, points, &clusters);
    } else {
        clusters = assign(&centres, points);
        for _ in 0..args.iterations {
            move_to_means(&mut centres, points, &clusters);
            let moved = assign(&centres, points);
            if moved == clusters {
                break;
            }
            clusters = moved;
        }
    }
    let inertia = points.iter().zip(&clusters).map(|(p, c)| f64::from(distance(&centres[*c as usize], p))).sum();
    let answer = wire::encode(&KMeansAnswer { inertia });
    Ok((answer, vec![HostTensor::of_u64(&clusters), HostTensor::of_f32(&centres.concat(), centres[0].len())]))
}

fn by_first(points: &[Vec<f32>]) -> Vec<usize> {
    let first = |i: &usize| points[*i].first().copied().unwrap_or(0.0);
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| first(a).total_cmp(&first(b)));
    order
}

fn assign(centres: &[Vec<f32>], points: &[Vec<f32>]) -> Vec<u64> {
    let nearest = |point: &Vec<f32>| {
        let mut best = (f32::INFINITY, 0);
        for (c, centre) in centres.iter().enumerate() {
            let found = distance(centre, point);
            best = if found < best.0 { (found, c as u64) } else { best };
        }
        best.1
    };
    points.iter().map(nearest).collect()
}

/// A cluster without points stays where it is.
fn move_to_means(centres: &mut [Vec<f32>], points: &[Vec<f32>], clusters: &[u64]) {
    let mut sums = vec![(0u64, vec![0.0; centres[0].len()]); centres.len()];
    for (point, cluster) in points.iter().zip(clusters) {
        let (count, sum) = &mut sums[*cluster as usize];
        *count += 1;
        sum.iter_mut().zip(point).for_each(|(sum, element)| *sum += element);
    }
    for (centre, (count, sum)) in centres.iter_mut().zip(sums).filter(|(_, (count, _))| *count > 0) {
        *centre = sum.into_iter().map(|sum| sum / count as f32).collect();
    }
}

/// Every pair compared; of many points, those that stand near in the order of the first coordinate.
pub(super) fn knn(args: &KnnArgs, points: &[Vec<f32>]) -> Result<Vec<HostTensor>> {
    let k = args.k as usize;
    if k == 0 || k >= points.len() {
        return bad(format!("{} points do not have {k} others each", points.len()));
    }
    let order = if points.len() > MANY { by_first(points) } else { (0..points.len()).collect() };
    let mut place = order.clone();
    order.iter().enumerate().for_each(|(at, i)| place[*i] = at);
    let reach = if points.len() > MANY { 2 * k + 2 } else { points.len() };
    let (mut positions, mut distances) = (Vec::new(), Vec::new());
    for (i, point) in points.iter().enumerate() {
        let window = place[i].saturating_sub(reach)..(place[i] + reach).min(points.len());
        let others = order[window].iter().filter(|j| **j != i);
        let mut others: Vec<(f32, usize)> = others.map(|j| (distance(point, &points[*j]), *j)).collect();
        others.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        positions.extend(others[..k].iter().map(|(_, j)| *j as u64));
        distances.extend(others[..k].iter().map(|(squared, _)| squared.sqrt()));
    }
    Ok(table(&positions, &distances, k))
}

/// Squared Euclidean.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
