//! Why a sink or its courier cannot be started.

use crate::Problem;

/// Why a sink or its courier cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The configuration is not usable.
    #[error("the configuration of sink {sink:?} is not usable: {}", listed(problems))]
    Config {
        /// The sink's name.
        sink: String,
        /// All that is wrong with it.
        problems: Vec<Problem>,
    },
    /// The system gave no thread.
    #[error("could not start the thread of sink {sink:?}")]
    Thread {
        /// The sink's name.
        sink: String,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
}

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
