//! What novelty saw of one view, told again without order and words.

use super::{Tail, greater, round};

/// A view's values of two generations, not in order.
pub(super) struct Seen {
    current: Vec<f32>,
    earlier: Vec<f32>,
    eps: f32,
    count: usize,
    pub(super) tail: Tail,
    /// Values are kept with 8 bits of fraction.
    coarse: bool,
}

impl Seen {
    pub(super) fn new(coarse: bool) -> Self {
        let (current, earlier) = (Vec::new(), Vec::new());
        Self { current, earlier, eps: 0.0, count: 0, tail: Tail::new(0.5), coarse }
    }

    fn nearest(values: &[f32], y: f32) -> f32 {
        values.iter().fold(f32::INFINITY, |least, v| -greater(-least, -(v - y).abs()))
    }

    pub(super) fn distance(&self, y: f32) -> f32 {
        let apart = Self::nearest(&self.current, y);
        let d = -greater(-apart, -Self::nearest(&self.earlier, y));
        if d.is_finite() { d } else { 0.0 }
    }

    pub(super) fn learn(&mut self, y: f32, ends: bool) {
        let kept = if self.coarse { round(y) } else { y };
        if [y, kept].iter().all(|y| Self::nearest(&self.current, *y) > self.eps) {
            self.current.push(kept);
        }
        if self.current.len() > 64 {
            (self.current, self.eps) = thin(std::mem::take(&mut self.current), self.eps);
        }
        self.count += usize::from(ends);
        if ends && self.count.is_multiple_of(8_000) {
            let mut eps = self.eps;
            self.earlier = std::mem::take(&mut self.current);
            while self.earlier.len() > 40 {
                (self.earlier, eps) = thin(std::mem::take(&mut self.earlier), eps);
            }
            self.eps *= 0.5;
        }
    }
}

fn thin(mut values: Vec<f32>, eps: f32) -> (Vec<f32>, f32) {
    values.sort_by(f32::total_cmp);
    let gaps = values.windows(2).map(|pair| pair[1] - pair[0]);
    let eps = greater(1.2 * eps, gaps.fold(f32::INFINITY, |least, gap| -greater(-least, -gap)));
    let mut stay: Vec<f32> = Vec::new();
    for v in &values {
        if stay.last().is_none_or(|last| v - last > eps) {
            stay.push(*v);
        }
    }
    let greatest = values[values.len() - 1];
    if stay.last() != Some(&greatest) {
        stay.pop();
        stay.push(greatest);
    }
    (stay, eps)
}
