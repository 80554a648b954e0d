//! Models as they were published, or as another product has them: for those who move from it, and as baselines.
//!
//! Each has its file, with its state, its formula and its bytes. [`Published`] is one of them.

mod anomstack;
mod detector;
mod half_space_trees;
mod holt_winters;
mod mad;
mod splits;

pub(crate) use detector::Published;
