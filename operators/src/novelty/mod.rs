//! Novelty: how far a sample is from anything seen before.
//!
//! [`Novelty`] looks at each sample in three views, keeps what it saw of each in a [`set::Set`], and asks
//! [`Extremes`](crate::extremes::Extremes) how unlikely the distance is.

mod detector;
mod lane;
mod set;

pub(crate) use detector::{Novelty, SCORED_MIN};
