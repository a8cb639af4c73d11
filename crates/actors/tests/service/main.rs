//! The service as its callers see it, with its outside world in memory. One program, so that it links once.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod attach;
mod backups;
mod cancel;
mod compare;
mod crash;
mod failures;
mod lifecycle;
mod on_sqlite;
mod races;
mod registry;
mod restore;
mod schedules;
mod shutdown;
mod verify;
