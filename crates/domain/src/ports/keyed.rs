//! Jobs that are asked for with an idempotency key.

use super::{Idempotency, InsertJobOutcome};
use crate::error::PortResult;
use crate::ids::{ClusterId, JobId};
use crate::job::{Job, JobType};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that knows repeated requests. A key belongs to the cluster of the job, for ever unless the
/// job was refused.
#[async_trait]
pub trait KeyedJobs: Send + Sync {
    /// What a key was used for before: `Duplicate` for the same request of a job of this type, `KeyReused` for another
    /// one, `None` when it was not used.
    ///
    /// # Errors
    /// `InvalidInput` for a key that is empty or too long; errors of the database.
    async fn job_of_key(
        &self,
        cluster_id: ClusterId,
        job_type: JobType,
        idempotency: &Idempotency,
    ) -> PortResult<Option<InsertJobOutcome>>;

    /// Adds a job as [`super::Catalog::insert_job`] does, unless a request with the key was accepted before.
    ///
    /// # Errors
    /// As [`super::Catalog::insert_job`]; `InvalidInput` for a key that is empty or too long.
    async fn insert_keyed_job(&self, job: &Job, idempotency: &Idempotency) -> PortResult<InsertJobOutcome>;

    /// Makes a job FAILED that waits and was never begun, and frees its key, so that the same request may be accepted
    /// later. `None` when somebody has begun or ended it: then it stays as it is.
    ///
    /// # Errors
    /// `NotFound` for an unknown job; errors of the database.
    async fn refuse_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Option<Job>>;
}
