//! What Milvault needs from the outside world, as traits that the other crates implement.

mod catalog;
mod milvus;
mod runtime;
mod stores;

pub use catalog::{
    BackupFilter, BackupWithJob, Catalog, ClusterFilter, ClusterRemoval, Idempotency, InsertOutcome,
    JobFilter, NewBackup, Page, PageRequest, RepositoryFilter, SortKey, Tenancy,
};
pub use milvus::{MilvusCluster, MilvusConnector};
pub use runtime::{Clock, IdSource, SecretSource};
pub use stores::{
    BackupRepository, CheckFinding, Copier, SealReceipt, SourceStore, Stores, UnfinishedBackup,
    VerifyFailure, VerifyReport,
};

pub use crate::error::{PortError, PortErrorKind, PortResult};
