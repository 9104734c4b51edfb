//! Nearest neighbours: every pair is screened by a product, the near ones are decided by their difference.

use crate::error::{Result, bad};
use crate::points::{Points, TILE, tiles};
use crate::wide::wide;
use crate::{GoOn, check};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Values that are compared at once before one of them is looked at.
const CHUNK: usize = 32;
/// Parts of the points in which few queries are answered at once.
const PARTS: usize = 16;

/// The nearest points of each query.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbours {
    /// Their positions, queries x k, nearest first.
    pub positions: Vec<usize>,
    /// Their Euclidean distances, queries x k.
    pub distances: Vec<f32>,
}

/// The `k` nearest points of each query, nearest first, equally near ones in the order of their positions.
///
/// With `among` only the points at these positions count, ascending. Errs when there are fewer than `k` of them, when
/// `among` does not ascend or names no point, or when queries and points differ in length.
pub fn nearest(
    queries: &Points<'_>,
    points: &Points<'_>,
    k: usize,
    among: Option<&[usize]>,
    go_on: GoOn<'_>,
) -> Result<Neighbours> {
    if queries.d() != points.d() {
        return bad(format!("queries of {} numbers and points of {} have no distances", queries.d(), points.d()));
    }
    if among.is_some_and(|among| !among.is_sorted_by(|a, b| a < b) || among.last().is_some_and(|i| *i >= points.n())) {
        return bad(format!("positions of some of {} points must ascend and be below that", points.n()));
    }
    let count = among.map_or(points.n(), <[usize]>::len);
    if k > count {
        return bad(format!("{count} points do not have {k} nearest ones"));
    }
    Search::new(queries, points, k, among, false)?.all(go_on)
}

/// The `k` nearest other points of each point, nearest first, equally near ones in the order of their positions.
///
/// Lists of all points at once halve the work, and are kept where they take no more than `memory` bytes; the answer is the same.
/// Errs when there are not as many others.
pub fn knn(points: &Points<'_>, k: usize, memory: usize, go_on: GoOn<'_>) -> Result<Neighbours> {
    let n = points.n();
    if n > 0 && k >= n {
        return bad(format!("{n} points do not have {k} others each"));
    }
    let search = Search::new(points, points, k, None, true)?;
    let lists_bytes = n.saturating_mul(capacity(k)).saturating_mul(size_of::<Near>());
    if lists_bytes <= memory { search.pairs(go_on) } else { search.all(go_on) }
}

struct Search<'a> {
    queries: &'a Points<'a>,
    points: &'a Points<'a>,
    k: usize,
    among: Option<&'a [usize]>,
    /// Whether query `i` is point `i`, which then is none of its neighbours.
    others_only: bool,
    query_squares: Vec<f32>,
    /// Of the points that count, in their order.
    square_n: Vec<f32>,
    largest: f32,
}

impl<'a> Search<'a> {
    fn new(
        queries: &'a Points<'a>,
        points: &'a Points<'a>,
        k: usize,
        among: Option<&'a [usize]>,
        others_only: bool,
    ) -> Result<Search<'a>> {
        if points.n() > u32::MAX as usize {
            return bad(format!("{} points are more than positions of 32 bits can tell", points.n()));
        }
        let query_squares = queries.finite_squares()?;
        let square_n = match among {
            _ if others_only => query_squares.clone(),
            None => points.finite_squares()?,
            Some(among) => points.finite_squares_of(among)?,
        };
        let largest = square_n.iter().copied().fold(0.0, f32::max);
        Ok(Search { queries, points, k, among, others_only, query_squares, square_n, largest })
    }

    /// Each query with all points.
    fn all(&self, go_on: GoOn<'_>) -> Result<Neighbours> {
        let query_tiles: Vec<Range<usize>> = tiles(self.queries.n()).collect();
        let n_tiles = self.square_n.len().div_ceil(TILE);
        let tiles_in_part = n_tiles.div_ceil(PARTS.div_ceil(query_tiles.len().max(1))).max(1);
        let parts: Vec<usize> = (0..n_tiles).step_by(tiles_in_part).collect();
        let answers = query_tiles.into_par_iter().with_max_len(1).map(|queries| {
            check(go_on)?;
            let of_part = |first: &usize| {
                let end = self.square_n.len().min((first + tiles_in_part) * TILE);
                self.part(queries.clone(), first * TILE..end)
            };
            let mut found = parts.par_iter().with_max_len(1).map(of_part).collect::<Result<Vec<_>>>()?.into_iter();
            let mut lists = found.next().unwrap_or_default();
            for more in found {
                for ((query, list), more) in queries.clone().zip(&mut lists).zip(more) {
                    more.near.into_iter().for_each(|near| self.offer(query, list, near));
                }
            }
            Ok(queries.zip(lists).map(|(query, list)| self.settle(query, list)).collect::<Vec<_>>())
        });
        Ok(self.answer(answers.collect::<Result<Vec<_>>>()?))
    }

    /// What a tile of queries finds among some of the points that count.
    fn part(&self, queries: Range<usize>, points: Range<usize>) -> Result<Vec<Shortlist>> {
        let mut lists: Vec<Shortlist> = queries.clone().map(|_| Shortlist::new(self.k)).collect();
        let (mut products, mut hits) = (Vec::new(), Vec::new());
        for start in points.clone().step_by(TILE) {
            let tile = start..points.end.min(start + TILE);
            products.resize(queries.len() * tile.len(), 0.0);
            match self.among {
                None => self.queries.dots(queries.clone(), self.points, tile.clone(), &mut products),
                Some(among) => {
                    let rows = self.points.gather(&among[tile.clone()]);
                    let gathered = Points::new(&rows, self.points.d())?;
                    self.queries.dots(queries.clone(), &gathered, 0..tile.len(), &mut products);
                }
            }
            self.look_through(queries.clone(), tile, &products, &mut lists, &mut hits);
        }
        Ok(lists)
    }

    /// Offer each query the points of a tile that may be near enough.
    fn look_through(
        &self,
        queries: Range<usize>,
        tile: Range<usize>,
        products: &[f32],
        lists: &mut [Shortlist],
        hits: &mut Vec<usize>,
    ) {
        let squares = &self.square_n[tile.clone()];
        for ((query, list), row) in queries.zip(lists).zip(products.chunks_exact(tile.len())) {
            hits.clear();
            chunks_below(row, squares, list.bar, hits);
            for chunk in &*hits {
                for j in chunk * CHUNK..tile.len().min((chunk + 1) * CHUNK) {
                    let value = squares[j] - 2.0 * row[j];
                    let position = self.among.map_or(tile.start + j, |among| among[tile.start + j]);
                    if value <= list.bar && !(self.others_only && position == query) {
                        self.offer(query, list, (value, position as u32));
                    }
                }
            }
        }
    }

    /// Each pair of points once: what is near to one may be near to the other.
    fn pairs(&self, go_on: GoOn<'_>) -> Result<Neighbours> {
        let tiles: Vec<Range<usize>> = tiles(self.queries.n()).collect();
        let new_lists = |tile: &Range<usize>| Mutex::new(tile.clone().map(|_| Shortlist::new(self.k)).collect());
        let lists: Vec<Mutex<Vec<Shortlist>>> = tiles.iter().map(new_lists).collect();
        let lists_of = |tile: usize| lists[tile].lock().unwrap_or_else(PoisonError::into_inner);
        let row_of_tiles = |(products, hits): &mut (Vec<f32>, Vec<usize>), first: usize| {
            check(go_on)?;
            for second in first..tiles.len() {
                let (rows, columns) = (tiles[first].clone(), tiles[second].clone());
                products.resize(rows.len() * columns.len(), 0.0);
                self.points.dots(rows.clone(), self.points, columns.clone(), products);
                self.look_through(rows.clone(), columns.clone(), products, &mut lists_of(first), hits);
                if first != second {
                    self.look_down(rows, columns, products, &mut lists_of(second), hits);
                }
            }
            Ok(())
        };
        (0..tiles.len()).into_par_iter().with_max_len(1).try_for_each_init(Default::default, row_of_tiles)?;
        let settled = tiles.into_par_iter().zip(lists).map(|(tile, lists)| {
            let lists = lists.into_inner().unwrap_or_else(PoisonError::into_inner);
            tile.zip(lists).map(|(i, list)| self.settle(i, list)).collect::<Vec<_>>()
        });
        Ok(self.answer(settled.collect()))
    }

    /// The other half of a tile of pairs: offer each of the columns the rows that may be near enough.
    fn look_down(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        products: &[f32],
        lists: &mut [Shortlist],
        hits: &mut Vec<usize>,
    ) {
        let mut bars: Vec<f32> = lists.iter().map(|list| list.bar).collect();
        for (i, row) in rows.zip(products.chunks_exact(columns.len())) {
            let square = self.square_n[i];
            hits.clear();
            chunks_below_each(row, square, &bars, hits);
            for chunk in &*hits {
                for j in chunk * CHUNK..columns.len().min((chunk + 1) * CHUNK) {
                    let value = square - 2.0 * row[j];
                    if value <= bars[j] {
                        self.offer(columns.start + j, &mut lists[j], (value, i as u32));
                        bars[j] = lists[j].bar;
                    }
                }
            }
        }
    }

    fn offer(&self, query: usize, list: &mut Shortlist, near: Near) {
        list.near.push(near);
        if list.near.len() >= capacity(self.k) {
            let room = self.points.rounding() * (self.query_squares[query] + self.largest) + f32::MIN_POSITIVE;
            list.tighten(self.k, room);
            // Too many are as good as equally near: they are compared now, before the list grows without end.
            if list.near.len() > capacity(self.k) - CHUNK / 2 {
                let kept = self.compare(query, &list.near);
                list.near = kept.into_iter().map(|(_, near)| near).collect();
            }
        }
    }

    /// The `k` nearest of these, with their squared distances.
    fn compare(&self, query: usize, near: &[Near]) -> Vec<(f32, Near)> {
        let away = |near: &Near| (self.queries.squared_distance(query, self.points, near.1 as usize), *near);
        let mut compared: Vec<(f32, Near)> = near.iter().map(away).collect();
        compared.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.1.cmp(&b.1.1)));
        compared.truncate(self.k);
        compared
    }

    fn settle(&self, query: usize, mut list: Shortlist) -> Vec<(f32, Near)> {
        let room = self.points.rounding() * (self.query_squares[query] + self.largest) + f32::MIN_POSITIVE;
        list.tighten(self.k, room);
        self.compare(query, &list.near)
    }

    fn answer(&self, settled: Vec<Vec<Vec<(f32, Near)>>>) -> Neighbours {
        let all = || settled.iter().flatten().flatten();
        Neighbours {
            positions: all().map(|(_, (_, position))| *position as usize).collect(),
            distances: all().map(|(away, _)| away.sqrt()).collect(),
        }
    }
}

/// A squared distance by the product, less the query's own square; and whose.
type Near = (f32, u32);

/// The points that may be among a query's nearest.
struct Shortlist {
    near: Vec<Near>,
    /// Values above this need not be offered.
    bar: f32,
}

/// Entries of a list before it is shortened.
fn capacity(k: usize) -> usize {
    2 * k + CHUNK
}

impl Shortlist {
    fn new(k: usize) -> Shortlist {
        Shortlist { near: Vec::with_capacity(capacity(k)), bar: if k == 0 { f32::NEG_INFINITY } else { f32::INFINITY } }
    }

    /// Drop what is certain to be farther than the `k` nearest, where a value is off by no more than `room`.
    fn tighten(&mut self, k: usize, room: f32) {
        if k > 0 && self.near.len() > k {
            let (_, last, _) = self.near.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0));
            self.bar = last.0 + 2.0 * room;
            self.near.retain(|near| near.0 <= self.bar);
        }
    }
}

wide! {
    /// The chunks of a row with a value of at most `bar`.
    fn chunks_below<'a>(products: &'a [f32], squares: &'a [f32], bar: f32, hits: &'a mut Vec<usize>) -> () {
        let (chunks, rest) = products.as_chunks::<CHUNK>();
        let (square_chunks, _) = squares.as_chunks::<CHUNK>();
        for (chunk, (products, squares)) in chunks.iter().zip(square_chunks).enumerate() {
            let mut any = false;
            for j in 0..CHUNK {
                any |= squares[j] - 2.0 * products[j] <= bar;
            }
            if any {
                hits.push(chunk);
            }
        }
        if !rest.is_empty() {
            hits.push(chunks.len());
        }
    }
}

wide! {
    /// The chunks of a row with a value of at most its own bar.
    fn chunks_below_each<'a>(products: &'a [f32], square: f32, bars: &'a [f32], hits: &'a mut Vec<usize>) -> () {
        let (chunks, rest) = products.as_chunks::<CHUNK>();
        let (bar_chunks, _) = bars.as_chunks::<CHUNK>();
        for (chunk, (products, bars)) in chunks.iter().zip(bar_chunks).enumerate() {
            let mut any = false;
            for j in 0..CHUNK {
                any |= square - 2.0 * products[j] <= bars[j];
            }
            if any {
                hits.push(chunk);
            }
        }
        if !rest.is_empty() {
            hits.push(chunks.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::testing::{cloud, on, on_threads};
    use coldstart_plugin_api::Rng;
    use proptest::{prop_assert_eq, proptest};

    /// Every distance, sorted.
    fn plain(queries: &Points<'_>, points: &Points<'_>, k: usize, among: impl Fn(usize, usize) -> bool) -> Neighbours {
        let mut found = Neighbours { positions: vec![], distances: vec![] };
        for i in 0..queries.n() {
            let others = (0..points.n()).filter(|j| among(i, *j));
            let mut near: Vec<(f32, usize)> = others.map(|j| (queries.squared_distance(i, points, j), j)).collect();
            near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            found.positions.extend(near[..k].iter().map(|near| near.1));
            found.distances.extend(near[..k].iter().map(|near| near.0.sqrt()));
        }
        found
    }

    #[test]
    fn neighbours_equal_a_search_through_all() {
        let mut rng = Rng::from_seed([4; 32]);
        for (n, d, steps, offset) in [
            (2, 1, None, 0.0),
            (300, 1, Some(1.0), 0.0),
            (257, 40, None, 0.0),
            (600, 3, Some(1.0), 100.0),
            (700, 65, None, 50.0),
        ] {
            let mut rows = cloud(n, d, 4, steps, &mut rng);
            rows.iter_mut().for_each(|x| *x += offset);
            let scale: Vec<f32> = (0..n).map(|_| 1.0 + rng.uniform() as f32).collect();
            let plain_points = Points::new(&rows, d).unwrap();
            for points in [plain_points, plain_points.scaled(&scale).unwrap()] {
                for k in [0, 1, 5.min(n - 1), n - 1] {
                    let expected = plain(&points, &points, k, |i, j| i != j);
                    for memory in [0, usize::MAX] {
                        assert_eq!(on_threads(&|| knn(&points, k, memory, &on).unwrap()), expected, "{k} of {n}");
                    }
                    let in_rows = || Search::new(&points, &points, k, None, true)?.all(&on);
                    assert_eq!(on_threads(&|| in_rows().unwrap()), expected, "{k} of {n}, each pair twice");
                }
                let few = Points::new(&rows[..d * n.min(3)], d).unwrap();
                let some: Vec<usize> = (0..n).filter(|j| j % 3 != 1).collect();
                for (queries, among, k) in [(&few, None, n), (&points, None, 1), (&few, Some(&some), some.len().min(9))]
                {
                    let expected = plain(queries, &points, k, |_, j| among.is_none_or(|some| some.contains(&j)));
                    let among = among.map(|some| &some[..]);
                    assert_eq!(on_threads(&|| nearest(queries, &points, k, among, &on).unwrap()), expected);
                }
                let swapped = plain(&points, &few, 1, |_, _| true);
                assert_eq!(nearest(&points, &few, 1, None, &on).unwrap(), swapped);
            }
        }
    }

    /// No list grows with the number of equals, and the lowest positions are kept.
    #[test]
    fn among_equals_the_lowest_positions_are_nearest() {
        let rows = vec![1.5; 3 * 900];
        let points = Points::new(&rows, 3).unwrap();
        let found = knn(&points, 2, usize::MAX, &on).unwrap();
        assert_eq!((&found.positions[..4], &found.positions[1798..]), (&[1, 2, 0, 2][..], &[0, 1][..]));
        assert!(found.distances.iter().all(|distance| *distance == 0.0));
    }

    proptest! {
        #[test]
        fn any_small_grid_has_the_neighbours_of_a_plain_search(
            cells in proptest::collection::vec(-2i8..3, 6..60),
            k in 0usize..3,
        ) {
            let rows: Vec<f32> = cells[..cells.len() / 2 * 2].iter().map(|cell| f32::from(*cell)).collect();
            let points = Points::new(&rows, 2).unwrap();
            let k = k.min(points.n() - 1);
            prop_assert_eq!(knn(&points, k, usize::MAX, &on).unwrap(), plain(&points, &points, k, |i, j| i != j));
        }
    }

    #[test]
    fn questions_without_an_answer_are_refused() {
        let rows = [0.0, 1.0, 2.0, 3.0];
        let (points, wide) = (Points::new(&rows, 1).unwrap(), Points::new(&rows, 2).unwrap());
        assert!(knn(&points, 4, usize::MAX, &on).is_err() && nearest(&points, &points, 5, None, &on).is_err());
        assert!(nearest(&points, &wide, 1, None, &on).is_err());
        for among in [&[1, 0][..], &[0, 0], &[4], &[0]] {
            assert!(matches!(nearest(&points, &points, 2, Some(among), &on), Err(Error::Input(_))), "{among:?}");
        }
        assert_eq!(knn(&points, 1, usize::MAX, &|| false), Err(Error::Cancelled));
        assert_eq!(nearest(&points, &points, 1, None, &|| false), Err(Error::Cancelled));
    }
}
