//! A cluster's policy together with what has become of it so far.

use super::{Due, InvalidSchedule, Schedule, SchedulePolicy};
use crate::ids::{ClusterId, JobId};
use chrono::{DateTime, TimeDelta, Utc};

/// Longest time between two looks at a schedule that is switched on. A look that lies further ahead was put there by a
/// clock that was wrong, and is taken at once. Short, since a clock that goes back by less holds up looks for so long.
pub const LOOK_AHEAD_MAX: TimeDelta = TimeDelta::minutes(15);

/// The policy of a cluster, and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterSchedule {
    /// The cluster.
    pub cluster_id: ClusterId,
    /// The policy.
    pub policy: SchedulePolicy,
    /// The start that was recorded last, whether it made a backup or was skipped; `None` when the policy was just
    /// switched on, which makes a backup at once.
    pub last_run: Option<DateTime<Utc>>,
    /// When to look again; `None` is never.
    pub next_look: Option<DateTime<Utc>>,
    /// The start that a backup was last made for.
    pub last_started: Option<DateTime<Utc>>,
    /// The start that was last skipped.
    pub last_skipped: Option<SkippedStart>,
    /// Counts the changes; 0 is not kept yet.
    pub revision: u64,
}

/// A start at which no backup was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedStart {
    /// The start that the schedule gave.
    pub scheduled_for: DateTime<Utc>,
    /// Why, in words.
    pub reason: String,
    /// The job that was in the way, or that made it before.
    pub job_id: JobId,
}

impl ClusterSchedule {
    /// A cluster's policy from now on, in place of the former one.
    ///
    /// Switching on makes a backup at once. Other times apply to what comes: starts that lie behind are not made up
    /// for, but one of the former times that is due at this moment is made at once. Changing anything else than the
    /// times leaves them as they are.
    ///
    /// # Errors
    /// The policy breaks a rule.
    pub fn changed(
        former: Option<Self>,
        cluster_id: ClusterId,
        policy: SchedulePolicy,
        now: DateTime<Utc>,
    ) -> Result<Self, InvalidSchedule> {
        policy.validate()?;
        let last_run = match &former {
            Some(former) if former.policy.enabled => former.last_run_under(&policy, now)?,
            _ => None,
        };
        let (last_started, last_skipped, revision) = former
            .map_or((None, None, 0), |former| (former.last_started, former.last_skipped, former.revision));
        let next_look = policy.enabled.then_some(now);
        Ok(Self { cluster_id, policy, last_run, next_look, last_started, last_skipped, revision })
    }

    fn last_run_under(
        &self,
        policy: &SchedulePolicy,
        now: DateTime<Utc>,
    ) -> Result<Option<DateTime<Utc>>, InvalidSchedule> {
        if policy.timing == self.policy.timing && policy.time_zone == self.policy.time_zone {
            return Ok(self.last_run);
        }
        Ok(match self.rules()?.due_once(self.last_run, now) {
            Due::RunNow { .. } => None,
            Due::NotYet { .. } | Due::ClockWentBack { .. } | Due::Off => {
                self.last_run.map(|last_run| last_run.max(now))
            }
        })
    }

    /// The policy's times.
    ///
    /// # Errors
    /// The policy breaks a rule; none that was kept does.
    pub fn rules(&self) -> Result<Schedule, InvalidSchedule> {
        self.policy.schedule(self.cluster_id)
    }

    /// The next start: now for one that is due, `None` when the policy is switched off.
    ///
    /// # Errors
    /// As for [`Self::rules`].
    pub fn next_run(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, InvalidSchedule> {
        let rules = self.rules()?;
        Ok(match rules.due_once(self.last_run, now) {
            Due::Off => None,
            Due::NotYet { next } => Some(next),
            Due::RunNow { .. } => Some(now),
            Due::ClockWentBack { .. } => rules.next_run(now),
        })
    }
}

/// When to look again at a schedule whose next start is known.
#[must_use]
pub fn next_look(next_run: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    now.checked_add_signed(LOOK_AHEAD_MAX).map_or(next_run, |latest| latest.min(next_run))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::tests::{cluster, cron};
    use super::*;
    use crate::keep::KeepRules;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn running(last_run: &str) -> ClusterSchedule {
        ClusterSchedule {
            cluster_id: cluster(1),
            policy: cron("0 2 * * *", "UTC"),
            last_run: Some(at(last_run)),
            next_look: Some(at(last_run)),
            last_started: Some(at(last_run)),
            last_skipped: None,
            revision: 3,
        }
    }

    #[test]
    fn switching_on_makes_a_backup_at_once_however_often_it_is_done() {
        let now = at("2026-03-04T15:00:00Z");
        let on = cron("0 2 * * *", "UTC");
        let off = SchedulePolicy { enabled: false, ..on.clone() };
        let first = ClusterSchedule::changed(None, cluster(1), on.clone(), now).unwrap();
        assert_eq!((first.last_run, first.next_look, first.revision), (None, Some(now), 0));
        assert_eq!(first.next_run(now).unwrap(), Some(now));

        let switched_off =
            ClusterSchedule::changed(Some(running("2026-03-04T02:00:00Z")), cluster(1), off, now);
        let switched_off = switched_off.unwrap();
        assert_eq!((switched_off.next_look, switched_off.next_run(now).unwrap()), (None, None));
        assert_eq!((switched_off.last_started, switched_off.revision), (Some(at("2026-03-04T02:00:00Z")), 3));
        let again = ClusterSchedule::changed(Some(switched_off), cluster(1), on, now).unwrap();
        assert_eq!(again.last_run, None);
    }

    #[test]
    fn other_times_make_up_for_nothing_that_lies_behind() {
        let now = at("2026-03-04T15:00:00Z");
        let former = running("2026-03-04T03:30:00Z");
        let later = cron("0 9 * * *", "UTC");
        let changed = ClusterSchedule::changed(Some(former.clone()), cluster(1), later, now).unwrap();
        assert_eq!(changed.last_run, Some(now));
        assert!(changed.next_run(now).unwrap().unwrap() >= at("2026-03-05T09:00:00Z"));

        let kept_longer = SchedulePolicy {
            retention_days: 30,
            keep: KeepRules { weekly: 4, ..KeepRules::NONE },
            ..former.policy.clone()
        };
        let changed = ClusterSchedule::changed(Some(former.clone()), cluster(1), kept_longer, now).unwrap();
        assert_eq!(changed.last_run, former.last_run);
    }

    #[test]
    fn a_start_that_is_due_while_the_times_change_is_made_at_once() {
        let former = running("2026-03-03T03:30:00Z");
        let now = at("2026-03-04T15:00:00Z");
        let later = cron("0 18 * * *", "UTC");
        let changed = ClusterSchedule::changed(Some(former), cluster(1), later, now).unwrap();
        assert_eq!((changed.last_run, changed.next_run(now).unwrap()), (None, Some(now)));
    }

    #[test]
    fn looks_are_at_most_a_quarter_of_an_hour_apart() {
        let now = at("2026-03-04T15:00:00Z");
        assert_eq!(next_look(at("2026-04-01T00:00:00Z"), now), at("2026-03-04T15:15:00Z"));
        assert_eq!(next_look(at("2026-03-04T15:10:00Z"), now), at("2026-03-04T15:10:00Z"));
    }
}
