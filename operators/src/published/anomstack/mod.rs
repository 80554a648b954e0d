//! Anomstack's default model: what a user who moves from it knows.
//!
//! [`Components`](components::Components) and [`Neighbours`](neighbours::Neighbours) are its two detectors, [`MinMax`](min_max::MinMax)
//! makes their scores comparable, and [`Anomstack`] fits them to a trailing window.

mod components;
mod detector;
mod min_max;
mod neighbours;

pub(crate) use detector::Anomstack;
