//! The service as its callers see it, with its outside world in memory. One program, so that it links once.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod backups;
mod cancel;
mod crash;
mod failures;
mod on_sqlite;
mod races;
mod registry;
mod shutdown;
mod verify;
