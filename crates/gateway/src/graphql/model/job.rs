//! Jobs.

use super::backup::Backup;
use super::checks::JobLeftovers;
use super::cluster::Cluster;
use super::compare::CompareReport;
use super::restore::Restore;
use super::verify::VerifyReport;
use crate::error::GatewayError;
use crate::graphql::Backend;
use crate::graphql::access::ContextExt;
use crate::graphql::loaders::{
    CompareReportOf, HistoryOf, LeftoversOf, RestoreOf, SubjectOf, VerifyReportOf,
};
use crate::graphql::scalar::{Bytes, Int64, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_actors::LiveJob;
use milvault_domain::ids;
use milvault_domain::job as domain;
use milvault_domain::progress::Progress;

/// What a job does.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::JobType")]
pub(crate) enum JobType {
    /// Makes a backup.
    Backup,
    /// Checks a backup's bytes.
    Verify,
    /// Gives a backup's rows back to a cluster.
    Restore,
    /// Restores into scratch databases, compares, and drops them again.
    Drill,
    /// Removes again what a restore made.
    Undo,
    /// Compares restored collections with their backup.
    Compare,
    /// Takes over a backup that milvus-backup made.
    Adopt,
    /// Copies a backup to another repository.
    Copy,
    /// Buries a backup that was deleted by hand.
    Delete,
    /// Removes what only deleted and failed backups of a cluster refer to.
    Sweep,
}

/// State of a job.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::JobState")]
pub(crate) enum JobState {
    /// Accepted, waiting for its turn.
    Pending,
    /// At work.
    InProgress,
    /// Asked to stop, not yet stopped.
    Canceling,
    /// Ended well.
    Successful,
    /// Ended badly; `failure` says why.
    Failed,
    /// Stopped on request.
    Canceled,
}

/// What a job in progress is doing.
#[derive(Enum, Clone, Copy, Debug, PartialEq, Eq)]
#[graphql(remote = "domain::JobPhase")]
pub(crate) enum JobPhase {
    /// Fixing the instant and the segments.
    Cut,
    /// Listing the objects and finding those that are already there.
    Plan,
    /// Copying.
    Copy,
    /// Writing and checking the manifest.
    Seal,
    /// Reading and hashing.
    Verify,
    /// Looking at the target and planning a restore.
    Prepare,
    /// Staging and importing, building indexes, comparing: collection by collection, many at once.
    Import,
    /// What concerns all collections together: users and roles, and dropping what was replaced.
    Finish,
    /// Reading both sides and comparing rows.
    Compare,
    /// Removing collections and staged files.
    Cleanup,
}

/// Work that makes, checks or restores a backup.
#[derive(SimpleObject, Clone, PartialEq)]
#[graphql(complex)]
pub(crate) struct Job {
    /// Identity, `job_...`.
    pub(crate) id: ID,
    /// Project of its cluster.
    project_id: ID,
    /// The cluster it works on.
    cluster_id: ID,
    /// The backup it is about.
    backup_id: Option<ID>,
    /// What it does.
    #[graphql(name = "type")]
    kind: JobType,
    /// Its state.
    state: JobState,
    /// What it is doing while in progress; what it did last, after that.
    phase: Option<JobPhase>,
    /// One line for people.
    description: String,
    /// Who asked for it.
    created_by: String,
    /// When it was asked for.
    created_at: DateTime<Utc>,
    /// When work began.
    started_at: Option<DateTime<Utc>>,
    /// When it ended.
    ended_at: Option<DateTime<Utc>>,
    /// How often work on it has begun; 1 for a job that was never interrupted.
    attempt: u32,
    /// How far it is.
    progress: JobProgress,
    /// Why it failed, in words, with what to do.
    failure: Option<String>,
    #[graphql(skip)]
    keys: JobKeys,
}

/// Ids that resolvers need, typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct JobKeys {
    job_id: ids::JobId,
    cluster_id: ids::ClusterId,
    backup_id: Option<ids::BackupId>,
    verify_level: Option<domain::VerifyLevel>,
}

/// How far a job is. Totals are 0 until its plan is made.
#[derive(SimpleObject, Clone, Copy, PartialEq)]
pub(crate) struct JobProgress {
    /// Whole percent, rounded down; 100 only when everything is done.
    percent: u8,
    /// Bytes dealt with, reused ones included.
    bytes_done: Bytes,
    /// Bytes to deal with, reused ones included.
    bytes_total: Bytes,
    /// Bytes that were already in the repository.
    bytes_reused: Bytes,
    /// Objects dealt with, reused ones included.
    objects_done: Int64,
    /// Objects to deal with, reused ones included.
    objects_total: Int64,
    /// Objects that were already in the repository.
    objects_reused: Int64,
    /// Bytes that passed through the server; the rest was copied by the stores themselves.
    bytes_through_server: Bytes,
    /// Bytes per second over the last seconds; null when the job is not at work or nothing was measured yet.
    bytes_per_second: Option<Bytes>,
    /// Seconds that the rest takes at that rate; null when the rate is not known.
    remaining_seconds: Option<Int64>,
}

/// An entry of a job's history.
#[derive(SimpleObject)]
pub(crate) struct JobEvent {
    /// When.
    at: DateTime<Utc>,
    /// State from then on.
    state: JobState,
    /// Phase from then on.
    phase: Option<JobPhase>,
    /// Why, where there is something to say.
    reason: Option<String>,
}

#[ComplexObject]
impl Job {
    /// The cluster; null when it was removed.
    async fn cluster(&self, context: &Context<'_>) -> Result<Option<Cluster>, GatewayError> {
        let found = context.records()?.load_one(self.keys.cluster_id).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }

    /// The backup it is about.
    async fn backup(&self, context: &Context<'_>) -> Result<Option<Backup>, GatewayError> {
        let Some(backup_id) = self.keys.backup_id else { return Ok(None) };
        let found = context.records()?.load_one(backup_id).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }

    /// Its states and phases, oldest first.
    #[graphql(complexity = "10 + child_complexity")]
    async fn history(&self, context: &Context<'_>) -> Result<Vec<JobEvent>, GatewayError> {
        let events = context.records()?.load_one(HistoryOf(self.keys.job_id)).await?.unwrap_or_default();
        Ok(events.into_iter().map(Into::into).collect())
    }

    /// What a verify found; null for other jobs and until it has ended.
    #[graphql(complexity = "100 + child_complexity")]
    async fn verify_report(&self, context: &Context<'_>) -> Result<Option<VerifyReport>, GatewayError> {
        if self.kind != JobType::Verify {
            return Ok(None);
        }
        let report = context.records()?.load_one(VerifyReportOf(self.keys.job_id)).await?;
        Ok(report.map(|report| VerifyReport::new(self.keys.verify_level, report)))
    }

    /// What a restore or drill was asked for, what it planned, and what has become of every collection; null for other
    /// jobs.
    #[graphql(complexity = "2_000 + child_complexity")]
    async fn restore(&self, context: &Context<'_>) -> Result<Option<Restore>, GatewayError> {
        if !matches!(self.kind, JobType::Restore | JobType::Drill) {
            return Ok(None);
        }
        context.records()?.load_one(RestoreOf(self.keys.job_id)).await
    }

    /// The restore that this job is about: the one that an `UNDO` removes again, that a `COMPARE` looks at, or that a
    /// `RESTORE` continues. Null for other jobs.
    #[graphql(complexity = "100 + child_complexity")]
    async fn restore_job(&self, context: &Context<'_>) -> Result<Option<Self>, GatewayError> {
        if !matches!(self.kind, JobType::Restore | JobType::Undo | JobType::Compare) {
            return Ok(None);
        }
        let (backend, records) = (context.backend()?, context.records()?);
        let Some(subject) = records.load_one(SubjectOf(self.keys.job_id)).await? else { return Ok(None) };
        let found = records.load_one(subject).await?;
        Ok(context.caller()?.visible(found).map(|record| Self::now(record, backend)))
    }

    /// What a timer still has to remove at the target of a restore or drill, because it could not be removed when the job
    /// ended: of a restore, staged files. Null when there is nothing.
    async fn leftovers(&self, context: &Context<'_>) -> Result<Option<JobLeftovers>, GatewayError> {
        if !matches!(self.kind, JobType::Restore | JobType::Drill) {
            return Ok(None);
        }
        Ok(context.records()?.load_one(LeftoversOf(self.keys.job_id)).await?.map(Into::into))
    }

    /// What a comparison of restored rows with their backup found: of a `COMPARE`, or of a `DRILL`. Null for other jobs
    /// and until it is made.
    #[graphql(complexity = "2_000 + child_complexity")]
    async fn compare_report(&self, context: &Context<'_>) -> Result<Option<CompareReport>, GatewayError> {
        if !matches!(self.kind, JobType::Compare | JobType::Drill) {
            return Ok(None);
        }
        context.records()?.load_one(CompareReportOf(self.keys.job_id)).await
    }
}

impl Job {
    /// A job as it is now: the catalog's record, and while it is at work in this server, its live figures.
    pub(crate) fn now(record: domain::Job, backend: &Backend) -> Self {
        let live = backend.service.live(record.id);
        Self::new(record, live)
    }

    /// A job from its record and its live figures. Whoever shows several states of a job in a row takes the live figures
    /// first and the record afterwards: then a job that ends in between shows its end, and never older figures.
    pub(crate) fn new(record: domain::Job, live: Option<LiveJob>) -> Self {
        let at_work = matches!(record.state, domain::JobState::InProgress | domain::JobState::Canceling);
        let live = live.filter(|_| at_work);
        let phase = live.map(|live| live.phase).or(record.phase);
        Self {
            keys: JobKeys {
                job_id: record.id,
                cluster_id: record.cluster_id,
                backup_id: record.backup_id,
                verify_level: record.verify_level,
            },
            id: print_id(record.id),
            project_id: print_id(record.project_id),
            cluster_id: print_id(record.cluster_id),
            backup_id: record.backup_id.map(print_id),
            kind: record.job_type.into(),
            state: record.state.into(),
            phase: phase.map(Into::into),
            description: record.description,
            created_by: record.created_by,
            created_at: record.created_at,
            started_at: record.started_at,
            ended_at: record.ended_at,
            attempt: record.attempt,
            progress: JobProgress::new(record.progress, live, record.state),
            failure: record.failure,
        }
    }

    /// Whether nothing can follow.
    pub(crate) fn is_final(&self) -> bool {
        domain::JobState::from(self.state).is_final()
    }
}

impl JobProgress {
    fn new(saved: Progress, live: Option<LiveJob>, state: domain::JobState) -> Self {
        let progress = live.map_or(saved, |live| live.progress);
        // Where there was nothing to do, the figures alone do not tell the end from the beginning; and when all is copied,
        // the end is still to come.
        let is_done = state == domain::JobState::Successful;
        Self {
            percent: if is_done { 100 } else { progress.percent().min(99) },
            bytes_done: Bytes(progress.bytes_done),
            bytes_total: Bytes(progress.bytes_total),
            bytes_reused: Bytes(progress.bytes_reused),
            objects_done: Int64(progress.objects_done),
            objects_total: Int64(progress.objects_total),
            objects_reused: Int64(progress.objects_reused),
            bytes_through_server: Bytes(progress.bytes_through_server),
            bytes_per_second: live.and_then(|live| live.bytes_per_second).map(Bytes),
            remaining_seconds: live.and_then(|live| live.remaining).map(|rest| Int64(rest.as_secs())),
        }
    }
}

impl From<domain::JobEvent> for JobEvent {
    fn from(event: domain::JobEvent) -> Self {
        Self {
            at: event.at,
            state: event.state.into(),
            phase: event.phase.map(Into::into),
            reason: event.reason,
        }
    }
}
