//! Doing a failed or canceled job again.

use super::{Service, not_found};
use crate::error::ServiceError;
use crate::request::{BackupRequest, CopyRequest, VerifyRequest};
use milvault_domain::backup::{Backup, CopyOrigin};
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::retention::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};

impl Service {
    /// Accepts a new job like one that failed or was canceled: a backup with the same scope, name, description, method and
    /// retention, a copy of the same backup to the same repository, or a check of the same backup as thorough as that one.
    /// The old job stays as it is.
    ///
    /// # Errors
    /// `NotFound` for the job, its cluster or its backup; `Conflict` when it has not ended, has succeeded, or is of a type
    /// that is done again in another way, which the error names, or when it made an automatic backup and another backup
    /// of the cluster has not ended; else as for a new request.
    pub async fn retry_job(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_retry(job_id, created_by).await }).await
    }

    async fn accept_retry(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        let job = self.core().job(job_id).await?.ok_or_else(|| not_found("job", &job_id))?;
        let instead = match job.job_type {
            JobType::Backup | JobType::Verify | JobType::Copy => None,
            JobType::Restore => Some("take the restore up again with resumeRestore"),
            JobType::Drill => Some("ask for another drill with drillBackup"),
            JobType::Undo => Some("ask for the undoing again with undoRestore"),
            JobType::Compare => Some("ask for the comparison again with verifyRestore"),
            JobType::Adopt => Some("take the backup over again with adoptBackup"),
            JobType::Delete => Some("ask for the deletion again with deleteBackup"),
            JobType::Sweep => Some("ask for a sweep with sweepCluster"),
        };
        if let Some(instead) = instead {
            return Err(conflict(job_id, &format!("is no backup, no copy and no verify; {instead}")));
        }
        let retry = self.retrying(job_id);
        let idempotency = retry.key_of(&())?;
        if let Some(job) = self.repeated(job.cluster_id, job.job_type, idempotency.as_ref()).await? {
            return Ok(job);
        }
        match job.state {
            JobState::Failed | JobState::Canceled => {}
            JobState::Successful => {
                return Err(conflict(job_id, "has succeeded; there is nothing to do again"));
            }
            JobState::Pending | JobState::InProgress | JobState::Canceling => {
                return Err(conflict(job_id, "has not ended; wait for its end or cancel it"));
            }
        }
        let backup_id = match job.backup_id {
            Some(backup_id) => backup_id,
            None if job.job_type == JobType::Verify => {
                let why = "reads a share of a repository; what it did not read comes with the next share";
                return Err(conflict(job_id, why));
            }
            None => return Err(not_found("backup of job", &job_id)),
        };
        if let Some(level) = job.verify_level {
            return retry.request_verify(VerifyRequest { backup_id, level, created_by }).await;
        }
        let backup = self.deps().catalog.backup(backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &backup_id))?;
        if let Some(origin) = backup.copied_from.filter(|_| job.job_type == JobType::Copy) {
            return Ok(retry.request_copy(copy_like(backup, origin, created_by)).await?.job);
        }
        Ok(retry.request_backup(like(backup, created_by)).await?.job)
    }
}

/// The days that a backup was to be kept.
fn retention_days(backup: &Backup) -> Option<u32> {
    backup.expires_at.map(|expires_at| {
        let days = u32::try_from((expires_at - backup.created_at).num_days()).unwrap_or(RETENTION_DAYS_MIN);
        days.clamp(RETENTION_DAYS_MIN, RETENTION_DAYS_MAX)
    })
}

/// The request that a copy goes back to.
fn copy_like(backup: Backup, origin: CopyOrigin, created_by: String) -> CopyRequest {
    CopyRequest {
        backup_id: origin.backup_id,
        repository_id: backup.repository_id,
        retention_days: retention_days(&backup),
        name: Some(backup.name),
        description: Some(backup.description),
        idempotency_key: None,
        created_by,
    }
}

/// The request that a backup goes back to.
fn like(backup: Backup, created_by: String) -> BackupRequest {
    let retention_days = retention_days(&backup);
    BackupRequest {
        cluster_id: backup.cluster_id,
        scope: backup.scope,
        name: Some(backup.name),
        description: Some(backup.description),
        retention_days,
        idempotency_key: None,
        creation_method: backup.creation_method,
        created_by,
    }
}

fn conflict(job_id: JobId, why: &str) -> ServiceError {
    ServiceError::Conflict { message: format!("job {job_id} {why}"), job_id: Some(job_id) }
}
