//! Requests to compare what a restore made with its backup.

use super::backups::PendingJob;
use super::keyed::key_reused;
use super::{Service, not_found};
use crate::error::ServiceError;
use milvault_domain::backup::BackupStatus;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobType};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{InsertJobOutcome, NewJob};
use milvault_domain::restore::{CompareDepth, Restore, RestoreStep};

impl Service {
    /// Accepts a comparison of the collections that a restore made with its backup. The row is written when this
    /// returns. The comparison belongs to the restore's target and runs beside other jobs: it only reads.
    ///
    /// # Errors
    /// `NotFound` for the job or its cluster; `InvalidInput` for a job that is no restore; `Conflict` when the restore
    /// has not ended, has made nothing, or its backup is no longer available; `Busy`, `Unavailable`.
    pub async fn request_compare(
        &self,
        restore_job_id: JobId,
        depth: CompareDepth,
        created_by: String,
    ) -> Result<Job, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { service.accept_compare(restore_job_id, depth, created_by).await }).await
    }

    async fn accept_compare(
        &self,
        restore_job_id: JobId,
        depth: CompareDepth,
        created_by: String,
    ) -> Result<Job, ServiceError> {
        let restore = self.comparable_restore(restore_job_id).await?;
        let target = restore.request.target_cluster_id;
        let idempotency = self.key_of(&("verifyRestore", restore_job_id, depth))?;
        if let Some(job) = self.repeated(target, JobType::Compare, idempotency.as_ref()).await? {
            return Ok(job);
        }
        let backup_id = restore.request.backup_id;
        let backup = self.deps().catalog.backup(backup_id).await?;
        let backup = backup.ok_or_else(|| not_found("backup", &backup_id))?;
        if backup.status != BackupStatus::Available {
            return Err(conflict(
                format!("backup {backup_id} is no longer available; nothing can be compared"),
                None,
            ));
        }
        let cluster = self.cluster(restore.request.target_cluster_id).await?;
        let job = self.pending_job(PendingJob {
            project_id: cluster.project_id,
            cluster_id: cluster.id,
            created_by,
            ..PendingJob::about(
                &backup,
                JobType::Compare,
                format!("Comparison of cluster \"{}\" with backup \"{}\"", cluster.name, backup.name),
            )
        });
        let request = JobRequest::Compare { restore_job_id, depth };
        let new = NewJob { job, request, idempotency };
        match self.deps().catalog.insert_requested_job(&new).await? {
            InsertJobOutcome::Created => self.hand_over(new.job).await,
            InsertJobOutcome::Duplicate(job) => Ok(*job),
            InsertJobOutcome::KeyReused(job_id) => Err(key_reused(job_id)),
        }
    }

    /// A restore that has ended and left collections behind.
    async fn comparable_restore(&self, restore_job_id: JobId) -> Result<Restore, ServiceError> {
        let job = self.core().job(restore_job_id).await?.ok_or_else(|| not_found("job", &restore_job_id))?;
        if job.job_type != JobType::Restore {
            return Err(InvalidInput::new("jobId", "must name a restore").into());
        }
        if !job.state.is_final() {
            let message = format!("restore {restore_job_id} has not ended; wait for its end");
            return Err(conflict(message, Some(restore_job_id)));
        }
        let restore = self.deps().catalog.restore(restore_job_id).await?;
        let restore = restore.ok_or_else(|| not_found("job", &restore_job_id))?;
        if !restore.collections.iter().any(|collection| collection.step == RestoreStep::Done) {
            let message = format!("restore {restore_job_id} has left no collections that could be compared");
            return Err(conflict(message, Some(restore_job_id)));
        }
        Ok(restore)
    }
}

fn conflict(message: String, job_id: Option<JobId>) -> ServiceError {
    ServiceError::Conflict { message, job_id }
}
