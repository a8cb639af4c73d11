//! Tests against a running Milvus: `cargo test -p milvault-milvus --features live-tests --test live`.
//!
//! - `MILVAULT_TEST_MILVUS_URI`: `http://host:port` of a Milvus 2.3.5 without authentication
//! - `MILVAULT_TEST_MILVUS_STORAGE`: its local storage directory
//! - `MILVAULT_TEST_MILVUS_AUTH_URI`: one with `common.security.authorizationEnabled`, user `root` password `Milvus`

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod auth;
mod columns;
mod cut;
mod describe;
mod restore;
mod server;
mod target;
mod workload;
