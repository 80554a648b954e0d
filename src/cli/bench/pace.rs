//! Keeps connections together in event time, as a clock on the wall keeps agents.

use std::sync::{Condvar, Mutex, MutexGuard};

/// What a connection that sends no more stands at.
const LEFT: u64 = u64::MAX;

/// How far each connection is, in whole steps of samples.
///
/// A step begins when all samples of the one before are acknowledged. Without that one connection would
/// run hours of event time ahead of another, which no agents do, and stores that keep rows in the order
/// of time over all series would pay for it.
#[derive(Debug)]
pub(crate) struct Pace {
    steps: Mutex<Vec<u64>>,
    moved: Condvar,
}

/// A connection's place; it holds nobody up any more once this is dropped.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pace: &'a Pace,
    index: usize,
}

impl Pace {
    /// Connections that stand at `steps`.
    pub(crate) fn new(steps: Vec<u64>) -> Self {
        Self { steps: Mutex::new(steps), moved: Condvar::new() }
    }

    /// The place of connection `index`.
    pub(crate) fn place(&self, index: usize) -> Place<'_> {
        Place { pace: self, index }
    }

    fn set(&self, index: usize, step: u64) -> MutexGuard<'_, Vec<u64>> {
        let mut steps = self.steps.lock().expect("nobody panics while holding the steps");
        let place = steps.get_mut(index).expect("every connection has a place");
        if *place != step {
            *place = step;
            self.moved.notify_all();
        }
        steps
    }
}

impl Place<'_> {
    /// Waits until samples of `step` may be sent.
    pub(crate) fn enter(&self, step: u64) {
        let steps = self.pace.set(self.index, step);
        let ahead = |steps: &mut Vec<u64>| steps.iter().any(|other| *other < step);
        let waited = self.pace.moved.wait_while(steps, ahead);
        drop(waited.expect("nobody panics while holding the steps"));
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        drop(self.pace.set(self.index, LEFT));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn nobody_is_a_step_ahead_and_who_leaves_holds_nobody_up() {
        let pace = Pace::new(vec![0, 0, 0]);
        let reached: Vec<AtomicU64> = (0..3).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for (index, end) in [40, 100, 100].into_iter().enumerate() {
                let (pace, reached) = (&pace, &reached);
                scope.spawn(move || {
                    let place = pace.place(index);
                    for step in 0..end {
                        place.enter(step);
                        // What others have reached is stored after they entered it, so it may lag by one.
                        let least = reached.iter().map(|r| r.load(Ordering::Acquire)).min();
                        assert!(step <= least.unwrap() + 1, "{step} {least:?}");
                        reached[index].store(step, Ordering::Release);
                    }
                    reached[index].store(LEFT - 1, Ordering::Release);
                });
            }
        });
        assert!(reached.iter().all(|r| r.load(Ordering::Acquire) > 100));
    }
}
