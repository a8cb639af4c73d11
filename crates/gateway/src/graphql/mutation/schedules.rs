//! Changing policies of automatic backups.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::copies::BackupCopyPolicyInput;
use crate::graphql::model::job::Job;
use crate::graphql::model::schedules::{BackupKeepRulesInput, BackupPolicy, start_time, weekday};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use milvault_actors::PolicyChange;
use milvault_domain::access::Action;
use milvault_domain::schedule::{TimeZone, UnknownTimeZone};

/// Mutations of schedules.
#[derive(Default)]
pub(crate) struct ScheduleMutation;

/// A change of a cluster's policy. What is absent stays as it is; of a first policy it is the usual: every day from 08:00
/// UTC, kept for 7 days.
#[derive(InputObject)]
pub(crate) struct SetBackupPolicyInput {
    /// Of which cluster.
    cluster_id: ID,
    /// Whether automatic backups are made. Switching it on makes one at once.
    enabled: bool,
    /// Days of the week, 1 for Monday to 7 for Sunday; not together with `cron`.
    weekdays: Option<Vec<i32>>,
    /// Beginning of the window of two hours in which the backup of each of these days starts, `HH:mm`.
    start_time: Option<String>,
    /// Cron expression of five fields, the last of which has 0 for Sunday; at least 15 minutes between two times. Not
    /// together with `weekdays` or `startTime`.
    cron: Option<String>,
    /// Whose local times: an IANA name such as `Europe/Berlin`.
    time_zone: Option<String>,
    /// Days until a backup expires, 1 to 30. Backups that are there keep theirs.
    retention_days: Option<i32>,
    /// Backups that stay beyond that.
    keep: Option<BackupKeepRulesInput>,
    /// A second repository that each backup is copied to; null for none any more.
    copy: MaybeUndefined<BackupCopyPolicyInput>,
}

/// A policy that was changed.
#[derive(SimpleObject)]
pub(crate) struct SetBackupPolicyPayload {
    /// The policy now.
    backup_policy: BackupPolicy,
    /// The job of the backup that the change made at once; null when it made none.
    job: Option<Job>,
}

impl SetBackupPolicyInput {
    /// The cluster that it is about.
    pub(crate) fn cluster_id(&self) -> &ID {
        &self.cluster_id
    }

    /// Reads the change. Its rules are checked with those of the policy that it changes.
    ///
    /// # Errors
    /// A field that cannot be read.
    pub(crate) fn check(self) -> Result<PolicyChange, GatewayError> {
        let time_zone = self.time_zone.as_deref().map(str::parse::<TimeZone>).transpose();
        Ok(PolicyChange {
            cluster_id: parse_id("clusterId", &self.cluster_id)?,
            enabled: self.enabled,
            weekdays: self.weekdays.map(|days| days.into_iter().map(weekday).collect()).transpose()?,
            start_time: self.start_time.as_deref().map(start_time).transpose()?,
            cron: self.cron,
            time_zone: time_zone
                .map_err(|error: UnknownTimeZone| GatewayError::bad_field("timeZone", error.to_string()))?,
            retention_days: not_negative("retentionDays", self.retention_days)?,
            keep: self.keep.map(Into::into),
            copy: match self.copy {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(copy) => Some(Some(copy.check()?)),
            },
        })
    }
}

#[Object]
impl ScheduleMutation {
    /// Changes when automatic backups of a cluster are made, and how long they are kept. Switching the policy on makes
    /// a first backup at once; other times, days or zones do not.
    async fn set_backup_policy(
        &self,
        context: &Context<'_>,
        input: SetBackupPolicyInput,
    ) -> Result<SetBackupPolicyPayload, GatewayError> {
        context.caller()?;
        let backend = context.backend()?;
        access::cluster(context, Action::ManageBackups, parse_id("clusterId", input.cluster_id())?).await?;
        let set = backend.service.set_backup_policy(input.check()?).await?;
        if let Some(job) = &set.job {
            context.note("jobId", job.id);
        }
        let job = set.job.map(|job| Job::now(job, backend));
        Ok(SetBackupPolicyPayload { backup_policy: set.schedule.into(), job })
    }
}
