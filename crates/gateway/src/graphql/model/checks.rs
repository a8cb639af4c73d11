//! Scheduled verifies and drills, and what they have found.

use super::backup::{CollectionName, CollectionNameInput};
use super::job::Job;
use super::restore::choice::CompareDepth;
use super::verify::{VerifyFailure, VerifyLevel};
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::scalar::{Bytes, Int64, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, OneofObject, SimpleObject};
use chrono::{DateTime, Utc, Weekday};
use milvault_domain::checks as domain;
use milvault_domain::ids;
use milvault_domain::schedule::{Due, Timing};

/// Whether a backup was verified.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::VerificationState")]
pub(crate) enum VerificationState {
    /// Nothing of it was.
    Never,
    /// A part of it was, and nothing is known to be wrong.
    Partial,
    /// All of it was, and nothing is known to be wrong.
    Verified,
    /// Something that it needs is not as it must be.
    Damaged,
}

/// What verifies have found about a backup: its own ones, and those of shares of its repository.
#[derive(SimpleObject)]
pub(crate) struct BackupVerification {
    /// Whether it was verified.
    state: VerificationState,
    /// When a part of it was verified last; null when it never was.
    last_verified_at: Option<DateTime<Utc>>,
    /// How thoroughly; null when it never was.
    level: Option<VerifyLevel>,
    /// The part of its objects that was verified since it was made, 0 to 100.
    covered_percent: u32,
    /// Its objects that are known to be damaged.
    damaged_count: Int64,
    /// The first findings, at most 20.
    findings: Vec<VerifyFailure>,
}

/// When shares of a repository are verified: every day one, so that every file is read within some days.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct VerifyPolicy {
    /// Whether shares are read.
    enabled: bool,
    /// How thoroughly.
    level: VerifyLevel,
    /// Days within which everything is read.
    every_days: u32,
    /// Hour of the day at which the window of two hours begins in which a share starts.
    hour: u32,
    /// Whose hour: a name of the IANA database.
    time_zone: String,
    /// Most bytes per second that are read; null is no limit.
    max_bytes_per_second: Option<Bytes>,
    /// Shares that should have been read and were not, the one that is being read included. They are made up for at
    /// twice the pace.
    days_behind: u32,
    /// How far the turn around the repository is, 0 to 99 percent.
    turn_percent: u32,
    #[graphql(skip)]
    schedule: domain::VerifySchedule,
}

/// When backups of a cluster are restored into scratch databases, compared and dropped again.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct DrillPolicy {
    /// Whether drills are made.
    enabled: bool,
    /// Days of the week, 1 for Monday to 7 for Sunday; null when `cron` says when.
    weekdays: Option<Vec<u32>>,
    /// Beginning of the window of two hours in which the drill of such a day starts, `HH:mm`; null when `cron` says when.
    start_time: Option<String>,
    /// Cron expression of five fields; null when `weekdays` says when.
    cron: Option<String>,
    /// Whose local times these are: a name of the IANA database.
    time_zone: String,
    /// The cluster that drills are made in.
    target_cluster_id: ID,
    /// Whether one collection is restored, another each time.
    one_in_turn: bool,
    /// The collections that are restored; empty for one in turn, and for all.
    collections: Vec<CollectionName>,
    /// Most bytes of binlogs that a drill restores; null is no limit.
    max_bytes: Option<Bytes>,
    /// How thoroughly rows are compared.
    depth: CompareDepth,
    /// The collection that was restored last.
    last_collection: Option<CollectionName>,
    /// The start that was last skipped.
    last_skipped: Option<SkippedDrill>,
    #[graphql(skip)]
    schedule: domain::DrillSchedule,
}

/// A start at which no drill was made.
#[derive(SimpleObject)]
pub(crate) struct SkippedDrill {
    /// The start.
    scheduled_for: DateTime<Utc>,
    /// Why.
    reason: String,
}

/// What a restore or drill left at its target.
#[derive(SimpleObject)]
pub(crate) struct JobLeftovers {
    /// Attempts to remove it since the job ended: at most 24 for a drill, then daily for a restore.
    attempts: u32,
    /// When the next attempt comes; null when it was given up, which it never is for a restore.
    next_attempt_at: Option<DateTime<Utc>>,
    /// Why it could not be removed.
    last_failure: String,
}

/// What of a backup a drill restores.
#[derive(OneofObject)]
pub(crate) enum DrillSampleInput {
    /// One collection, another each time; must be true.
    OneInTurn(bool),
    /// Every collection, as far as they fit; must be true.
    Everything(bool),
    /// These, 1 to 200, as far as the backup has them.
    Collections(Vec<CollectionNameInput>),
}

impl DrillSampleInput {
    /// Reads the choice.
    ///
    /// # Errors
    /// A choice that is denied.
    pub(crate) fn check(self) -> Result<domain::DrillSample, GatewayError> {
        match self {
            Self::OneInTurn(true) => Ok(domain::DrillSample::InTurn),
            Self::Everything(true) => Ok(domain::DrillSample::Everything),
            Self::OneInTurn(false) | Self::Everything(false) => {
                Err(GatewayError::bad_field("sample", "the choice that is made must be true"))
            }
            Self::Collections(names) => {
                Ok(domain::DrillSample::Collections(names.into_iter().map(Into::into).collect()))
            }
        }
    }
}

fn unusable() -> GatewayError {
    GatewayError::internal("a policy in the catalog is not valid")
}

async fn job(context: &Context<'_>, job_id: Option<ids::JobId>) -> Result<Option<Job>, GatewayError> {
    let Some(job_id) = job_id else { return Ok(None) };
    let backend = context.backend()?;
    let found = context.records()?.load_one(job_id).await?;
    Ok(context.caller()?.visible(found).map(|job| Job::now(job, backend)))
}

#[ComplexObject]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl VerifyPolicy {
    /// The next start: now when one is due, null when the policy is switched off.
    async fn next_run_at(&self, context: &Context<'_>) -> Result<Option<DateTime<Utc>>, GatewayError> {
        let now = context.backend()?.service.now();
        let rules = self.schedule.rules().map_err(|_| unusable())?;
        Ok(next_run(&rules.due(self.schedule.last_run, now), now))
    }

    /// The job of the last share; null when there was none or it is too long ago.
    async fn last_job(&self, context: &Context<'_>) -> Result<Option<Job>, GatewayError> {
        job(context, self.schedule.share.map(|share| share.job_id)).await
    }
}

#[ComplexObject]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl DrillPolicy {
    /// The next start: now when one is due, null when the policy is switched off.
    async fn next_run_at(&self, context: &Context<'_>) -> Result<Option<DateTime<Utc>>, GatewayError> {
        let now = context.backend()?.service.now();
        let rules = self.schedule.rules().map_err(|_| unusable())?;
        Ok(next_run(&rules.due(self.schedule.last_run, now), now))
    }

    /// The last drill; null when there was none or it is too long ago.
    async fn last_job(&self, context: &Context<'_>) -> Result<Option<Job>, GatewayError> {
        job(context, self.schedule.last_job_id).await
    }
}

fn next_run(due: &Due, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    match due {
        Due::Off => None,
        Due::NotYet { next } => Some(*next),
        Due::RunNow { .. } | Due::ClockWentBack { .. } => Some(now),
    }
}

impl From<domain::Verification> for BackupVerification {
    fn from(verification: domain::Verification) -> Self {
        Self {
            state: verification.state().into(),
            last_verified_at: verification.last_verified_at,
            level: verification.level.map(Into::into),
            covered_percent: verification.covered_percent().into(),
            damaged_count: Int64(verification.damaged_count),
            findings: verification.findings.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<domain::VerifySchedule> for VerifyPolicy {
    fn from(schedule: domain::VerifySchedule) -> Self {
        let policy = &schedule.policy;
        let turned = (u128::from(schedule.position) * 100) >> 64;
        Self {
            enabled: policy.enabled,
            level: policy.level.into(),
            every_days: policy.every_days,
            hour: policy.hour,
            time_zone: policy.time_zone.to_string(),
            max_bytes_per_second: policy.max_bytes_per_second.map(Bytes),
            days_behind: schedule.owed,
            turn_percent: u32::try_from(turned).unwrap_or(0),
            schedule,
        }
    }
}

impl From<domain::DrillSchedule> for DrillPolicy {
    fn from(schedule: domain::DrillSchedule) -> Self {
        let policy = &schedule.policy;
        let (weekdays, start_time, cron) = match &policy.timing {
            Timing::Weekdays { days, window_start } => {
                let mut numbers: Vec<_> = days.iter().map(Weekday::number_from_monday).collect();
                numbers.sort_unstable();
                (Some(numbers), Some(window_start.format("%H:%M").to_string()), None)
            }
            Timing::Cron(expression) => (None, None, Some(expression.clone())),
        };
        let collections = match &policy.sample {
            domain::DrillSample::Collections(names) => names.iter().map(Into::into).collect(),
            domain::DrillSample::Everything | domain::DrillSample::InTurn => Vec::new(),
        };
        Self {
            enabled: policy.enabled,
            weekdays,
            start_time,
            cron,
            time_zone: policy.time_zone.to_string(),
            target_cluster_id: print_id(policy.target_cluster_id),
            one_in_turn: policy.sample == domain::DrillSample::InTurn,
            collections,
            max_bytes: policy.max_bytes.map(Bytes),
            depth: policy.depth.into(),
            last_collection: schedule.last_collection.as_ref().map(Into::into),
            last_skipped: schedule
                .last_skipped
                .clone()
                .map(|skipped| SkippedDrill { scheduled_for: skipped.scheduled_for, reason: skipped.reason }),
            schedule,
        }
    }
}

impl From<domain::Leftovers> for JobLeftovers {
    fn from(leftovers: domain::Leftovers) -> Self {
        Self {
            attempts: leftovers.attempts,
            next_attempt_at: leftovers.next_attempt_at,
            last_failure: leftovers.last_failure,
        }
    }
}
