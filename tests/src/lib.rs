//! What the end-to-end tests, the demo and the benchmarks share.

pub mod bench;
pub mod demo;
pub mod graphql_client;
pub mod http_receiver;
pub mod milvault_process;
pub mod milvus_client;
pub mod servers;
