//! How changes make policies, and the timer of schedules on a clock that is advanced by hand.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::core::{Deps, Settings};
use crate::fakes::binlogs::FakeBinlogs;
use crate::fakes::catalog::MemoryCatalog;
use crate::fakes::gates::{Act, Gates};
use crate::fakes::milvus::{FakeMilvus, cut};
use crate::fakes::stores::FakeStores;
use crate::fakes::webhooks::FakeSender;
use crate::fakes::{FakeClock, FakeIds};
use actix::Arbiter;
use milvault_domain::ports::PortErrorKind;
use milvault_domain::retention::RETENTION_DAYS_AUTOMATIC_DEFAULT;
use std::time::Duration;
use tokio::task::LocalSet;
use uuid::Uuid;

fn change() -> PolicyChange {
    PolicyChange {
        cluster_id: ClusterId::from_uuid(Uuid::nil()),
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: None,
        time_zone: None,
        retention_days: None,
        keep: None,
        copy: None,
    }
}

fn cron(expression: &str) -> PolicyChange {
    PolicyChange { cron: Some(expression.to_owned()), ..change() }
}

fn time(hour: u32) -> NaiveTime {
    NaiveTime::from_hms_opt(hour, 30, 0).unwrap()
}

#[test]
fn a_first_policy_is_the_usual_one() {
    let policy = change().applied_to(None).unwrap();
    let window_start = NaiveTime::from_hms_opt(8, 0, 0).unwrap();
    assert_eq!(policy.timing, Timing::Weekdays { days: EVERY_DAY.to_vec(), window_start });
    assert_eq!((policy.time_zone, policy.retention_days), (TimeZone::UTC, RETENTION_DAYS_AUTOMATIC_DEFAULT));
    assert_eq!((policy.enabled, policy.keep, policy.copy), (true, KeepRules::NONE, None));
}

#[test]
fn what_a_change_does_not_name_stays() {
    let keep = KeepRules { monthly: 12, ..KeepRules::NONE };
    let zone: TimeZone = "Europe/Berlin".parse().unwrap();
    let full = PolicyChange {
        weekdays: Some(vec![Weekday::Sat]),
        start_time: Some(time(3)),
        time_zone: Some(zone),
        retention_days: Some(14),
        keep: Some(keep),
        ..change()
    };
    let first = full.applied_to(None).unwrap();
    let off = PolicyChange { enabled: false, ..change() }.applied_to(Some(&first)).unwrap();
    assert_eq!(off, SchedulePolicy { enabled: false, ..first.clone() });
    assert_eq!(change().applied_to(Some(&off)).unwrap(), first);

    let later = PolicyChange { start_time: Some(time(5)), ..change() }.applied_to(Some(&first)).unwrap();
    assert_eq!(later.timing, Timing::Weekdays { days: vec![Weekday::Sat], window_start: time(5) });
    let by_cron = cron("0 2 * * *").applied_to(Some(&first)).unwrap();
    assert_eq!((&by_cron.timing, by_cron.retention_days), (&Timing::Cron("0 2 * * *".to_owned()), 14));
    assert_eq!(change().applied_to(Some(&by_cron)).unwrap(), by_cron);
    let days = PolicyChange { weekdays: Some(vec![Weekday::Sun]), ..change() };
    let by_days = days.applied_to(Some(&by_cron)).unwrap();
    let window_start = NaiveTime::from_hms_opt(8, 0, 0).unwrap();
    assert_eq!(by_days.timing, Timing::Weekdays { days: vec![Weekday::Sun], window_start });
}

#[test]
fn changes_that_contradict_themselves_are_refused_with_the_field() {
    let by_cron = cron("0 2 * * *").applied_to(None).unwrap();
    let both = PolicyChange { weekdays: Some(vec![Weekday::Sun]), ..cron("0 2 * * *") };
    let time_only = PolicyChange { start_time: Some(time(3)), ..change() };
    for (field, change, former) in [
        ("cron", both, None),
        ("cron", PolicyChange { start_time: Some(time(3)), ..cron("0 2 * * *") }, None),
        ("cron", cron("0 2 * *"), None),
        ("cron", cron("* * * * *"), None),
        ("startTime", time_only, Some(&by_cron)),
        ("weekdays", PolicyChange { weekdays: Some(vec![]), ..change() }, None),
        ("retentionDays", PolicyChange { retention_days: Some(31), ..change() }, None),
        ("keep", PolicyChange { keep: Some(KeepRules { last: 1_001, ..KeepRules::NONE }), ..change() }, None),
    ] {
        assert_eq!(change.applied_to(former).unwrap_err().field, field);
    }
}

const HOUR: Duration = Duration::from_hours(1);

fn start(gates: &Arc<Gates>) -> (actix::Addr<ScheduleActor>, Arc<Host>) {
    let deps = Deps {
        catalog: Arc::new(MemoryCatalog::new(Arc::clone(gates))),
        stores: Arc::new(FakeStores::default()),
        milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::default())),
        binlogs: Arc::new(FakeBinlogs::default()),
        clock: Arc::new(FakeClock::new()),
        ids: Arc::new(FakeIds::default()),
        webhooks: Arc::new(FakeSender::default()),
    };
    let settings = Settings { schedule_interval: HOUR, ..Settings::default() };
    let core = Core::new(deps, settings, tokio::runtime::Handle::current());
    let host = Arc::new(Host::new(Arc::new(core), Arbiter::current()));
    (ScheduleActor::new(&host, Arc::clone(&host.schedule_tally)).start(), host)
}

#[test]
fn it_runs_once_per_interval_and_survives_every_failure() {
    let run_a_day = async {
        tokio::time::pause();
        let gates = Arc::new(Gates::default());
        gates.once("due_schedules", Act::Fail(PortErrorKind::Unavailable, "away"));
        gates.once("due_schedules", Act::Panic);
        let (actor, host) = start(&gates);
        tokio::time::sleep(24 * HOUR + HOUR / 2).await;
        assert_eq!(host.schedule_tally.runs.load(Ordering::Relaxed), 24);
        assert_eq!(host.schedule_tally.failures.load(Ordering::Relaxed), 2);
        assert!(actor.connected());
    };
    actix::System::new().block_on(LocalSet::new().run_until(run_a_day));
}
