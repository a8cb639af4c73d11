//! Which backups stay and which expire: age, keep rules and holds.
//!
//! A pure decision over all backups of one cluster, so that a preview shows exactly what the expiry would do.

use crate::backup::CreationMethod;
use crate::ids::BackupId;
use crate::schedule::TimeZone;
use chrono::{DateTime, Datelike, NaiveDate, Utc, Weekday};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::hash::BuildHasher;

#[cfg(test)]
mod tests;

/// Backups that stay beyond their age, by count. A period is a day, a week (from Monday) or a month of the policy's
/// time zone; of each period the newest backup stays, and periods without a backup do not count. One backup may
/// stay for many reasons.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepRules {
    /// The newest backups.
    pub last: u32,
    /// The newest backup of each of so many days.
    pub daily: u32,
    /// The newest backup of each of so many weeks.
    pub weekly: u32,
    /// The newest backup of each of so many months.
    pub monthly: u32,
}

impl KeepRules {
    /// Most backups that one rule may keep.
    pub const COUNT_MAX: u32 = 1_000;
    /// Nothing stays beyond its age.
    pub const NONE: Self = Self { last: 0, daily: 0, weekly: 0, monthly: 0 };

    /// As much stays as rules can keep.
    pub const MOST: Self = Self {
        last: Self::COUNT_MAX,
        daily: Self::COUNT_MAX,
        weekly: Self::COUNT_MAX,
        monthly: Self::COUNT_MAX,
    };

    /// Checks the counts.
    ///
    /// # Errors
    /// The count that is too large.
    pub fn validate(&self) -> Result<(), u32> {
        let counts = [self.last, self.daily, self.weekly, self.monthly];
        counts.into_iter().find(|count| *count > Self::COUNT_MAX).map_or(Ok(()), Err)
    }
}

/// A finished backup as far as its retention goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedBackup {
    /// Identity.
    pub id: BackupId,
    /// How it came to be. Keep rules look at automatic ones only.
    pub creation_method: CreationMethod,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When its age is over; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether it is a copy of another backup. Keep rules pass copies over: they would count a backup twice.
    pub is_copy: bool,
}

/// What a cluster's policy says about retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Backups that stay beyond their age.
    pub keep: KeepRules,
    /// Whose days, weeks and months.
    pub time_zone: TimeZone,
}

/// A promise that a backup stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Why, in words.
    pub reason: String,
    /// When the promise ends; `None` is never.
    pub until: Option<DateTime<Utc>>,
}

impl Hold {
    /// Whether it binds at that moment.
    #[must_use]
    pub fn is_active_at(&self, now: DateTime<Utc>) -> bool {
        self.until.is_none_or(|end| now < end)
    }
}

/// What becomes of a backup, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The backup.
    pub backup_id: BackupId,
    /// Why it stays; empty when it expires.
    pub kept_by: Vec<KeepReason>,
    /// When its age was over; `None` while it is not. A backup that is kept nevertheless shows both.
    pub over_age_since: Option<DateTime<Utc>>,
}

impl Verdict {
    /// Whether it expires.
    #[must_use]
    pub const fn expires(&self) -> bool {
        self.kept_by.is_empty()
    }
}

/// Why a backup stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepReason {
    /// It has no end.
    Forever,
    /// Its end has not come.
    Age {
        /// When it comes.
        until: DateTime<Utc>,
    },
    /// Somebody holds it.
    Held {
        /// Why.
        reason: String,
        /// Until when; `None` is for ever.
        until: Option<DateTime<Utc>>,
    },
    /// It is among the newest.
    Last,
    /// It is the newest of a day.
    Daily(NaiveDate),
    /// It is the newest of the week that begins on this day.
    Weekly(NaiveDate),
    /// It is the newest of the month that begins on this day.
    Monthly(NaiveDate),
}

/// Decides about all available backups of one cluster. The answer has one verdict for each backup, newest first.
///
/// Keep rules choose among all automatic backups, those whose age is not over included: otherwise a backup would be
/// kept for a day of which a newer one exists.
#[must_use]
pub fn retention_decision<S: BuildHasher>(
    backups: &[RetainedBackup],
    policy: &RetentionPolicy,
    holds: &HashMap<BackupId, Hold, S>,
    now: DateTime<Utc>,
) -> Vec<Verdict> {
    let mut newest_first = backups.to_vec();
    newest_first.sort_by_key(|backup| std::cmp::Reverse((backup.created_at, backup.id)));
    newest_first.dedup_by_key(|backup| backup.id);
    let mut rules = Rules::new(policy);
    newest_first
        .into_iter()
        .map(|backup| {
            let mut kept_by: Vec<_> = reason_of_age(&backup, now).into_iter().collect();
            if let Some(hold) = holds.get(&backup.id).filter(|hold| hold.is_active_at(now)) {
                kept_by.push(KeepReason::Held { reason: hold.reason.clone(), until: hold.until });
            }
            if backup.creation_method == CreationMethod::Auto && !backup.is_copy {
                kept_by.extend(rules.reasons(backup.created_at));
            }
            let over_age_since = backup.expires_at.filter(|end| *end <= now);
            Verdict { backup_id: backup.id, kept_by, over_age_since }
        })
        .collect()
}

fn reason_of_age(backup: &RetainedBackup, now: DateTime<Utc>) -> Option<KeepReason> {
    match backup.expires_at {
        None => Some(KeepReason::Forever),
        Some(until) => (now < until).then_some(KeepReason::Age { until }),
    }
}

/// The keep rules while they go through the backups, newest first.
struct Rules {
    time_zone: TimeZone,
    last_left: u32,
    daily: Period,
    weekly: Period,
    monthly: Period,
}

impl Rules {
    const fn new(policy: &RetentionPolicy) -> Self {
        let keep = policy.keep;
        Self {
            time_zone: policy.time_zone,
            last_left: keep.last,
            daily: Period::new(keep.daily),
            weekly: Period::new(keep.weekly),
            monthly: Period::new(keep.monthly),
        }
    }

    fn reasons(&mut self, created_at: DateTime<Utc>) -> Vec<KeepReason> {
        let day = self.time_zone.local(created_at).date();
        let is_last = self.last_left > 0;
        self.last_left = self.last_left.saturating_sub(1);
        let monday = day.week(Weekday::Mon).checked_first_day().unwrap_or(day);
        let first_of_month = day.with_day(1).unwrap_or(day);
        [
            is_last.then_some(KeepReason::Last),
            self.daily.take(day).map(KeepReason::Daily),
            self.weekly.take(monday).map(KeepReason::Weekly),
            self.monthly.take(first_of_month).map(KeepReason::Monthly),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// A rule that keeps the newest backup of each of some periods.
struct Period {
    left: u32,
    newest: Option<NaiveDate>,
}

impl Period {
    const fn new(count: u32) -> Self {
        Self { left: count, newest: None }
    }

    /// The period, when its first backup has just been met and the rule still has room.
    fn take(&mut self, period: NaiveDate) -> Option<NaiveDate> {
        // Where clocks go back over midnight, a day may come again after the next one has begun.
        if self.left == 0 || self.newest.is_some_and(|newest| newest <= period) {
            return None;
        }
        self.newest = Some(period);
        self.left -= 1;
        Some(period)
    }
}
