//! The connector, the cut and the changes of a restore against a Milvus service that runs in the test and follows a script: what a real
//! server does too rarely to be waited for.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod connect;
mod cut;
mod rest;
mod rest_import;
mod service;
mod target;
