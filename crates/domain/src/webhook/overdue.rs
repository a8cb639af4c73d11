//! Automatic backups that are late.

use crate::schedule::{ClusterSchedule, Due, InvalidSchedule};
use chrono::{DateTime, TimeDelta, Utc};

/// How long after its start a backup of a policy may be before work on it has begun.
pub const START_OVERDUE_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long after it was due to be made a backup of a policy may be before it has ended.
pub const END_OVERDUE_AFTER: TimeDelta = TimeDelta::hours(12);

/// The first start of a schedule that should have been recorded more than [`START_OVERDUE_AFTER`] ago and was not; `None`
/// when nothing is late. It stays the same until a start is recorded, however many more are missed meanwhile.
///
/// A policy that was just switched on has no start yet: its first backup is made at once, and is late only as a job.
///
/// # Errors
/// The policy breaks a rule; none that was kept does.
pub fn missed_start(
    schedule: &ClusterSchedule,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, InvalidSchedule> {
    let Some(last_run) = schedule.last_run else { return Ok(None) };
    let rules = schedule.rules()?;
    if !matches!(rules.due(Some(last_run), now), Due::RunNow { .. }) {
        return Ok(None);
    }
    Ok(rules.next_run(last_run).filter(|start| START_OVERDUE_AFTER < now - *start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::ClusterId;
    use crate::schedule::{SchedulePolicy, TimeZone, Timing};
    use uuid::Uuid;

    fn schedule(last_run: Option<DateTime<Utc>>, enabled: bool) -> ClusterSchedule {
        ClusterSchedule {
            cluster_id: ClusterId::from_uuid(Uuid::from_u128(1)),
            policy: SchedulePolicy {
                enabled,
                ..SchedulePolicy::new(Timing::Cron(String::from("0 2 * * *")), TimeZone::UTC)
            },
            last_run,
            next_look: last_run,
            last_started: last_run,
            last_skipped: None,
            revision: 1,
        }
    }

    #[test]
    fn a_start_is_missed_when_its_hour_is_over_and_stays_the_same() {
        let last_run: DateTime<Utc> = "2026-03-04T03:00:00Z".parse().unwrap();
        let kept = schedule(Some(last_run), true);
        let start = kept.rules().unwrap().next_run(last_run).unwrap();
        let missed = |now| missed_start(&kept, now).unwrap();
        assert_eq!(missed(start - TimeDelta::seconds(1)), None);
        assert_eq!(missed(start + START_OVERDUE_AFTER), None);
        assert_eq!(missed(start + START_OVERDUE_AFTER + TimeDelta::seconds(1)), Some(start));
        assert_eq!(missed(start + TimeDelta::days(40)), Some(start));
    }

    #[test]
    fn nothing_is_missed_by_what_is_off_or_new_or_when_the_clock_was_wrong() {
        let now: DateTime<Utc> = "2026-03-04T03:00:00Z".parse().unwrap();
        let long_ago = Some(now - TimeDelta::days(9));
        assert_eq!(missed_start(&schedule(long_ago, false), now).unwrap(), None);
        assert_eq!(missed_start(&schedule(None, true), now).unwrap(), None);
        assert_eq!(missed_start(&schedule(Some(now + TimeDelta::days(900)), true), now).unwrap(), None);
        assert!(missed_start(&schedule(long_ago, true), now).unwrap().is_some());
    }
}
