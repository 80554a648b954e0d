//! Deviation: how far a sample is from what was forecast.
//!
//! [`Forecasters`](forecasters::Forecasters) say what is expected, [`Deviation`] how unlikely the distance from it is.

mod detector;
mod forecasters;
mod week;

pub(crate) use detector::Deviation;
