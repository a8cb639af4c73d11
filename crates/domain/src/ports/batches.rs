//! Reads of many records at once, for lists that show what their entries refer to.

use super::{PortResult, VerifyReport};
use crate::backup::Backup;
use crate::checks::{DrillSchedule, Leftovers, Verification, VerifySchedule};
use crate::cluster::Cluster;
use crate::ids::{BackupId, ClusterId, JobId, RepositoryId, WebhookId};
use crate::job::{Job, JobEvent};
use crate::job_request::JobRequest;
use crate::lifecycle::BackupHold;
use crate::milvus::Cut;
use crate::repository::Repository;
use crate::restore::{CompareReport, Restore};
use crate::schedule::ClusterSchedule;
use crate::webhook::Webhook;
use async_trait::async_trait;

/// Most ids that one read is asked about.
pub const BATCH_MAX: usize = 200;

/// Most ids that one read of what can be megabytes each is asked about.
pub const LARGE_BATCH_MAX: usize = 50;

/// The part of the catalog that reads much at once.
///
/// Each method is one statement, whatever the number of ids. What does not exist is left out, and the order is that of
/// no ids in particular; entries that belong to one id come in the order of the single read of the same thing. A row
/// that cannot be read fails the whole batch.
///
/// All of them are `InvalidInput` for more than [`BATCH_MAX`] ids, those that say so for more than [`LARGE_BATCH_MAX`].
#[async_trait]
pub trait BatchCatalog {
    /// Clusters that were not removed.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn clusters_among(&self, ids: &[ClusterId]) -> PortResult<Vec<Cluster>>;

    /// Repositories.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn repositories_among(&self, ids: &[RepositoryId]) -> PortResult<Vec<Repository>>;

    /// Backups, deleted ones included.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn backups_among(&self, ids: &[BackupId]) -> PortResult<Vec<Backup>>;

    /// Jobs.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn jobs_among(&self, ids: &[JobId]) -> PortResult<Vec<Job>>;

    /// Webhooks that were not deleted.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn webhooks_among(&self, ids: &[WebhookId]) -> PortResult<Vec<Webhook>>;

    /// The jobs that make or made these backups, one each.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn makers_of(&self, ids: &[BackupId]) -> PortResult<Vec<Job>>;

    /// The newest drill of each of these backups.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn last_drills_of(&self, ids: &[BackupId]) -> PortResult<Vec<Job>>;

    /// Holds on these backups: of each as many as `LifecycleCatalog::holds` gives.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn holds_of(&self, ids: &[BackupId]) -> PortResult<Vec<BackupHold>>;

    /// Copies of these backups: of each as many as `CopyCatalog::copies` gives.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn copies_of(&self, ids: &[BackupId]) -> PortResult<Vec<Backup>>;

    /// What these backups showed of their clusters, for at most [`LARGE_BATCH_MAX`].
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn contents_of(&self, ids: &[BackupId]) -> PortResult<Vec<(BackupId, Cut)>>;

    /// What verifies have found about these backups.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn verifications_of(&self, ids: &[BackupId]) -> PortResult<Vec<(BackupId, Verification)>>;

    /// Schedules of these clusters.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn schedules_of(&self, ids: &[ClusterId]) -> PortResult<Vec<ClusterSchedule>>;

    /// Schedules of drills of these clusters' backups.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn drill_schedules_of(&self, ids: &[ClusterId]) -> PortResult<Vec<DrillSchedule>>;

    /// Schedules of verifies of these repositories.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn verify_schedules_of(&self, ids: &[RepositoryId]) -> PortResult<Vec<VerifySchedule>>;

    /// States and phases of these jobs: of each as many as `Catalog::job_events` gives.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn events_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, JobEvent)>>;

    /// What these jobs were asked to do.
    ///
    /// # Errors
    /// As said; errors of the database; `Internal` when one cannot be decrypted with this server's key.
    async fn requests_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, JobRequest)>>;

    /// Restores and drills, with plans and collections, for at most [`LARGE_BATCH_MAX`].
    ///
    /// # Errors
    /// As for [`Self::requests_of`].
    async fn restores_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, Restore)>>;

    /// Reports of ended verifies.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn verify_reports_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, VerifyReport)>>;

    /// Reports of comparisons, for at most [`LARGE_BATCH_MAX`].
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn compare_reports_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, CompareReport)>>;

    /// What these drills have left at their targets.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn leftovers_of(&self, ids: &[JobId]) -> PortResult<Vec<Leftovers>>;
}
