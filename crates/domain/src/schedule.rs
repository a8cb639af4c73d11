//! When automatic backups of a cluster are made.
//!
//! A schedule is a list of local times in a time zone. Every local time is one instant, whatever clocks do: one that
//! daylight saving skips is the first instant after the gap, one that comes twice is the first of the two. The start
//! is then put off within a window, by an amount that differs from cluster to cluster and from day to day, so that
//! many clusters with one habit ("at two in the morning") do not start together.

use crate::error::InvalidInput;
use crate::ids::{ClusterId, RepositoryId};
use crate::keep::KeepRules;
use crate::retention::{RETENTION_DAYS_AUTOMATIC_DEFAULT, RETENTION_DAYS_MAX, RETENTION_DAYS_MIN};
use chrono::{NaiveTime, TimeDelta, Timelike, Weekday};
use serde::{Deserialize, Serialize};

mod due;
mod pattern;
mod runs;
mod state;
mod time_zone;

#[cfg(test)]
mod clock_tests;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod tests;

pub use due::{Due, MADE_EARLY_MAX};
pub use runs::Schedule;
pub use state::{ClusterSchedule, LOOK_AHEAD_MAX, SkippedStart, next_look};
pub use time_zone::{TimeZone, UnknownTimeZone};

/// Window within which a start is put off.
pub const SPREAD_WINDOW: TimeDelta = TimeDelta::hours(2);
/// Shortest time between two backups of a schedule, in minutes.
pub const INTERVAL_MINUTES_MIN: u32 = 15;
/// Longest cron expression, in bytes.
pub const CRON_BYTES_MAX: usize = 256;

/// The automatic backups of one cluster; there is at most one policy for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SchedulePolicy {
    /// Whether backups are made.
    pub enabled: bool,
    /// At which local times.
    pub timing: Timing,
    /// Whose local times.
    pub time_zone: TimeZone,
    /// Days until a backup expires, 1 to 30.
    pub retention_days: u32,
    /// Backups that stay beyond that.
    pub keep: KeepRules,
    /// A second repository that each backup is copied to.
    pub copy: Option<CopyPolicy>,
}

/// Local times at which backups are made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    /// Once on each of some days of the week.
    Weekdays {
        /// The days.
        days: Vec<Weekday>,
        /// Beginning of the window in which the backup starts; whole minutes.
        window_start: NaiveTime,
    },
    /// By a cron expression of five fields: minute, hour, day of the month, month, day of the week (0 is Sunday).
    /// When both days are restricted, either suffices.
    Cron(String),
}

/// Where else the backups of a schedule go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyPolicy {
    /// The second repository.
    pub repository_id: RepositoryId,
    /// Days until a copy expires, 1 to 30.
    pub retention_days: u32,
}

/// A policy that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSchedule {
    /// Weekdays are given, but none.
    #[error("name at least one day of the week")]
    NoWeekday,
    /// A weekday is given twice.
    #[error("{0} is named twice")]
    RepeatedWeekday(Weekday),
    /// The window begins within a minute.
    #[error("the window must begin at a whole minute, as in `02:30`")]
    WindowStart,
    /// The cron expression does not parse.
    #[error("`{expression}` is no cron expression of five fields: {reason}")]
    Cron {
        /// As given.
        expression: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The cron expression matches no day of any year.
    #[error("`{0}` never comes")]
    Never(String),
    /// Backups would be made too often.
    #[error("backups must be at least {INTERVAL_MINUTES_MIN} minutes apart")]
    TooOften,
    /// Days of retention outside the range.
    #[error("must be between {RETENTION_DAYS_MIN} and {RETENTION_DAYS_MAX} days, got {0}")]
    RetentionDays(u32),
    /// The same of the copy.
    #[error("copies must be kept between {RETENTION_DAYS_MIN} and {RETENTION_DAYS_MAX} days, got {0}")]
    CopyRetentionDays(u32),
    /// A keep rule names too many backups.
    #[error("a keep rule may keep at most {max} backups, got {0}", max = KeepRules::COUNT_MAX)]
    Keep(u32),
}

impl InvalidSchedule {
    /// The field as the API spells it.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::NoWeekday | Self::RepeatedWeekday(_) => "weekdays",
            Self::WindowStart => "startTime",
            Self::Cron { .. } | Self::Never(_) | Self::TooOften => "cron",
            Self::RetentionDays(_) => "retentionDays",
            Self::CopyRetentionDays(_) => "copy",
            Self::Keep(_) => "keep",
        }
    }
}

impl From<InvalidSchedule> for InvalidInput {
    fn from(invalid: InvalidSchedule) -> Self {
        Self::new(invalid.field(), invalid.to_string())
    }
}

impl SchedulePolicy {
    /// A policy with the usual retention, no keep rules and no copy, switched on.
    #[must_use]
    pub const fn new(timing: Timing, time_zone: TimeZone) -> Self {
        Self {
            enabled: true,
            timing,
            time_zone,
            retention_days: RETENTION_DAYS_AUTOMATIC_DEFAULT,
            keep: KeepRules::NONE,
            copy: None,
        }
    }

    /// Checks the policy.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn validate(&self) -> Result<(), InvalidSchedule> {
        self.checked_pattern().map(drop)
    }

    /// The policy as the schedule of one cluster.
    ///
    /// # Errors
    /// The policy breaks a rule.
    pub fn schedule(&self, cluster_id: ClusterId) -> Result<Schedule, InvalidSchedule> {
        let pattern = self.checked_pattern()?;
        Ok(Schedule::new(cluster_id, self.enabled, pattern, self.time_zone))
    }

    fn checked_pattern(&self) -> Result<pattern::Pattern, InvalidSchedule> {
        let is_retention = |days: &u32| (RETENTION_DAYS_MIN..=RETENTION_DAYS_MAX).contains(days);
        if !is_retention(&self.retention_days) {
            return Err(InvalidSchedule::RetentionDays(self.retention_days));
        }
        if let Some(copy) = self.copy.filter(|copy| !is_retention(&copy.retention_days)) {
            return Err(InvalidSchedule::CopyRetentionDays(copy.retention_days));
        }
        self.keep.validate().map_err(InvalidSchedule::Keep)?;
        match &self.timing {
            Timing::Cron(expression) => pattern::Pattern::cron(expression),
            Timing::Weekdays { window_start, .. }
                if window_start.second() != 0 || window_start.nanosecond() != 0 =>
            {
                Err(InvalidSchedule::WindowStart)
            }
            Timing::Weekdays { days, window_start } => pattern::Pattern::weekdays(days, *window_start),
        }
    }
}
