//! Results as lines in the terminal: which columns they are, and how they are drawn.

mod canvas;
mod chart;
mod curves;

pub(crate) use self::chart::draw;
pub(crate) use self::curves::{Curve, curves};
