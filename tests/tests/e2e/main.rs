//! The whole product: a real `milvault serve` backs up a real Milvus, asked through the public API only.
//!
//! Each test has a server, a repository and databases of its own; the Milvus servers are shared, one for each kind of
//! storage. What a run leaves behind lies in `target/tmp/e2e` until the next run.

mod cancel;
mod checks;
mod copies;
mod crash;
mod format_reader;
mod full_disk;
mod leases;
mod lifecycle;
mod loading;
mod local;
mod many;
mod moving;
mod postgres;
mod recovery;
mod refusals;
mod restore;
mod s3;
mod schedules;
mod sign_in;
mod subscriptions;
mod support;
mod webhooks;
