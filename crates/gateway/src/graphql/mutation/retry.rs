//! Doing jobs again.

use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::Job;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_domain::access::Action;
use milvault_domain::ids::JobId;

/// Mutations that do jobs again.
#[derive(Default)]
pub(crate) struct RetryMutation;

/// A job to be done again.
#[derive(InputObject)]
pub(crate) struct RetryJobInput {
    /// Which job: a `BACKUP`, `COPY` or `VERIFY` that failed or was canceled.
    job_id: ID,
    /// Key of the caller's choice, 1 to 255 bytes, unique per cluster: repeating the request with the same key gives the
    /// same job instead of another, and another request with it `CONFLICT`.
    idempotency_key: Option<String>,
}

/// A job that does another one again.
#[derive(SimpleObject)]
pub(crate) struct RetryJobPayload {
    /// The new job.
    job: Job,
}

#[Object]
impl RetryMutation {
    /// Makes a new job like one that failed or was canceled. A backup is made with the same scope, name, description,
    /// method and retention, a copy in the same repository, and a verify checks the same backup. The old job stays as it is.
    /// Jobs of other types give `CONFLICT`: a restore is taken up again by `resumeRestore`, others are asked for again by
    /// their own mutations.
    async fn retry_job(
        &self,
        context: &Context<'_>,
        input: RetryJobInput,
    ) -> Result<RetryJobPayload, GatewayError> {
        let caller = context.caller()?;
        let backend = context.backend()?;
        let job_id: JobId = parse_id("jobId", &input.job_id)?;
        access::job(context, Action::ManageBackups, job_id).await?;
        let job = backend
            .service
            .keyed(input.idempotency_key)
            .retry_job(job_id, caller.principal.name.clone())
            .await?;
        context.note("madeJobId", job.id);
        Ok(RetryJobPayload { job: Job::now(job, backend) })
    }
}
