//! A series with what a detector says of it, as one SVG document.

mod columns;
mod draw;
mod marks;
mod ticks;

pub use self::draw::Picture;
