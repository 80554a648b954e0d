//! The yardstick: how good a detector is on labelled series, and what it says of any other.
//!
//! Series go through the very operators of the shards, [`tidewatch_operators::SeriesDetector`]. A [`Corpus`] has
//! series with the windows in which something is wrong; an [`Evaluation`] judges one model on all of them, as
//! the benchmark that the corpus comes from does it, and [`Report`] has the figures. A [`Judge`] does so with whatever else
//! says something of these series. A [`Picture`] shows one series.
//!
//! Nothing here writes a file or knows a clock: the time that a detector takes is asked of whoever calls.

mod corpus;
mod curve;
mod effort;
pub mod error;
mod evaluation;
mod input;
mod judge;
mod kpi;
mod kpi_corpus;
pub mod limits;
mod nab;
mod nab_corpus;
mod picture;
mod report;
mod scored;
mod series;
mod splits;

pub use corpus::{Corpus, CorpusFile, CorpusKind, LabelledSeries};
pub use error::EvalError;
pub use evaluation::Evaluation;
pub use input::read_csv;
pub use judge::{Judge, Question};
pub use picture::Picture;
pub use report::{Report, Spread};
pub use scored::score_series;
pub use series::Series;
pub use tidewatch_operators::{Model, ModelError};
