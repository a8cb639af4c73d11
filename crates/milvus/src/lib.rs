//! A live Milvus over gRPC, and for beginning imports over REST: versions and what they can do, what a cluster consists of, the cut, and giving
//! rows back.
//!
//! The messages come from Milvus's own protocol definition as the official SDK ships it; the channel, the deadlines,
//! the retries and the reading of errors are this crate's. None of the SDK's and none of tonic's types leave it.
//!
//! Run against Milvus 2.3.5. What concerns newer servers is written from public sources and says so.

mod access;
mod binlog;
mod call;
mod channel;
mod client;
mod connector;
mod cut;
mod describe;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod listing;
mod rest;
mod target;
mod versions;

pub use binlog::MilvusBinlogReader;
pub use connector::MilvusGrpcConnector;
