//! Doing a failed or canceled job again.

use super::{Service, not_found};
use crate::error::ServiceError;
use crate::request::{BackupRequest, VerifyRequest};
use milvault_domain::backup::Backup;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::retention::{RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};

impl Service {
    /// Accepts a new job like one that failed or was canceled: a backup with the same scope, name, description, method and
    /// retention, or a check of the same backup as thorough as that one. The old job stays as it is.
    ///
    /// # Errors
    /// `NotFound` for the job, its cluster or its backup; `Conflict` when it has not ended, has succeeded, or is of a type
    /// that is done again in another way, which the error names; else as for a new request.
    pub async fn retry_job(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_retry(job_id, created_by).await }).await
    }

    async fn accept_retry(&self, job_id: JobId, created_by: String) -> Result<Job, ServiceError> {
        let job = self.core().job(job_id).await?.ok_or_else(|| not_found("job", &job_id))?;
        let instead = match job.job_type {
            JobType::Backup | JobType::Verify => None,
            JobType::Restore => Some("take the restore up again with resumeRestore"),
            JobType::Drill => Some("ask for another drill with drillBackup"),
            JobType::Undo => Some("ask for the undoing again with undoRestore"),
            JobType::Compare => Some("ask for the comparison again with verifyRestore"),
            JobType::Adopt => Some("take the backup over again with adoptBackup"),
            JobType::Delete => Some("ask for the deletion again with deleteBackup"),
            JobType::Sweep => Some("ask for a sweep with sweepCluster"),
        };
        if let Some(instead) = instead {
            return Err(conflict(job_id, &format!("is no backup and no verify; {instead}")));
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
        let backup_id = job.backup_id.ok_or_else(|| not_found("backup of job", &job_id))?;
        if let Some(level) = job.verify_level {
            return self.request_verify(VerifyRequest { backup_id, level, created_by }).await;
        }
        let backup = self.deps().catalog.backup(backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &backup_id))?;
        Ok(self.request_backup(like(backup, created_by)).await?.job)
    }
}

/// The request that a backup goes back to.
fn like(backup: Backup, created_by: String) -> BackupRequest {
    let retention_days = backup.expires_at.map(|expires_at| {
        let days = u32::try_from((expires_at - backup.created_at).num_days()).unwrap_or(RETENTION_DAYS_MIN);
        days.clamp(RETENTION_DAYS_MIN, RETENTION_DAYS_MAX)
    });
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
