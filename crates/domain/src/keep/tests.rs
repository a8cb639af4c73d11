#![allow(clippy::unwrap_used)]

use super::{Hold, KeepReason, KeepRules, RetainedBackup, RetentionPolicy, Verdict, retention_decision};
use crate::backup::CreationMethod;
use crate::ids::BackupId;
use crate::schedule::TimeZone;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use proptest::prelude::*;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

fn id(number: u128) -> BackupId {
    BackupId::from_uuid(Uuid::from_u128(number))
}

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn automatic(number: u128, created_at: DateTime<Utc>, days: i64) -> RetainedBackup {
    RetainedBackup {
        id: id(number),
        creation_method: CreationMethod::Auto,
        created_at,
        expires_at: Some(created_at + TimeDelta::days(days)),
        is_copy: false,
    }
}

fn policy(keep: KeepRules) -> RetentionPolicy {
    RetentionPolicy { keep, time_zone: TimeZone::UTC }
}

fn kept(verdicts: &[Verdict]) -> Vec<u128> {
    let mut kept: Vec<_> = verdicts
        .iter()
        .filter(|verdict| !verdict.expires())
        .map(|verdict| verdict.backup_id.as_uuid().as_u128())
        .collect();
    kept.sort_unstable();
    kept
}

/// One backup at noon of each day from 1 January 2026 on, numbered by day of the year, kept for one day.
fn daily(count: u32) -> Vec<RetainedBackup> {
    let first = at("2026-01-01T12:00:00Z");
    (0..count).map(|day| automatic(u128::from(day) + 1, first + TimeDelta::days(day.into()), 1)).collect()
}

fn day(month: u32, day: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, month, day).unwrap()
}

#[test]
fn manual_backups_stay_and_automatic_ones_expire_by_age() {
    let now = at("2026-03-10T00:00:00Z");
    let forever =
        RetainedBackup { creation_method: CreationMethod::Manual, expires_at: None, ..automatic(1, now, 1) };
    let limited = RetainedBackup { expires_at: Some(now), ..forever };
    let backups = [
        forever,
        RetainedBackup { id: id(2), ..limited },
        automatic(3, now - TimeDelta::days(7), 7),
        automatic(4, now, 7),
    ];
    let verdicts = retention_decision(&backups, &policy(KeepRules::NONE), &HashMap::new(), now);
    assert_eq!(kept(&verdicts), [1, 4]);
    let of = |number| verdicts.iter().find(|verdict| verdict.backup_id == id(number)).unwrap();
    assert_eq!(of(1).kept_by, [KeepReason::Forever]);
    assert_eq!(of(4).kept_by, [KeepReason::Age { until: now + TimeDelta::days(7) }]);
    assert_eq!((of(3).over_age_since, of(4).over_age_since), (Some(now), None));
}

#[test]
fn the_newest_of_each_period_stays() {
    let keep = KeepRules { last: 2, daily: 3, weekly: 3, monthly: 3 };
    let now = at("2026-04-15T00:00:00Z");
    let verdicts = retention_decision(&daily(90), &policy(keep), &HashMap::new(), now);
    // 31 March 2026 is a Tuesday and the 90th day; 29 and 22 March are Sundays, January has 31 days and February 28.
    assert_eq!(kept(&verdicts), [31, 59, 81, 88, 89, 90]);
    let reasons = |number| &verdicts.iter().find(|verdict| verdict.backup_id == id(number)).unwrap().kept_by;
    let newest = [
        KeepReason::Last,
        KeepReason::Daily(day(3, 31)),
        KeepReason::Weekly(day(3, 30)),
        KeepReason::Monthly(day(3, 1)),
    ];
    assert_eq!(*reasons(90), newest);
    assert_eq!(*reasons(89), [KeepReason::Last, KeepReason::Daily(day(3, 30))]);
    assert_eq!(*reasons(88), [KeepReason::Daily(day(3, 29)), KeepReason::Weekly(day(3, 23))]);
    assert_eq!(*reasons(31), [KeepReason::Monthly(day(1, 1))]);
}

#[test]
fn periods_without_backups_do_not_count() {
    let created =
        ["2025-01-31T00:00:00Z", "2025-11-02T00:00:00Z", "2025-11-01T00:00:00Z", "2026-02-01T00:00:00Z"];
    let backups: Vec<_> = (1..).zip(created).map(|(number, text)| automatic(number, at(text), 1)).collect();
    let keep = KeepRules { monthly: 3, ..KeepRules::NONE };
    let verdicts = retention_decision(&backups, &policy(keep), &HashMap::new(), at("2026-06-01T00:00:00Z"));
    assert_eq!(kept(&verdicts), [1, 2, 4]);
}

#[test]
fn days_are_those_of_the_time_zone() {
    let backups = [automatic(1, at("2026-05-01T21:00:00Z"), 1), automatic(2, at("2026-05-01T23:00:00Z"), 1)];
    let keep = KeepRules { daily: 5, ..KeepRules::NONE };
    let kept_in = |zone: &str| {
        let policy = RetentionPolicy { keep, time_zone: zone.parse().unwrap() };
        kept(&retention_decision(&backups, &policy, &HashMap::new(), at("2026-06-01T00:00:00Z")))
    };
    assert_eq!(kept_in("UTC"), [2]);
    assert_eq!(kept_in("Europe/Berlin"), [1, 2]);
}

#[test]
fn manual_backups_take_no_place_of_automatic_ones() {
    let now = at("2026-03-10T00:00:00Z");
    let manual = RetainedBackup {
        creation_method: CreationMethod::Manual,
        expires_at: None,
        ..automatic(1, now - TimeDelta::hours(1), 1)
    };
    let backups = [manual, automatic(2, now - TimeDelta::days(9), 1)];
    let keep = KeepRules { last: 1, ..KeepRules::NONE };
    assert_eq!(kept(&retention_decision(&backups, &policy(keep), &HashMap::new(), now)), [1, 2]);
}

#[test]
fn copies_take_no_place_of_backups_and_end_by_age() {
    let now = at("2026-03-10T00:00:00Z");
    let copy = RetainedBackup { is_copy: true, ..automatic(1, now - TimeDelta::hours(1), 1) };
    let over = RetainedBackup { is_copy: true, ..automatic(3, now - TimeDelta::days(2), 1) };
    let backups = [copy, automatic(2, now - TimeDelta::days(9), 1), over];
    let keep = KeepRules { last: 1, daily: 9, ..KeepRules::NONE };
    assert_eq!(kept(&retention_decision(&backups, &policy(keep), &HashMap::new(), now)), [1, 2]);
}

#[test]
fn a_hold_binds_until_it_ends() {
    let now = at("2026-03-10T00:00:00Z");
    let backups = [automatic(1, now - TimeDelta::days(9), 1), automatic(2, now - TimeDelta::days(8), 1)];
    let hold = |until| Hold { reason: String::from("audit of 2026"), until };
    let holds = HashMap::from([(id(1), hold(Some(now + TimeDelta::seconds(1)))), (id(2), hold(Some(now)))]);
    let verdicts = retention_decision(&backups, &policy(KeepRules::NONE), &holds, now);
    assert_eq!(kept(&verdicts), [1]);
    assert!(
        matches!(&verdicts[1].kept_by[..], [KeepReason::Held { reason, .. }] if reason == "audit of 2026")
    );
}

#[test]
fn counts_have_a_limit() {
    assert_eq!(KeepRules { daily: 1_000, ..KeepRules::NONE }.validate(), Ok(()));
    assert_eq!(KeepRules { monthly: 1_001, ..KeepRules::NONE }.validate(), Err(1_001));
}

/// What each rule keeps, found by grouping instead of by walking.
fn kept_by_rules(backups: &[RetainedBackup], keep: KeepRules) -> BTreeSet<u128> {
    let newest_of = |period: &dyn Fn(DateTime<Utc>) -> String, count: u32| {
        let mut newest: HashMap<String, (DateTime<Utc>, BackupId)> = HashMap::new();
        for backup in backups {
            let entry = newest.entry(period(backup.created_at)).or_insert((backup.created_at, backup.id));
            *entry = (*entry).max((backup.created_at, backup.id));
        }
        let mut newest: Vec<_> = newest.into_values().collect();
        newest.sort_unstable();
        newest
            .into_iter()
            .rev()
            .take(count as usize)
            .map(|(_, id)| id.as_uuid().as_u128())
            .collect::<Vec<_>>()
    };
    let mut ids: Vec<_> = backups.iter().map(|backup| (backup.created_at, backup.id)).collect();
    ids.sort_unstable();
    let last = ids.into_iter().rev().take(keep.last as usize).map(|(_, id)| id.as_uuid().as_u128());
    last.chain(newest_of(&|at| at.format("%Y-%m-%d").to_string(), keep.daily))
        .chain(newest_of(&|at| at.format("%G-%V").to_string(), keep.weekly))
        .chain(newest_of(&|at| at.format("%Y-%m").to_string(), keep.monthly))
        .collect()
}

proptest! {
    #[test]
    fn what_is_over_age_stays_exactly_for_a_rule_or_a_hold(
        created in prop::collection::vec(0_i64..200 * 86_400, 0..60),
        (last, day_count, weekly, monthly) in (0_u32..5, 0_u32..8, 0_u32..6, 0_u32..5),
        held in prop::collection::btree_set(1_u128..60, 0..4),
        now_days in 0_i64..260,
    ) {
        let begin = at("2025-12-20T00:00:00Z");
        let now = begin + TimeDelta::days(now_days);
        let backups: Vec<_> = (1..).zip(&created)
            .map(|(number, seconds)| automatic(number, begin + TimeDelta::seconds(*seconds), 7)).collect();
        let keep = KeepRules { last, daily: day_count, weekly, monthly };
        let hold = Hold { reason: String::new(), until: None };
        let holds: HashMap<_, _> = held.iter().map(|number| (id(*number), hold.clone())).collect();
        let verdicts = retention_decision(&backups, &policy(keep), &holds, now);
        prop_assert_eq!(verdicts.len(), backups.len());

        let by_rules = kept_by_rules(&backups, keep);
        for backup in &backups {
            let number = backup.id.as_uuid().as_u128();
            let verdict = verdicts.iter().find(|verdict| verdict.backup_id == backup.id).unwrap();
            let over_age = backup.expires_at.unwrap() <= now;
            prop_assert_eq!(verdict.expires(), over_age && !by_rules.contains(&number) && !held.contains(&number));
            prop_assert_eq!(verdict.over_age_since.is_some(), over_age);
        }
        let expired: Vec<_> = verdicts.iter().filter(|verdict| verdict.expires()).collect();
        let left: Vec<_> = backups.iter().copied()
            .filter(|backup| !expired.iter().any(|verdict| verdict.backup_id == backup.id)).collect();
        let again = retention_decision(&left, &policy(keep), &holds, now);
        prop_assert!(again.iter().all(|verdict| !verdict.expires()), "expiring again takes more away");
    }
}
