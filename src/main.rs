//! Tidewatch: a durable stream-processing engine for metrics.
//!
//! Samples arrive by HTTP into a write-ahead log, online operators give every one a severity,
//! compacted Parquet segments are queried in SQL together with what arrived a moment ago, and
//! anomalies become alerts. This crate is the product's face: command line, HTTP, configuration,
//! and [`assemble`], which alone knows all parts.

mod assemble;
mod cli;
mod config;
mod disk_usage;
mod http;
mod keys;
mod logs;
mod memory;
mod open_files;
mod retention;
mod sealed_file;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One provider of ciphers for the server and for every client in this process.
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.expect("nothing has installed another one before main");
    cli::main()
}
