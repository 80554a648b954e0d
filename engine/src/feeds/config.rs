//! What goes to a topic, as the operator configures it.

use std::sync::Arc;

use tidewatch_metrics::Severity;
use tidewatch_sinks::FeedTarget;

/// A feed of the operator's configuration.
#[derive(Clone, Debug)]
pub struct FeedConfig {
    /// The sink's name.
    pub name: String,
    /// What goes there.
    pub content: FeedContent,
    /// Where it goes.
    pub target: Arc<dyn FeedTarget>,
}

/// Which rows a feed has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedContent {
    /// Every sample whose severity is at least this.
    Severities {
        /// Above 0.
        severity_min: Severity,
    },
    /// Every window of percentiles that closes, and every revision of one.
    Percentiles,
    /// Every dead letter.
    DeadLetters,
}

impl FeedConfig {
    /// The feed in the log and in checkpoints. No other sink has this name: names have no colon.
    #[must_use]
    pub fn tag(&self) -> String {
        let content = match self.content {
            FeedContent::Severities { .. } => "severities",
            FeedContent::Percentiles => "percentiles",
            FeedContent::DeadLetters => "dead_letters",
        };
        format!("{content}:{}", self.name)
    }
}

impl FeedContent {
    /// The least severity that is wanted, where severities are.
    #[must_use]
    pub fn severity_min(self) -> Option<Severity> {
        match self {
            Self::Severities { severity_min } => Some(severity_min),
            Self::Percentiles | Self::DeadLetters => None,
        }
    }
}
