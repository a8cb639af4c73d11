//! A server that asks whether a backup is due, while its clock runs, stands and jumps.

#![allow(clippy::unwrap_used)]

use super::tests::{cluster, cron, weekdays};
use super::{Due, Schedule};
use chrono::{DateTime, TimeDelta, Utc, Weekday};
use proptest::prelude::*;
use std::collections::BTreeSet;

const START: i64 = 1_790_000_000;

fn schedules() -> impl Strategy<Value = Schedule> {
    let zone = prop::sample::select(vec!["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"]);
    (0_usize..4, zone, 0..50_u128).prop_map(|(choice, zone, number)| {
        let policy = match choice {
            0 => cron("*/30 * * * *", zone),
            1 => cron("30 2 * * *", zone),
            2 => weekdays(&[Weekday::Sun, Weekday::Tue], (0, 0), zone),
            _ => cron("0 3 1 * *", zone),
        };
        policy.schedule(cluster(number)).unwrap()
    })
}

/// Asks until there is nothing to do, recording what is started.
fn settle(schedule: &Schedule, last: &mut Option<DateTime<Utc>>, now: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let mut started = Vec::new();
    for _ in 0..3 {
        match schedule.due(*last, now) {
            Due::RunNow { scheduled_for } => {
                started.push(scheduled_for);
                *last = Some(scheduled_for);
            }
            Due::ClockWentBack { count_from } => *last = Some(count_from),
            Due::NotYet { next } => {
                assert!(next > now);
                return started;
            }
            Due::Off => return started,
        }
    }
    panic!("{started:?} were started at once");
}

/// The same where starts are recorded one by one.
fn settle_recorded(
    schedule: &Schedule,
    last: &mut Option<DateTime<Utc>>,
    recorded: &mut BTreeSet<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    for _ in 0..3 {
        match schedule.due_once(*last, now) {
            Due::RunNow { scheduled_for } => {
                *last = Some(scheduled_for);
                if recorded.insert(scheduled_for) {
                    return Some(scheduled_for);
                }
            }
            Due::ClockWentBack { count_from } => *last = Some(count_from),
            Due::NotYet { .. } | Due::Off => return None,
        }
    }
    panic!("the looks at {now} have no end");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_clock_that_runs_starts_everything_once(
        schedule in schedules(),
        steps in prop::collection::vec(1_i64..86_400, 1..40),
    ) {
        let begin = DateTime::from_timestamp(START, 0).unwrap();
        let (mut now, mut last) = (begin, Some(begin));
        let mut started = Vec::new();
        for step in steps {
            let end = now + TimeDelta::seconds(step);
            // The server sleeps until the next start, or until it is woken for another reason.
            while let Due::NotYet { next } = schedule.due(last, now) {
                now = next.min(end);
                started.extend(settle(&schedule, &mut last, now));
                if now == end { break }
            }
        }
        let expected: Vec<_> = schedule.runs_after(begin).take_while(|run| *run <= now).collect();
        prop_assert_eq!(started, expected);
    }

    #[test]
    fn nothing_is_started_twice_wherever_the_clock_jumps(
        schedule in schedules(),
        jumps in prop::collection::vec(
            prop_oneof![
                4 => 0_i64..7_200,
                2 => -7_200_i64..0,
                1 => -86_400_i64..86_400,
                1 => prop::sample::select(vec![3_600, -3_600, 86_400, -86_400]),
                1 => 0_i64..400 * 86_400,
            ],
            1..60,
        ),
    ) {
        let mut now = DateTime::from_timestamp(START, 0).unwrap();
        let mut last = Some(now);
        for jump in jumps {
            now += TimeDelta::seconds(jump);
            let before = last;
            let started = settle(&schedule, &mut last, now);
            prop_assert!(started.len() <= 1, "{:?} were started at once", started);
            for run in started {
                prop_assert!(Some(run) > before, "{} was started again", run);
                prop_assert!(run <= now);
            }
        }
    }

    #[test]
    fn no_start_is_held_up_that_comes_after_a_clock_went_back(
        schedule in schedules(),
        ahead in 0_i64..60 * 86_400,
        back in 0_i64..60 * 86_400,
        steps in prop::collection::vec(1_i64..7_200, 1..60),
    ) {
        let begin = DateTime::from_timestamp(START, 0).unwrap();
        let (mut last, mut recorded) = (Some(begin), BTreeSet::new());
        let ahead = begin + TimeDelta::seconds(ahead);
        settle_recorded(&schedule, &mut last, &mut recorded, ahead);
        let turned_back = ahead - TimeDelta::seconds(back);
        let mut now = turned_back;
        settle_recorded(&schedule, &mut last, &mut recorded, now);
        // Nothing comes of a clock that went back by minutes.
        prop_assume!(last <= Some(turned_back));
        let before = recorded.clone();
        for step in steps {
            let until = now + TimeDelta::seconds(step);
            let expected = schedule.runs_after(now).take_while(|run| *run <= until).last();
            let started = settle_recorded(&schedule, &mut last, &mut recorded, until);
            // All is as if the clock had never been elsewhere, but for what was made then.
            prop_assert_eq!(started, expected.filter(|run| !before.contains(run)));
            now = until;
        }
    }
}
