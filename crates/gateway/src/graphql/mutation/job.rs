//! Stopping jobs.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::Job;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_domain::access::Action;
use milvault_domain::ids::JobId;

/// Mutations of jobs.
#[derive(Default)]
pub(crate) struct JobMutation;

/// A job to be stopped.
#[derive(InputObject)]
pub(crate) struct CancelJobInput {
    /// Which job; it must not have ended otherwise than canceled.
    job_id: ID,
}

/// A job that was asked to stop.
#[derive(SimpleObject)]
pub(crate) struct CancelJobPayload {
    /// The job, `CANCELING` or `CANCELED`.
    job: Job,
}

#[Object]
impl JobMutation {
    /// Stops a job. It leaves no visible backup; what it copied is used by the next. Asking again is harmless; a job
    /// that has succeeded or failed gives `CONFLICT`.
    async fn cancel_job(
        &self,
        context: &Context<'_>,
        input: CancelJobInput,
    ) -> Result<CancelJobPayload, GatewayError> {
        context.caller()?;
        let backend = context.backend()?;
        let job_id: JobId = parse_id("jobId", &input.job_id)?;
        access::job(context, Action::ManageBackups, job_id).await?;
        let job = backend.service.cancel_job(job_id).await?;
        Ok(CancelJobPayload { job: Job::now(job, backend) })
    }
}
