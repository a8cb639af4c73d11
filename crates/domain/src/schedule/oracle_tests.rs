//! Ten years of schedules in six zones against an oracle that shares nothing with the implementation: it finds the
//! changes of a zone's offset by walking through time, and the local times of a pattern by walking through dates.

#![allow(clippy::unwrap_used)]

use super::tests::{cluster, cron, weekdays};
use super::{SPREAD_WINDOW, SchedulePolicy};
use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc, Weekday};
use chrono_tz::Tz;

/// Among them: gaps at midnight, half-hour gaps, a day that never was, both hemispheres, none at all.
const ZONES: [&str; 6] = [
    "America/New_York",
    "Europe/Berlin",
    "America/Sao_Paulo",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Asia/Kathmandu",
];

/// A time in which a zone's offset is the same.
struct Span {
    begin: DateTime<Utc>,
    end: DateTime<Utc>,
    offset: TimeDelta,
}

fn offset(zone: Tz, instant: DateTime<Utc>) -> TimeDelta {
    let seconds = zone.offset_from_utc_datetime(&instant.naive_utc()).fix().local_minus_utc();
    TimeDelta::seconds(seconds.into())
}

fn spans(zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> Vec<Span> {
    let mut spans = vec![Span { begin: from, end: to, offset: offset(zone, from) }];
    let mut hour = from;
    while hour < to {
        let next_hour = hour + TimeDelta::hours(6);
        if offset(zone, hour) != offset(zone, next_hour) {
            // Offsets change at whole seconds.
            let (mut before, mut after) = (hour.timestamp(), next_hour.timestamp());
            while after - before > 1 {
                let middle = i64::midpoint(before, after);
                let changed =
                    offset(zone, DateTime::from_timestamp(middle, 0).unwrap()) != offset(zone, hour);
                if changed { after = middle } else { before = middle }
            }
            let after = DateTime::from_timestamp(after, 0).unwrap();
            spans.last_mut().unwrap().end = after;
            spans.push(Span { begin: after, end: to, offset: offset(zone, after) });
        }
        hour = next_hour;
    }
    spans
}

/// The first instant at which clocks show the local time, or at which they jump over it.
fn first_instant(spans: &[Span], local: NaiveDateTime) -> DateTime<Utc> {
    let shown = |span: &Span| (local - span.offset).and_utc();
    let showing = spans.iter().find(|span| (span.begin..span.end).contains(&shown(span)));
    let jump = || spans.iter().skip(1).find(|span| shown(span) < span.begin).map(|span| span.begin);
    showing.map(shown).or_else(jump).unwrap()
}

/// A pattern as lists; empty is any.
struct Pattern {
    policy: fn(&str) -> SchedulePolicy,
    minutes: &'static [u32],
    hours: &'static [u32],
    days: &'static [u32],
    weekdays: &'static [Weekday],
}

const PATTERNS: [Pattern; 5] = [
    Pattern {
        policy: |zone| weekdays(&[Weekday::Sat, Weekday::Sun, Weekday::Wed], (2, 30), zone),
        minutes: &[30],
        hours: &[2],
        days: &[],
        weekdays: &[Weekday::Sat, Weekday::Sun, Weekday::Wed],
    },
    Pattern { policy: |zone| cron("0 0 * * *", zone), minutes: &[0], hours: &[0], days: &[], weekdays: &[] },
    Pattern {
        policy: |zone| cron("15,45 1-3 * * 0", zone),
        minutes: &[15, 45],
        hours: &[1, 2, 3],
        days: &[],
        weekdays: &[Weekday::Sun],
    },
    Pattern {
        policy: |zone| cron("5 */12 31 * *", zone),
        minutes: &[5],
        hours: &[0, 12],
        days: &[31],
        weekdays: &[],
    },
    // Both days are restricted: either suffices.
    Pattern {
        policy: |zone| cron("30 1 1,29 * fri", zone),
        minutes: &[30],
        hours: &[1],
        days: &[1, 29],
        weekdays: &[Weekday::Fri],
    },
];

impl Pattern {
    fn includes(&self, date: NaiveDate) -> bool {
        let by_day = self.days.contains(&date.day());
        let by_weekday = self.weekdays.contains(&date.weekday());
        match (self.days.is_empty(), self.weekdays.is_empty()) {
            (true, true) => true,
            (false, true) => by_day,
            (true, false) => by_weekday,
            (false, false) => by_day || by_weekday,
        }
    }

    fn instants(&self, spans: &[Span], years: std::ops::Range<i32>) -> Vec<DateTime<Utc>> {
        let mut date = NaiveDate::from_ymd_opt(years.start, 1, 1).unwrap();
        let mut instants = Vec::new();
        while date.year() < years.end {
            for hour in self.hours.iter().filter(|_| self.includes(date)) {
                for minute in self.minutes {
                    instants.push(first_instant(spans, date.and_hms_opt(*hour, *minute, 0).unwrap()));
                }
            }
            date = date + Days::new(1);
        }
        assert!(instants.is_sorted());
        instants.dedup();
        instants
    }
}

#[test]
fn ten_years_in_six_zones_are_as_the_oracle_says() {
    let year = |year| NaiveDate::from_ymd_opt(year, 1, 1).unwrap().and_hms_opt(0, 0, 0).unwrap().and_utc();
    let mut changes_of_offset = 0;
    for zone in ZONES {
        let spans = spans(zone.parse().unwrap(), year(2009), year(2022));
        changes_of_offset += spans.len() - 1;
        for pattern in &PATTERNS {
            let expected = pattern.instants(&spans, 2010..2020);
            let schedule = (pattern.policy)(zone).schedule(cluster(42)).unwrap();
            let mut after = expected[0] - TimeDelta::seconds(1);
            for pair in expected.windows(2) {
                let run = schedule.next_run(after).unwrap();
                let window_end = pair[1].min(pair[0] + SPREAD_WINDOW);
                assert!(
                    (pair[0]..window_end).contains(&run),
                    "{zone}: {run} is not in {}..{window_end}",
                    pair[0]
                );
                after = run;
            }
        }
    }
    assert!(changes_of_offset > 80, "the zones have changes to get wrong, found {changes_of_offset}");
}
