//! `[[detect]]`: which model scores which series, and what people set about it.

mod detection;
mod detectors;
mod knobs;
mod room;
mod rule;
pub(crate) mod text;

pub use detection::Detection;
pub(crate) use detectors::{Beginning, Detectors, Sample, StoredDetector, detect_bytes, judge};
pub use knobs::{DataRange, Direction, DirectionError, Knobs};
pub use rule::DetectRule;
