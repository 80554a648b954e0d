//! The clocks that people live by: which hour of which day it is somewhere.
//!
//! [`TimeZone`] is a table of offsets from UTC. `data` makes it of the database that is compiled in, `text` writes it into the
//! log and reads it there: what a log says of a zone is not asked of the database again.

mod data;
mod local_time;
pub(crate) mod text;
mod zone;

pub use data::{TimeZoneError, time_zone_names};
pub(crate) use local_time::LocalTime;
pub use zone::TimeZone;
