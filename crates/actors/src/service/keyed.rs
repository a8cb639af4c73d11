//! Requests with an idempotency key: repeating one gives the job of the first.

use super::idempotency::idempotency;
use super::{Service, not_found};
use crate::error::ServiceError;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{BackupWithJob, Idempotency, InsertJobOutcome};
use serde::Serialize;

impl Service {
    /// The same service for one request that carries a key of the caller's choice. Of two requests with the same key, and
    /// for jobs of the same cluster, the second gets the job of the first when both ask for the same, and `Conflict` with
    /// that job's id when they do not. `None` is a request without a key.
    #[must_use]
    pub fn keyed(&self, idempotency_key: Option<String>) -> Self {
        Self { idempotency_key, ..self.clone() }
    }

    /// The key of the request at hand, with what tells this request from others.
    ///
    /// # Errors
    /// `InvalidInput` for a key that is empty, too long or has control characters.
    pub(super) fn key_of(&self, request: &impl Serialize) -> Result<Option<Idempotency>, ServiceError> {
        match self.retry_of {
            Some(job_id) => idempotency(self.idempotency_key.clone(), &("retryJob", job_id)),
            None => idempotency(self.idempotency_key.clone(), request),
        }
    }

    /// The same for a request that may have brought a key of its own.
    ///
    /// # Errors
    /// As [`Self::key_of`].
    pub(super) fn key_or(
        &self,
        own: Option<String>,
        request: &impl Serialize,
    ) -> Result<Option<Idempotency>, ServiceError> {
        if own.is_some() { idempotency(own, request) } else { self.key_of(request) }
    }

    /// The service for doing a job again, with the key of the request at hand.
    pub(super) fn retrying(&self, job_id: JobId) -> Self {
        Self { retry_of: Some(job_id), ..self.clone() }
    }

    /// The job of an equal request that was accepted before.
    ///
    /// # Errors
    /// `Conflict` when the key was used for another request; errors of the catalog.
    pub(super) async fn repeated(
        &self,
        cluster_id: ClusterId,
        job_type: JobType,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<Job>, ServiceError> {
        let Some(idempotency) = idempotency else { return Ok(None) };
        match self.deps().catalog.job_of_key(cluster_id, job_type, idempotency).await? {
            Some(InsertJobOutcome::Duplicate(job)) => Ok(Some(*job)),
            Some(InsertJobOutcome::KeyReused(job_id)) => Err(key_reused(job_id)),
            Some(InsertJobOutcome::Created) | None => Ok(None),
        }
    }

    /// A job with the backup that it makes or made.
    ///
    /// # Errors
    /// `NotFound` when there is none; errors of the catalog.
    pub(super) async fn with_backup(&self, job: Job) -> Result<BackupWithJob, ServiceError> {
        let backup_id = job.backup_id.ok_or_else(|| not_found("backup of job", &job.id))?;
        let backup = self.deps().catalog.backup(backup_id).await?;
        Ok(BackupWithJob { backup: backup.ok_or_else(|| not_found("backup", &backup_id))?, job })
    }

    /// Writes a job that needs no request of its own, and hands it over.
    pub(super) async fn add_job(
        &self,
        job: Job,
        idempotency: Option<&Idempotency>,
    ) -> Result<Job, ServiceError> {
        let Some(idempotency) = idempotency else {
            self.deps().catalog.insert_job(&job).await?;
            return self.hand_over(job).await;
        };
        match self.deps().catalog.insert_keyed_job(&job, idempotency).await? {
            InsertJobOutcome::Created => self.hand_over(job).await,
            InsertJobOutcome::Duplicate(job) => Ok(*job),
            InsertJobOutcome::KeyReused(job_id) => Err(key_reused(job_id)),
        }
    }
}

/// A key that belongs to another request.
pub(super) fn key_reused(job_id: JobId) -> ServiceError {
    ServiceError::Conflict {
        message: format!("the idempotency key was used for another request, which made job {job_id}"),
        job_id: Some(job_id),
    }
}
