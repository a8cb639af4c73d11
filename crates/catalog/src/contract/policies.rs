//! Policies that repositories have to know, and policies that come back from there.

use super::Home;
use super::samples::{World, at, automatic_backup, cluster, repository};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, RepositoryId};
use milvault_domain::keep::KeepRules;
use milvault_domain::ports::{ClusterRemoval, DuePolicy, PolicyOutcome, ProposedPolicy, SaveScheduleOutcome};
use milvault_domain::schedule::{ClusterSchedule, CopyPolicy, SchedulePolicy, TimeZone, Timing};
use std::sync::Arc;

super::cases![
    a_policy_is_due_until_its_revision_is_noted,
    how_far_a_schedule_is_makes_nothing_due,
    a_cluster_that_moves_takes_its_policy_along,
    due_policies_come_in_pages,
    a_policy_is_taken_once_and_never_over_a_later_one,
    a_cluster_without_an_address_gets_its_policy_switched_off,
    a_removed_cluster_keeps_by_the_policy_that_is_taken,
    a_second_repository_that_is_not_there_is_left_out,
];

const TAKEN: PolicyOutcome = PolicyOutcome::Taken { switched_off: false, copy_left_out: false };

fn policy(last: u32) -> SchedulePolicy {
    SchedulePolicy {
        keep: KeepRules { last, ..KeepRules::NONE },
        ..SchedulePolicy::new(Timing::Cron(String::from("0 3 * * *")), TimeZone::UTC)
    }
}

fn proposed(cluster: &Cluster, revision: u64, policy: SchedulePolicy) -> ProposedPolicy {
    ProposedPolicy { cluster_id: cluster.id, revision, policy }
}

impl World {
    async fn set_policy(&self, cluster_id: ClusterId, policy: SchedulePolicy) {
        let former = self.catalog.schedule(cluster_id).await.unwrap();
        let schedule = ClusterSchedule::changed(former, cluster_id, policy, at(1)).unwrap();
        assert_eq!(self.catalog.save_schedule(&schedule).await.unwrap(), SaveScheduleOutcome::Saved);
    }

    async fn policy(&self, cluster_id: ClusterId) -> SchedulePolicy {
        self.catalog.schedule(cluster_id).await.unwrap().unwrap().policy
    }

    async fn due(&self) -> Option<DuePolicy> {
        self.catalog.due_policy(self.cluster.id).await.unwrap()
    }
}

async fn a_policy_is_due_until_its_revision_is_noted(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    assert_eq!(world.due().await, None);
    world.set_policy(world.cluster.id, policy(1)).await;
    let first = world.due().await.unwrap();
    assert_eq!(world.catalog.due_policies(None, 10).await.unwrap(), std::slice::from_ref(&first));
    let record = &first.record;
    assert_eq!((first.repository_id, record.cluster_id), (world.repository.id, world.cluster.id));
    assert_eq!((record.organization.id, record.project.id), (world.organization_id, world.project_id));
    assert_eq!((record.organization.name.as_str(), record.project.name.as_str()), ("Acme", "Default"));
    assert_eq!((record.cluster_name.as_str(), &record.policy), ("production", &policy(1)));
    // A catalog that is made anew counts on from the time, so above whatever a lost one has counted.
    assert!(1_577_836_800_000_000 < record.revision, "{}", record.revision);

    world.set_policy(world.cluster.id, policy(2)).await;
    let second = world.due().await.unwrap();
    assert!(first.record.revision < second.record.revision);
    // What was written late does not hide what came since.
    world.catalog.note_policy(world.cluster.id, first.record.revision).await.unwrap();
    assert_eq!(world.due().await, Some(second.clone()));
    world.catalog.note_policy(world.cluster.id, second.record.revision).await.unwrap();
    world.catalog.note_policy(world.cluster.id, first.record.revision).await.unwrap();
    assert_eq!(world.due().await, None);
}

async fn how_far_a_schedule_is_makes_nothing_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.set_policy(world.cluster.id, policy(1)).await;
    let revision = world.due().await.unwrap().record.revision;
    world.catalog.note_policy(world.cluster.id, revision).await.unwrap();
    let mut schedule = world.catalog.schedule(world.cluster.id).await.unwrap().unwrap();
    schedule.next_look = Some(at(77));
    world.catalog.save_schedule(&schedule).await.unwrap();
    world.set_policy(world.cluster.id, policy(1)).await;
    assert_eq!(world.due().await, None);
    // Nor does a change that comes too late to be made.
    schedule.policy = policy(9);
    let late = world.catalog.save_schedule(&schedule).await.unwrap();
    assert_eq!((late, world.due().await), (SaveScheduleOutcome::ScheduleChanged, None));
}

async fn a_cluster_that_moves_takes_its_policy_along(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let second = repository(world.project_id, "second");
    world.catalog.insert_repository(&second).await.unwrap();
    let moved = Cluster { repository_id: second.id, updated_at: at(50), ..world.cluster.clone() };
    let back = Cluster { updated_at: at(60), ..world.cluster.clone() };
    assert!(world.catalog.replace_cluster(&world.cluster, &moved).await.unwrap());
    assert_eq!(world.due().await, None, "it has no policy");
    assert!(world.catalog.replace_cluster(&moved, &back).await.unwrap());
    world.set_policy(world.cluster.id, policy(1)).await;
    let first = world.due().await.unwrap().record.revision;
    world.catalog.note_policy(world.cluster.id, first).await.unwrap();
    let renamed = Cluster { name: String::from("renamed"), updated_at: at(70), ..back.clone() };
    assert!(world.catalog.replace_cluster(&back, &renamed).await.unwrap());
    assert_eq!(world.due().await, None);
    let moved = Cluster { repository_id: second.id, updated_at: at(80), ..renamed.clone() };
    assert!(!world.catalog.replace_cluster(&back, &moved).await.unwrap(), "somebody was faster");
    assert_eq!(world.due().await, None);
    assert!(world.catalog.replace_cluster(&renamed, &moved).await.unwrap());
    let due = world.due().await.unwrap();
    assert_eq!((due.repository_id, due.record.revision), (second.id, first + 1));
}

async fn due_policies_come_in_pages(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = vec![world.cluster.id];
    for number in 0..4 {
        ids.push(world.add_cluster(&format!("cluster {number}")).await.id);
    }
    for cluster_id in &ids {
        world.set_policy(*cluster_id, policy(1)).await;
    }
    ids.sort_unstable();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = world.catalog.due_policies(after, 2).await.unwrap();
        seen.extend(page.iter().map(|due| due.record.cluster_id));
        after = page.last().map(|due| due.record.cluster_id);
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(seen, ids);
}

async fn a_policy_is_taken_once_and_never_over_a_later_one(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let unknown = cluster(&world.repository, "unknown");
    let outcome = world.catalog.take_policy(&proposed(&unknown, 5, policy(1)), at(9)).await.unwrap();
    assert_eq!(outcome, PolicyOutcome::NoCluster);
    for (revision, last, expected, now) in
        [(5, 1, TAKEN, 1), (5, 2, PolicyOutcome::Kept, 1), (4, 2, PolicyOutcome::Kept, 1), (6, 3, TAKEN, 3)]
    {
        let wanted = proposed(&world.cluster, revision, policy(last));
        assert_eq!(world.catalog.take_policy(&wanted, at(9)).await.unwrap(), expected, "{revision}");
        assert_eq!(world.policy(world.cluster.id).await, policy(now));
        assert_eq!(world.due().await, None, "it was just read");
    }
    let schedule = world.catalog.schedule(world.cluster.id).await.unwrap().unwrap();
    assert_eq!((schedule.next_look, schedule.last_run), (Some(at(9)), None));
    // Somebody sets it here: that is later than what any catalog before has counted.
    world.set_policy(world.cluster.id, policy(7)).await;
    let wanted = proposed(&world.cluster, 1_000_000, policy(2));
    assert_eq!(world.catalog.take_policy(&wanted, at(9)).await.unwrap(), PolicyOutcome::Kept);
    assert_eq!(world.due().await.unwrap().record.policy, policy(7));
    let broken = SchedulePolicy { retention_days: 0, ..policy(1) };
    let wanted = proposed(&world.cluster, i64::MAX as u64, broken);
    world.catalog.take_policy(&wanted, at(9)).await.unwrap_err();
    assert_eq!(world.policy(world.cluster.id).await, policy(7));
    assert!(world.due().await.is_some(), "nothing of it was done");
}

async fn a_cluster_without_an_address_gets_its_policy_switched_off(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let unregistered = Cluster::unregistered(&automatic_backup(&cluster(&world.repository, "lost")).backup);
    assert!(world.catalog.insert_unregistered_cluster(&unregistered).await.unwrap());
    let outcome = world.catalog.take_policy(&proposed(&unregistered, 5, policy(4)), at(9)).await.unwrap();
    assert_eq!(outcome, PolicyOutcome::Taken { switched_off: true, copy_left_out: false });
    let schedule = world.catalog.schedule(unregistered.id).await.unwrap().unwrap();
    assert_eq!(schedule.policy, SchedulePolicy { enabled: false, ..policy(4) });
    assert_eq!(schedule.next_look, None);
    let rules = world.catalog.keep_rules(unregistered.id).await.unwrap().unwrap();
    assert_eq!(rules.keep.last, 4);
    assert_eq!(world.catalog.due_policy(unregistered.id).await.unwrap(), None);
}

async fn a_removed_cluster_keeps_by_the_policy_that_is_taken(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let removed = world.catalog.remove_cluster(world.cluster.id, at(5)).await.unwrap();
    assert_eq!(removed, ClusterRemoval::Removed);
    let outcome = world.catalog.take_policy(&proposed(&world.cluster, 5, policy(4)), at(9)).await.unwrap();
    assert_eq!(outcome, PolicyOutcome::Taken { switched_off: true, copy_left_out: false });
    assert!(world.catalog.due_schedules(at(100_000), 5).await.unwrap().is_empty());
    assert_eq!(world.catalog.keep_rules(world.cluster.id).await.unwrap().unwrap().keep.last, 4);
}

async fn a_second_repository_that_is_not_there_is_left_out(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let second = repository(world.project_id, "second");
    world.catalog.insert_repository(&second).await.unwrap();
    let nowhere = RepositoryId::from_uuid(super::samples::uuid());
    for (revision, repository_id, left_out) in
        [(5, nowhere, true), (6, world.repository.id, true), (7, second.id, false)]
    {
        let copy = Some(CopyPolicy { repository_id, retention_days: 9 });
        let wanted = proposed(&world.cluster, revision, SchedulePolicy { copy, ..policy(1) });
        let outcome = world.catalog.take_policy(&wanted, at(9)).await.unwrap();
        assert_eq!(outcome, PolicyOutcome::Taken { switched_off: false, copy_left_out: left_out });
        let kept = world.policy(world.cluster.id).await.copy;
        assert_eq!(kept, copy.filter(|_| !left_out));
    }
}
