//! Makes a damaged log readable again, without what is damaged and with all the rest.
//!
//! [`Salvage::plan`] reads the whole log and changes nothing. It says which files are damaged, and
//! which records are missing in them. [`Salvage::set_aside`] copies those files, and
//! [`Salvage::apply`] puts repaired ones in their places: the frames that are intact, byte for byte,
//! and a [gap](crate::Gap) where others were.

mod plan;
mod repair;
mod scan;

#[cfg(test)]
#[path = "salvage_tests.rs"]
mod tests;

pub use self::plan::{Salvage, SalvageScope};
pub use self::repair::{FileGap, FileRepair};
