//! Policies of automatic backups.

use super::copies::BackupCopyPolicy;
use super::job::Job;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::scalar::print_id;
use async_graphql::{ComplexObject, Context, ID, InputObject, SimpleObject};
use chrono::{DateTime, NaiveTime, Utc, Weekday};
use milvault_domain::ids;
use milvault_domain::keep::KeepRules;
use milvault_domain::schedule::{ClusterSchedule, SkippedStart, Timing};

/// When automatic backups of a cluster are made, and how long they are kept. Each is of the whole cluster.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct BackupPolicy {
    /// Whether backups are made.
    enabled: bool,
    /// Days of the week on which a backup is made, 1 for Monday to 7 for Sunday; null when `cron` says when.
    weekdays: Option<Vec<u32>>,
    /// Beginning of the window of two hours in which the backup of such a day starts, `HH:mm`; null when `cron` says when.
    start_time: Option<String>,
    /// Cron expression of five fields (minute, hour, day of the month, month, day of the week with 0 for Sunday), at
    /// whose times such a window begins; null when `weekdays` says when.
    cron: Option<String>,
    /// Whose local times these are: a name of the IANA database.
    time_zone: String,
    /// Days until a backup expires, 1 to 30.
    retention_days: u32,
    /// Backups that stay beyond that.
    keep: BackupKeepRules,
    /// A second repository that each backup is copied to; null for none.
    copy: Option<BackupCopyPolicy>,
    /// The start that a backup was last made for.
    last_run_at: Option<DateTime<Utc>>,
    /// The start that was last skipped, or found made before the clock went back.
    last_skipped: Option<SkippedRun>,
    #[graphql(skip)]
    schedule: ClusterSchedule,
}

#[ComplexObject]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl BackupPolicy {
    /// The next start: now when one is due, null when the policy is switched off.
    async fn next_run_at(&self, context: &Context<'_>) -> Result<Option<DateTime<Utc>>, GatewayError> {
        let now = context.backend()?.service.now();
        self.schedule
            .next_run(now)
            .map_err(|_| GatewayError::internal("a policy in the catalog is not valid"))
    }
}

/// Automatic backups that stay although their days are over, by count. Of each day, week (from Monday) or month of the
/// policy's time zone the newest stays; periods without a backup do not count.
#[derive(SimpleObject)]
pub(crate) struct BackupKeepRules {
    /// The newest backups.
    last_n: u32,
    /// The newest of each of so many days.
    daily: u32,
    /// The newest of each of so many weeks.
    weekly: u32,
    /// The newest of each of so many months.
    monthly: u32,
}

/// A start of a schedule at which no backup was made: the one before it had not ended, or this one had been made before
/// the clock went back.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct SkippedRun {
    /// The start.
    scheduled_for: DateTime<Utc>,
    /// Why.
    reason: String,
    /// The job that was in the way, or that made it before.
    job_id: ID,
    #[graphql(skip)]
    job_key: ids::JobId,
}

#[ComplexObject]
impl SkippedRun {
    /// The job that was in the way, or that made it before; null when it is not known any more.
    async fn job(&self, context: &Context<'_>) -> Result<Option<Job>, GatewayError> {
        let backend = context.backend()?;
        let found = context.records()?.load_one(self.job_key).await?;
        Ok(context.caller()?.visible(found).map(|job| Job::now(job, backend)))
    }
}

/// Automatic backups that stay although their days are over, by count, 0 to 1,000 each. What is absent keeps none.
#[derive(InputObject)]
pub(crate) struct BackupKeepRulesInput {
    /// The newest backups.
    last_n: Option<u32>,
    /// The newest of each of so many days.
    daily: Option<u32>,
    /// The newest of each of so many weeks.
    weekly: Option<u32>,
    /// The newest of each of so many months.
    monthly: Option<u32>,
}

impl From<BackupKeepRulesInput> for KeepRules {
    fn from(input: BackupKeepRulesInput) -> Self {
        Self {
            last: input.last_n.unwrap_or(0),
            daily: input.daily.unwrap_or(0),
            weekly: input.weekly.unwrap_or(0),
            monthly: input.monthly.unwrap_or(0),
        }
    }
}

impl From<KeepRules> for BackupKeepRules {
    fn from(rules: KeepRules) -> Self {
        Self { last_n: rules.last, daily: rules.daily, weekly: rules.weekly, monthly: rules.monthly }
    }
}

impl From<&SkippedStart> for SkippedRun {
    fn from(skipped: &SkippedStart) -> Self {
        Self {
            scheduled_for: skipped.scheduled_for,
            reason: skipped.reason.clone(),
            job_id: print_id(skipped.job_id),
            job_key: skipped.job_id,
        }
    }
}

impl From<ClusterSchedule> for BackupPolicy {
    fn from(schedule: ClusterSchedule) -> Self {
        let policy = &schedule.policy;
        let (weekdays, start_time, cron) = match &policy.timing {
            Timing::Weekdays { days, window_start } => {
                let mut numbers: Vec<_> = days.iter().map(Weekday::number_from_monday).collect();
                numbers.sort_unstable();
                (Some(numbers), Some(window_start.format(START_TIME_FORMAT).to_string()), None)
            }
            Timing::Cron(expression) => (None, None, Some(expression.clone())),
        };
        Self {
            enabled: policy.enabled,
            weekdays,
            start_time,
            cron,
            time_zone: policy.time_zone.to_string(),
            retention_days: policy.retention_days,
            keep: policy.keep.into(),
            copy: policy.copy.map(Into::into),
            last_run_at: schedule.last_started,
            last_skipped: schedule.last_skipped.as_ref().map(Into::into),
            schedule,
        }
    }
}

const START_TIME_FORMAT: &str = "%H:%M";

/// Reads a day of the week, 1 for Monday to 7 for Sunday.
///
/// # Errors
/// Another number.
pub(crate) fn weekday(number: i32) -> Result<Weekday, GatewayError> {
    const DAYS: [Weekday; 7] =
        [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];
    let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
    index.and_then(|index| DAYS.get(index).copied()).ok_or_else(|| {
        GatewayError::bad_field("weekdays", format!("must be 1 (Monday) to 7 (Sunday), got {number}"))
    })
}

/// Reads a time of the day, `HH:mm`.
///
/// # Errors
/// Another form.
pub(crate) fn start_time(text: &str) -> Result<NaiveTime, GatewayError> {
    // The parser would also take blanks, signs and single digits.
    let plain = matches!(text.as_bytes(), [a, b, b':', c, d] if [a, b, c, d].iter().all(|byte| byte.is_ascii_digit()));
    let time = NaiveTime::parse_from_str(text, START_TIME_FORMAT).ok().filter(|_| plain);
    time.ok_or_else(|| GatewayError::bad_field("startTime", "must have the form `HH:mm`, such as `02:30`"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_and_times_have_one_spelling() {
        assert_eq!((weekday(1).unwrap(), weekday(7).unwrap()), (Weekday::Mon, Weekday::Sun));
        for number in [0, 8, -1, i32::MIN] {
            assert_eq!(weekday(number).unwrap_err().field(), Some("weekdays"));
        }
        assert_eq!(start_time("02:30").unwrap().format(START_TIME_FORMAT).to_string(), "02:30");
        for text in ["2:30", "02:30:00", "24:00", "02:60", "", " 2:30", "+2:30"] {
            assert_eq!(start_time(text).unwrap_err().field(), Some("startTime"), "{text}");
        }
    }
}
