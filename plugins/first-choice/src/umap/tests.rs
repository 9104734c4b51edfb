use super::*;

/// What the authors' program prints for its default of `min_dist` 0.1 and `spread` 1.
#[test]
fn the_curve_has_the_published_constants() {
    let Curve { a, b } = Curve::fitted(0.1, 1.0);
    assert!((a - 1.577).abs() < 5e-4 && (b - 0.895).abs() < 5e-4, "{a} {b}");
}

#[test]
fn no_small_change_of_the_curve_fits_better() {
    for (min_dist, spread) in [(0.1, 1.0), (0.5, 1.0), (0.01, 2.0)] {
        let samples: Vec<(f64, f64)> = (0..300)
            .map(|i| 3.0 * spread * f64::from(i) / 299.0)
            .map(|x| (x, if x < min_dist { 1.0 } else { (-(x - min_dist) / spread).exp() }))
            .collect();
        let curve = Curve::fitted(min_dist, spread);
        for (da, db) in [(1e-4, 0.0), (-1e-4, 0.0), (0.0, 1e-4), (0.0, -1e-4)] {
            let near = Curve { a: curve.a + da, b: curve.b + db };
            assert!(near.squared_error(&samples) > curve.squared_error(&samples), "{min_dist} {spread}");
        }
    }
}

/// The forces are the slopes of log(1 / (1 + a d^2b)) and log(1 - 1 / (1 + a d^2b)), here by differences of d^2; the
/// program's 0.001, which keeps the push finite, is 1e-3 of it at the distance 1.
#[test]
fn forces_are_the_slopes_of_the_likelihood() {
    let curve = Curve::fitted(0.1, 1.0);
    let (squared, step): (f64, f64) = (1.0, 1e-6);
    let slope = |likelihood: &dyn Fn(f64) -> f64| {
        (likelihood((squared + step).sqrt()) - likelihood((squared - step).sqrt())) / step
    };
    let together = slope(&|x| curve.at(x).ln());
    let apart = slope(&|x| (1.0 - curve.at(x)).ln());
    assert!((curve.attraction(squared) - together).abs() < 1e-6);
    assert!((curve.repulsion(squared) / apart - 1.0 / 1.001).abs() < 1e-6);
    assert_eq!(curve.attraction(0.0), 0.0);
    assert!(curve.repulsion(0.0).is_finite());
}

/// Solved by hand: with the nearest at 1 and two neighbours at 2, 1 + 2 exp(-1 / w) = log2(4) gives w = 1 / ln 2. The
/// search stops within 1e-5 of the sum, which is 2e-5 of the width at most.
#[test]
fn the_width_makes_memberships_sum_to_the_logarithm() {
    let (nearest, width) = smooth_distances(&[1.0, 2.0, 2.0], 1.0);
    assert!(nearest == 1.0 && (width - 1.0 / std::f64::consts::LN_2).abs() < 5e-5, "{width}");
    // A copy at distance 0 is no nearest neighbour; with copies alone the width is a share of the mean of all.
    assert_eq!(smooth_distances(&[0.0, 3.0, 4.0], 1.0).0, 3.0);
    let (nearest, width) = smooth_distances(&[0.0, 0.0, 0.0], 5.0);
    assert!(nearest == 0.0 && width >= 5e-3);
}

/// Points 0, 1, 3 on a line with one neighbour each: 0 and 1 name each other, 3 names 1 and is not named.
#[test]
fn an_edge_is_there_if_either_end_says_so() {
    let distances = Matrix::new(vec![1.0, 1.0, 2.0], 1).unwrap();
    let edges = fuzzy_graph(&[1, 0, 1], &distances);
    let ends: Vec<(usize, usize)> = edges.iter().map(|edge| (edge.from, edge.to)).collect();
    assert_eq!(ends, [(0, 1), (1, 0), (1, 2), (2, 1)]);
    assert!(edges.iter().all(|edge| edge.weight == 1.0));
    let half = |from, to| Edge { from, to, weight: 0.5 };
    assert_eq!(either(&[half(0, 1), half(0, 1)]).weight, 0.75);
}

/// Points on an ellipsoid's axes: the plane holds the two longest, up to sign.
#[test]
fn the_plane_holds_the_two_widest_directions() {
    let (x, y, z) = (5.0, 3.0, 1.0);
    let points = [[x, 0.0, 0.0], [-x, 0.0, 0.0], [0.0, 0.0, y], [0.0, 0.0, -y], [0.0, z, 0.0], [0.0, -z, 0.0]].concat();
    let places = principal_plane(&Matrix::new(points, 3).unwrap(), &mut Rng::from_seed([1; 32]));
    let expected = [[5.0, 0.0], [5.0, 0.0], [0.0, 3.0], [0.0, 3.0], [0.0, 0.0], [0.0, 0.0]];
    for (place, expected) in places.iter().zip(expected) {
        for axis in [0, 1] {
            assert!((place[axis].abs() - expected[axis]).abs() < 1e-6, "{places:?}");
        }
    }
    // With one dimension there is no second axis.
    let line = principal_plane(&Matrix::new(vec![1.0, 2.0, 3.0], 1).unwrap(), &mut Rng::from_seed([1; 32]));
    assert!(line.iter().all(|place| place[1] == 0.0) && (line[0][0] - line[2][0]).abs() > 1.99);
}

/// `n` points around each of two centres, 20 apart in ten dimensions.
fn blobs(n: usize) -> Matrix {
    let mut rng = Rng::from_seed([2; 32]);
    let points = (0..2 * n).flat_map(|i| {
        let offset = if i < n { 0.0 } else { 20.0 };
        (0..10).map(|d| (rng.normal() + if d == 4 { offset } else { 0.0 }) as f32).collect::<Vec<f32>>()
    });
    Matrix::new(points.collect(), 10).unwrap()
}

/// The nearest others by comparing all pairs.
fn neighbours(points_nd: &Matrix, k: usize) -> (Vec<usize>, Matrix) {
    let (mut positions, mut distances) = (Vec::new(), Vec::new());
    for i in 0..points_nd.n_rows() {
        let squared =
            |j: usize| points_nd.row(i).iter().zip(points_nd.row(j)).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
        let mut others: Vec<usize> = (0..points_nd.n_rows()).filter(|j| *j != i).collect();
        others.sort_by(|a, b| squared(*a).total_cmp(&squared(*b)));
        positions.extend(&others[..k]);
        distances.extend(others[..k].iter().map(|j| squared(*j).sqrt()));
    }
    (positions, Matrix::new(distances, k).unwrap())
}

fn laid_out(points_nd: &Matrix, start_n: Vec<Place>, seed: u8) -> Vec<Place> {
    let (positions, distances) = neighbours(points_nd, 14);
    let edges = fuzzy_graph(&positions, &distances);
    layout(&edges, start_n, &mut Rng::from_seed([seed; 32]), |_, _| Ok(())).unwrap()
}

#[test]
fn two_blobs_stay_apart_and_equal_seeds_agree() {
    let points = blobs(40);
    let start_n = start(principal_plane(&points, &mut Rng::from_seed([3; 32])), &mut Rng::from_seed([4; 32]));
    let places = laid_out(&points, start_n.clone(), 5);
    assert_eq!(places, laid_out(&points, start_n.clone(), 5));
    assert_ne!(places, laid_out(&points, start_n, 6));

    let middle = |blob: &[Place]| [0, 1].map(|axis| blob.iter().map(|place| place[axis]).sum::<f64>() / 40.0);
    let (first, second) = places.split_at(40);
    let (here, there) = (middle(first), middle(second));
    for (blob, own, other) in [(first, here, there), (second, there, here)] {
        for place in blob {
            assert!(2.0 * squared_distance(*place, own).sqrt() < squared_distance(*place, other).sqrt());
        }
    }
}

/// From a random start, too, every point ends beside one of its own blob.
#[test]
fn neighbours_find_each_other_from_anywhere() {
    let mut rng = Rng::from_seed([7; 32]);
    let start_n: Vec<Place> = (0..80).map(|_| [0, 1].map(|_| 10.0 * rng.uniform())).collect();
    let places = laid_out(&blobs(40), start_n, 8);
    for i in 0..80 {
        let others = (0..80).filter(|j| *j != i);
        let far = |j: &usize| squared_distance(places[i], places[*j]);
        let nearest = others.min_by(|a, b| far(a).total_cmp(&far(b))).unwrap();
        assert_eq!(nearest / 40, i / 40, "image {i} ended beside {nearest}");
    }
}
