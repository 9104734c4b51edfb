//! The operations on points, as plainly as they can be written.

use crate::ops::{KMeansAnswer, KMeansArgs, KnnArgs};
use crate::tensors::HostTensor;
use crate::{Code, Error, Result, wire};

/// Beyond so many points, answers are rough, so that a test with a million of them ends.
const MANY: usize = 5_000;

/// Lloyd's algorithm from the first points; of many points, two rounds of it.
pub(super) fn kmeans(args: &KMeansArgs, points: &[Vec<f32>]) -> Result<(Vec<u8>, Vec<HostTensor>)> {
    let k = args.clusters as usize;
    if k == 0 || k > points.len() {
        return Err(Error::new(Code::BAD_PARAMS, format!("{} points do not make {k} clusters", points.len())));
    }
    let mut centres = points[..k].to_vec();
    let mut clusters = assign(&centres, points);
    for _ in 0..if points.len() > MANY { args.iterations.min(2) } else { args.iterations } {
        move_to_means(&mut centres, points, &clusters);
        let moved = assign(&centres, points);
        if moved == clusters {
            break;
        }
        clusters = moved;
    }
    let inertia = points.iter().zip(&clusters).map(|(p, c)| f64::from(distance(&centres[*c as usize], p))).sum();
    let answer = wire::encode(&KMeansAnswer { inertia });
    Ok((answer, vec![HostTensor::of_u64(&clusters), HostTensor::of_f32(&centres.concat(), centres[0].len())]))
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
        return Err(Error::new(Code::BAD_PARAMS, format!("{} points do not have {k} others each", points.len())));
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    let mut place = order.clone();
    if points.len() > MANY {
        order.sort_by(|a, b| points[*a][0].total_cmp(&points[*b][0]));
        order.iter().enumerate().for_each(|(at, i)| place[*i] = at);
    }
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
    let mut table = HostTensor::of_u64(&positions);
    table.shape = vec![points.len() as u64, k as u64];
    Ok(vec![table, HostTensor::of_f32(&distances, k)])
}

/// Squared Euclidean.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}
