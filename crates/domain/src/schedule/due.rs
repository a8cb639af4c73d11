//! Whether a backup is due.

use super::Schedule;
use chrono::{DateTime, TimeDelta, Utc};

/// How far the last run may lie ahead of the clock before the clock of that run is taken to have been wrong, where
/// the schedule's own interval is shorter.
const CLOCK_BEHIND_MAX: TimeDelta = TimeDelta::days(2);
/// The same where starts are recorded one by one: no more than the clocks of two servers may differ.
const CLOCKS_DIFFER_MAX: TimeDelta = TimeDelta::minutes(15);

/// How far ahead of its time a start may have been made and still count as made. Less is one backup that comes somewhat
/// early, and servers whose clocks differ a little must not double it; more is a backup that is missing when its time
/// comes.
pub const MADE_EARLY_MAX: TimeDelta = TimeDelta::days(1);

/// What is to be done about a schedule now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Start a backup, and record `scheduled_for` as the last run together with it.
    RunNow {
        /// The start that the schedule gives, not later than now.
        scheduled_for: DateTime<Utc>,
    },
    /// Ask again then.
    NotYet {
        /// The next start.
        next: DateTime<Utc>,
    },
    /// The last run lies so far ahead that it was recorded by a clock that was wrong, or this clock is wrong now.
    /// Record `count_from` as the last run and ask again: waiting for the clock to get there could mean no backups
    /// for years.
    ClockWentBack {
        /// Now.
        count_from: DateTime<Utc>,
    },
    /// Switched off.
    Off,
}

impl Schedule {
    /// Whether a backup is due.
    ///
    /// `last_run` is the `scheduled_for` that was recorded last; `None` when the policy was just switched on, which
    /// makes a first backup at once. Starts that were missed, however many, are caught up by one backup. A start
    /// that was recorded never comes again, wherever the clock jumps within two days or one interval of the schedule,
    /// whichever is longer.
    #[must_use]
    pub fn due(&self, last_run: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
        self.due_within(last_run, now, |last| self.clock_behind_max(last))
    }

    /// The same for starts that are recorded one by one, so that whoever asks refuses those that come again: then a clock
    /// that goes back holds up no others.
    #[must_use]
    pub fn due_once(&self, last_run: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Due {
        self.due_within(last_run, now, |_| CLOCKS_DIFFER_MAX)
    }

    fn due_within(
        &self,
        last_run: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
        behind_max: impl Fn(DateTime<Utc>) -> TimeDelta,
    ) -> Due {
        if !self.enabled {
            return Due::Off;
        }
        let Some(last) = last_run else {
            return Due::RunNow { scheduled_for: now };
        };
        if last > now && last - now > behind_max(last) {
            return Due::ClockWentBack { count_from: now };
        }
        if let Some(scheduled_for) = self.latest_run(last, now) {
            return Due::RunNow { scheduled_for };
        }
        self.next_run(last.max(now)).map_or(Due::Off, |next| Due::NotYet { next })
    }

    fn clock_behind_max(&self, last: DateTime<Utc>) -> TimeDelta {
        self.next_run(last).map_or(CLOCK_BEHIND_MAX, |next| (next - last).max(CLOCK_BEHIND_MAX))
    }

    /// The last start after `last` and not after `now`. Looks back in steps that double, so that a long absence
    /// costs no more than the starts around its end.
    fn latest_run(&self, last: DateTime<Utc>, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if now <= last {
            return None;
        }
        let mut span = TimeDelta::days(1);
        loop {
            let since = now.checked_sub_signed(span).map_or(last, |since| since.max(last));
            let latest = self.runs_after(since).take_while(|run| *run <= now).last();
            if latest.is_some() || since == last {
                return latest;
            }
            span = span.checked_mul(2)?;
        }
    }
}
