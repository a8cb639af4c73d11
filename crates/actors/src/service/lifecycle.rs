//! Requests about backups that are made: changes, holds, deletion, and what retention and sweeps would do.

use super::backups::PendingJob;
use super::{Service, not_found};
use crate::error::ServiceError;
use crate::records::write_now;
use crate::retention::policy;
use crate::sweep::{judge, open, plan};
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, check_backup_texts};
use milvault_domain::ids::{BackupId, ClusterId, HoldId, JobId, ProjectId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::keep::{Hold, Verdict, retention_decision};
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release, changed_expiry, check_hold};
use milvault_domain::ports::DeleteOutcome;
use milvault_domain::progress::Progress;

/// Changes of a backup: what is `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupPatch {
    /// New name, unique among the backups of the cluster that are being made or available.
    pub name: Option<String>,
    /// New description.
    pub description: Option<String>,
    /// Days to keep it from when it was made; `Some(None)` keeps it for ever.
    pub retention_days: Option<Option<u32>>,
}

/// A backup that was deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeletedBackup {
    /// The backup, in status DELETED.
    pub backup: Backup,
    /// The job that deletes it or has done so; `None` for one whose retention was over.
    pub job: Option<Job>,
}

/// What a sweep of a cluster would do now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SweepPreview {
    /// Backups that would go for good.
    pub backups: Vec<BackupId>,
    /// Backups that are deleted or failed and whose time of grace is not over.
    pub waiting: u64,
    /// Files that would be removed, manifests not counted.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Deleted backups that cannot be read, each with the reason. Their files stay.
    pub unreadable: Vec<String>,
}

impl Service {
    /// Changes what people may change of a backup. Its manifest stays as it is.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound`; `Conflict` when it is deleted or the name is taken in its cluster.
    pub async fn update_backup(
        &self,
        backup_id: BackupId,
        patch: BackupPatch,
    ) -> Result<Backup, ServiceError> {
        self.admit()?;
        check_backup_texts(patch.name.as_deref(), patch.description.as_deref())?;
        let backup = self.known_backup(backup_id).await?;
        let now = self.deps().clock.now();
        let expires_at = patch.retention_days.map(|days| changed_expiry(&backup, days, now)).transpose()?;
        let change = BackupChange { name: patch.name, description: patch.description, expires_at };
        let changed = self.deps().catalog.update_backup(backup_id, &change).await?;
        write_now(self.core(), backup_id).await;
        Ok(changed)
    }

    /// Keeps a backup from being deleted and from expiring.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound`; `Conflict` when it has failed or is deleted, or has too many holds.
    pub async fn hold_backup(
        &self,
        backup_id: BackupId,
        hold: Hold,
        created_by: String,
    ) -> Result<BackupHold, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        check_hold(&hold, now)?;
        let backup = self.known_backup(backup_id).await?;
        let hold = BackupHold {
            id: HoldId::from_uuid(self.deps().ids.new_uuid()),
            backup_id,
            cluster_id: backup.cluster_id,
            hold,
            created_by,
            created_at: now,
            released: None,
        };
        self.deps().catalog.insert_hold(&hold).await?;
        write_now(self.core(), backup_id).await;
        Ok(hold)
    }

    /// Takes a hold off. One that is off already stays as it was.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn release_hold(&self, hold_id: HoldId, by: String) -> Result<BackupHold, ServiceError> {
        self.admit()?;
        let release = Release { by, at: self.deps().clock.now() };
        let hold = self.deps().catalog.release_hold(hold_id, &release).await?;
        write_now(self.core(), hold.backup_id).await;
        Ok(hold)
    }

    /// Deletes a backup: it is out of reach when this returns, a job writes its tombstone, and its files go with a sweep
    /// when the time of grace is over. Asking again gives the same job.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is held, with the reason, or an open job needs it, with its id; `Busy`.
    pub async fn delete_backup(
        &self,
        backup_id: BackupId,
        created_by: String,
    ) -> Result<DeletedBackup, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_deletion(backup_id, created_by).await }).await
    }

    async fn accept_deletion(
        &self,
        backup_id: BackupId,
        created_by: String,
    ) -> Result<DeletedBackup, ServiceError> {
        let backup = self.known_backup(backup_id).await?;
        let description = format!("Deletion of backup \"{}\"", backup.name);
        let pending = PendingJob { created_by, ..PendingJob::about(&backup, JobType::Delete, description) };
        let job = self.pending_job(pending);
        let job = match self.deps().catalog.delete_backup(&job, job.created_at).await? {
            // Should nobody work on the cluster, the job fails, and the next sweep writes the tombstone.
            DeleteOutcome::Accepted => Some(self.hand_over(job).await?),
            DeleteOutcome::Repeated(job) => Some(*job),
            DeleteOutcome::Gone => None,
            DeleteOutcome::Held(hold) => return Err(held(backup_id, &hold)),
            DeleteOutcome::InUse(job_id) => {
                let message = format!("job {job_id} needs backup {backup_id}; wait for its end or cancel it");
                return Err(ServiceError::Conflict { message, job_id: Some(job_id) });
            }
        };
        Ok(DeletedBackup { backup: self.known_backup(backup_id).await?, job })
    }

    /// What retention would make of every available backup of a cluster at a moment, newest first.
    ///
    /// # Errors
    /// `NotFound` for the cluster.
    pub async fn preview_retention(
        &self,
        cluster_id: ClusterId,
        at: Option<DateTime<Utc>>,
    ) -> Result<Vec<Verdict>, ServiceError> {
        self.cluster(cluster_id).await?;
        let now = at.unwrap_or_else(|| self.deps().clock.now());
        let policy = policy(self.core(), cluster_id).await?;
        let retained = self.deps().catalog.retained(cluster_id, now).await?;
        Ok(retention_decision(&retained.backups, &policy, &crate::retention::longest(retained.holds), now))
    }

    /// What a sweep of a cluster would remove now. Reads every manifest of the cluster.
    ///
    /// # Errors
    /// `NotFound` for the cluster; `Unavailable` when a repository cannot be read.
    pub async fn preview_sweep(&self, cluster_id: ClusterId) -> Result<SweepPreview, ServiceError> {
        self.admit()?;
        self.cluster(cluster_id).await?;
        let mut preview = SweepPreview::default();
        for repository_id in self.deps().catalog.repositories_of(cluster_id).await? {
            let repository = open(self.core(), repository_id).await?;
            let verdicts = judge(self.core(), repository.as_ref(), cluster_id).await?;
            let plan = plan(self.core(), repository.as_ref(), &verdicts).await?;
            preview.waiting += verdicts.waiting() as u64;
            preview.files += plan.files.len() as u64;
            preview.bytes += plan.files.iter().map(|listed| listed.size_bytes).sum::<u64>();
            preview.backups.extend(plan.due);
            preview.unreadable.extend(plan.unreadable);
        }
        Ok(preview)
    }

    /// Starts a sweep of a cluster, or gives the one that is open.
    ///
    /// # Errors
    /// `NotFound` for the cluster, `Busy`, `Unavailable`.
    pub async fn request_sweep(
        &self,
        cluster_id: ClusterId,
        created_by: String,
    ) -> Result<Job, ServiceError> {
        self.admit()?;
        let cluster = self.cluster(cluster_id).await?;
        let job = sweep_job(self.core(), cluster_id, cluster.project_id, created_by);
        let service = self.clone();
        let accept = async move {
            match service.deps().catalog.insert_sweep(&job).await? {
                Some(open) => Ok(open),
                None => service.hand_over(job).await,
            }
        };
        self.to_the_end(accept).await
    }

    async fn known_backup(&self, backup_id: BackupId) -> Result<Backup, ServiceError> {
        let backup = self.deps().catalog.backup(backup_id).await?;
        backup.ok_or_else(|| not_found("backup", &backup_id))
    }
}

fn held(backup_id: BackupId, hold: &BackupHold) -> ServiceError {
    let until = hold.hold.until.map(|until| format!(" until {}", until.to_rfc3339())).unwrap_or_default();
    let message = format!(
        "backup {backup_id} is held{until} by {}: {}; release hold {} first",
        hold.created_by, hold.hold.reason, hold.id
    );
    ServiceError::Conflict { message, job_id: None }
}

/// The row of a sweep that waits for its turn.
pub(crate) fn sweep_job(
    core: &crate::core::Core,
    cluster_id: ClusterId,
    project_id: ProjectId,
    created_by: String,
) -> Job {
    Job {
        id: JobId::from_uuid(core.deps.ids.new_uuid()),
        project_id,
        cluster_id,
        job_type: JobType::Sweep,
        state: JobState::Pending,
        phase: None,
        description: String::from("Sweep of what deleted and failed backups have left"),
        created_by,
        created_at: core.deps.clock.now(),
        started_at: None,
        ended_at: None,
        failure: None,
        backup_id: None,
        verify_level: None,
        attempt: 0,
        parks: 0,
        progress: Progress::default(),
    }
}
