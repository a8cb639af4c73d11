#![allow(clippy::unwrap_used)]

use super::{CopyPolicy, Due, InvalidSchedule, SPREAD_WINDOW, SchedulePolicy, TimeZone, Timing};
use crate::error::InvalidInput;
use crate::ids::{ClusterId, RepositoryId};
use crate::keep::KeepRules;
use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc, Weekday};
use uuid::Uuid;

pub(super) fn cluster(number: u128) -> ClusterId {
    ClusterId::from_uuid(Uuid::from_u128(number))
}

pub(super) fn cron(expression: &str, zone: &str) -> SchedulePolicy {
    SchedulePolicy::new(Timing::Cron(expression.to_owned()), zone.parse().unwrap())
}

pub(super) fn weekdays(days: &[Weekday], start: (u32, u32), zone: &str) -> SchedulePolicy {
    let window_start = NaiveTime::from_hms_opt(start.0, start.1, 0).unwrap();
    SchedulePolicy::new(Timing::Weekdays { days: days.to_vec(), window_start }, zone.parse().unwrap())
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn local(text: &str) -> chrono::NaiveDateTime {
    text.parse().unwrap()
}

#[test]
fn the_usual_policies_are_valid() {
    let policies = [
        weekdays(&[Weekday::Mon, Weekday::Sun], (22, 30), "Europe/Berlin"),
        cron("0 2 * * *", "UTC"),
        cron("*/15 * * * *", "UTC"),
        cron("30 1 1,15 * *", "Asia/Kathmandu"),
        cron("0 0 29 2 *", "UTC"),
        cron("0 3 * * 1-5", "America/New_York"),
    ];
    for policy in policies {
        assert_eq!(policy.validate(), Ok(()), "{policy:?}");
        assert_eq!(policy.retention_days, 7);
    }
}

#[test]
fn policies_that_break_a_rule_are_refused() {
    let usual = cron("0 2 * * *", "UTC");
    let within_a_minute = Timing::Weekdays {
        days: vec![Weekday::Mon],
        window_start: NaiveTime::from_hms_opt(2, 0, 1).unwrap(),
    };
    let copy = CopyPolicy { repository_id: RepositoryId::from_uuid(Uuid::nil()), retention_days: 31 };
    let keep = KeepRules { weekly: 1_001, ..KeepRules::NONE };
    let cases = [
        (weekdays(&[], (2, 0), "UTC"), InvalidSchedule::NoWeekday),
        (
            weekdays(&[Weekday::Mon, Weekday::Mon], (2, 0), "UTC"),
            InvalidSchedule::RepeatedWeekday(Weekday::Mon),
        ),
        (SchedulePolicy { timing: within_a_minute, ..usual.clone() }, InvalidSchedule::WindowStart),
        (cron("0 0 30 2 *", "UTC"), InvalidSchedule::Never(String::from("0 0 30 2 *"))),
        (cron("* * * * *", "UTC"), InvalidSchedule::TooOften),
        (cron("*/14 * * * *", "UTC"), InvalidSchedule::TooOften),
        (cron("0,59 0,23 * * *", "UTC"), InvalidSchedule::TooOften),
        (SchedulePolicy { retention_days: 0, ..usual.clone() }, InvalidSchedule::RetentionDays(0)),
        (SchedulePolicy { retention_days: 31, ..usual.clone() }, InvalidSchedule::RetentionDays(31)),
        (SchedulePolicy { copy: Some(copy), ..usual.clone() }, InvalidSchedule::CopyRetentionDays(31)),
        (SchedulePolicy { keep, ..usual }, InvalidSchedule::Keep(1_001)),
    ];
    for (policy, expected) in cases {
        assert_eq!(policy.validate(), Err(expected.clone()));
        assert_eq!(InvalidInput::from(expected.clone()).field, expected.field());
    }
}

#[test]
fn cron_expressions_that_do_not_parse_are_refused() {
    let long = format!("{}1 2 * * *", "1,".repeat(200));
    for expression in [
        "",
        "2",
        "0 2 * *",
        "0 0 2 * * *",
        "0 2 * * * 2026",
        "60 2 * * *",
        "0 24 * * *",
        "0 2 0 * *",
        "0 2 * 13 *",
        "0 2 * * 8",
        "a b c d e",
        "@daily",
        "@reboot",
        &long,
    ] {
        let refused = cron(expression, "UTC").validate().unwrap_err();
        assert!(matches!(refused, InvalidSchedule::Cron { .. }), "{expression}: {refused:?}");
    }
}

#[test]
fn time_zones_are_known_by_their_iana_names() {
    for name in ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"] {
        assert_eq!(name.parse::<TimeZone>().unwrap().to_string(), name);
    }
    for name in ["", "Mars/Olympus", "europe/berlin", "+02:00"] {
        assert!(name.parse::<TimeZone>().is_err(), "{name}");
    }
}

#[test]
fn a_skipped_local_time_is_the_end_of_the_gap_and_a_doubled_one_its_first_pass() {
    let berlin: TimeZone = "Europe/Berlin".parse().unwrap();
    let expected = [
        ("2026-03-29T01:59:00", "2026-03-29T00:59:00Z"),
        ("2026-03-29T02:00:00", "2026-03-29T01:00:00Z"),
        ("2026-03-29T02:30:00", "2026-03-29T01:00:00Z"),
        ("2026-03-29T03:00:00", "2026-03-29T01:00:00Z"),
        ("2026-10-25T02:30:00", "2026-10-25T00:30:00Z"),
        ("2026-10-25T03:00:00", "2026-10-25T02:00:00Z"),
    ];
    for (wall, instant) in expected {
        assert_eq!(berlin.instant(local(wall)), Some(at(instant)), "{wall}");
    }
    // Samoa had no 30 December 2011.
    let apia: TimeZone = "Pacific/Apia".parse().unwrap();
    assert_eq!(apia.instant(local("2011-12-30T12:00:00")), Some(at("2011-12-30T10:00:00Z")));
}

#[test]
fn starts_lie_within_the_window_and_differ_between_clusters_and_days() {
    let policy = weekdays(&[Weekday::Mon, Weekday::Wed], (2, 0), "Europe/Berlin");
    let first_window = at("2026-06-01T00:00:00Z");
    let mut starts: Vec<_> = (0..100)
        .map(|number| {
            policy.schedule(cluster(number)).unwrap().next_run(first_window - TimeDelta::hours(3)).unwrap()
        })
        .collect();
    assert!(starts.iter().all(|start| *start >= first_window && *start < first_window + SPREAD_WINDOW));
    starts.sort_unstable();
    starts.dedup();
    assert!(starts.len() > 90, "{} different starts of 100 clusters", starts.len());

    let schedule = policy.schedule(cluster(1)).unwrap();
    let offsets: Vec<_> = schedule
        .runs_after(first_window - TimeDelta::hours(3))
        .step_by(2)
        .zip(0..)
        .map(|(run, week)| run - first_window - TimeDelta::weeks(week))
        .take(5)
        .collect();
    assert!(offsets.iter().any(|offset| *offset != offsets[0]), "{offsets:?}");
}

#[test]
fn the_spread_stays_as_it_was_released() {
    let schedule = cron("0 2 * * *", "UTC").schedule(cluster(7)).unwrap();
    let run = schedule.next_run(at("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(run, at("2026-01-01T02:38:10Z"));
}

#[test]
fn frequent_starts_keep_their_order() {
    let schedule = cron("*/15 * * * *", "UTC").schedule(cluster(3)).unwrap();
    let midnight = at("2026-01-01T00:00:00Z");
    for (run, quarter) in schedule.runs_after(midnight - TimeDelta::seconds(1)).zip(0..96 * 3) {
        let begin = midnight + TimeDelta::minutes(15 * quarter);
        assert!(run >= begin && run < begin + TimeDelta::minutes(15), "{run}");
    }
}

#[test]
fn switching_on_makes_a_backup_at_once_and_then_follows_the_schedule() {
    let policy = cron("0 2 * * *", "UTC");
    let schedule = policy.schedule(cluster(1)).unwrap();
    let now = at("2026-05-05T12:00:00Z");
    assert_eq!(schedule.due(None, now), Due::RunNow { scheduled_for: now });
    let next = schedule.next_run(now).unwrap();
    assert_eq!(next.date_naive(), NaiveDate::from_ymd_opt(2026, 5, 6).unwrap());
    assert_eq!(schedule.due(Some(now), now), Due::NotYet { next });
    assert_eq!(schedule.due(Some(now), next), Due::RunNow { scheduled_for: next });

    let off = SchedulePolicy { enabled: false, ..policy }.schedule(cluster(1)).unwrap();
    assert_eq!(off.due(None, now), Due::Off);
}

#[test]
fn missed_starts_are_caught_up_by_one() {
    let schedule = cron("0 2 * * *", "UTC").schedule(cluster(1)).unwrap();
    let last = schedule.next_run(at("2026-01-01T00:00:00Z")).unwrap();
    for days in [1, 2, 10, 400, 4_000] {
        let now = last + TimeDelta::days(days) + TimeDelta::hours(8);
        let Due::RunNow { scheduled_for } = schedule.due(Some(last), now) else { panic!("{days}") };
        assert_eq!(scheduled_for.date_naive(), now.date_naive());
        let next = schedule.next_run(now).unwrap();
        assert_eq!(schedule.due(Some(scheduled_for), now), Due::NotYet { next });
    }
}

#[test]
fn a_clock_that_is_years_behind_does_not_stop_the_backups() {
    let monthly = cron("0 2 1 * *", "UTC").schedule(cluster(1)).unwrap();
    let last = monthly.next_run(at("2026-01-01T00:00:00Z")).unwrap();
    let next = monthly.next_run(last).unwrap();
    assert_eq!(monthly.due(Some(last), last - TimeDelta::days(20)), Due::NotYet { next });
    let year_ago = last - TimeDelta::days(365);
    assert_eq!(monthly.due(Some(last), year_ago), Due::ClockWentBack { count_from: year_ago });
    assert!(matches!(monthly.due(Some(year_ago), year_ago), Due::NotYet { next } if next < last));
}

#[test]
fn a_policy_survives_being_stored() {
    let policy = SchedulePolicy {
        copy: Some(CopyPolicy { repository_id: RepositoryId::from_uuid(Uuid::nil()), retention_days: 3 }),
        keep: KeepRules { last: 3, daily: 7, weekly: 4, monthly: 12 },
        ..weekdays(&[Weekday::Tue], (23, 45), "Europe/London")
    };
    let stored = postcard::to_allocvec(&policy).unwrap();
    assert_eq!(postcard::from_bytes::<SchedulePolicy>(&stored).unwrap(), policy);
}
