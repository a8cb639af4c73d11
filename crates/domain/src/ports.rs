//! What Milvault needs from the outside world, as traits that the other crates implement.

mod audit;
mod batches;
mod catalog;
mod checks;
mod copies;
mod identity;
mod job_pruning;
mod keyed;
mod leases;
mod lifecycle;
mod milvus;
mod policies;
mod recovery;
mod rows;
mod runtime;
mod schedules;
mod sign_in;
mod stores;
mod target;
mod usage;
mod webhooks;

pub use audit::{AuditCatalog, AuditFilter, AuditPage, AuditPosition};
pub use batches::{BATCH_MAX, BatchCatalog, LARGE_BATCH_MAX};
pub use catalog::{
    BackupFilter, BackupWithJob, Catalog, ClusterFilter, ClusterRemoval, FoundBackup, Idempotency,
    InsertJobOutcome, InsertOutcome, JobFilter, NewBackup, NewJob, Page, PageRequest, RepositoryFilter,
    SortKey, Tenancy,
};
pub use checks::{CheckOrder, CheckReport, ChecksCatalog, RecordedCheck, RepositoryChecks};
pub use copies::{CopyCatalog, DueCopy, InsertCopyOutcome, NewCopy};
pub use identity::{IdentityCatalog, KeyFilter, UserFilter};
pub use job_pruning::JobPruning;
pub use keyed::KeyedJobs;
pub use leases::LeaseCatalog;
pub use lifecycle::{BackupRemains, DeleteOutcome, LifecycleCatalog, RepositoryGraves, Retained};
pub use milvus::{MilvusCluster, MilvusConnector};
pub use policies::{
    DuePolicy, FoundPolicy, PolicyOutcome, PolicyRecordCatalog, ProposedPolicy, RepositoryPolicies,
};
pub use recovery::{
    ByteSink, ByteSource, CatalogBackup, CatalogBackupClaim, DueRecord, FileSink, RecoveryCatalog,
    RepositoryRecords,
};
pub use rows::{BinlogReader, FieldDigest, KeyFiles, RowChoice, RowDigest, SegmentKeys};
pub use runtime::{Clock, IdSource, SecretSource};
pub use schedules::{SaveScheduleOutcome, ScheduleCatalog, ScheduledStart, StartOutcome};
pub use sign_in::SignInCatalog;
pub use stores::{
    AttachedRepository, BackupRepository, CheckFinding, Copier, ForeignBackup, GoAhead, READ_BYTES_MAX,
    SealReceipt, SourceStore, Stager, Stores, UnfinishedBackup, VerifyFailure, VerifyReport,
    WantedDirectories,
};
pub use target::{
    CollectionInventory, CreatedCollection, DatabaseInventory, ImportProgress, ImportRequest, ImportState,
    Inventory, MilvusTarget, NewCollection,
};

pub use usage::{ProjectUsage, UsageCatalog};
pub use webhooks::{
    Attempted, ClaimedDelivery, EndingHold, RecordOutcome, WatchedSchedule, WebhookCatalog, WebhookMessage,
    WebhookSender,
};

pub use crate::error::{PortError, PortErrorKind, PortResult};
