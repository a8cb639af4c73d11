//! The whole API as a client sees it: the real router, the real catalog (in memory), the real actors, with a Milvus
//! and stores that are only pretended.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod audit;
mod authentication;
mod batches;
mod catalog_backups;
mod checks;
mod copies;
mod documents;
mod errors;
mod health;
mod identity;
mod isolation;
mod leases;
mod lifecycle;
mod limits;
mod names;
mod operations;
mod pages;
mod restore;
mod schedules;
mod secrets;
mod sign_in;
mod socket;
mod support;
mod taking_over;
mod walk;
mod webhooks;
