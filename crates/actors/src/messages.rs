//! Messages between the handles of this crate and its actors. All are private, all have typed answers.

use crate::run::restore::leaves_traces;
use actix::prelude::Message;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::object::StoredObject;
use milvault_domain::plan::CopyUnit;
use milvault_domain::ports::PortResult;

/// Work on this job when its turn comes. Its row is in the catalog already.
#[derive(Message)]
#[rtype(result = "Result<(), Refusal>")]
pub(crate) struct Submit {
    pub(crate) job_id: JobId,
    pub(crate) job_type: JobType,
}

/// Why an actor does not take a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server is shutting down. The job's row stays; the next start takes it up.
    Draining,
    /// The cluster's actor died too often, or cannot be reached.
    Degraded,
}

/// Stop working on this job, or do not begin. The catalog knows already that it is to be canceled.
#[derive(Message)]
#[rtype(result = "CancelOutcome")]
pub(crate) struct Cancel {
    pub(crate) job_id: JobId,
    /// What it left behind is removed when its turn comes, so it keeps its place if it waits.
    pub(crate) cleans_up: bool,
}

impl Cancel {
    /// For a job as the catalog has it.
    pub(crate) fn of(job: &Job) -> Self {
        let cleans_up = job.state == JobState::Canceling && leaves_traces(job.job_type);
        Self { job_id: job.id, cleans_up }
    }
}

/// What a cancel met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelOutcome {
    /// The job is at work and was told to stop, or waits for its turn to clean up; it ends itself in the catalog.
    Stopping,
    /// Nobody works on it (any more).
    NotRunning,
    /// Another server works on its cluster, or will. It finds the mark.
    Elsewhere,
}

/// Take no more jobs and begin none of those that wait.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// End, if there is nothing to do: answers whether that is so, and then no more jobs are taken.
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct Retire;

/// Copy this unit.
#[derive(Message)]
#[rtype(result = "PortResult<Vec<StoredObject>>")]
pub(crate) struct Copy {
    pub(crate) unit: CopyUnit,
}

/// Panic in the handler: what the watchdog is for.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Crash;
