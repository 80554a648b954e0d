//! Bounds what is between the door and the shards: bytes and requests in hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Hands out permits; what is in hand stays within its limits.
#[derive(Clone, Debug)]
pub struct Admission {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bytes: AtomicU64,
    requests: AtomicU64,
    bytes_max: u64,
    requests_max: u64,
}

/// The right to hold some bytes. They are free again when it is dropped, which happens when the last
/// shard has applied the request's rows.
#[derive(Debug)]
pub struct Permit {
    inner: Arc<Inner>,
    bytes: u64,
}

impl Admission {
    /// At most `bytes_max` bytes in at most `requests_max` requests.
    #[must_use]
    pub fn new(bytes_max: u64, requests_max: u64) -> Self {
        let inner = Inner {
            bytes: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            bytes_max,
            requests_max,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A permit for a request of `bytes`; `None` when the limits are reached.
    #[must_use]
    pub fn admit(&self, bytes: u64) -> Option<Permit> {
        if !take(&self.inner.requests, 1, self.inner.requests_max) {
            return None;
        }
        if !take(&self.inner.bytes, bytes, self.inner.bytes_max) {
            self.inner.requests.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        Some(Permit { inner: Arc::clone(&self.inner), bytes })
    }

    /// Bytes in hand.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.bytes.load(Ordering::Relaxed)
    }

    /// Requests in hand.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.inner.requests.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Makes the permit cover `bytes` in all; `false`, and no change, when there is no room.
    #[must_use]
    pub fn grow_to(&mut self, bytes: u64) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        if more > 0 && !take(&self.inner.bytes, more, self.inner.bytes_max) {
            return false;
        }
        self.bytes += more;
        true
    }
}

impl Permit {
    /// Makes the permit cover `bytes` more, also where the limit is passed by them: others are let in
    /// only once there is room again.
    pub fn cover(&mut self, bytes: u64) {
        self.inner.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.inner.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.inner.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// ATOMICS: a counter on its own guards no other memory, hence relaxed.
fn take(counter: &AtomicU64, more: u64, max: u64) -> bool {
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(more).filter(|sum| *sum <= max)
        })
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_hold_and_a_dropped_permit_makes_room() {
        let admission = Admission::new(100, 2);
        let mut one = admission.admit(60).expect("there is room");
        assert!(admission.admit(41).is_none(), "bytes are full");
        assert!(one.grow_to(90) && !one.grow_to(101));
        let two = admission.admit(10).expect("there is room");
        assert!(admission.admit(0).is_none(), "requests are full");
        drop(one);
        assert_eq!((admission.bytes(), admission.requests()), (10, 1));
        drop(two);
        assert_eq!((admission.bytes(), admission.requests()), (0, 0));
        let mut three = admission.admit(60).expect("there is room");
        three.cover(100);
        assert!(admission.admit(0).is_none(), "what a request has grown to counts");
        drop(three);
        assert_eq!(admission.bytes(), 0);
    }
}
