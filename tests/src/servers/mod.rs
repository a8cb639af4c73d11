//! Real third-party servers on this machine: Milvus, SeaweedFS, PostgreSQL, and an identity provider.
//!
//! [`Tools::install`] fetches the binaries once into the workspace's `target/servers`; [`Milvus`],
//! [`SeaweedFs`] and [`Postgres`] start them on free ports and end them when dropped. Nothing here
//! pretends to be a server: a server that cannot be had is an error that names the command which
//! installs it.
//!
//! A server lives as long as its handle, wherever that handle goes: it may be started on one
//! runtime and stopped on another, or kept in a `static`. If this process is killed outright the
//! kernel ends its servers too, where `setpriv` (util-linux) is there to ask for it.

mod certificate;
mod identity_provider;
mod milvus;
mod milvus_config;
mod ports;
mod postgres;
mod probe;
pub(crate) mod process;
mod python;
mod seaweedfs;
mod seaweedfs_state;
mod tools;

pub use certificate::TlsEndpoint;
pub use identity_provider::{IdentityProvider, Person};
pub use milvus::Milvus;
pub use milvus_config::{MilvusOptions, MilvusStorage, S3Storage};
pub use ports::free_port;
pub use postgres::Postgres;
pub use seaweedfs::{S3Traffic, SeaweedFs, SeaweedFsOptions};
pub use seaweedfs_state::S3Identity;
pub use tools::Tools;
