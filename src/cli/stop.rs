//! One word to all threads of a command: stop, nothing more is worth doing.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Starts as "go on" and can be turned to "stop" once.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    stopped: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Ends every wait, now and later.
    pub(crate) fn stop(&self) {
        *self.stopped() = true;
        self.changed.notify_all();
    }

    /// Whether to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stopped()
    }

    /// Waits for `time`, or less if stopped before; gives whether to stop.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let waited = self.changed.wait_timeout_while(self.stopped(), time, |stopped| !*stopped);
        let (stopped, _) = waited.expect("nobody panics while holding the word");
        *stopped
    }

    fn stopped(&self) -> MutexGuard<'_, bool> {
        self.stopped.lock().expect("nobody panics while holding the word")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_the_word_and_not_before() {
        let stop = Stop::default();
        assert!(!stop.wait(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| stop.wait(Duration::from_secs(3_600)));
            stop.stop();
            assert!(waiting.join().unwrap());
        });
        assert!(stop.is_stopped());
        assert!(stop.wait(Duration::from_secs(3_600)), "also a later wait ends at once");
    }
}
