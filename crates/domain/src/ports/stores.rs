//! Places that hold bytes: the source's storage and backup repositories.

use crate::backup::ManifestHeader;
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, RepositoryId};
use crate::job::VerifyLevel;
use crate::object::{SourceObject, StoredObject};
use crate::plan::{CopyPlan, CopyRoute, CopyUnit, ObjectIndex};
use crate::progress::ProgressCounters;
use crate::repository::StoreCapabilities;
use crate::storage::StorageConfig;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// Opens sources and repositories from their configuration.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Opens a cluster's storage for reading.
    ///
    /// # Errors
    /// The configuration cannot be right, or a secret is missing. Nothing is contacted yet.
    async fn open_source(&self, storage: &StorageConfig) -> PortResult<Arc<dyn SourceStore>>;

    /// Makes an empty place into a repository: probes what the store can do and writes `milvault.json`.
    ///
    /// # Errors
    /// `Conflict` when the place already is a repository (the message has its id) or is not empty; errors of the store.
    async fn create_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities>;

    /// Opens an existing repository and checks that it is this one.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Conflict` when another repository lies there, `Unsupported` when its format
    /// is newer than this program; errors of the store.
    async fn open_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
        capabilities: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>>;

    /// Opens the way from a source to a repository. All copies of the returned copier share one limit of bytes per
    /// second through this server.
    ///
    /// # Errors
    /// As for opening either side.
    async fn open_copier(
        &self,
        source: &StorageConfig,
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>>;
}

/// A cluster's storage.
#[async_trait]
pub trait SourceStore: Send + Sync {
    /// Lists all binlogs (insert and delta) of a collection that lie in the given segments. Few large requests, none
    /// per segment. Files of other shapes and other segments are passed over.
    ///
    /// # Errors
    /// Errors of the store. A collection without any file gives an empty list.
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>>;

    /// Looks whether the storage can be read and looks like a Milvus root.
    async fn check(&self) -> Vec<CheckFinding>;
}

/// Something found by a check, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckFinding {
    /// What was looked at, e.g. `milvus`, `storage`, `repository`.
    pub subject: String,
    /// Whether it is fine.
    pub ok: bool,
    /// What was found, and what to do if it is not fine.
    pub message: String,
}

/// A repository of backups. Files in it are never overwritten; `docs/format.md` specifies them.
#[async_trait]
pub trait BackupRepository: Send + Sync {
    /// Identity.
    fn id(&self) -> RepositoryId;

    /// Implementations downcast the repository they made themselves when they open a copier.
    fn as_any(&self) -> &dyn std::any::Any;

    /// Looks whether it can be read and written.
    async fn check(&self) -> Vec<CheckFinding>;

    /// Saves what an interrupted job needs to continue: header and plan. Called before the first unit is copied.
    /// Durable when it returns.
    ///
    /// # Errors
    /// Errors of the store.
    async fn save_unfinished(&self, header: &ManifestHeader, plan: &CopyPlan) -> PortResult<()>;

    /// Loads what [`Self::save_unfinished`] saved; `None` when there is nothing.
    ///
    /// # Errors
    /// `Corrupt` when it does not decode; errors of the store.
    async fn load_unfinished(&self, backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>>;

    /// Objects of the cluster that are in the repository: from the manifests of the given backups (newest first is
    /// best), and from complete units of unfinished backups. Unreadable manifests are passed over with a warning: the
    /// index only saves work.
    ///
    /// # Errors
    /// Errors of the store.
    async fn load_index(
        &self,
        cluster_id: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
    ) -> PortResult<ObjectIndex>;

    /// Writes the manifest, reads it back, checks that every file it references exists, and removes what
    /// [`Self::save_unfinished`] saved. Sealing again with the same objects is harmless.
    ///
    /// # Errors
    /// `Corrupt` when what was read back differs or a referenced file is missing; errors of the store.
    async fn seal(&self, header: &ManifestHeader, objects: Vec<StoredObject>) -> PortResult<SealReceipt>;

    /// Reads a manifest without its list of objects.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Unsupported`; errors of the store.
    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader>;

    /// Ids of all backups that have a manifest.
    ///
    /// # Errors
    /// Errors of the store.
    async fn list_backups(&self) -> PortResult<Vec<BackupId>>;

    /// Checks a backup. What is wrong with it goes into the report; an error means that the check itself could not
    /// be carried out. Progress counts the backup's objects and bytes. Dropping the future stops the work.
    ///
    /// # Errors
    /// `NotFound` when there is no such backup; errors of the store.
    async fn verify(
        &self,
        backup_id: BackupId,
        level: VerifyLevel,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<VerifyReport>;
}

/// What is left of a backup that was not sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnfinishedBackup {
    /// Its header, cut included.
    pub header: ManifestHeader,
    /// Its plan.
    pub plan: CopyPlan,
}

/// What sealing wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealReceipt {
    /// Size of the manifest.
    pub manifest_bytes: u64,
}

/// Result of a verify.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Objects looked at.
    pub objects_checked: u64,
    /// Bytes read and hashed (content level only).
    pub bytes_read: u64,
    /// Objects whose hash was not known before and is recorded now.
    pub hashes_recorded: u64,
    /// The first failures, at most [`VerifyReport::FAILURES_MAX`].
    pub failures: Vec<VerifyFailure>,
    /// All failures, including those that are not listed.
    pub failure_count: u64,
}

impl VerifyReport {
    /// Most failures that are described one by one.
    pub const FAILURES_MAX: usize = 100;
}

/// A file or object that is not as it must be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyFailure {
    /// File in the repository.
    pub file: String,
    /// Key of the object at the source, where it is about one.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// The way from one source to one repository.
#[async_trait]
pub trait Copier: Send + Sync {
    /// How bytes will go: inside the store where source and repository share one that can do it.
    fn route(&self) -> CopyRoute;

    /// Copies a unit, or finds that it is there already. When it returns, the unit is durable under its final name;
    /// until then only temporary names exist. Memory is bounded by a fixed number of buffers per call. Transient
    /// errors are retried inside, a bounded number of times. Dropping the future stops the copy within one block and
    /// leaves nothing but a temporary file that later work removes.
    ///
    /// `progress` grows with every block and object; what a failed attempt had counted is taken back.
    ///
    /// # Errors
    /// `NotFound` names the source key that is gone, `Changed` one that is not as it was listed, `StorageFull`,
    /// `ReadOnly`, `PermissionDenied`, `Unavailable` as they come.
    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>>;
}
