//! Policies of automatic backups that outlive the catalog.

use super::*;
use crate::support::Server;
use milvault_actors::{PolicyChange, PolicyReturn, RebuiltPolicy};
use milvault_domain::ids::ClusterId;
use milvault_domain::keep::KeepRules;
use milvault_domain::schedule::{SchedulePolicy, TimeZone, Timing};

const SWITCHED_OFF: PolicyReturn = PolicyReturn::Returned { switched_off: true, copy_left_out: false };

fn change(cluster_id: ClusterId) -> PolicyChange {
    PolicyChange {
        cluster_id,
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: Some(String::from("0 3 * * *")),
        time_zone: None,
        retention_days: Some(2),
        keep: Some(KeepRules { last: 2, ..KeepRules::NONE }),
        copy: None,
    }
}

/// The policy that [`change`] makes, switched off.
fn kept_policy() -> SchedulePolicy {
    SchedulePolicy {
        enabled: false,
        retention_days: 2,
        keep: KeepRules { last: 2, ..KeepRules::NONE },
        ..SchedulePolicy::new(Timing::Cron(String::from("0 3 * * *")), TimeZone::UTC)
    }
}

/// A server that has made one automatic backup, which only a keep rule keeps, and is gone then.
async fn lost(directory: &TempDir) -> (World, ClusterId) {
    let mut world = World::new();
    world.real_catalog = Some(open_in(directory, &world).await);
    let server = world.start().await;
    let cluster = server.register().await;
    let set = server.service.set_backup_policy(change(cluster.id)).await.unwrap();
    assert_eq!(server.ended(set.job.unwrap().id).await.state, JobState::Successful);
    server.shutdown().await;
    (world, cluster.id)
}

async fn policy(catalog: &dyn Catalog, cluster_id: ClusterId) -> SchedulePolicy {
    catalog.schedule(cluster_id).await.unwrap().unwrap().policy
}

async fn register(server: &Server, like: &Arc<dyn Catalog>, cluster_id: ClusterId) {
    let known = like.cluster(cluster_id).await.unwrap().unwrap();
    let patch = ClusterPatch {
        endpoint: Some(known.endpoint),
        storage: Some(known.storage),
        ..ClusterPatch::default()
    };
    assert!(!server.service.update_cluster(cluster_id, patch).await.unwrap().needs_registration());
}

#[tokio::test]
async fn a_policy_comes_back_switched_off_and_keeps_what_it_kept() {
    bounded(async {
        let first = TempDir::new().unwrap();
        let (mut world, cluster_id) = lost(&first).await;
        let before = world.real_catalog.take().unwrap();
        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::zero(), false).await.unwrap();
        let expected = RebuiltPolicy { was_enabled: true, outcome: SWITCHED_OFF, unreadable: None };
        assert_eq!(rebuilt.policies[&cluster_id], expected);
        assert_eq!(policy(again.as_ref(), cluster_id).await, kept_policy());

        // Its days are long over, and the rule keeps it. No backup is made meanwhile.
        world.clock.advance(TimeDelta::days(30));
        world.real_catalog = Some(Arc::clone(&again));
        let server = world.start().await;
        world.gates.reached("write_policy", 1).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let backups = seen(again.as_ref()).await;
        assert_eq!(backups.len(), 1);
        assert_eq!(backups[0].0.status, BackupStatus::Available);

        // Switched on, it is as it was; and the repository knows that it is on.
        let on = PolicyChange { cron: None, retention_days: None, keep: None, ..change(cluster_id) };
        server.service.set_backup_policy(on.clone()).await.unwrap_err();
        register(&server, &before, cluster_id).await;
        let set = server.service.set_backup_policy(on).await.unwrap();
        assert_eq!(server.ended(set.job.unwrap().id).await.state, JobState::Successful);
        let switched_on = SchedulePolicy { enabled: true, ..kept_policy() };
        assert_eq!(policy(again.as_ref(), cluster_id).await, switched_on);
        let written = world.stores.repository.policies.lock().unwrap()[&cluster_id].clone();
        assert_eq!(written.policy, switched_on);
        server.shutdown().await;

        // Once more over the same catalog: nothing changes.
        let merged = rebuild(&world, &again, TimeDelta::zero(), true).await.unwrap();
        assert_eq!(merged.policies[&cluster_id].outcome, PolicyReturn::Kept);
        assert_eq!(policy(again.as_ref(), cluster_id).await, switched_on);
    })
    .await;
}

#[tokio::test]
async fn an_older_catalog_takes_the_later_policy() {
    bounded(async {
        let first = TempDir::new().unwrap();
        let (world, cluster_id) = lost(&first).await;
        let catalog = world.real_catalog.clone().unwrap();
        let later = SchedulePolicy { retention_days: 9, ..kept_policy() };
        {
            let mut policies = world.stores.repository.policies.lock().unwrap();
            let record = policies.get_mut(&cluster_id).unwrap();
            record.revision += 1;
            record.policy = SchedulePolicy { enabled: true, ..later.clone() };
        }
        let merged = rebuild(&world, &catalog, TimeDelta::zero(), true).await.unwrap();
        let outcome = PolicyReturn::Returned { switched_off: false, copy_left_out: false };
        assert_eq!(merged.policies[&cluster_id].outcome, outcome);
        assert_eq!(
            policy(catalog.as_ref(), cluster_id).await,
            SchedulePolicy { enabled: true, ..later },
            "the cluster has its address, so it goes on"
        );
    })
    .await;
}

#[tokio::test]
async fn of_a_policy_that_cannot_be_read_everything_stays() {
    bounded(async {
        let first = TempDir::new().unwrap();
        let (mut world, cluster_id) = lost(&first).await;
        world.stores.repository.unreadable_policies.lock().unwrap().insert(cluster_id);
        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::zero(), false).await.unwrap();
        let returned = &rebuilt.policies[&cluster_id];
        assert!(returned.unreadable.as_ref().unwrap().contains("damaged"), "{returned:?}");
        let cautious = policy(again.as_ref(), cluster_id).await;
        assert_eq!((cautious.enabled, cautious.keep), (false, KeepRules::MOST));

        // An older catalog knows the times, and keeps as much.
        world.stores.repository.policies.lock().unwrap().get_mut(&cluster_id).unwrap().revision += 1;
        let catalog = world.real_catalog.take().unwrap();
        rebuild(&world, &catalog, TimeDelta::zero(), true).await.unwrap();
        let expected = SchedulePolicy { enabled: true, keep: KeepRules::MOST, ..kept_policy() };
        assert_eq!(policy(catalog.as_ref(), cluster_id).await, expected);
    })
    .await;
}

#[tokio::test]
async fn a_policy_that_cannot_be_written_follows_later() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        world.gates.once("write_policy", Act::Fail(PortErrorKind::Unavailable, "away"));
        let server = world.start().await;
        let cluster = server.register().await;
        let off = PolicyChange { enabled: false, ..change(cluster.id) };
        server.service.set_backup_policy(off).await.unwrap();
        // The timer of retention looks for what is due.
        world.gates.reached("write_policy", 2).await;
        while catalog.due_policy(cluster.id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let written = world.stores.repository.policies.lock().unwrap()[&cluster.id].clone();
        assert_eq!(written.policy, kept_policy());
        server.shutdown().await;
    })
    .await;
}
