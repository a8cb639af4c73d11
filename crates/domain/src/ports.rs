//! What Milvault needs from the outside world, as traits that the other crates implement.

mod audit;
mod catalog;
mod identity;
mod job_pruning;
mod lifecycle;
mod milvus;
mod rows;
mod runtime;
mod schedules;
mod stores;
mod target;

pub use audit::{AuditCatalog, AuditFilter, AuditPage, AuditPosition};
pub use catalog::{
    BackupFilter, BackupWithJob, Catalog, ClusterFilter, ClusterRemoval, FoundBackup, Idempotency,
    InsertJobOutcome, InsertOutcome, JobFilter, NewBackup, NewJob, Page, PageRequest, RepositoryFilter,
    SortKey, Tenancy,
};
pub use identity::{IdentityCatalog, KeyFilter, UserFilter};
pub use job_pruning::JobPruning;
pub use lifecycle::{BackupRemains, DeleteOutcome, LifecycleCatalog, RepositoryGraves, Retained};
pub use milvus::{MilvusCluster, MilvusConnector};
pub use rows::{BinlogReader, FieldDigest, KeyFiles, RowChoice, RowDigest, SegmentKeys};
pub use runtime::{Clock, IdSource, SecretSource};
pub use schedules::{SaveScheduleOutcome, ScheduleCatalog, ScheduledStart, StartOutcome};
pub use stores::{
    AttachedRepository, BackupRepository, CheckFinding, Copier, ForeignBackup, READ_BYTES_MAX, SealReceipt,
    SourceStore, Stager, Stores, UnfinishedBackup, VerifyFailure, VerifyReport,
};
pub use target::{
    CollectionInventory, CreatedCollection, DatabaseInventory, ImportProgress, ImportRequest, ImportState,
    Inventory, MilvusTarget, NewCollection,
};

pub use crate::error::{PortError, PortErrorKind, PortResult};
