//! Distance from the nearest rows.

use tidewatch_metrics::fields::{FieldReader, FieldWriter};

use super::detector::{FEATURES, ROWS_MAX, row, rows};
use super::min_max::MinMax;

/// The neighbour whose distance counts: pyod's default.
const NEIGHBOUR: usize = 5;
/// A row of the training is its own nearest one, which does not count.
const WITH_ITSELF: usize = NEIGHBOUR + 1;
/// Rows that are looked at one by one.
const LEAF: usize = 10;
/// Cuts of the rows in halves until there are no more than these.
const CUTS: usize = 256;

const _: () = assert!(ROWS_MAX <= CUTS * LEAF && ROWS_MAX <= u16::MAX as usize);

/// Scores a row by its distance from the fifth nearest row of the training.
///
/// Source: pyod's `KNN` with its defaults, after Ramaswamy, Rastogi, Shim, "Efficient algorithms for mining outliers from large
/// data sets" (2000). The rows are in a k-d tree (Bentley 1975), cut at the median of the widest feature; what is found is what a search
/// through all of them finds, to the last bit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Neighbours {
    /// Where each row begins, in the order of the tree's leaves.
    order: [u16; ROWS_MAX],
    cuts: [Cut; CUTS],
    ends: MinMax,
}

/// A cut of rows `from..to` of the order: the first half has at most `at`, the second half at least.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cut {
    feature: u8,
    at: f32,
}

/// A search for the nearest rows.
struct Search<'a> {
    changes: &'a [f32],
    tree: &'a Neighbours,
    /// Its changes, the oldest first.
    point: [f64; FEATURES],
    /// How far the point is from the sides of the node that is visited, at least.
    off: [f64; FEATURES],
    /// How many are looked for.
    wanted: usize,
    /// Rows with a greater squared distance are not looked for.
    limit: f64,
    /// When all that are wanted are at most so far, it is over.
    enough: f64,
    /// The squared distances that were found, the least first.
    found: [f64; WITH_ITSELF],
}

/// A node of the tree, and its rows in the order.
#[derive(Clone, Copy)]
struct Node {
    index: usize,
    from: usize,
    to: usize,
}

impl Neighbours {
    /// Of all rows of a window, without what [`Neighbours::learn_ends`] learns.
    pub(super) fn fit(changes: &[f32]) -> Self {
        let mut fitted =
            Self { order: [0; ROWS_MAX], cuts: [Cut::default(); CUTS], ends: MinMax::NONE };
        let count = rows(changes).len();
        for (place, at) in fitted.order[..count].iter_mut().zip(0_u16..) {
            *place = at;
        }
        cut(changes, &mut fitted.order[..count], &mut fitted.cuts, 1);
        fitted
    }

    /// Scores the training itself, as far as the least and the greatest score need it.
    ///
    /// A row is not the greatest any more when it has enough neighbours nearer than the greatest of the others, which is soon; for the
    /// least nothing is near that is farther than the least of the others. Time: two short searches for each row.
    pub(super) fn learn_ends(&mut self, changes: &[f32]) {
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        let outermost = outermost(changes);
        for at in outermost.into_iter().chain(rows(changes)) {
            let mut search = self.search(changes, row(changes, at), WITH_ITSELF);
            search.enough = greatest;
            search.go();
            let distance = search.found[NEIGHBOUR];
            greatest = if distance > greatest { distance } else { greatest };
            least = if distance < least { distance } else { least };
        }
        for at in rows(changes) {
            let mut search = self.search(changes, row(changes, at), WITH_ITSELF);
            search.limit = least;
            search.go();
            let distance = search.found[NEIGHBOUR];
            least = if distance < least { distance } else { least };
        }
        self.ends = MinMax::NONE;
        self.ends.learn(least.sqrt());
        self.ends.learn(greatest.sqrt());
    }

    /// The score of a row that is not of the training within those of the training: 0 to 1.
    pub(super) fn scaled_score(&self, changes: &[f32], point: &[f64; FEATURES]) -> f64 {
        self.ends.scale(self.score(changes, point))
    }

    /// Its decision score: a distance. `changes` is the window that this was fitted to.
    pub(super) fn score(&self, changes: &[f32], point: &[f64; FEATURES]) -> f64 {
        let mut search = self.search(changes, *point, NEIGHBOUR);
        search.go();
        search.found[NEIGHBOUR - 1].sqrt()
    }

    fn search<'a>(
        &'a self,
        changes: &'a [f32],
        mut point: [f64; FEATURES],
        wanted: usize,
    ) -> Search<'a> {
        point.reverse();
        let found = [f64::INFINITY; WITH_ITSELF];
        let (limit, enough) = (f64::INFINITY, f64::NEG_INFINITY);
        Search { changes, tree: self, point, off: [0.0; FEATURES], wanted, limit, enough, found }
    }

    pub(super) fn encode_ends(&self, out: &mut FieldWriter) {
        self.ends.encode(out);
    }

    /// Takes the ends that [`Neighbours::encode_ends`] wrote; `None` where it cannot have written them.
    pub(super) fn decode_ends(&mut self, fields: &mut FieldReader<'_>) -> Option<()> {
        self.ends = MinMax::decode(fields)?;
        Some(())
    }
}

impl Search<'_> {
    fn distance(&self, at: usize) -> f64 {
        let other = self.changes[at..].first_chunk::<FEATURES>().expect("a row begins here");
        let mut sum = 0.0;
        for (other, x) in other.iter().zip(&self.point) {
            let off = f64::from(*other) - x;
            sum += off * off;
        }
        sum
    }

    fn go(&mut self) {
        let to = rows(self.changes).len();
        self.visit(Node { index: 1, from: 0, to });
    }

    /// Looks through a node unless it is too far.
    ///
    /// The distance of a node adds up in the order in which those of its rows do, from parts that are no greater, so that it is no
    /// greater after all roundings.
    fn visit(&mut self, node: Node) {
        if node.to - node.from <= LEAF {
            for at in &self.tree.order[node.from..node.to] {
                self.take(self.distance(usize::from(*at)));
            }
            return;
        }
        let Cut { feature, at } = self.tree.cuts[node.index];
        let feature = usize::from(feature);
        let beyond = self.point[feature] - f64::from(at);
        let middle = usize::midpoint(node.from, node.to);
        let below = Node { index: 2 * node.index, to: middle, ..node };
        let above = Node { index: 2 * node.index + 1, from: middle, ..node };
        let (near, far) = if beyond < 0.0 { (below, above) } else { (above, below) };
        self.visit(near);
        let before = std::mem::replace(&mut self.off[feature], beyond);
        let distance = self.off.iter().fold(0.0, |sum, off| sum + off * off);
        if distance <= self.limit && !self.is_over() {
            self.visit(far);
        }
        self.off[feature] = before;
    }

    fn is_over(&self) -> bool {
        self.found[self.wanted - 1] <= self.enough
    }

    fn take(&mut self, distance: f64) {
        let found = &mut self.found[..self.wanted];
        let last = found.len() - 1;
        if distance >= found[last] {
            return;
        }
        let mut place = last;
        while place > 0 && found[place - 1] > distance {
            found[place] = found[place - 1];
            place -= 1;
        }
        found[place] = distance;
        if found[last] < self.limit {
            self.limit = found[last];
        }
    }
}

/// The row that is farthest from the mean of all: probably the one with the greatest score.
fn outermost(changes: &[f32]) -> Option<usize> {
    let mean =
        changes.iter().fold(0.0, |sum, change| sum + f64::from(*change)) / changes.len() as f64;
    let far = |at: usize| {
        row(changes, at).iter().fold(0.0, |sum, value| sum + (value - mean) * (value - mean))
    };
    rows(changes).max_by(|a, b| far(*a).total_cmp(&far(*b)))
}

/// Cuts rows at the median of their widest feature, and both halves again.
fn cut(changes: &[f32], order: &mut [u16], cuts: &mut [Cut; CUTS], index: usize) {
    if order.len() <= LEAF {
        return;
    }
    let mut low = [f32::INFINITY; FEATURES];
    let mut high = [f32::NEG_INFINITY; FEATURES];
    for at in order.iter() {
        let at = usize::from(*at);
        for ((low, high), value) in low.iter_mut().zip(&mut high).zip(&changes[at..]) {
            *low = if value < low { *value } else { *low };
            *high = if value > high { *value } else { *high };
        }
    }
    let mut widest = 0;
    for feature in 1..FEATURES {
        if high[feature] - low[feature] > high[widest] - low[widest] {
            widest = feature;
        }
    }
    let value = |at: &u16| changes[usize::from(*at) + widest];
    let middle = order.len() / 2;
    order.select_nth_unstable_by(middle, |a, b| value(a).total_cmp(&value(b)));
    let feature = u8::try_from(widest).expect("fewer than 256 features");
    cuts[index] = Cut { feature, at: value(&order[middle]) };
    let (below, above) = order.split_at_mut(middle);
    cut(changes, below, cuts, 2 * index);
    cut(changes, above, cuts, 2 * index + 1);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Rng;

    /// The fifth least of all distances, by sorting them; `but` is left out.
    fn naive(changes: &[f32], point: &[f64; FEATURES], but: Option<usize>) -> f64 {
        let others = rows(changes).filter(|at| Some(*at) != but);
        let mut distances: Vec<f64> = others
            .map(|at| {
                let off = (0..6).map(|j| f64::from(changes[at + j]) - point[5 - j]);
                off.fold(0.0, |sum, off| sum + off * off)
            })
            .collect();
        distances.sort_by(f64::total_cmp);
        distances[4].sqrt()
    }

    #[test]
    fn what_is_found_is_what_a_search_through_all_rows_finds() {
        for (seed, count) in [(1, 11), (2, 12), (3, 31), (4, 400), (5, 1_000), (6, 2_497)] {
            let mut rng = Rng::new(seed);
            let mut level = 0.0;
            let mut changes = Vec::new();
            for at in 0..count {
                level = 0.8 * level + rng.normal();
                // Runs of equal rows, outliers, and steps of a third.
                let change = match at % 300 {
                    0..40 => 0.0,
                    150 => 1e4 * rng.normal(),
                    200..250 => (3.0 * level).floor() / 3.0,
                    _ => level,
                };
                #[expect(clippy::cast_possible_truncation, reason = "some noise")]
                changes.push(change as f32);
            }
            let mut tree = Neighbours::fit(&changes);
            tree.learn_ends(&changes);
            let mut ends = MinMax::NONE;
            for at in rows(&changes) {
                ends.learn(naive(&changes, &row(&changes, at), Some(at)));
            }
            assert_eq!(tree.ends, ends, "{count}");
            for _ in 0..50 {
                let at = usize::try_from(rng.below(rows(&changes).len() as u64)).unwrap();
                let far = if rng.below(2) == 0 { 10.0 } else { 0.1 };
                let point = row(&changes, at).map(|value| value + far * rng.normal());
                let found = tree.score(&changes, &point);
                let told = naive(&changes, &point, None);
                assert_eq!(found.to_bits(), told.to_bits(), "{count}: {found}, not {told}");
            }
        }
    }
}
