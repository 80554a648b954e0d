//! A promise that was broken, and what noticed it.

use std::fmt;

/// The check that noticed a broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The engine ran on when it had to end, or ended when it had to run on.
    Conduct,
    /// What a crash left is refused by the next start.
    Reopen,
    /// The clients' ledger: what was acknowledged is gone, or the log has what nobody sent.
    Ledger,
    /// Replay comes to another state than the operators that ran live.
    ReplayHash,
    /// The receiver of alerts: one is missing, invented, repeated otherwise or out of order.
    Receiver,
    /// Queries show something else than the log has.
    Query,
    /// `replay --verify` or `segments verify`.
    Verify,
    /// The engine panicked.
    Panic,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What noticed it.
    pub layer: Layer,
    /// What it saw.
    pub told: String,
}

impl Finding {
    pub(super) fn new(layer: Layer, told: impl Into<String>) -> Self {
        Self { layer, told: told.into() }
    }
}

impl Layer {
    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Conduct => "conduct",
            Self::Reopen => "reopen",
            Self::Ledger => "ledger",
            Self::ReplayHash => "replay hash",
            Self::Receiver => "receiver",
            Self::Query => "query",
            Self::Verify => "verify",
            Self::Panic => "panic",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.layer.name(), self.told)
    }
}

/// What `check` finds; a panic is a finding too.
pub(super) fn guarded<T>(check: impl FnOnce() -> Result<T, Finding>) -> Result<T, Finding> {
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
    caught.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(Finding::new(Layer::Panic, text.unwrap_or("without words")))
    })
}
