//! A live Milvus over gRPC: versions and what they can do, what a cluster consists of, and the cut.
//!
//! The messages come from Milvus's own protocol definition as the official SDK ships it; the channel, the deadlines,
//! the retries and the reading of errors are this crate's. None of the SDK's and none of tonic's types leave it.
//!
//! Run against Milvus 2.3.5. What concerns newer servers is written from public sources and says so.

mod access;
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
mod versions;

pub use connector::MilvusGrpcConnector;
