//! What the catalog and a repository have to offer once a backup is made.

use crate::backup::Backup;
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, HoldId, JobId, ProjectId, RepositoryId};
use crate::job::Job;
use crate::keep::RetainedBackup;
use crate::lifecycle::{BackupChange, BackupHold, Release, Standing, Tombstone};
use crate::sweep::{DataFile, ListedFile, References};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that is about made backups. The rules of [`super::Catalog`] hold here too.
#[async_trait]
pub trait LifecycleCatalog: Send + Sync {
    /// Changes a backup that is not deleted.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is deleted or another backup of the cluster has the name; errors of the database.
    async fn update_backup(&self, backup_id: BackupId, change: &BackupChange) -> PortResult<Backup>;

    /// Adds a hold to a backup that is there or is being made.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the backup has failed or is deleted, or has [`BackupHold::PER_BACKUP_MAX`] holds; errors of
    /// the database.
    async fn insert_hold(&self, hold: &BackupHold) -> PortResult<()>;

    /// Takes a hold off. One that is off already stays as it is.
    ///
    /// # Errors
    /// `NotFound`; errors of the database.
    async fn release_hold(&self, hold_id: HoldId, release: &Release) -> PortResult<BackupHold>;

    /// Finds a hold.
    ///
    /// # Errors
    /// Errors of the database.
    async fn hold(&self, hold_id: HoldId) -> PortResult<Option<BackupHold>>;

    /// The latest 100 holds of a backup, ended ones included, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn holds(&self, backup_id: BackupId) -> PortResult<Vec<BackupHold>>;

    /// Marks a backup as DELETED and adds the pending job that buries it, in one transaction, or tells why not. The job
    /// refers to the backup.
    ///
    /// # Errors
    /// `InvalidInput` for a job that is not a pending DELETE; `NotFound` for the backup; `Busy` as
    /// [`super::Catalog::insert_job`]; errors of the database.
    async fn delete_backup(&self, job: &Job, now: DateTime<Utc>) -> PortResult<DeleteOutcome>;

    /// Marks those of the given backups as DELETED that are available, whose time is over, and that neither a hold nor an
    /// open job keeps. Returns them.
    ///
    /// # Errors
    /// Errors of the database.
    async fn expire_chosen(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<Vec<BackupId>>;

    /// Backups that have expired after `ended_after` although their time is not over `now`, with their repositories: a clock
    /// that was ahead has expired them. None that was swept, that a person has deleted, that
    /// [`Self::judge_early_expiry`] has decided about before, that an open sweep may be about, or that is an automatic
    /// backup of a cluster out of service. At most `limit`.
    ///
    /// # Errors
    /// Errors of the database.
    async fn early_expiries(
        &self,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<Vec<(BackupId, RepositoryId)>>;

    /// Decides, once, about a backup that [`Self::early_expiries`] names: it is available again when all of it is there
    /// and no other backup of the cluster has its name by now. Nothing is decided about others. Returns whether the backup
    /// is available afterwards.
    ///
    /// # Errors
    /// `NotFound`; errors of the database.
    async fn judge_early_expiry(
        &self,
        backup_id: BackupId,
        is_whole: bool,
        now: DateTime<Utc>,
        ended_after: DateTime<Utc>,
    ) -> PortResult<bool>;

    /// Marks those of the given backups as DELETED that are available, whatever keeps them: their repository says that
    /// they are deleted, and the catalog is older than that.
    ///
    /// # Errors
    /// Errors of the database.
    async fn take_deletions(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()>;

    /// All available backups of a cluster, and the holds that bind them.
    ///
    /// # Errors
    /// Errors of the database.
    async fn retained(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<Retained>;

    /// Clusters in service that have a schedule, and automatic backups whose age is over: what their keep rules say
    /// decides about those.
    ///
    /// # Errors
    /// Errors of the database.
    async fn overdue_clusters(&self, now: DateTime<Utc>) -> PortResult<Vec<ClusterId>>;

    /// Every backup of a repository that was not swept.
    ///
    /// # Errors
    /// Errors of the database.
    async fn standings(&self, repository_id: RepositoryId) -> PortResult<Vec<Standing>>;

    /// Repositories that hold backups of a cluster which were not swept.
    ///
    /// # Errors
    /// Errors of the database.
    async fn repositories_of(&self, cluster_id: ClusterId) -> PortResult<Vec<RepositoryId>>;

    /// Adds a pending sweep of a cluster, in service or not. Returns the open one when there is one.
    ///
    /// # Errors
    /// `InvalidInput` for a job that is not a pending SWEEP; `NotFound` for the cluster; errors of the database.
    async fn insert_sweep(&self, job: &Job) -> PortResult<Option<Job>>;

    /// Clusters with backups that ended at or before `ended_before` and were not swept, and for which no sweep is open
    /// nor was asked for after `not_since` and up to now: one of a clock that ran ahead does not count.
    ///
    /// # Errors
    /// Errors of the database.
    async fn due_sweeps(
        &self,
        ended_before: DateTime<Utc>,
        not_since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> PortResult<Vec<(ClusterId, ProjectId)>>;

    /// Records that nothing of these backups is left in the repository.
    ///
    /// # Errors
    /// Errors of the database.
    async fn mark_swept(&self, backup_ids: &[BackupId], now: DateTime<Utc>) -> PortResult<()>;
}

/// Available backups of a cluster with what binds them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Retained {
    /// The backups, in no order.
    pub backups: Vec<RetainedBackup>,
    /// Holds that bind at the moment asked about.
    pub holds: Vec<BackupHold>,
}

/// What became of a request to delete a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeleteOutcome {
    /// The backup is marked, the job is written.
    Accepted,
    /// It was deleted before, by this job.
    Repeated(Box<Job>),
    /// It is gone without a job: its retention was over.
    Gone,
    /// Somebody holds it.
    Held(Box<BackupHold>),
    /// A job that has not ended needs it.
    InUse(JobId),
}

/// The part of a repository that is about getting rid of backups. Every method may be repeated after it was cut off.
#[async_trait]
pub trait RepositoryGraves: Send + Sync {
    /// Writes a backup's tombstone. From then on it is not listed any more. One that is there stays as it is.
    ///
    /// # Errors
    /// Errors of the store.
    async fn bury(&self, tombstone: &Tombstone) -> PortResult<()>;

    /// Removes a backup's tombstone: it is listed again. One that is gone is fine.
    ///
    /// # Errors
    /// Errors of the store.
    async fn exhume(&self, backup_id: BackupId) -> PortResult<()>;

    /// A backup's tombstone; `None` when it has none.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be understood; errors of the store.
    async fn tombstone(&self, backup_id: BackupId) -> PortResult<Option<Tombstone>>;

    /// Every backup that has any file in its directory: finished, unfinished and buried ones. Sorted.
    ///
    /// # Errors
    /// Errors of the store.
    async fn backup_remains(&self) -> PortResult<Vec<BackupRemains>>;

    /// The cluster that a backup's manifest or saved plan speaks of; `None` when there is neither.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`; errors of the store.
    async fn owner(&self, backup_id: BackupId) -> PortResult<Option<ClusterId>>;

    /// The packs and objects that a backup's manifest and saved plan refer to; empty when it has neither.
    ///
    /// # Errors
    /// `Corrupt`, `Unsupported`; errors of the store.
    async fn referenced_files(&self, backup_id: BackupId) -> PortResult<References>;

    /// Those of the files that exist, with their sizes. Sorted.
    ///
    /// # Errors
    /// Errors of the store.
    async fn existing_files(&self, files: &[DataFile]) -> PortResult<Vec<ListedFile>>;

    /// Removes a file; one that is gone is fine.
    ///
    /// # Errors
    /// Errors of the store.
    async fn remove_file(&self, file: DataFile) -> PortResult<()>;

    /// Removes everything in a backup's directory: the tombstone last, so that what is left of it never looks like a
    /// backup. No pack and no object is touched.
    ///
    /// # Errors
    /// Errors of the store.
    async fn remove_backup(&self, backup_id: BackupId) -> PortResult<()>;
}

/// What lies in the directory of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BackupRemains {
    /// The backup.
    pub backup_id: BackupId,
    /// Whether it has a manifest.
    pub manifest: bool,
    /// Whether it has a saved plan.
    pub plan: bool,
    /// Whether it has a tombstone.
    pub tombstone: bool,
}
