//! The doors to the world: clock, disk and random numbers, each real and simulated.
//!
//! Everything that can differ between two runs of the same program enters through here, so that
//! a simulation with [`SimDisk`], [`SimClock`] and a seeded [`Rng`] is the program itself, and a
//! failure found under a seed happens again under that seed.
//!
//! Nothing here knows what a sample is.

mod clock;
mod disk;
mod durable;
mod real_disk;
mod rng;
mod sim_disk;
mod thread_cpu;
mod thread_priority;

pub use crate::clock::{Clock, RealClock, SimClock};
pub use crate::disk::{Disk, DiskFile, LockGuard, OpenMode};
pub use crate::durable::{copy_file, read_file, replace_file};
pub use crate::real_disk::RealDisk;
pub use crate::rng::Rng;
pub use crate::sim_disk::{DiskOp, FaultMode, SECTOR_BYTES, SimDisk};
pub use crate::thread_cpu::thread_cpu_time;
pub use crate::thread_priority::lower_thread_priority;
