//! The timer of webhooks, on a clock that is advanced by hand.
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
use tokio::task::LocalSet;

const HOUR: Duration = Duration::from_hours(1);

fn core(gates: &Arc<Gates>, clock: &Arc<FakeClock>) -> Arc<Core> {
    let deps = Deps {
        catalog: Arc::new(MemoryCatalog::new(Arc::clone(gates))),
        stores: Arc::new(FakeStores::default()),
        milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::default())),
        binlogs: Arc::new(FakeBinlogs::default()),
        clock: Arc::clone(clock) as _,
        ids: Arc::new(FakeIds::default()),
        webhooks: Arc::new(FakeSender::default()),
    };
    let settings = Settings { notify_interval: HOUR, ..Settings::default() };
    Arc::new(Core::new(deps, settings, tokio::runtime::Handle::current()))
}

#[tokio::test(start_paused = true)]
async fn it_runs_once_per_interval_and_survives_every_failure() {
    let run_a_day = async {
        let gates = Arc::new(Gates::default());
        gates.once("claim_deliveries", Act::Fail(PortErrorKind::Unavailable, "away"));
        gates.once("claim_deliveries", Act::Panic);
        let tally = Arc::new(NotifyTally::default());
        let actor = NotifyActor::new(core(&gates, &Arc::new(FakeClock::new())), Arc::clone(&tally)).start();
        tokio::time::sleep(24 * HOUR + HOUR / 2).await;
        assert_eq!(tally.runs.load(Ordering::Relaxed), 24);
        assert_eq!(tally.failures.load(Ordering::Relaxed), 2);
        assert!(actor.connected());
    };
    LocalSet::new().run_until(run_a_day).await;
}

#[tokio::test]
async fn notices_are_given_once_an_interval_whatever_the_clock_does() {
    let clock = Arc::new(FakeClock::new());
    let mut actor = NotifyActor::new(core(&Arc::default(), &clock), Arc::default());
    let mut looks = Vec::new();
    for seconds in [0, 59, 1, 30, -40, 59, 1] {
        clock.advance(TimeDelta::seconds(seconds));
        looks.push(actor.take_notice());
    }
    assert_eq!(looks, [false, false, true, false, true, false, true]);
}
