//! What a webhook is told.

use crate::ids::{BackupId, ClusterId, HoldId, JobId, ProjectId};
use crate::job::{Job, JobType};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt::Display;

/// How long before its end a hold is told of.
pub const HOLD_NOTICE: TimeDelta = TimeDelta::days(3);

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WebhookEvent {
    /// A backup failed.
    BackupFailed,
    /// A backup of a policy has not begun or not ended in time.
    BackupOverdue,
    /// A backup is far larger or smaller than those before it.
    BackupSizeUnusual,
    /// A hold ends by itself soon.
    HoldExpiring,
    /// A verify found damage, or could not look.
    VerifyFailed,
    /// A restore failed.
    RestoreFailed,
    /// A restore drill failed.
    DrillFailed,
    /// A copy to another repository failed.
    CopyFailed,
    /// Nothing: somebody tries the webhook.
    Ping,
}

impl WebhookEvent {
    /// All events.
    pub const ALL: [Self; 9] = [
        Self::BackupFailed,
        Self::BackupOverdue,
        Self::BackupSizeUnusual,
        Self::HoldExpiring,
        Self::VerifyFailed,
        Self::RestoreFailed,
        Self::DrillFailed,
        Self::CopyFailed,
        Self::Ping,
    ];

    /// What a job of that type raises when it fails.
    #[must_use]
    pub const fn of_failed_job(job_type: JobType) -> Option<Self> {
        match job_type {
            JobType::Backup => Some(Self::BackupFailed),
            JobType::Verify => Some(Self::VerifyFailed),
            JobType::Restore => Some(Self::RestoreFailed),
            JobType::Drill => Some(Self::DrillFailed),
            JobType::Copy => Some(Self::CopyFailed),
            JobType::Undo | JobType::Compare | JobType::Adopt | JobType::Delete | JobType::Sweep => None,
        }
    }
}

/// An event that is raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occurrence {
    /// What happened.
    pub event: WebhookEvent,
    /// Where.
    pub project_id: ProjectId,
    /// What it came of, in words that nothing else comes of: a webhook is told of each cause once.
    pub cause: String,
    /// When.
    pub at: DateTime<Utc>,
    /// What is told.
    pub facts: EventFacts,
}

/// Facts of an event; what does not apply is `None`, and left out of what is sent. No secrets, no links.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventFacts {
    /// The cluster.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "printed")]
    pub cluster_id: Option<ClusterId>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_name: Option<String>,
    /// The backup.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "printed")]
    pub backup_id: Option<BackupId>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_name: Option<String>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "printed")]
    pub job_id: Option<JobId>,
    /// The hold.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "printed")]
    pub hold_id: Option<HoldId>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When a backup should have begun.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_or_null")]
    pub expected_at: Option<DateTime<Utc>>,
    /// When a hold ends.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "time_or_null")]
    pub until: Option<DateTime<Utc>>,
    /// Logical size of the backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logical_bytes: Option<u64>,
    /// Median of the logical sizes of those before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_logical_bytes: Option<u64>,
}

impl EventFacts {
    /// Longest reason that is told, in characters.
    pub const REASON_CHARS_MAX: usize = 1_024;
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    r#type: WebhookEvent,
    #[serde(serialize_with = "time")]
    timestamp: DateTime<Utc>,
    data: PayloadData<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PayloadData<'a> {
    project_id: String,
    #[serde(flatten)]
    facts: &'a EventFacts,
}

impl Occurrence {
    /// A job that has failed; `None` for jobs that nobody is told of.
    #[must_use]
    pub fn of_failed_job(job: &Job, mut facts: EventFacts, at: DateTime<Utc>) -> Option<Self> {
        let event = WebhookEvent::of_failed_job(job.job_type)?;
        facts.cluster_id = Some(job.cluster_id);
        facts.backup_id = job.backup_id;
        facts.job_id = Some(job.id);
        facts.reason.clone_from(&job.failure);
        let cause = format!("job:{}", job.id);
        Some(Self { event, project_id: job.project_id, cause, at, facts })
    }

    /// The body that is sent, as JSON.
    ///
    /// # Errors
    /// None in practice: every value has a form in JSON.
    pub fn payload(&self) -> Result<String, serde_json::Error> {
        let mut facts = self.facts.clone();
        facts.reason = facts.reason.map(|reason| reason.chars().take(EventFacts::REASON_CHARS_MAX).collect());
        serde_json::to_string(&Payload {
            r#type: self.event,
            timestamp: self.at,
            data: PayloadData { project_id: self.project_id.to_string(), facts: &facts },
        })
    }
}

#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn printed<S: Serializer, T: Display>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn time<S: Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn time_or_null<S: Serializer>(time: &Option<DateTime<Utc>>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(moment) => self::time(moment, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    #[test]
    fn what_is_sent_has_a_fixed_form() {
        let facts = EventFacts {
            cluster_id: Some(ClusterId::from_uuid(Uuid::nil())),
            reason: Some("x".repeat(5_000)),
            until: Some(DateTime::UNIX_EPOCH),
            logical_bytes: Some(7),
            ..EventFacts::default()
        };
        let project_id = ProjectId::from_uuid(Uuid::nil());
        let (event, at) = (WebhookEvent::HoldExpiring, DateTime::UNIX_EPOCH);
        let occurrence = Occurrence { event, project_id, cause: String::from("hold:1"), at, facts };
        let expected = format!(
            r#"{{"type":"HOLD_EXPIRING","timestamp":"1970-01-01T00:00:00.000Z","data":{{"projectId":"prj_{0}","clusterId":"clu_{0}","reason":"{1}","until":"1970-01-01T00:00:00.000Z","logicalBytes":7}}}}"#,
            "0".repeat(32),
            "x".repeat(1_024)
        );
        assert_eq!(occurrence.payload().unwrap(), expected);
    }
}
