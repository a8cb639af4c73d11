//! Cancelling jobs.

use super::{Service, not_found};
use crate::error::ServiceError;
use crate::messages::CancelOutcome;
use crate::run::restore::leaves_traces;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{PortError, PortErrorKind};

/// How often a cancel looks again when the job's state changes under it. States only move forward, and a parked job
/// may go round once more.
const LOOKS_MAX: usize = 4;

impl Service {
    /// Stops a job. Returns it as CANCELED when it had not begun, or as CANCELING: then it ends within moments.
    /// Asking again is harmless.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`, with its state in words, when the job has ended otherwise.
    pub async fn cancel_job(&self, job_id: JobId) -> Result<Job, ServiceError> {
        let service = self.clone();
        self.to_the_end(async move { service.cancel(job_id).await }).await
    }

    async fn cancel(&self, job_id: JobId) -> Result<Job, ServiceError> {
        let marked = self.mark_canceled(job_id).await?;
        if marked.state == JobState::Canceled {
            // Its actor may have it in the queue, or may have begun this very moment.
            self.host().cancel(&marked).await;
            return Ok(marked);
        }
        match self.host().cancel(&marked).await {
            CancelOutcome::Stopping | CancelOutcome::Elsewhere => self.current(job_id).await,
            // What it left behind has to be removed before it is canceled.
            CancelOutcome::NotRunning if leaves_traces(marked.job_type) => {
                if let Err(refusal) = self.host().submit(&marked).await {
                    tracing::warn!(%job_id, ?refusal, "a canceled restore is cleaned up after later");
                }
                self.current(job_id).await
            }
            // Nobody is left who could end it.
            CancelOutcome::NotRunning => {
                let now = self.deps().clock.now();
                match self.deps().catalog.transition_job(job_id, JobState::Canceled, None, now).await {
                    Ok(ended) => {
                        self.core().live.publish(&ended);
                        Ok(ended)
                    }
                    Err(error) if error.kind() == PortErrorKind::Conflict => self.current(job_id).await,
                    Err(error) => Err(error.into()),
                }
            }
        }
    }

    /// Writes the wish into the catalog: CANCELED for a job that has not begun, CANCELING for one at work.
    async fn mark_canceled(&self, job_id: JobId) -> Result<Job, ServiceError> {
        for _ in 0..LOOKS_MAX {
            let job = self.current(job_id).await?;
            if job.job_type == JobType::Delete && !job.state.is_final() {
                return Err(ended(
                    job_id,
                    "is a deletion and cannot be taken back: the backup is deleted already",
                ));
            }
            let to = match job.state {
                // It was at work before, so there may be something to clean up; only jobs at work do that.
                JobState::Pending if leaves_traces(job.job_type) && job.attempt > 0 => JobState::InProgress,
                JobState::Pending => JobState::Canceled,
                JobState::InProgress => JobState::Canceling,
                JobState::Canceling | JobState::Canceled => return Ok(job),
                JobState::Successful => return Err(ended(job_id, "has already ended successfully")),
                JobState::Failed => return Err(ended(job_id, "has already failed")),
            };
            let now = self.deps().clock.now();
            match self.deps().catalog.transition_job(job_id, to, None, now).await {
                Ok(marked) => {
                    self.core().live.publish(&marked);
                    if to != JobState::InProgress {
                        return Ok(marked);
                    }
                }
                Err(error) if error.kind() == PortErrorKind::Conflict => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Internal(PortError::new(
            PortErrorKind::Internal,
            format!("the state of job {job_id} does not hold still; ask again"),
        )))
    }

    async fn current(&self, job_id: JobId) -> Result<Job, ServiceError> {
        self.core().job(job_id).await?.ok_or_else(|| not_found("job", &job_id))
    }
}

fn ended(job_id: JobId, how: &str) -> ServiceError {
    ServiceError::Conflict {
        message: format!("job {job_id} {how} and cannot be canceled"),
        job_id: Some(job_id),
    }
}
