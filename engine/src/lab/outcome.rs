//! What can become of an operation of the disk.

use tidewatch_env::DiskOp;

/// What becomes of one operation of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The machine stops just before it.
    Before,
    /// The machine stops just after it, before the engine hears of it.
    After,
    /// The machine stops when a part of a write is done.
    Torn,
    /// It alone fails, with an error of the device.
    Eio,
    /// It and all later ones fail, with an error of the device.
    EioOn,
    /// A write does a part of its bytes and fails.
    Short,
    /// It alone fails for want of space.
    Enospc,
    /// From it on nothing can grow any more.
    FullOn,
    /// From it on nothing can grow, and some steps later there is space again.
    Window,
}

impl Outcome {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Before,
        Self::After,
        Self::Torn,
        Self::Eio,
        Self::EioOn,
        Self::Short,
        Self::Enospc,
        Self::FullOn,
        Self::Window,
    ];

    /// Its name in the table, and in what repeats a point.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Torn => "torn",
            Self::Eio => "eio",
            Self::EioOn => "eio-on",
            Self::Short => "short",
            Self::Enospc => "enospc",
            Self::FullOn => "full-on",
            Self::Window => "window",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.name() == name)
    }

    /// Whether a point of its own brings it about at an operation of this kind.
    ///
    /// [`Outcome::FullOn`] and [`Outcome::Window`] meet whatever grows, as it comes.
    pub(super) fn fits(self, op: DiskOp) -> bool {
        match self {
            Self::Before | Self::After | Self::Eio | Self::EioOn => true,
            Self::Torn | Self::Short => op == DiskOp::Write,
            Self::Enospc => op != DiskOp::Remove,
            Self::FullOn | Self::Window => false,
        }
    }

    /// Whether the engine lives to see it.
    pub(super) fn is_fault(self) -> bool {
        !matches!(self, Self::Before | Self::After | Self::Torn)
    }
}
