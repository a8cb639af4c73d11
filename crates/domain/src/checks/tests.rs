//! Every file is read in time, whatever is added, removed and missed meanwhile.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::backup::CollectionName;
use crate::ids::{ClusterId, JobId, RepositoryId};
use crate::job::VerifyLevel;
use crate::ports::VerifyFailure;
use crate::restore::CompareDepth;
use crate::schedule::{Due, TimeZone, Timing};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn policy(every_days: u32) -> VerifyPolicy {
    VerifyPolicy {
        enabled: true,
        level: VerifyLevel::Content,
        every_days,
        hour: 2,
        time_zone: "Europe/Berlin".parse().unwrap(),
        max_bytes_per_second: None,
    }
}

fn begun(every_days: u32, now: DateTime<Utc>) -> VerifySchedule {
    let repository_id = RepositoryId::from_uuid(Uuid::from_u128(5));
    VerifySchedule::changed(None, repository_id, policy(every_days), now).unwrap()
}

fn job(number: u128) -> JobId {
    JobId::from_uuid(Uuid::from_u128(number))
}

/// What one day of a repository brings.
#[derive(Debug, Clone)]
enum Day {
    /// The server runs and reads its share to the end; files come, and one goes.
    Running { added: Vec<u64>, removed: usize },
    /// The server is down, or the share could not be read.
    Missed { added: Vec<u64>, begun: bool },
}

fn day() -> impl Strategy<Value = Day> {
    let added = || prop::collection::vec(any::<u64>(), 0..4);
    prop_oneof![
        5 => (added(), any::<usize>()).prop_map(|(added, removed)| Day::Running { added, removed }),
        1 => (added(), any::<bool>()).prop_map(|(added, begun)| Day::Missed { added, begun }),
    ]
}

/// One look of the timer: reads a share if one is due. Returns its job.
fn look(schedule: &mut VerifySchedule, now: DateTime<Utc>, number: u128) -> Option<OpenShare> {
    let rules = schedule.rules().unwrap();
    for _ in 0..3 {
        match rules.due(schedule.last_run, now) {
            Due::RunNow { scheduled_for } => {
                schedule.note_start(&rules, scheduled_for);
                return Some(schedule.begin(job(number)));
            }
            Due::ClockWentBack { count_from } => schedule.last_run = Some(count_from),
            Due::NotYet { .. } | Due::Off => return None,
        }
    }
    None
}

proptest! {
    /// A file that has been there for N days was read within the last N days, and one day more for each that is owed. Of
    /// more than a whole turn that was missed, the schedule remembers a whole turn: then it holds when that was read.
    /// The first turn begins with the first look.
    #[test]
    fn every_file_is_read_within_the_days_of_the_policy(
        every_days in 1_u32..40,
        first in prop::collection::vec(any::<u64>(), 1..30),
        days in prop::collection::vec(day(), 1..160),
    ) {
        let mut now = at("2026-02-01T12:00:00Z");
        let mut schedule = begun(every_days, now);
        // By position: when it was added or last read, in days.
        let mut files: BTreeMap<u64, usize> = first.into_iter().map(|position| (position, 0)).collect();
        let mut unread = 0_u128;
        for (today, day) in days.into_iter().enumerate() {
            now += TimeDelta::days(1);
            let missed = schedule.last_run.map_or(1, |last_run| (now - last_run).num_days());
            if i64::from(schedule.owed) + missed > i64::from(every_days) {
                unread = 1 << 64;
            }
            let number = u128::try_from(today).unwrap();
            let added = match day {
                Day::Running { added, removed } => {
                    let share = look(&mut schedule, now, number).unwrap();
                    prop_assert!(share.count <= SHARES_AT_ONCE_MAX);
                    unread = unread.saturating_sub(u128::from(share.share.further) + 1);
                    for (_, read) in files.iter_mut().filter(|(position, _)| share.share.contains_position(**position)) {
                        *read = today;
                    }
                    prop_assert!(schedule.note_end(share.job_id));
                    prop_assert!(!schedule.note_end(share.job_id));
                    let gone = files.keys().nth(removed % (files.len() + 1)).copied();
                    gone.map(|gone| files.remove(&gone));
                    added
                }
                Day::Missed { added, begun } => {
                    if begun {
                        look(&mut schedule, now, number);
                    }
                    added
                }
            };
            files.extend(added.into_iter().map(|position| (position, today)));
            if schedule.last_run.is_none() {
                for read in files.values_mut() {
                    *read = today;
                }
            }
            // Of a day that was missed whole the schedule knows only when it looks again.
            let unseen = (now - schedule.last_run.unwrap_or(now)).num_days();
            let late = usize::try_from(every_days + schedule.owed).unwrap() + usize::try_from(unseen).unwrap();
            for (position, read) in files.iter().filter(|_| unread == 0) {
                prop_assert!(today - read <= late, "{position:x}: {today} {read} {schedule:?}");
            }
        }
    }

    /// However the clock jumps: never two shares on one day by the clock, and once it goes on as it should, everything
    /// is read within two turns.
    #[test]
    fn a_clock_that_jumps_neither_floods_nor_stops_the_verifies(
        every_days in 1_u32..20,
        hours in prop::collection::vec(-400_i64..2_000, 0..40),
    ) {
        let mut now = at("2026-02-01T12:00:00Z");
        let mut schedule = begun(every_days, now);
        for (number, hours) in (0..).zip(hours) {
            now += TimeDelta::hours(hours);
            if let Some(share) = look(&mut schedule, now, number) {
                prop_assert!(share.count <= SHARES_AT_ONCE_MAX);
                prop_assert!(look(&mut schedule, now, number + 1_000).is_none());
                schedule.note_end(share.job_id);
            }
        }
        let mut read = 0_u128;
        for number in 0..=u128::from(2 * every_days) + 4 {
            now += TimeDelta::days(1);
            if let Some(share) = look(&mut schedule, now, 10_000 + number) {
                read += u128::from(share.share.further) + 1;
                schedule.note_end(share.job_id);
            }
        }
        prop_assert!(read >= 1 << 64);
        prop_assert!(schedule.owed <= every_days);
    }

    #[test]
    fn as_many_parts_as_there_are_leave_nothing_out(from in any::<u64>(), of in 1_u32..400, probe in any::<u64>()) {
        let mut position = from;
        let mut hits = 0;
        for _ in 0..of {
            let share = Share::parts(position, 1, of);
            hits += u32::from(share.contains_position(probe));
            position = share.end();
        }
        prop_assert!(hits >= 1);
        prop_assert!(Share::ALL.contains_position(probe));
        prop_assert!(Share::parts(from, of, of).contains_position(probe));
    }
}

#[test]
fn missed_days_are_made_up_for_at_twice_the_pace() {
    let mut now = at("2026-05-01T12:00:00Z");
    let mut schedule = begun(30, now);
    let first = look(&mut schedule, now, 1).unwrap();
    assert_eq!((first.count, schedule.owed), (1, 1));
    schedule.note_end(first.job_id);
    now += TimeDelta::days(5);
    let mut counts = Vec::new();
    for number in 2..9 {
        let share = look(&mut schedule, now, number).unwrap();
        counts.push(share.count);
        schedule.note_end(share.job_id);
        now += TimeDelta::days(1);
    }
    assert_eq!(counts, [2, 2, 2, 2, 1, 1, 1]);
    assert_eq!(schedule.owed, 0);
}

#[test]
fn a_share_that_was_not_read_is_begun_again_where_it_was() {
    let now = at("2026-05-01T12:00:00Z");
    let mut schedule = begun(10, now);
    let first = look(&mut schedule, now, 1).unwrap();
    let second = look(&mut schedule, now + TimeDelta::days(1), 2).unwrap();
    assert_eq!(first.share.from, second.share.from);
    assert_eq!((first.count, second.count), (1, 2));
    assert!(!schedule.note_end(first.job_id), "another job reads the share by now");
}

#[test]
fn a_policy_is_checked() {
    assert!(policy(30).validate().is_ok());
    for (field, wrong) in [
        ("everyDays", VerifyPolicy { every_days: 0, ..policy(1) }),
        ("everyDays", VerifyPolicy { every_days: 366, ..policy(1) }),
        ("hour", VerifyPolicy { hour: 24, ..policy(1) }),
        ("maxBytesPerSecond", VerifyPolicy { max_bytes_per_second: Some(1), ..policy(1) }),
    ] {
        assert_eq!(wrong.validate().unwrap_err().field, field);
    }
}

#[test]
fn a_change_of_the_policy_keeps_the_position() {
    let now = at("2026-05-01T12:00:00Z");
    let mut schedule = begun(10, now);
    let share = look(&mut schedule, now, 1).unwrap();
    schedule.note_end(share.job_id);
    let position = schedule.position;
    let off = VerifyPolicy { enabled: false, ..policy(10) };
    let off = VerifySchedule::changed(Some(schedule), share_repository(), off, now).unwrap();
    assert_eq!((off.next_look, off.position), (None, position));
    let on = VerifySchedule::changed(Some(off), share_repository(), policy(20), now).unwrap();
    assert_eq!((on.last_run, on.position, on.owed), (None, position, 0));
}

fn share_repository() -> RepositoryId {
    RepositoryId::from_uuid(Uuid::from_u128(5))
}

fn checked(objects: u64, damaged_count: u64) -> BackupChecked {
    let finding = VerifyFailure { file: "packs/ab/x".to_owned(), key: None, reason: "flipped".to_owned() };
    let findings = vec![finding; usize::try_from(damaged_count).unwrap()];
    BackupChecked { objects, whole: false, damaged_count, findings }
}

#[test]
fn shares_add_up_to_a_verified_backup() {
    let now = at("2026-05-01T12:00:00Z");
    let content = VerifyLevel::Content;
    let never = Verification::default();
    assert_eq!((never.state(), never.covered_percent()), (VerificationState::Never, 0));
    let nothing = never.after(checked(0, 0), 3, content, now);
    assert_eq!((nothing.state(), nothing.last_verified_at), (VerificationState::Never, None));
    let partial = nothing.after(checked(1, 0), 3, content, now);
    assert_eq!((partial.state(), partial.covered_percent()), (VerificationState::Partial, 33));
    let damaged = partial.after(checked(1, 1), 3, content, now);
    assert_eq!((damaged.state(), damaged.findings.len()), (VerificationState::Damaged, 1));
    let healed = damaged.after(checked(1, 0), 3, content, now);
    assert_eq!((healed.state(), healed.covered_percent()), (VerificationState::Verified, 100));
    let quick = BackupChecked { whole: true, ..checked(3, 0) };
    let later = now + TimeDelta::days(1);
    let looked = healed.after(quick.clone(), 3, VerifyLevel::Existence, later);
    assert_eq!((looked.level, looked.last_verified_at), (Some(content), Some(now)));
    let first = Verification::default().after(quick, 3, VerifyLevel::Existence, now);
    assert_eq!(first.state(), VerificationState::Verified);
    let better = first.after(checked(1, 0), 3, content, now);
    assert_eq!((better.state(), better.level), (VerificationState::Partial, Some(content)));
}

fn name(collection: &str) -> CollectionName {
    CollectionName { database: "default".to_owned(), collection: collection.to_owned() }
}

fn drill(sample: DrillSample, max_bytes: Option<u64>) -> DrillSchedule {
    let policy = DrillPolicy {
        enabled: true,
        timing: Timing::Cron("0 3 * * 0".to_owned()),
        time_zone: TimeZone::UTC,
        target_cluster_id: ClusterId::from_uuid(Uuid::from_u128(2)),
        sample,
        max_bytes,
        depth: CompareDepth::Rows,
    };
    let cluster_id = ClusterId::from_uuid(Uuid::from_u128(1));
    DrillSchedule::changed(None, cluster_id, policy, at("2026-05-01T12:00:00Z")).unwrap()
}

#[test]
fn each_collection_has_its_turn_whatever_comes_and_goes() {
    let mut schedule = drill(DrillSample::InTurn, None);
    let mut seen = Vec::new();
    for there in [&["a", "b", "c"][..], &["a", "b", "c"], &["a", "c", "d"], &["a", "b"], &["a", "b"]] {
        let there = there.iter().map(|collection| (name(collection), 1)).collect();
        let chosen = schedule.choose(there);
        assert_eq!(chosen.len(), 1);
        schedule.last_collection = chosen.last().cloned();
        seen.push(chosen[0].collection.clone());
    }
    assert_eq!(seen, ["a", "b", "c", "a", "b"]);
}

#[test]
fn a_drill_stays_below_its_bytes() {
    let there = vec![(name("a"), 5), (name("b"), 100), (name("c"), 6)];
    let everything = drill(DrillSample::Everything, Some(10));
    assert_eq!(everything.choose(there.clone()), [name("a")]);
    let next = DrillSchedule { last_collection: Some(name("a")), ..everything };
    assert_eq!(next.choose(there.clone()), [name("c")]);
    let named = drill(DrillSample::Collections(vec![name("b"), name("x")]), None);
    assert_eq!(named.choose(there.clone()), [name("b")]);
    assert!(drill(DrillSample::Everything, Some(4)).choose(there).is_empty());
}

#[test]
fn attempts_to_clean_up_are_bounded() {
    let now = at("2026-05-01T12:00:00Z");
    let mut leftovers =
        Leftovers::new(job(1), ClusterId::from_uuid(Uuid::from_u128(1)), "away".to_owned(), now);
    let mut count = 0;
    while let Some(next) = leftovers.next_attempt_at {
        assert!(next > now && next <= now + TimeDelta::hours(6));
        leftovers = leftovers.attempted(now);
        count += 1;
    }
    assert_eq!((count, leftovers.attempts), (CLEANUP_ATTEMPTS_MAX, CLEANUP_ATTEMPTS_MAX));
}
