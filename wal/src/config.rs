//! What can be configured about the log.

use std::fmt;

use crate::limits::{FRAME_BYTES_MIN, SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN};
use crate::segment::SEGMENT_HEADER_BYTES;

/// Sizes of the log's files and frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalConfig {
    /// Size of a WAL segment in bytes, 16 KiB to 1 GiB; default 128 MiB.
    ///
    /// Segments that are needed before one was readied may be smaller.
    pub segment_bytes_max: u64,
    /// Largest frame (a payload and up to 47 bytes) in bytes, at least 4 KiB and less than a
    /// segment by its header of 64 bytes; default 64 MiB.
    pub frame_bytes_max: u64,
}

impl Default for WalConfig {
    fn default() -> Self {
        Self { segment_bytes_max: 128 << 20, frame_bytes_max: 64 << 20 }
    }
}

impl WalConfig {
    /// Everything that is wrong with the configuration; empty when it can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let segment = ConfigProblem {
            key: "wal.segment_bytes_max",
            value: self.segment_bytes_max,
            min: SEGMENT_BYTES_MIN,
            max: SEGMENT_BYTES_MAX,
        };
        let header = SEGMENT_HEADER_BYTES as u64;
        let frame = ConfigProblem {
            key: "wal.frame_bytes_max",
            value: self.frame_bytes_max,
            min: FRAME_BYTES_MIN,
            max: self.segment_bytes_max.clamp(segment.min, segment.max) - header,
        };
        [segment, frame].into_iter().filter(ConfigProblem::is_one).collect()
    }
}

/// A configured number outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// The setting's name.
    pub key: &'static str,
    /// What was configured.
    pub value: u64,
    /// The least allowed value.
    pub min: u64,
    /// The greatest allowed value.
    pub max: u64,
}

impl ConfigProblem {
    fn is_one(&self) -> bool {
        !(self.min..=self.max).contains(&self.value)
    }
}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, value, min, max } = self;
        write!(f, "{key} is {value}, but must be between {min} and {max}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_can_be_used() {
        assert_eq!(WalConfig::default().problems(), []);
    }

    #[test]
    fn all_problems_are_told_at_once_in_the_users_words() {
        let config = WalConfig { segment_bytes_max: 1, frame_bytes_max: 1 << 20 };
        let told: Vec<_> = config.problems().iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "wal.segment_bytes_max is 1, but must be between 16384 and 1073741824",
                "wal.frame_bytes_max is 1048576, but must be between 4096 and 16320",
            ]
        );
    }
}
