//! The timer of retention, on a clock that is advanced by hand.
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
use milvault_domain::ports::PortErrorKind;
use std::time::Duration;
use tokio::task::LocalSet;

const HOUR: Duration = Duration::from_hours(1);

fn start(gates: &Arc<Gates>) -> (actix::Addr<RetentionActor>, Arc<RetentionTally>) {
    let deps = Deps {
        catalog: Arc::new(MemoryCatalog::new(Arc::clone(gates))),
        stores: Arc::new(FakeStores::default()),
        milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::default())),
        binlogs: Arc::new(FakeBinlogs::default()),
        clock: Arc::new(FakeClock::new()),
        ids: Arc::new(FakeIds::default()),
        webhooks: Arc::new(FakeSender::default()),
    };
    let settings = Settings { retention_interval: HOUR, ..Settings::default() };
    let core = Core::new(deps, settings, tokio::runtime::Handle::current());
    let tally = Arc::new(RetentionTally::default());
    (RetentionActor::new(Arc::new(core), Arc::clone(&tally)).start(), tally)
}

#[tokio::test(start_paused = true)]
async fn it_runs_once_per_interval_and_survives_every_failure() {
    let run_a_day = async {
        let gates = Arc::new(Gates::default());
        gates.once("expire_backups", Act::Fail(PortErrorKind::Unavailable, "away"));
        gates.once("expire_backups", Act::Panic);
        let (actor, tally) = start(&gates);
        tokio::time::sleep(24 * HOUR + HOUR / 2).await;
        assert_eq!(tally.runs.load(Ordering::Relaxed), 24);
        assert_eq!(tally.failures.load(Ordering::Relaxed), 2);
        assert!(actor.connected());
    };
    LocalSet::new().run_until(run_a_day).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_takes_long_is_followed_by_no_burst() {
    let run_a_day = async {
        let gates = Arc::new(Gates::default());
        let hold = gates.hold_once("expire_backups");
        let (_actor, tally) = start(&gates);
        tokio::time::sleep(10 * HOUR + HOUR / 2).await;
        assert_eq!((gates.calls("expire_backups"), tally.runs.load(Ordering::Relaxed)), (1, 0));
        hold.add_permits(1);
        tokio::time::sleep(HOUR / 2).await;
        assert_eq!((gates.calls("expire_backups"), tally.runs.load(Ordering::Relaxed)), (1, 1));
        tokio::time::sleep(HOUR).await;
        assert_eq!(gates.calls("expire_backups"), 2);
    };
    LocalSet::new().run_until(run_a_day).await;
}
