//! The configuration: as typed in TOML, environment and flags, then as meant.
//!
//! A flag (`--set section.key=value`) wins over `TIDEWATCH__SECTION__KEY`, that over the file. Everything
//! that is wrong is found at once and told in the user's words ([`Problem`]); nothing is started with
//! a configuration that has a problem. `docs/configuration.md` lists every key, and a test holds it
//! against the keys that are read here.

mod detect;
mod hint;
mod kafka_options;
mod layers;
mod load;
mod percentiles;
mod problem;
mod retention;
mod rules;
mod secret_file;
mod section;
mod settings;
mod sinks;
mod source_map;
mod source_registry;
mod sources;
pub(crate) mod units;

pub(crate) use problem::Problem;
pub(crate) use settings::{Auth, Config, HttpConfig, TlsConfig};
