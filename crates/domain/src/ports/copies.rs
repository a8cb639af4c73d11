//! What the catalog has to offer about copies of backups.

use crate::backup::{Backup, BackupStatus};
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, JobId, RepositoryId};
use crate::ports::{BackupWithJob, NewBackup};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that is about copies. The rules of [`super::Catalog`] hold here too.
///
/// A backup that a copy in status CREATING was taken from neither is deleted nor expires.
#[async_trait]
pub trait CopyCatalog: Send + Sync {
    /// Writes a copy in status CREATING together with its pending job, or tells why not. The cluster may be out of
    /// service; a copy takes no part in the rule of one manual backup.
    ///
    /// # Errors
    /// `InvalidInput` when backup and job do not fit each other; `NotFound` for the cluster or the backup to be copied;
    /// `Busy` as [`super::Catalog::insert_job`], unless the copy is due; errors of the database.
    async fn insert_copy(&self, new: &NewCopy) -> PortResult<InsertCopyOutcome>;

    /// The copies of a backup that are not deleted, newest first, at most 100.
    ///
    /// # Errors
    /// Errors of the database.
    async fn copies(&self, backup_id: BackupId) -> PortResult<Vec<Backup>>;

    /// Copies of automatic backups that policies ask for and that are not begun, longest waiting first. They are
    /// recorded in the transaction that makes the backup available, by the policy of that moment.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_copies(&self, limit: u32) -> PortResult<Vec<DueCopy>>;

    /// Forgets a due copy that cannot be made. One that is begun or forgotten already is fine.
    ///
    /// # Errors
    /// Errors of the database.
    async fn forget_due_copy(&self, backup_id: BackupId) -> PortResult<()>;
}

/// A copy to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCopy {
    /// The copy with its job. The backup says what it is copied from.
    pub backup: NewBackup,
    /// Set when a policy asks for it: its due copy is begun by this, and by nothing else.
    pub is_due: bool,
}

/// What became of a request for a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertCopyOutcome {
    /// Both rows are written.
    Created,
    /// A request with this idempotency key was accepted before.
    Duplicate(Box<BackupWithJob>),
    /// A request with this idempotency key asked for something else.
    KeyReused(JobId),
    /// The cluster has a backup of that name.
    NameTaken,
    /// The backup to be copied is in this status and not AVAILABLE.
    SourceNotAvailable(BackupStatus),
    /// The due copy was begun before, or is forgotten.
    NotDue,
}

/// A copy of an automatic backup that a policy asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueCopy {
    /// The backup to be copied.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Where the copy goes.
    pub repository_id: RepositoryId,
    /// Days until the copy expires.
    pub retention_days: u32,
    /// Since when it is due.
    pub due_since: DateTime<Utc>,
}
