//! Places that hold bytes: the source's storage and backup repositories.

use crate::backup::ManifestHeader;
use crate::binlog::BinlogKey;
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, RepositoryId};
use crate::job::VerifyLevel;
use crate::milvus::Cut;
use crate::object::{SourceObject, StoredObject};
use crate::plan::{CopyPlan, CopyRoute, CopyUnit, Holdings};
use crate::ports::{RepositoryChecks, RepositoryGraves, RepositoryPolicies, RepositoryRecords};
use crate::progress::ProgressCounters;
use crate::repository::StoreCapabilities;
use crate::storage::{SourceLayout, StorageConfig};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

/// What the last step of something waits for; with an error it is not taken.
pub type GoAhead<'a> = Pin<Box<dyn Future<Output = PortResult<()>> + Send + 'a>>;

/// Opens sources and repositories from their configuration.
#[async_trait]
pub trait Stores: Send + Sync {
    /// Opens a cluster's storage for reading.
    ///
    /// # Errors
    /// The configuration cannot be right, or a secret is missing. Nothing is contacted yet.
    async fn open_source(
        &self,
        storage: &StorageConfig,
        layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>>;

    /// Lists directories in a place that milvus-backup wrote, by name. Only those that are wanted are read.
    ///
    /// # Errors
    /// Errors of the store. A place without any gives an empty list.
    async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>>;

    /// Reads what a directory of milvus-backup says about the cluster it shows.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory, `Corrupt` when it does not hold together (an unfinished backup, or
    /// one without `full_meta.json`), `Unsupported` for formats that are not binlogs; errors of the store.
    async fn read_foreign_backup(&self, storage: &StorageConfig, directory: &str) -> PortResult<Cut>;

    /// Finds out which repository lies in a place, changing nothing.
    ///
    /// # Errors
    /// `NotFound` when there is none, `Unsupported` when its format is newer than this program; errors of the store.
    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository>;

    /// Opens the way from a repository to the storage of a cluster that rows are given back to. All work of the
    /// returned stager shares one limit of bytes per second through this server.
    ///
    /// # Errors
    /// As for opening either side.
    async fn open_stager(
        &self,
        repository: Arc<dyn BackupRepository>,
        target: &StorageConfig,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>>;

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
        layout: &SourceLayout,
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>>;

    /// Opens the way from one repository to another, for objects of a backup in the first one. Bytes that pass through
    /// this server are compared with the hashes of these objects; all copies of the returned copier share one limit of
    /// such bytes per second. A damaged or missing file of the first repository is `Corrupt`, and the error names it.
    ///
    /// # Errors
    /// `InvalidInput` when a repository was not opened by these stores; errors of either side.
    async fn open_backup_copier(
        &self,
        source: Arc<dyn BackupRepository>,
        objects: &[StoredObject],
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

    /// Lists the delta logs of a collection that lie in the given segments, as [`Self::list_binlogs`] does.
    ///
    /// # Errors
    /// Errors of the store.
    async fn list_delta_logs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>>;

    /// Reads a file whole.
    ///
    /// # Errors
    /// `NotFound` names the key that is gone; `Unsupported` for a file larger than [`READ_BYTES_MAX`]; errors of the
    /// store.
    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>>;

    /// Looks whether the storage can be read and looks like a Milvus root.
    async fn check(&self) -> Vec<CheckFinding>;
}

/// Largest file that is read whole into memory. Milvus closes binlogs at 64 MiB by default.
pub const READ_BYTES_MAX: u64 = 1 << 30;

/// A repository that was found in a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttachedRepository {
    /// Its id.
    pub repository_id: RepositoryId,
    /// What its store can do, as its marker file says.
    pub capabilities: StoreCapabilities,
}

/// Which of the directories are wanted that milvus-backup wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WantedDirectories {
    /// Those at these positions of the list by name.
    At(Range<usize>),
    /// The one of this name.
    Named(String),
}

impl WantedDirectories {
    /// Those that are wanted of a list by name.
    #[must_use]
    pub fn of<T>(&self, listed: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
        match self {
            Self::At(range) => listed.into_iter().skip(range.start).take(range.len()).collect(),
            Self::Named(wanted) => listed.into_iter().filter(|entry| name(entry) == wanted).collect(),
        }
    }
}

/// A directory that milvus-backup wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignBackup {
    /// Name of the directory, which is the backup's name.
    pub directory: String,
    /// When it was made, milliseconds since 1970-01-01 UTC, where it says so.
    pub created_at_ms: Option<i64>,
    /// Version of the Milvus it was taken from, where it says so.
    pub milvus_version: String,
    /// Collections in it.
    pub collection_count: u32,
    /// Bytes in it as it says itself.
    pub size_bytes: u64,
    /// Why it cannot be taken over; `None` when it can.
    pub problem: Option<String>,
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
pub trait BackupRepository:
    Send + Sync + RepositoryGraves + RepositoryRecords + RepositoryPolicies + RepositoryChecks
{
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

    /// Removes what [`Self::save_unfinished`] saved, for a backup that was sealed by an attempt that did not come to it.
    /// Nothing to remove is no error.
    ///
    /// # Errors
    /// Errors of the store.
    async fn remove_unfinished(&self, backup_id: BackupId) -> PortResult<()>;

    /// Objects of the cluster that are in the repository: from the manifests of the given backups (newest first is
    /// best), and from complete units of unfinished backups. Unreadable manifests are passed over with a warning: the
    /// index only saves work. Given the backup that is being made, the segments that earlier ones settle are among what
    /// is returned; when they are all, manifests of older backups are not read.
    ///
    /// # Errors
    /// Errors of the store.
    async fn load_index(
        &self,
        cluster_id: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
        current: Option<&ManifestHeader>,
    ) -> PortResult<Holdings>;

    /// Writes the manifest, reads it back, checks that every file it references exists, and removes what
    /// [`Self::save_unfinished`] saved. Sealing again with the same objects is harmless. What can be prepared is
    /// prepared beside `go_ahead`; nothing gets a name before it came out well.
    ///
    /// # Errors
    /// `Corrupt` when what was read back differs or a referenced file is missing; that of `go_ahead`; errors of the
    /// store.
    async fn seal_after(
        &self,
        go_ahead: GoAhead<'_>,
        header: &ManifestHeader,
        objects: Vec<StoredObject>,
    ) -> PortResult<SealReceipt>;

    /// [`Self::seal_after`] without anything to wait for.
    ///
    /// # Errors
    /// The same.
    async fn seal(&self, header: &ManifestHeader, objects: Vec<StoredObject>) -> PortResult<SealReceipt> {
        self.seal_after(Box::pin(std::future::ready(Ok(()))), header, objects).await
    }

    /// Reads a manifest without its list of objects.
    ///
    /// # Errors
    /// `NotFound`, `Corrupt`, `Unsupported`; errors of the store.
    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader>;

    /// Reads a manifest's list of objects, of the given collections only when some are given, sorted by key.
    ///
    /// # Errors
    /// As for [`Self::read_header`].
    async fn read_objects(
        &self,
        backup_id: BackupId,
        collection_ids: Option<&HashSet<i64>>,
    ) -> PortResult<Vec<StoredObject>>;

    /// Reads an object whole and checks it against its hash where that is known.
    ///
    /// # Errors
    /// `NotFound` when its file is gone, `Corrupt` when the bytes are not what was backed up, `Unsupported` for one
    /// larger than [`READ_BYTES_MAX`]; errors of the store.
    async fn read_object(&self, object: &StoredObject) -> PortResult<Vec<u8>>;

    /// Ids of all backups that have a manifest and no tombstone.
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

/// The way from one repository to the storage of one cluster that rows are given back to.
#[async_trait]
pub trait Stager: Send + Sync {
    /// How bytes will go. Single objects may go through this server even where the stores share one that copies.
    fn route(&self) -> CopyRoute;

    /// How the cluster's Milvus has to be told a path below the storage's root: an absolute path for local
    /// directories, a key with the root's prefix for object stores.
    fn import_path(&self, relative_path: &str) -> String;

    /// Copies objects of the repository to `<directory>/<key as Milvus lays it out>` below the storage's root, for
    /// Milvus to import. Bytes that pass through this server are checked against their hashes: a damaged object never
    /// reaches a cluster. Nothing is synced to disk, since nothing here outlives its job. Repeating it is harmless.
    /// Memory is bounded by a fixed number of buffers per call. Transient errors are retried inside.
    ///
    /// # Errors
    /// `Corrupt` names the damaged object; `StorageFull`, `ReadOnly`, `PermissionDenied`, `Unavailable` as they come.
    async fn stage(
        &self,
        objects: &[StoredObject],
        directory: &str,
        progress: &ProgressCounters,
    ) -> PortResult<()>;

    /// Removes a directory below the storage's root with everything in it, and tells how many files that were. One
    /// that is not there is no error.
    ///
    /// # Errors
    /// `InvalidInput` for a directory that no restore could have made; errors of the store.
    async fn remove(&self, directory: &str) -> PortResult<u64>;
}
