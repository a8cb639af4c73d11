//! Work on one job, from taking it up to its end in the catalog. Plain async functions: no actor is needed to
//! understand or to change them.

mod adopt;
mod backup;
mod compare;
mod completeness;
mod copy;
mod delete;
mod ending;
mod left_behind;
mod plan;
mod reporting;
pub(crate) mod restore;
mod sealed;
mod sweep;
mod undo;
mod verify;

use crate::core::Core;
use crate::live::LiveEntry;
use crate::retry::Retry;
use crate::settle::settle;
use crate::telemetry;
use actix::ArbiterHandle;
use ending::Ending;
use futures::FutureExt;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::job::{Job, JobPhase, JobState, JobType};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

/// How long a cancel or a shutdown waits for a manifest that is being written: interrupting the write could leave a
/// complete manifest behind that the catalog calls failed.
const SEAL_GRACE: Duration = Duration::from_millis(1500);

/// Why a parked job waits.
const PARKED: &str = "parked by a shutdown or a restart of the server; continues where it was";

/// What a task is told about the job it works on.
pub(crate) struct Assignment {
    pub(crate) core: Arc<Core>,
    pub(crate) arbiter: ArbiterHandle,
    pub(crate) cluster_id: ClusterId,
    pub(crate) job_id: JobId,
    pub(crate) job_type: JobType,
    pub(crate) stop: Stop,
}

/// The two ways to stop a job.
#[derive(Clone)]
pub(crate) struct Stop {
    /// Somebody cancelled it.
    pub(crate) cancel: CancellationToken,
    /// The server shuts down, or the cluster's actor is gone: leave it so that it can be continued.
    pub(crate) park: CancellationToken,
}

impl Stop {
    async fn requested(&self) -> Ending {
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => Ending::Canceled,
            () = self.park.cancelled() => Ending::Parked(PARKED.to_owned()),
        }
    }
}

/// A job at work.
struct Run {
    core: Arc<Core>,
    arbiter: ArbiterHandle,
    job: Job,
    live: Arc<LiveEntry>,
    /// Calls that run to their end when the work around them is stopped.
    undivided: TaskTracker,
}

/// Why work on a job did not come to its end.
enum Trouble {
    /// It cannot be done.
    Failed(PortError),
    /// The last step did not go through, and everything before it is durable: worth taking up again soon.
    Postponed(PortError),
}

impl From<PortError> for Trouble {
    fn from(error: PortError) -> Self {
        Self::Failed(error)
    }
}

/// How the work on a job left its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Worked {
    /// In a final state.
    Ended,
    /// Open, or nobody knows.
    Open,
}

/// Works on a job until it has ended or was stopped. Everything that happens to it is in the catalog afterwards; if
/// the catalog cannot be reached, the row stays as it is and the job is taken up again later.
pub(crate) async fn work_on(assignment: Assignment) -> Worked {
    let Assignment { job_id, cluster_id, job_type, .. } = assignment;
    let span = tracing::info_span!("job", %job_id, %cluster_id, ?job_type, backup_id = tracing::field::Empty);
    take_up(assignment).instrument(span).await
}

async fn take_up(assignment: Assignment) -> Worked {
    let Assignment { core, arbiter, job_id, stop, .. } = assignment;
    let job = match begin(Arc::clone(&core), job_id).await {
        Ok(Some(job)) => job,
        // Ended, or changed by somebody else in between.
        Ok(None) => return Worked::Open,
        Err(error) => {
            tracing::error!(%error, "cannot begin work on a job; it is taken up again later");
            return Worked::Open;
        }
    };
    if let Some(backup_id) = job.backup_id {
        tracing::Span::current().record("backup_id", tracing::field::display(backup_id));
    }
    work_until_stopped(core, arbiter, job, stop).await
}

/// Takes the job up: `IN_PROGRESS` in the catalog, or still CANCELING when only its clean-up is left. `None` when there
/// is nothing to do (any more).
async fn begin(core: Arc<Core>, job_id: JobId) -> PortResult<Option<Job>> {
    let retry = Retry::of(&core.settings);
    let Some(job) = retry.run("look up the job", || core.job(job_id)).await? else { return Ok(None) };
    let Some(job) = settle(&core, job).await? else { return Ok(None) };
    if job.state == JobState::Canceling {
        return Ok(Some(job));
    }
    let catalog = &core.deps.catalog;
    match catalog.transition_job(job.id, JobState::InProgress, None, core.deps.clock.now()).await {
        Ok(begun) => {
            core.live.publish(&begun);
            tracing::info!(attempt = begun.attempt, "work on a job begins");
            Ok(Some(begun))
        }
        Err(error) if error.kind() == PortErrorKind::Conflict => Ok(None),
        Err(error) => Err(error),
    }
}

async fn work_until_stopped(core: Arc<Core>, arbiter: ArbiterHandle, job: Job, stop: Stop) -> Worked {
    // A job that continues shows where it was, until it is there again.
    let live = core.live.insert(job.id, job.phase.unwrap_or(first_phase(job.job_type)));
    live.counters.start(job.progress);
    let running = metrics::gauge!(telemetry::JOBS_RUNNING);
    running.increment(1.0);
    let run = Run { core, arbiter, job, live, undivided: TaskTracker::new() };
    let ending = if run.job.state == JobState::Canceling {
        // It was cut off while it was being canceled: only the clean-up is left.
        Ending::Canceled
    } else {
        let work = AssertUnwindSafe(work(&run).boxed()).catch_unwind();
        let stopped = stopped(stop.clone(), Arc::clone(&run.live));
        tokio::select! {
            biased;
            worked = work => Ending::of_work(worked, &run, &stop),
            ending = stopped => ending,
            never = reporting::report(&run) => match never {},
        }
    };
    let worked = ending::end(&run, ending, &stop).boxed().await;
    running.decrement(1.0);
    worked
}

const fn first_phase(job_type: JobType) -> JobPhase {
    match job_type {
        JobType::Backup | JobType::Adopt => JobPhase::Cut,
        JobType::Verify => JobPhase::Verify,
        JobType::Restore | JobType::Drill => JobPhase::Prepare,
        JobType::Undo | JobType::Delete => JobPhase::Cleanup,
        JobType::Sweep | JobType::Copy => JobPhase::Plan,
        JobType::Compare => JobPhase::Compare,
    }
}

/// Waits until the job is to stop, and then for a manifest that is just being written.
async fn stopped(stop: Stop, live: Arc<LiveEntry>) -> Ending {
    let ending = stop.requested().await;
    if live.phase() == JobPhase::Seal {
        tokio::time::sleep(SEAL_GRACE).await;
    }
    ending
}

async fn work(run: &Run) -> Result<Job, Trouble> {
    match run.job.job_type {
        JobType::Backup => backup::back_up(run).await,
        JobType::Verify => verify::verify(run).await,
        JobType::Compare => compare::compare(run).await,
        JobType::Adopt => adopt::adopt(run).await,
        JobType::Copy => copy::copy(run).await,
        JobType::Restore | JobType::Drill => restore::restore(run).await,
        JobType::Undo => undo::undo(run).await,
        JobType::Delete => delete::delete(run).await,
        JobType::Sweep => sweep::sweep(run).await,
    }
}

impl Run {
    fn retry(&self) -> Retry {
        Retry::of(&self.core.settings)
    }

    /// The backup that the job is about.
    fn backup_id(&self) -> PortResult<BackupId> {
        self.job.backup_id.ok_or_else(|| {
            PortError::new(PortErrorKind::Internal, format!("job {} refers to no backup", self.job.id))
        })
    }

    /// Enters a phase: for those who watch, and in the catalog's history.
    async fn enter(&self, phase: JobPhase) -> PortResult<()> {
        self.live.set_phase(phase);
        self.retry().run("record the phase", || self.checkpoint()).await?;
        self.core.live.publish(&self.job);
        tracing::info!(?phase, "a phase begins");
        Ok(())
    }

    /// Records phase and progress in the catalog.
    async fn checkpoint(&self) -> PortResult<()> {
        let progress = self.live.counters.snapshot();
        let now = self.core.deps.clock.now();
        self.core.deps.catalog.save_progress(self.job.id, self.live.phase(), progress, now).await
    }
}
