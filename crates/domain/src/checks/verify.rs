//! When which share of a repository is verified.

use super::Share;
use crate::error::InvalidInput;
use crate::ids::{ClusterId, JobId, RepositoryId};
use crate::job::VerifyLevel;
use crate::schedule::{InvalidSchedule, Schedule, SchedulePolicy, TimeZone, Timing};
use chrono::{DateTime, NaiveTime, Utc, Weekday};
use serde::{Deserialize, Serialize};

/// Most days that a turn around a repository may take.
pub const EVERY_DAYS_MAX: u32 = 365;
/// Most shares that are read on one day: what was missed is made up for at twice the pace, not at once.
pub const SHARES_AT_ONCE_MAX: u32 = 2;
/// Least bytes per second that a verify may be held to.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

const EVERY_DAY: [Weekday; 7] =
    [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri, Weekday::Sat, Weekday::Sun];

/// The scheduled verifies of one repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyPolicy {
    /// Whether shares are read.
    pub enabled: bool,
    /// How thoroughly.
    pub level: VerifyLevel,
    /// Days within which everything is read, 1 to 365.
    pub every_days: u32,
    /// Hour of the day at which the window of two hours begins in which a share starts, 0 to 23.
    pub hour: u32,
    /// Whose hour.
    pub time_zone: TimeZone,
    /// Most bytes per second that are read.
    pub max_bytes_per_second: Option<u64>,
}

impl VerifyPolicy {
    /// Checks the policy.
    ///
    /// # Errors
    /// Names the field and its rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        if !(1..=EVERY_DAYS_MAX).contains(&self.every_days) {
            let rule = format!("must be between 1 and {EVERY_DAYS_MAX}, got {}", self.every_days);
            return Err(InvalidInput::new("everyDays", rule));
        }
        if NaiveTime::from_hms_opt(self.hour, 0, 0).is_none() {
            return Err(InvalidInput::new("hour", format!("must be between 0 and 23, got {}", self.hour)));
        }
        if self.max_bytes_per_second.is_some_and(|limit| limit < BYTES_PER_SECOND_MIN) {
            let rule = format!("must be at least {BYTES_PER_SECOND_MIN}");
            return Err(InvalidInput::new("maxBytesPerSecond", rule));
        }
        Ok(())
    }
}

/// A share that a job reads or has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenShare {
    /// The job.
    pub job_id: JobId,
    /// The part of the repository.
    pub share: Share,
    /// How many days' shares that is.
    pub count: u32,
    /// How thoroughly.
    pub level: VerifyLevel,
    /// Most bytes per second that are read.
    pub max_bytes_per_second: Option<u64>,
    /// Whether what it found is kept.
    pub recorded: bool,
}

/// The policy of a repository, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifySchedule {
    /// The repository.
    pub repository_id: RepositoryId,
    /// The policy.
    pub policy: VerifyPolicy,
    /// The start that was recorded last; `None` when the policy was just switched on, which reads a share at once.
    pub last_run: Option<DateTime<Utc>>,
    /// Where the next share begins.
    pub position: u64,
    /// Shares that should have been read and were not.
    pub owed: u32,
    /// The share that was begun last.
    pub share: Option<OpenShare>,
    /// When to look again; `None` is never.
    #[serde(skip)]
    pub next_look: Option<DateTime<Utc>>,
    /// Counts the changes; 0 is not kept yet.
    #[serde(skip)]
    pub revision: u64,
}

impl VerifySchedule {
    /// A repository's policy from now on, in place of the former one. The position stays, so that nothing is read twice
    /// because of a change.
    ///
    /// # Errors
    /// The policy breaks a rule.
    pub fn changed(
        former: Option<Self>,
        repository_id: RepositoryId,
        policy: VerifyPolicy,
        now: DateTime<Utc>,
    ) -> Result<Self, InvalidInput> {
        policy.validate()?;
        let was_on = former.as_ref().is_some_and(|former| former.policy.enabled);
        let mut schedule = former.unwrap_or(Self {
            repository_id,
            policy,
            last_run: None,
            position: 0,
            owed: 0,
            share: None,
            next_look: None,
            revision: 0,
        });
        if !was_on {
            schedule.last_run = None;
            schedule.owed = 0;
        } else if (schedule.policy.hour, schedule.policy.time_zone) != (policy.hour, policy.time_zone) {
            schedule.last_run = schedule.last_run.map(|last_run| last_run.max(now));
        }
        schedule.owed = schedule.owed.min(policy.every_days);
        schedule.policy = policy;
        schedule.next_look = policy.enabled.then_some(now);
        Ok(schedule)
    }

    /// The times at which shares start: once a day.
    ///
    /// # Errors
    /// The policy breaks a rule; none that was kept does.
    pub fn rules(&self) -> Result<Schedule, InvalidSchedule> {
        let window_start = NaiveTime::from_hms_opt(self.policy.hour, 0, 0).unwrap_or(NaiveTime::MIN);
        let timing = Timing::Weekdays { days: EVERY_DAY.to_vec(), window_start };
        let policy = SchedulePolicy {
            enabled: self.policy.enabled,
            ..SchedulePolicy::new(timing, self.policy.time_zone)
        };
        // The id only spreads the starts of different repositories.
        policy.schedule(ClusterId::from_uuid(self.repository_id.as_uuid()))
    }

    /// Records a start: the days since the last one are owed now.
    pub fn note_start(&mut self, rules: &Schedule, scheduled_for: DateTime<Utc>) {
        let most = self.policy.every_days;
        let days = self.last_run.map_or(1, |last_run| {
            let missed = rules.runs_after(last_run).take_while(|run| *run <= scheduled_for);
            u32::try_from(missed.take(most as usize).count()).unwrap_or(most)
        });
        // A whole turn is all that can be owed.
        self.owed = self.owed.saturating_add(days.max(1)).min(most);
        self.last_run = Some(scheduled_for);
    }

    /// Begins the next share. What it covers is owed until [`Self::note_end`].
    pub fn begin(&mut self, job_id: JobId) -> OpenShare {
        let count = self.owed.clamp(1, SHARES_AT_ONCE_MAX.min(self.policy.every_days));
        let share = OpenShare {
            job_id,
            share: Share::parts(self.position, count, self.policy.every_days),
            count,
            level: self.policy.level,
            max_bytes_per_second: self.policy.max_bytes_per_second,
            recorded: false,
        };
        self.share = Some(share);
        share
    }

    /// Goes on behind a share that was read to its end. Doing it again changes nothing.
    pub fn note_end(&mut self, job_id: JobId) -> bool {
        let Some(share) = self.share.as_mut().filter(|share| share.job_id == job_id && !share.recorded)
        else {
            return false;
        };
        share.recorded = true;
        self.position = share.share.end();
        self.owed = self.owed.saturating_sub(share.count);
        true
    }
}
