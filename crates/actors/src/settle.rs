//! What becomes of a job that was open when nobody worked on it: after a start, or after an actor died.

use crate::core::Core;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::{PortErrorKind, PortResult};

/// Brings a job that nobody works on into a state from which work can begin. Returns the job when it is PENDING
/// afterwards, `None` when it has ended.
///
/// Only a job found `IN_PROGRESS` was cut off by a crash; parked ones are PENDING already. So a job that brings the
/// server down is given up after some attempts, and a job that sees many orderly restarts is not.
pub(crate) async fn settle(core: &Core, job: Job) -> PortResult<Option<Job>> {
    let attempts_max = core.settings.job_attempts_max;
    let (to, reason) = match job.state {
        JobState::Pending => return Ok(Some(job)),
        JobState::Successful | JobState::Failed | JobState::Canceled => return Ok(None),
        JobState::Canceling => (JobState::Canceled, None),
        JobState::InProgress if job.attempt >= attempts_max => (
            JobState::Failed,
            Some(format!(
                "given up after {attempts_max} attempts that each ended with the server; look into its log for what \
                 happened at those times, then ask for a new backup: what was copied is reused"
            )),
        ),
        JobState::InProgress => (JobState::Pending, Some("cut off; continues".to_owned())),
    };
    let now = core.deps.clock.now();
    match core.deps.catalog.transition_job(job.id, to, reason.as_deref(), now).await {
        Ok(settled) => {
            core.live.publish(&settled);
            tracing::info!(job_id = %job.id, from = ?job.state, to = ?settled.state, "took up an open job");
            Ok((settled.state == JobState::Pending).then_some(settled))
        }
        // Somebody else changed it in between; whoever did takes care of it.
        Err(error) if error.kind() == PortErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}
