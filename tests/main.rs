//! The product from outside: the real process, its commands and its doors; and the rules of the house.

#![expect(clippy::unwrap_used, reason = "a test fails loudly")]

mod broker;
mod budgets;
mod clients;
mod commands;
mod dead_letters;
mod deploy;
mod detection;
mod door;
mod eval;
mod full_disk;
mod garbage;
mod idempotency;
mod instruments;
mod kafka;
mod kafka_alerts;
mod kafka_feeds;
mod kafka_formats;
mod kafka_groups;
mod kafka_schemas;
mod kafka_seen;
mod kafka_tls;
mod keys;
mod kill9;
mod luminate;
mod memory;
mod nab;
mod openapi;
mod people;
mod percentiles;
mod protocols;
mod questions;
mod receiver;
mod registry;
mod salvage;
mod server;
mod silence;
mod sql;
mod strace;
mod tidy;
mod tls;
mod top;
mod upkeep;
mod webhook;
mod window_alerts;
