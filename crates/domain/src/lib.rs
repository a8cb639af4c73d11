//! What Milvault is about, without doing it: identities, clusters, backups, jobs and their transitions, roles,
//! retention, the copy plan, the manifest format, and the ports that the other crates implement.
//!
//! Invariants of this crate, absences included: no I/O, no clock, no randomness and no async runtime. Time and
//! ids come in as arguments, so every rule here can be tested as a plain function.

pub mod access;
pub mod audit;
pub mod backup;
pub mod binlog;
pub mod checks;
pub mod cluster;
pub mod error;
pub mod identity;
pub mod ids;
pub mod job;
pub mod job_request;
pub mod keep;
pub mod lease;
pub mod lifecycle;
pub mod manifest;
pub mod milvus;
pub mod names;
pub mod object;
pub mod plan;
pub mod ports;
pub mod progress;
pub mod queue;
pub mod recovery;
pub mod repository;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod secret;
pub mod sign_in;
pub mod storage;
pub mod sweep;
pub mod webhook;
