//! How work on a job ends in the catalog.

use super::restore::{clean_up, leaves_traces, remember_leftovers, wait_for_calls};
use super::{PARKED, Run, Stop, Trouble, Worked};
use crate::retry::Retry;
use crate::telemetry;
use futures::FutureExt;
use milvault_domain::job::{Job, JobPhase, JobState, JobType};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Longest time for one write of a job's end. A catalog that hangs must not keep a cancelled job alive.
const WRITE_TIME_MAX: Duration = Duration::from_secs(5);

/// What the log says when the clean-up did not come to its end.
const LEFTOVERS: &str = "a stopped restore may have left collections under working names or staged files behind; \
                         a timer removes staged files and all of a drill, undoing or resuming a restore the rest";

/// What to record about a job when work on it stops.
pub(super) enum Ending {
    /// It came to its end in this state, and the catalog knows it already.
    Done(JobState),
    /// It cannot be done, and why.
    Failed(String),
    /// Stopped on request.
    Canceled,
    /// To be continued, because the server stops or may not work on it any more; and why. No attempt is counted.
    Parked(String),
    /// To be taken up again soon, because its last step did not go through; and why. That was an attempt.
    Postponed(String),
    /// Nothing: the row stays `IN_PROGRESS`, and whoever finds it counts an attempt.
    CutOff,
}

impl Ending {
    pub(super) fn of_work(
        worked: Result<Result<Job, Trouble>, Box<dyn Any + Send>>,
        run: &Run,
        stop: &Stop,
    ) -> Self {
        match worked {
            Ok(Ok(job)) => Self::Done(job.state),
            // What fails while it is being cancelled fails for no other reason worth telling.
            Ok(Err(_)) if stop.cancel.is_cancelled() => Self::Canceled,
            Ok(Err(Trouble::Postponed(error)))
                if run.job.counted_attempts() < run.core.settings.job_attempts_max =>
            {
                tracing::warn!(?error, "the last step of a job did not go through; it is taken up again");
                Self::Postponed(format!("{error}; taken up again in a moment"))
            }
            // Not on request, so the runtime is being taken away under the work, as in a crash.
            Ok(Err(Trouble::Failed(error))) if error.kind() == PortErrorKind::Canceled => Self::CutOff,
            Ok(Err(Trouble::Failed(error) | Trouble::Postponed(error))) => {
                tracing::error!(?error, "a job failed");
                Self::Failed(error.to_string())
            }
            Err(panic) => {
                tracing::error!(
                    panic = panic_message(panic.as_ref()),
                    "a job failed: the work on it panicked"
                );
                Self::Failed(
                    "internal error: the work on this job broke off; the server's log says where".to_owned(),
                )
            }
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("not a text")
}

/// Removes what a stopped restore leaves behind, records the end, then takes the job off the list of those at work,
/// then tells subscribers. Returns how it left the row.
pub(super) async fn end(run: &Run, ending: Ending, stop: &Stop) -> Worked {
    // Whoever takes the job up next, or restores anew, must not meet what this one is still doing.
    if run.job.job_type == JobType::Undo && !matches!(ending, Ending::Done(_)) {
        wait_for_calls(&run.core, &run.undivided).await;
    }
    let ending =
        if leaves_traces(run.job.job_type) { end_of_traces(run, ending, stop).await } else { ending };
    let recorded = record(run, ending).await;
    run.core.live.remove(run.job.id);
    run.core.live.publish(&run.job);
    match recorded {
        Ok(state) => {
            if let Some(label) = telemetry::final_state_label(state) {
                let job_type = telemetry::type_label(run.job.job_type);
                metrics::counter!(telemetry::JOBS, "type" => job_type, "state" => label).increment(1);
            }
            tracing::info!(?state, "work on a job ends");
            if state.is_final() { Worked::Ended } else { Worked::Open }
        }
        Err(error) => {
            tracing::error!(?error, "the end of a job cannot be recorded; it is taken up again later");
            Worked::Open
        }
    }
}

/// Cleans up after a restore that ends for good. When the server stops meanwhile, the job stays open and the next start
/// goes on with it.
async fn end_of_traces(run: &Run, ending: Ending, stop: &Stop) -> Ending {
    let (reason, when_parked) = match &ending {
        Ending::Canceled => ("not finished: the job was canceled", Ending::CutOff),
        Ending::Failed(_) => ("not finished: the job failed", Ending::Parked(PARKED.to_owned())),
        Ending::Parked(_) | Ending::Postponed(_) => {
            wait_for_calls(&run.core, &run.undivided).await;
            return ending;
        }
        Ending::Done(_) | Ending::CutOff => return ending,
    };
    run.live.set_phase(JobPhase::Cleanup);
    run.core.live.publish(&run.job);
    let cleaned = AssertUnwindSafe(clean_up(&run.core, &run.job, &run.undivided, reason)).catch_unwind();
    let limit = run.core.settings.cleanup_time_max;
    let cleaned = tokio::select! {
        biased;
        () = stop.park.cancelled() => return when_parked,
        cleaned = tokio::time::timeout(limit, cleaned) => cleaned,
    };
    let failure = match cleaned {
        Ok(Ok(Ok(()))) => return ending,
        // The runtime is being taken away under the clean-up, as in a crash.
        Ok(Ok(Err(error))) if error.kind() == PortErrorKind::Canceled => return Ending::CutOff,
        Ok(Ok(Err(error))) => {
            tracing::error!(?error, "{LEFTOVERS}");
            error.to_string()
        }
        Ok(Err(panic)) => {
            tracing::error!(panic = panic_message(panic.as_ref()), "{LEFTOVERS}");
            String::from("internal error: the clean-up broke off; the server's log says where")
        }
        Err(_) => {
            tracing::error!(?limit, "{LEFTOVERS}");
            format!("not done within {} seconds", limit.as_secs())
        }
    };
    let told = may_be_left(run.job.job_type, &failure);
    let remembering = remember_leftovers(&run.core, run.job.id, run.job.cluster_id, failure);
    if let Err(error) = in_time(remembering).await {
        tracing::error!(?error, "what a restore has left behind is not remembered");
    }
    match ending {
        Ending::Failed(reason) => Ending::Failed(format!("{reason}; {told}")),
        ending => ending,
    }
}

/// What people are told when the clean-up did not come to its end.
fn may_be_left(job_type: JobType, failure: &str) -> String {
    let removal = match job_type {
        JobType::Drill => "a timer removes them as soon as it can",
        _ => {
            "a timer removes the files as soon as it can; resume or undo the restore, which removes the rest"
        }
    };
    format!(
        "collections under working names or staged files may be left at the target, as the clean-up failed too \
         ({failure}): {removal}"
    )
}

async fn record(run: &Run, ending: Ending) -> PortResult<JobState> {
    let is_parked = matches!(ending, Ending::Parked(_));
    let (to, reason) = match ending {
        Ending::Done(state) => return Ok(state),
        Ending::CutOff => return Ok(JobState::InProgress),
        Ending::Failed(reason) => (JobState::Failed, Some(reason)),
        Ending::Canceled => (JobState::Canceled, None),
        Ending::Postponed(reason) | Ending::Parked(reason) => (JobState::Pending, Some(reason)),
    };
    if let Err(error) = in_time(run.checkpoint()).await {
        tracing::warn!(%error, "the last progress of a job was not recorded");
    }
    let recorded = match &reason {
        Some(reason) if is_parked => park(run, reason).await,
        _ => transition(run, to, reason.as_deref()).await,
    };
    match recorded {
        Err(error) if error.kind() == PortErrorKind::Conflict => ended_otherwise(run).await,
        other => other,
    }
}

/// The catalog knows better: the work had ended before the stop reached it, or a cancel came while it was parked.
async fn ended_otherwise(run: &Run) -> PortResult<JobState> {
    let state = in_time(run.core.job(run.job.id)).await?.map(|job| job.state);
    match state {
        // Parked at the moment of the wish: whoever takes it up next cleans up first.
        Some(JobState::Canceling) if leaves_traces(run.job.job_type) => Ok(JobState::Canceling),
        Some(JobState::Canceling) => transition(run, JobState::Canceled, None).await,
        Some(state) => Ok(state),
        None => Err(PortError::new(PortErrorKind::NotFound, "the job is no longer in the catalog")),
    }
}

async fn park(run: &Run, reason: &str) -> PortResult<JobState> {
    let catalog = &run.core.deps.catalog;
    let write = || in_time(catalog.park_job(run.job.id, reason, run.core.deps.clock.now())).boxed();
    let job = Retry::of(&run.core.settings).only_unavailable().run("park the job", write).await?;
    Ok(job.state)
}

async fn transition(run: &Run, to: JobState, reason: Option<&str>) -> PortResult<JobState> {
    let catalog = &run.core.deps.catalog;
    // Boxed: the compiler cannot see otherwise that the future may move between threads.
    let write = || in_time(catalog.transition_job(run.job.id, to, reason, run.core.deps.clock.now())).boxed();
    let job =
        Retry::of(&run.core.settings).only_unavailable().run("record the end of the job", write).await?;
    Ok(job.state)
}

async fn in_time<T>(call: impl Future<Output = PortResult<T>>) -> PortResult<T> {
    tokio::time::timeout(WRITE_TIME_MAX, call)
        .await
        .unwrap_or_else(|_| Err(PortError::new(PortErrorKind::Unavailable, "the catalog does not answer")))
}
