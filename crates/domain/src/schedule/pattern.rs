//! Local times that repeat.

use super::{CRON_BYTES_MAX, INTERVAL_MINUTES_MIN, InvalidSchedule};
use chrono::{DateTime, Datelike, Days, NaiveDateTime, NaiveTime, TimeDelta, Weekday};
use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};

/// Local times that are looked at to see how far apart they are: enough for two days of the shortest interval, and
/// for some years of daily ones.
const SAMPLE_COUNT: usize = 1_000;

#[derive(Debug, Clone)]
pub(super) enum Pattern {
    Weekdays { days: Vec<Weekday>, start: NaiveTime },
    Cron(Box<Cron>),
}

impl Pattern {
    pub(super) fn weekdays(days: &[Weekday], start: NaiveTime) -> Result<Self, InvalidSchedule> {
        if days.is_empty() {
            return Err(InvalidSchedule::NoWeekday);
        }
        for (position, day) in days.iter().enumerate() {
            if days.iter().take(position).any(|earlier| earlier == day) {
                return Err(InvalidSchedule::RepeatedWeekday(*day));
            }
        }
        Ok(Self::Weekdays { days: days.to_vec(), start })
    }

    pub(super) fn cron(expression: &str) -> Result<Self, InvalidSchedule> {
        let invalid = |reason: String| InvalidSchedule::Cron {
            expression: expression.chars().take(CRON_BYTES_MAX).collect(),
            reason,
        };
        if expression.len() > CRON_BYTES_MAX {
            return Err(invalid(format!("it is longer than {CRON_BYTES_MAX} characters")));
        }
        // The parser knows nicknames such as `@daily`, and one of them has no time at all.
        if expression.split_whitespace().count() != 5 {
            return Err(invalid(String::from("it must have five fields")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(expression).map_err(|error| invalid(error.to_string()))?;
        let pattern = Self::Cron(Box::new(cron));
        pattern.check_distance(expression)?;
        Ok(pattern)
    }

    fn check_distance(&self, expression: &str) -> Result<(), InvalidSchedule> {
        let shortest = TimeDelta::minutes(i64::from(INTERVAL_MINUTES_MIN));
        let first = self.next_after(DateTime::UNIX_EPOCH.naive_utc());
        let mut last = first.ok_or_else(|| InvalidSchedule::Never(expression.to_owned()))?;
        for _ in 0..SAMPLE_COUNT {
            let Some(next) = self.next_after(last) else { break };
            if next - last < shortest {
                return Err(InvalidSchedule::TooOften);
            }
            last = next;
        }
        Ok(())
    }

    /// The first local time of the pattern after this one; `None` at the end of the calendar.
    pub(super) fn next_after(&self, local: NaiveDateTime) -> Option<NaiveDateTime> {
        match self {
            Self::Weekdays { days, start } => (0..=7)
                .filter_map(|ahead| local.date().checked_add_days(Days::new(ahead)))
                .filter(|date| days.contains(&date.weekday()))
                .map(|date| date.and_time(*start))
                .find(|candidate| *candidate > local),
            Self::Cron(cron) => cron.find_next_occurrence(&local, false).ok(),
        }
    }
}
