//! Farthest first: centres that leave no point far away.

use crate::closest::{Closest, Cloud};
use crate::error::{Result, bad};
use crate::points::Points;
use crate::{GoOn, check};
use coldstart_plugin_api::Rng;

/// Contenders looked at between two passes over the points: as many as a pass is worth.
const CONTENDERS: usize = 512;

/// Points in the order picked.
#[derive(Clone, Debug, PartialEq)]
pub struct Centres {
    /// Their positions.
    pub positions: Vec<usize>,
    /// The Euclidean distance of each to its nearest centre when it was picked.
    pub distances: Vec<f32>,
}

/// `k` picks, each the point farthest from its nearest centre, and then a centre itself (Gonzalez 1985; Core-Set of Sener and
/// Savarese 2018).
///
/// Equal distances go to the lowest position; no centre is picked, not even when only equals of centres are left.
/// Distances never rise; without centres the first pick is drawn, at distance 0. Errs when there are fewer than `k` points that
/// are no centre, or when a centre is no point.
pub fn k_center(points: &Points<'_>, k: usize, centres: &[usize], rng: &mut Rng, go_on: GoOn<'_>) -> Result<Centres> {
    let mut is_centre = vec![false; points.n()];
    for i in centres {
        match is_centre.get_mut(*i) {
            Some(is_centre) => *is_centre = true,
            None => return bad(format!("centre {i} is none of {} points", points.n())),
        }
    }
    let free = is_centre.iter().filter(|is_centre| !**is_centre).count();
    if k > free {
        return bad(format!("{free} points that are no centre do not give {k} picks"));
    }
    let mut picks = Centres { positions: Vec::with_capacity(k), distances: Vec::with_capacity(k) };
    if k == 0 {
        return Ok(picks);
    }
    let mut fresh = centres.to_vec();
    if centres.is_empty() {
        let first = rng.below(points.n() as u64) as usize;
        is_centre[first] = true;
        (picks.positions, picks.distances, fresh) = (vec![first], vec![0.0], vec![first]);
    }
    let mut closest = Closest::new(Cloud::Dense(*points))?;
    while picks.positions.len() < k {
        check(go_on)?;
        closest.add(&fresh)?;
        fresh = farthest(points, &closest.away_n, &is_centre, k - picks.positions.len(), &mut picks)?;
        fresh.iter().for_each(|i| is_centre[*i] = true);
    }
    Ok(picks)
}

/// The next picks, as many as are certain without another pass over the points.
///
/// Distances only fall. So as long as the farthest of the contenders comes before the first point that is none of them,
/// wherever that one's distance has fallen, it is the farthest of all.
fn farthest(
    points: &Points<'_>,
    away_n: &[f32],
    is_centre: &[bool],
    at_most: usize,
    picks: &mut Centres,
) -> Result<Vec<usize>> {
    let before = |a: &(f32, usize), b: &(f32, usize)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
    let free = away_n.iter().zip(is_centre).enumerate().filter(|(_, (_, is_centre))| !**is_centre);
    let mut contenders: Vec<(f32, usize)> = free.map(|(i, (away, _))| (*away, i)).collect();
    let mut next = None;
    if contenders.len() > CONTENDERS {
        let (_, first_beyond, _) = contenders.select_nth_unstable_by(CONTENDERS, before);
        next = Some(*first_beyond);
        contenders.truncate(CONTENDERS);
    }
    let rows = points.gather(&contenders.iter().map(|(_, i)| *i).collect::<Vec<usize>>());
    let gathered = Points::new(&rows, points.d())?;
    let mut open: Vec<usize> = (0..contenders.len()).collect();
    let mut picked = Vec::new();
    while picked.len() < at_most {
        let best = open.iter().copied().enumerate().min_by(|a, b| before(&contenders[a.1], &contenders[b.1]));
        let Some((place, pick)) = best else { break };
        if next.is_some_and(|next| before(&contenders[pick], &next).is_gt()) {
            break;
        }
        open.swap_remove(place);
        let (away, position) = contenders[pick];
        picked.push(position);
        picks.positions.push(position);
        picks.distances.push(away.sqrt());
        for other in &open {
            let away = gathered.squared_distance(*other, &gathered, pick);
            contenders[*other].0 = contenders[*other].0.min(away);
        }
    }
    Ok(picked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::{cloud, on, on_threads};
    use proptest::proptest;

    /// One pick after the other, each from all distances.
    fn plain(points: &Points<'_>, k: usize, centres: &[usize]) -> Centres {
        let (mut centres, mut picks) = (centres.to_vec(), Centres { positions: vec![], distances: vec![] });
        for _ in 0..k {
            let to = |i: usize| centres.iter().map(move |c| points.squared_distance(i, points, *c));
            let away = |i: &usize| to(*i).fold(f32::INFINITY, f32::min);
            let free = (0..points.n()).filter(|i| !centres.contains(i));
            let pick = free.min_by(|a, b| away(b).total_cmp(&away(a))).unwrap();
            picks.distances.push(away(&pick).sqrt());
            picks.positions.push(pick);
            centres.push(pick);
        }
        picks
    }

    fn check_against_plain(points: &Points<'_>, k: usize, centres: &[usize]) {
        let found = on_threads(&|| k_center(points, k, centres, &mut Rng::from_seed([5; 32]), &on).unwrap());
        if centres.is_empty() && k > 0 {
            assert_eq!(found.distances[0], 0.0);
            let rest = plain(points, k - 1, &found.positions[..1]);
            assert_eq!((&found.positions[1..], &found.distances[1..]), (&rest.positions[..], &rest.distances[..]));
        } else {
            assert_eq!(found, plain(points, k, centres));
        }
    }

    #[test]
    fn ties_on_a_line_go_to_the_lowest_position() {
        let rows = [0.0, 1.0, 2.0, 5.0, 9.0, 10.0];
        let found = k_center(&Points::new(&rows, 1).unwrap(), 5, &[0], &mut Rng::from_seed([0; 32]), &on).unwrap();
        assert_eq!(found.positions, [5, 3, 2, 1, 4]);
        assert_eq!(found.distances, [10.0, 5.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn picks_equal_those_of_a_plain_loop() {
        let mut rng = Rng::from_seed([2; 32]);
        for (n, d, steps, offset) in [
            (1, 1, None, 0.0),
            (60, 1, Some(1.0), 0.0),
            (300, 2, Some(1.0), 0.0),
            (257, 40, None, 0.0),
            (1300, 3, None, 300.0),
            (1300, 6, Some(2.0), 0.0),
        ] {
            let mut rows = cloud(n, d, 4, steps, &mut rng);
            rows.iter_mut().for_each(|x| *x += offset);
            let points = Points::new(&rows, d).unwrap();
            let some = rng.sample(n, n / 3);
            for k in [0, 1, n / 4, n.min(300).saturating_sub(n / 3)] {
                check_against_plain(&points, k, &[]);
                check_against_plain(&points, k, &some[..some.len().min(40)]);
            }
            if n <= 300 {
                check_against_plain(&points, n, &[]);
                check_against_plain(&points, n - some.len(), &some);
            }
        }
    }

    proptest! {
        #[test]
        fn any_small_grid_is_picked_as_by_a_plain_loop(
            cells in proptest::collection::vec(-2i8..3, 2..40),
            share in 0.0f64..1.0,
        ) {
            let rows: Vec<f32> = cells.iter().map(|cell| f32::from(*cell)).collect();
            let points = Points::new(&rows, 1).unwrap();
            let centres: Vec<usize> = (0..(share * rows.len() as f64) as usize).map(|i| i * 7 % rows.len()).collect();
            let free = (0..rows.len()).filter(|i| !centres.contains(i)).count();
            check_against_plain(&points, free, &centres);
        }
    }

    #[test]
    fn what_cannot_be_picked_is_refused() {
        let rows = [0.0, 0.0, 0.0];
        let points = Points::new(&rows, 1).unwrap();
        let ask =
            |k, centres: &[usize], go_on: GoOn<'_>| k_center(&points, k, centres, &mut Rng::from_seed([0; 32]), go_on);
        assert!(matches!(ask(4, &[], &on), Err(Error::Input(_))));
        assert!(matches!(ask(3, &[1], &on), Err(Error::Input(_))));
        assert!(matches!(ask(1, &[3], &on), Err(Error::Input(_))));
        assert_eq!(ask(2, &[], &|| false), Err(Error::Cancelled));
        assert_eq!(ask(2, &[1, 1], &on).unwrap().positions, [0, 2]);
    }
}
