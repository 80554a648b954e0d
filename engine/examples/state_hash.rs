//! Replays the log of a stopped data directory and prints the hash of all operator state.
//!
//! Small, without DataFusion, so that builds for different CPUs can be compared quickly:
//! ```text
//! for cpu in x86-64 native; do
//!   RUSTFLAGS="-C target-cpu=$cpu" cargo run --release -p tidewatch-engine \
//!     --target-dir "target/$cpu" --example state_hash -- ./tidewatch-data
//! done
//! ```

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use tidewatch_engine::{VerifyConfig, VerifyReport, verify};
use tidewatch_env::{Disk, RealDisk};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("usage: state_hash DATA_DIR")?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let config = VerifyConfig { shards: 2, rechunk: None };
    let report = verify(&disk, &PathBuf::from(dir), config, |_| {})?;
    let VerifyReport { result, samples, state_hash, .. } = report;
    writeln!(std::io::stdout(), "{result:?} {samples} samples, state hash {state_hash}")?;
    Ok(())
}
