//! Changing policies of scheduled verifies and drills.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::checks::{DrillPolicy, DrillSampleInput, VerifyPolicy};
use crate::graphql::model::job::Job;
use crate::graphql::model::restore::choice::CompareDepth;
use crate::graphql::model::schedules::{start_time, weekday};
use crate::graphql::model::verify::VerifyLevel;
use crate::graphql::scalar::{Bytes, parse_id};
use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use milvault_actors::{DrillPolicyChange, VerifyPolicyChange};
use milvault_domain::access::Action;
use milvault_domain::schedule::{TimeZone, UnknownTimeZone};

/// Mutations of checks.
#[derive(Default)]
pub(crate) struct ChecksMutation;

/// A change of the scheduled verifies of a repository. What is absent stays as it is; of a first policy it is the usual:
/// every byte within 30 days, from 03:00 UTC, without a limit.
#[derive(InputObject)]
pub(crate) struct SetVerifyPolicyInput {
    /// Of which repository.
    repository_id: ID,
    /// Whether shares are read. Switching it on reads one at once.
    enabled: bool,
    /// How thoroughly; `CONTENT` by default.
    level: Option<VerifyLevel>,
    /// Days within which everything is read, 1 to 365.
    every_days: Option<i32>,
    /// Hour of the day at which the window of two hours begins in which a share starts, 0 to 23.
    hour: Option<i32>,
    /// Whose hour: an IANA name such as `Europe/Berlin`.
    time_zone: Option<String>,
    /// Most bytes per second that are read, at least 65,536; null removes the limit.
    max_bytes_per_second: MaybeUndefined<Bytes>,
}

/// A policy that was changed.
#[derive(SimpleObject)]
pub(crate) struct SetVerifyPolicyPayload {
    /// The policy now.
    verify_policy: VerifyPolicy,
    /// The job of the share that the change began at once; null when it began none.
    job: Option<Job>,
}

/// A change of the scheduled drills of a cluster's backups. What is absent stays as it is; of a first policy it is the
/// usual: Sundays from 08:00 UTC, one collection, another each time, every row compared whole.
#[derive(InputObject)]
pub(crate) struct SetDrillPolicyInput {
    /// The cluster whose newest backup is drilled.
    cluster_id: ID,
    /// Whether drills are made. Switching it on makes one at once.
    enabled: bool,
    /// Days of the week, 1 for Monday to 7 for Sunday; not together with `cron`.
    weekdays: Option<Vec<i32>>,
    /// Beginning of the window of two hours in which the drill of each of these days starts, `HH:mm`.
    start_time: Option<String>,
    /// Cron expression of five fields, the last of which has 0 for Sunday. Not together with `weekdays` or `startTime`.
    cron: Option<String>,
    /// Whose local times: an IANA name such as `Europe/Berlin`.
    time_zone: Option<String>,
    /// The cluster to try it on, of the same project; it must have databases. A first policy must name it.
    target_cluster_id: Option<ID>,
    /// What of the backup.
    sample: Option<DrillSampleInput>,
    /// Most bytes of binlogs that a drill restores; larger collections are passed over. Null removes the limit.
    max_bytes: MaybeUndefined<Bytes>,
    /// How thoroughly to compare.
    depth: Option<CompareDepth>,
}

/// A policy that was changed.
#[derive(SimpleObject)]
pub(crate) struct SetDrillPolicyPayload {
    /// The policy now.
    drill_policy: DrillPolicy,
    /// The job of the drill that the change began at once; null when it began none.
    job: Option<Job>,
}

fn time_zone(name: Option<&str>) -> Result<Option<TimeZone>, GatewayError> {
    name.map(str::parse)
        .transpose()
        .map_err(|error: UnknownTimeZone| GatewayError::bad_field("timeZone", error.to_string()))
}

#[allow(clippy::option_option, reason = "absent, null and a value are three things")]
fn bytes(limit: MaybeUndefined<Bytes>) -> Option<Option<u64>> {
    match limit {
        MaybeUndefined::Undefined => None,
        MaybeUndefined::Null => Some(None),
        MaybeUndefined::Value(limit) => Some(Some(limit.0)),
    }
}

impl SetVerifyPolicyInput {
    fn check(self) -> Result<VerifyPolicyChange, GatewayError> {
        Ok(VerifyPolicyChange {
            repository_id: parse_id("repositoryId", &self.repository_id)?,
            enabled: self.enabled,
            level: self.level.map(Into::into),
            every_days: not_negative("everyDays", self.every_days)?,
            hour: not_negative("hour", self.hour)?,
            time_zone: time_zone(self.time_zone.as_deref())?,
            max_bytes_per_second: bytes(self.max_bytes_per_second),
        })
    }
}

impl SetDrillPolicyInput {
    fn check(self) -> Result<DrillPolicyChange, GatewayError> {
        let target = self.target_cluster_id.map(|id| parse_id("targetClusterId", &id)).transpose()?;
        Ok(DrillPolicyChange {
            cluster_id: parse_id("clusterId", &self.cluster_id)?,
            enabled: self.enabled,
            weekdays: self.weekdays.map(|days| days.into_iter().map(weekday).collect()).transpose()?,
            start_time: self.start_time.as_deref().map(start_time).transpose()?,
            cron: self.cron,
            time_zone: time_zone(self.time_zone.as_deref())?,
            target_cluster_id: target,
            sample: self.sample.map(DrillSampleInput::check).transpose()?,
            max_bytes: bytes(self.max_bytes),
            depth: self.depth.map(Into::into),
        })
    }
}

#[Object]
impl ChecksMutation {
    /// Changes when shares of a repository are verified. Every day a share is read and hashed, so that every file is
    /// within `everyDays` days, whatever is added meanwhile. Switching the policy on begins a first share at once.
    async fn set_verify_policy(
        &self,
        context: &Context<'_>,
        input: SetVerifyPolicyInput,
    ) -> Result<SetVerifyPolicyPayload, GatewayError> {
        context.caller()?;
        let backend = context.backend()?;
        let repository_id = parse_id("repositoryId", &input.repository_id)?;
        access::repository(context, Action::ManageBackups, repository_id).await?;
        let set = backend.service.set_verify_policy(input.check()?).await?;
        if let Some(job) = &set.job {
            context.note("jobId", job.id);
        }
        let job = set.job.map(|job| Job::now(job, backend));
        Ok(SetVerifyPolicyPayload { verify_policy: set.schedule.into(), job })
    }

    /// Changes when the newest backup of a cluster is restored into scratch databases, compared and dropped again.
    /// Switching the policy on begins a first drill at once.
    async fn set_drill_policy(
        &self,
        context: &Context<'_>,
        input: SetDrillPolicyInput,
    ) -> Result<SetDrillPolicyPayload, GatewayError> {
        context.caller()?;
        let backend = context.backend()?;
        access::cluster(context, Action::ManageBackups, parse_id("clusterId", &input.cluster_id)?).await?;
        let change = input.check()?;
        if let Some(target) = change.target_cluster_id {
            access::cluster(context, Action::ManageBackups, target).await?;
        }
        let set = backend.service.set_drill_policy(change).await?;
        if let Some(job) = &set.job {
            context.note("jobId", job.id);
        }
        let job = set.job.map(|job| Job::now(job, backend));
        Ok(SetDrillPolicyPayload { drill_policy: set.schedule.into(), job })
    }
}
