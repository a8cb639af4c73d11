//! What the catalog and a repository have to offer so that a lost catalog can be made again.

use crate::cluster::Cluster;
use crate::error::PortResult;
use crate::ids::{BackupId, RepositoryId};
use crate::recovery::{BackupRecord, NamedOrganization};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// A record that the repository may not have yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueRecord {
    /// Where the backup lies.
    pub repository_id: RepositoryId,
    /// What is to be written there; `None` for a backup that is not available any more: nothing is written then.
    pub record: Option<BackupRecord>,
    /// The backup.
    pub backup_id: BackupId,
    /// The revision that this is.
    pub revision: u64,
}

/// A backup of the catalog, as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogBackup {
    /// Its name in the repository.
    pub name: String,
    /// Where it lies.
    pub repository_id: RepositoryId,
    /// The day that it is the backup of, counted from 1970-01-01; `None` when somebody asked for it.
    pub day: Option<i64>,
    /// When it was begun.
    pub started_at: DateTime<Utc>,
    /// When it ended, well or not.
    pub ended_at: Option<DateTime<Utc>>,
    /// Bytes of its file, once it is there.
    pub size_bytes: Option<u64>,
    /// Why it failed.
    pub failure: Option<String>,
}

/// The wish to make a backup of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogBackupClaim {
    /// The name that it will have.
    pub name: String,
    /// Where it will lie.
    pub repository_id: RepositoryId,
    /// The day that it is the backup of, counted from 1970-01-01; `None` when somebody asks for it.
    pub day: Option<i64>,
    /// Now.
    pub now: DateTime<Utc>,
    /// A claim on the day that failed, or was begun and not ended, before this may be taken over. One without a day is
    /// granted while none is at work that was begun since.
    pub stale_before: DateTime<Utc>,
}

/// The part of the catalog that keeps repositories able to replace it. The rules of [`super::Catalog`] hold here too.
#[async_trait]
pub trait RecoveryCatalog: Send + Sync {
    /// Backups that changed since their record was written, by id, from the one behind `after` on.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_records(&self, after: Option<BackupId>, limit: u32) -> PortResult<Vec<DueRecord>>;

    /// The record of one backup, when it changed since it was written.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_record(&self, backup_id: BackupId) -> PortResult<Option<DueRecord>>;

    /// Says that a revision is in the repository. A later one stays due.
    ///
    /// # Errors
    /// Errors of the database.
    async fn note_record(&self, backup_id: BackupId, revision: u64) -> PortResult<()>;

    /// The organization that everything belongs to; `None` in a new catalog.
    ///
    /// # Errors
    /// Errors of the database.
    async fn organization(&self) -> PortResult<Option<NamedOrganization>>;

    /// Adds a cluster that is known from its backups and waits for its address, unless its id is known. One whose name
    /// is taken gets the end of its id behind it. Returns whether it was added.
    ///
    /// # Errors
    /// Errors of the database.
    async fn insert_unregistered_cluster(&self, cluster: &Cluster) -> PortResult<bool>;

    /// Brings an available backup up to what its record says, when that tells of more changes than this catalog has
    /// counted: a catalog that came from a backup of itself may be the older one. Returns whether it did.
    ///
    /// # Errors
    /// Errors of the database.
    async fn take_record(&self, record: &BackupRecord) -> PortResult<bool>;

    /// Writes everything in the catalog as it is at one moment, sealed, to be read by [`Self::import`] of whatever
    /// database. Memory is bounded. Returns the number of bytes.
    ///
    /// # Errors
    /// Errors of the sink and of the database.
    async fn export(&self, taken_at: DateTime<Utc>, sink: &mut dyn ByteSink) -> PortResult<u64>;

    /// Claims the making of a backup of the catalog. Of all servers one gets the claim on a day, until it fails or gives no
    /// sign for long. Returns whether this one did.
    ///
    /// # Errors
    /// Errors of the database.
    async fn claim_catalog_backup(&self, claim: &CatalogBackupClaim) -> PortResult<bool>;

    /// Records how a claimed backup ended: its size, or why it failed.
    ///
    /// # Errors
    /// Errors of the database.
    async fn end_catalog_backup(
        &self,
        name: &str,
        outcome: Result<u64, String>,
        now: DateTime<Utc>,
    ) -> PortResult<()>;

    /// The latest backups of the catalog, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn catalog_backups(&self, limit: u32) -> PortResult<Vec<CatalogBackup>>;

    /// When the latest backup of the catalog was begun that was made; where none was, the first attempt. `None` when
    /// none was tried.
    ///
    /// # Errors
    /// Errors of the database.
    async fn catalog_backed_up_at(&self) -> PortResult<Option<DateTime<Utc>>>;

    /// Takes everything that [`Self::export`] wrote into a catalog without an organization, in one transaction. Open
    /// jobs that make no backup are FAILED then; those that make one go on as after a crash. Returns the number of rows.
    ///
    /// # Errors
    /// `Conflict` when the catalog is not empty; `PermissionDenied` when it was sealed with a key that is not here;
    /// `Corrupt`, `Unsupported`; errors of the source and of the database.
    async fn import(&self, source: &mut dyn ByteSource, now: DateTime<Utc>) -> PortResult<u64>;
}

/// A place that takes bytes.
#[async_trait]
pub trait ByteSink: Send {
    /// Appends bytes.
    ///
    /// # Errors
    /// Errors of the store.
    async fn write(&mut self, bytes: Vec<u8>) -> PortResult<()>;
}

/// A file being written.
#[async_trait]
pub trait FileSink: ByteSink {
    /// Makes the file visible and durable.
    ///
    /// # Errors
    /// Errors of the store.
    async fn finish(self: Box<Self>) -> PortResult<()>;
}

/// A place that gives bytes.
#[async_trait]
pub trait ByteSource: Send {
    /// The next bytes; `None` at the end.
    ///
    /// # Errors
    /// Errors of the store.
    async fn read(&mut self) -> PortResult<Option<Vec<u8>>>;
}

/// The part of a repository that knows of its backups what their manifests do not.
#[async_trait]
pub trait RepositoryRecords: Send + Sync {
    /// Writes a record beside the backup's manifest, and removes the ones that it replaces. One of the same revision
    /// stays as it is. Durable when it returns.
    ///
    /// # Errors
    /// Errors of the store.
    async fn write_record(&self, record: &BackupRecord) -> PortResult<()>;

    /// The record of a backup with the highest revision; `None` when it has none.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood; errors of the store.
    async fn read_record(&self, backup_id: BackupId) -> PortResult<Option<BackupRecord>>;

    /// Begins a backup of the catalog. Nothing is visible before it is finished.
    ///
    /// # Errors
    /// Errors of the store.
    async fn create_catalog_backup(&self, name: &str) -> PortResult<Box<dyn FileSink>>;

    /// Names of the backups of catalogs that are there, sorted.
    ///
    /// # Errors
    /// Errors of the store.
    async fn catalog_backups(&self) -> PortResult<Vec<String>>;

    /// Begins to read a backup of the catalog.
    ///
    /// # Errors
    /// `NotFound`; errors of the store.
    async fn open_catalog_backup(&self, name: &str) -> PortResult<Box<dyn ByteSource>>;

    /// Removes a backup of the catalog; one that is gone is fine.
    ///
    /// # Errors
    /// Errors of the store.
    async fn remove_catalog_backup(&self, name: &str) -> PortResult<()>;
}
