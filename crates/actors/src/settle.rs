//! What becomes of a job that was open when nobody worked on it: after a start, or after an actor died.

use crate::core::Core;
use crate::run::restore::{clean_up, leaves_traces, remember_leftovers};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{PortErrorKind, PortResult};
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// Brings a job that nobody works on into a state from which work can begin. Returns the job when it is PENDING
/// afterwards, or CANCELING and has to be cleaned up after before it is CANCELED; `None` when it has ended.
///
/// Only a job found `IN_PROGRESS` was cut off by a crash; parked ones are PENDING already, and the attempts that ended so
/// do not count. So a job that brings the server down is given up after some attempts, and a job that sees many orderly
/// restarts is not, also when a crash comes after them.
pub(crate) async fn settle(core: &Arc<Core>, job: Job) -> PortResult<Option<Job>> {
    let attempts_max = core.settings.job_attempts_max;
    let (to, reason) = match job.state {
        JobState::Pending => return Ok(Some(job)),
        JobState::Successful | JobState::Failed | JobState::Canceled => return Ok(None),
        JobState::Canceling if leaves_traces(job.job_type) => return Ok(Some(job)),
        JobState::Canceling => (JobState::Canceled, None),
        JobState::InProgress if job.counted_attempts() >= attempts_max => (
            JobState::Failed,
            Some(format!(
                "given up after {attempts_max} attempts that each ended with the server; look into its log for what \
                 happened at those times, then {}",
                what_then(job.job_type)
            )),
        ),
        JobState::InProgress => (JobState::Pending, Some("cut off; continues".to_owned())),
    };
    // Before the job's end is recorded, after which nobody would look at it again.
    if to == JobState::Failed && leaves_traces(job.job_type) {
        let not_yet = String::from("the job was given up, and what it left behind is not removed yet");
        if let Err(error) = remember_leftovers(core, job.id, job.cluster_id, not_yet).await {
            tracing::error!(job_id = %job.id, ?error, "what a restore has left behind is not remembered");
        }
    }
    let now = core.deps.clock.now();
    match core.deps.catalog.transition_job(job.id, to, reason.as_deref(), now).await {
        Ok(settled) => {
            core.live.publish(&settled);
            tracing::info!(job_id = %job.id, from = ?job.state, to = ?settled.state, "took up an open job");
            if settled.state == JobState::Failed && leaves_traces(settled.job_type) {
                clean_up_after(core, settled);
                return Ok(None);
            }
            Ok((settled.state == JobState::Pending).then_some(settled))
        }
        // Somebody else changed it in between; whoever did takes care of it.
        Err(error) if error.kind() == PortErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

/// What to do when a job was given up.
const fn what_then(job_type: JobType) -> &'static str {
    match job_type {
        JobType::Backup | JobType::Adopt => "ask for a new backup: what was copied is reused",
        JobType::Copy => "ask for a new copy: what was copied is reused",
        JobType::Restore => "resume or undo the restore",
        JobType::Verify
        | JobType::Drill
        | JobType::Undo
        | JobType::Compare
        | JobType::Delete
        | JobType::Sweep => "ask for it again",
    }
}

/// Only after the job's end is recorded: were it the clean-up that brings the server down, it must not be tried for ever.
/// What it left was remembered before, and is forgotten when it is gone.
fn clean_up_after(core: &Arc<Core>, job: Job) {
    let task_core = Arc::clone(core);
    let work = async move {
        let limit = task_core.settings.cleanup_time_max;
        let reason = "not finished: the job was given up";
        let calls = TaskTracker::new();
        let cleaning = async {
            clean_up(&task_core, &job, &calls, reason).await?;
            task_core.deps.catalog.forget_leftovers(job.id).await
        };
        let cleaned = tokio::time::timeout(limit, cleaning).await;
        if !matches!(cleaned, Ok(Ok(()))) {
            tracing::error!(job_id = %job.id, ?cleaned, "what a restore that was given up left behind is not removed");
        }
    };
    core.chores.spawn_on(work.in_current_span(), &core.io);
}
