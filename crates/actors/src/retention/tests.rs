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
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, CreationMethod};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ProjectId, RepositoryId};
use milvault_domain::ports::{
    BackupFilter, Catalog, Clock, FoundBackup, PageRequest, PortErrorKind, RecoveryCatalog, ScheduleCatalog,
};
use milvault_domain::schedule::{ClusterSchedule, SchedulePolicy, Timing};
use std::time::Duration;
use tokio::task::LocalSet;
use uuid::Uuid;

const HOUR: Duration = Duration::from_hours(1);

fn core_on(catalog: Arc<MemoryCatalog>) -> Core {
    let deps = Deps {
        catalog,
        stores: Arc::new(FakeStores::default()),
        milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::default())),
        binlogs: Arc::new(FakeBinlogs::default()),
        clock: Arc::new(FakeClock::new()),
        ids: Arc::new(FakeIds::default()),
        webhooks: Arc::new(FakeSender::default()),
    };
    let settings = Settings { retention_interval: HOUR, ..Settings::default() };
    Core::new(deps, settings, tokio::runtime::Handle::current())
}

fn start(gates: &Arc<Gates>) -> (actix::Addr<RetentionActor>, Arc<RetentionTally>) {
    let core = core_on(Arc::new(MemoryCatalog::new(Arc::clone(gates))));
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

fn overdue(cluster_id: ClusterId, number: u128, expires_at: DateTime<Utc>) -> FoundBackup {
    let backup = Backup {
        id: BackupId::from_uuid(Uuid::from_u128(number)),
        project_id: ProjectId::from_uuid(Uuid::nil()),
        cluster_id,
        cluster_name: String::from("prod"),
        repository_id: RepositoryId::from_uuid(Uuid::nil()),
        name: format!("backup {number}"),
        description: String::new(),
        scope: BackupScope::Cluster,
        creation_method: CreationMethod::Auto,
        status: BackupStatus::Available,
        created_by: String::from("schedule"),
        created_at: expires_at - TimeDelta::days(7),
        completed_at: None,
        expires_at: Some(expires_at),
        facts: None,
        copied_from: None,
    };
    FoundBackup { backup, contents: cut(vec![]), holds: vec![], record_revision: 0 }
}

/// A cluster with a schedule and so many automatic backups whose time is over. Returns them, earliest first.
async fn add_overdue(catalog: &MemoryCatalog, number: u128, count: u32) -> (ClusterId, Vec<BackupId>) {
    let cluster_id = ClusterId::from_uuid(Uuid::from_u128(number));
    let now = FakeClock::new().now();
    let found: Vec<FoundBackup> = (0..count)
        .map(|later| {
            let end = now - TimeDelta::minutes(i64::from(count - later));
            overdue(cluster_id, number * 1_000 + u128::from(later), end)
        })
        .collect();
    catalog.insert_unregistered_cluster(&Cluster::unregistered(&found[0].backup)).await.unwrap();
    assert_eq!(catalog.insert_found_backups(&found).await.unwrap(), count);
    let policy = SchedulePolicy::new(Timing::Cron(String::from("0 2 * * *")), TimeZone::UTC);
    let schedule = ClusterSchedule::changed(None, cluster_id, policy, now).unwrap();
    catalog.save_schedule(&schedule).await.unwrap();
    (cluster_id, found.iter().map(|found| found.backup.id).collect())
}

async fn available(catalog: &MemoryCatalog) -> Vec<BackupId> {
    let page = PageRequest { limit: 1_000, after: None };
    let mut all = catalog.backups(&BackupFilter::default(), page).await.unwrap().items;
    all.retain(|backup| backup.status == BackupStatus::Available);
    all.sort_by_key(|backup| backup.id);
    all.iter().map(|backup| backup.id).collect()
}

#[tokio::test]
async fn a_cluster_that_fails_keeps_the_backups_of_no_other() {
    let gates = Arc::new(Gates::default());
    let catalog = Arc::new(MemoryCatalog::new(Arc::clone(&gates)));
    for number in [1, 2] {
        add_overdue(&catalog, number, 1).await;
    }
    let core = core_on(Arc::clone(&catalog));
    gates.once("retained", Act::Fail(PortErrorKind::Corrupt, "damaged"));
    assert_eq!(expire_by_rules(&core).await.unwrap_err().kind(), PortErrorKind::Corrupt);
    assert_eq!(available(&catalog).await.len(), 1);
    assert_eq!(expire_by_rules(&core).await.unwrap(), 1);
}

#[tokio::test]
async fn what_people_decide_meanwhile_counts() {
    let gates = Arc::new(Gates::default());
    let catalog = Arc::new(MemoryCatalog::new(Arc::clone(&gates)));
    let (cluster_id, ids) = add_overdue(&catalog, 1, BATCH_MAX + 1).await;
    let core = core_on(Arc::clone(&catalog));
    let hold = gates.hold_once("expire_chosen");
    let meanwhile = async {
        gates.reached("expire_chosen", 1).await;
        // One of the batch at hand is to stay for ever, and of the next batch what a new rule keeps.
        catalog.edit_backup(ids[0], |backup| backup.expires_at = None);
        let kept = catalog.schedule(cluster_id).await.unwrap().unwrap();
        let keep = KeepRules { last: 1, ..KeepRules::NONE };
        let policy = SchedulePolicy { keep, ..kept.policy.clone() };
        catalog.save_schedule(&ClusterSchedule { policy, ..kept }).await.unwrap();
        hold.add_permits(1);
    };
    let (expired, ()) = tokio::join!(expire_by_rules(&core), meanwhile);
    assert_eq!(expired.unwrap(), u64::from(BATCH_MAX) - 1);
    assert_eq!(available(&catalog).await, [ids[0], ids[ids.len() - 1]]);
}
