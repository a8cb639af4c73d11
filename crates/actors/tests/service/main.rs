//! The service as its callers see it, with its outside world in memory. One program, so that it links once.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]
// The future of a test is made once, and its stack has room for it.
#![allow(clippy::large_futures)]

#[path = "../support/mod.rs"]
mod support;

mod adopt;
mod attach;
mod backups;
mod cancel;
mod checks;
mod compare;
mod copies;
mod crash;
mod early_expiries;
mod failures;
mod histories;
mod leases;
mod lifecycle;
mod on_sqlite;
mod races;
mod recovery;
mod registry;
mod restore;
mod schedules;
mod settled;
mod shutdown;
mod verify;
mod webhooks;
