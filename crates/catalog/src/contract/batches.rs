//! Reads of many records at once: they find what the single reads find.

use super::Home;
use super::restore_samples::{new_compare, new_drill, new_undo, plan, waiting};
use super::samples::{World, at, manual_backup, progress, repository, uuid};
use milvault_domain::backup::{Backup, CopyOrigin};
use milvault_domain::checks::{
    BackupChecked, DrillPolicy, DrillSample, DrillSchedule, Leftovers, VerifyPolicy, VerifySchedule,
};
use milvault_domain::ids::{BackupId, ClusterId, HoldId, JobId, ProjectId, RepositoryId, WebhookId};
use milvault_domain::job::{Job, JobType, VerifyLevel};
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::ports::{
    BATCH_MAX, InsertCopyOutcome, LARGE_BATCH_MAX, NewCopy, PortErrorKind, PortResult, RecordedCheck,
    SaveScheduleOutcome, VerifyReport,
};
use milvault_domain::restore::{CompareDepth, CompareReport, RestoreStep};
use milvault_domain::schedule::{TimeZone, Timing};
use std::fmt::Debug;
use std::sync::Arc;

super::cases![
    records_are_found_together_as_they_are_one_by_one,
    what_belongs_to_backups_is_found_together,
    what_belongs_to_jobs_is_found_together,
    schedules_are_found_together,
    batches_have_a_limit,
];

/// Checks that the records found are these, in whatever order.
fn same<T: Debug + PartialEq>(found: PortResult<Vec<T>>, expected: Vec<T>) {
    let mut missing = expected;
    for record in found.unwrap() {
        let place = missing.iter().position(|expected| *expected == record);
        missing.swap_remove(place.unwrap_or_else(|| panic!("{record:#?} should not be found")));
    }
    assert!(missing.is_empty(), "not found: {missing:#?}");
}

/// Ids of what does not exist among those of what does.
fn with_strangers<I: Copy>(ids: &[I], stranger: I) -> Vec<I> {
    [&[stranger], ids].concat()
}

impl World {
    /// A copy of a backup in another repository.
    async fn copied(&self, source: &Backup, repository_id: RepositoryId, name: &str) -> Backup {
        let mut new = manual_backup(&self.cluster);
        new.backup.repository_id = repository_id;
        name.clone_into(&mut new.backup.name);
        new.backup.copied_from =
            Some(CopyOrigin { backup_id: source.id, repository_id: source.repository_id });
        new.job.job_type = JobType::Copy;
        let copy = NewCopy { backup: new, is_due: false };
        assert_eq!(self.catalog.insert_copy(&copy).await.unwrap(), InsertCopyOutcome::Created);
        self.backup(copy.backup.backup.id).await
    }

    async fn elsewhere(&self) -> RepositoryId {
        let repository = repository(self.project_id, "elsewhere");
        self.catalog.insert_repository(&repository).await.unwrap();
        repository.id
    }

    /// An available backup with a name.
    async fn available_named(&self, name: &str) -> Backup {
        let mut new = manual_backup(&self.cluster);
        name.clone_into(&mut new.backup.name);
        self.add_available(&new).await;
        self.backup(new.backup.id).await
    }
}

async fn records_are_found_together_as_they_are_one_by_one(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let (second, removed) = (world.add_cluster("second").await, world.add_cluster("removed").await);
    catalog.remove_cluster(removed.id, at(1)).await.unwrap();
    let ids = with_strangers(&[world.cluster.id, second.id, removed.id], ClusterId::from_uuid(uuid()));
    same(catalog.clusters_among(&ids).await, vec![world.cluster.clone(), second]);
    let elsewhere = world.elsewhere().await;
    let ids = with_strangers(&[world.repository.id, elsewhere], RepositoryId::from_uuid(uuid()));
    let expected = vec![world.repository.clone(), catalog.repository(elsewhere).await.unwrap().unwrap()];
    same(catalog.repositories_among(&ids).await, expected);
    let (one, two) = (world.available_named("one").await, world.available_named("two").await);
    let ids = with_strangers(&[one.id, two.id], BackupId::from_uuid(uuid()));
    same(catalog.backups_among(&ids).await, vec![one.clone(), two.clone()]);
    let (verify, other) = (world.add_verify(one.id).await, world.add_verify(two.id).await);
    let ids = with_strangers(&[verify.id, other.id], JobId::from_uuid(uuid()));
    same(catalog.jobs_among(&ids).await, vec![verify, other]);
    same(catalog.webhooks_among(&[WebhookId::from_uuid(uuid())]).await, vec![]);
}

async fn what_belongs_to_backups_is_found_together(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let elsewhere = world.elsewhere().await;
    let (one, two) = (world.available_named("one").await, world.available_named("two").await);
    let copy = world.copied(&one, elsewhere, "copy").await;
    let ids = with_strangers(&[one.id, two.id, copy.id], BackupId::from_uuid(uuid()));
    let mut drills = Vec::new();
    for (backup, seconds) in [(&one, 5), (&one, 7), (&one, 6), (&two, 5)] {
        let mut new = new_drill(&world.cluster, backup);
        new.job.created_at = at(seconds);
        drills.push(world.request(&new).await);
    }
    let verify = world.add_verify(one.id).await;
    let mut holds = Vec::new();
    for (backup, seconds) in [(&one, 5), (&one, 7), (&two, 6)] {
        let hold = BackupHold {
            id: HoldId::from_uuid(uuid()),
            backup_id: backup.id,
            cluster_id: world.cluster.id,
            hold: Hold { reason: format!("hold of {seconds}"), until: None },
            created_by: String::from("owner"),
            created_at: at(seconds),
            released: None,
        };
        catalog.insert_hold(&hold).await.unwrap();
        holds.push(hold);
    }
    let checked = BackupChecked { objects: 700, whole: false, damaged_count: 0, findings: vec![] };
    let check = RecordedCheck {
        job_id: verify.id,
        repository_id: world.repository.id,
        level: VerifyLevel::Content,
        found: vec![],
        sound: vec![],
        backups: vec![(two.id, checked)],
        now: at(9),
    };
    catalog.record_check(&check).await.unwrap();

    let made = catalog.makers_of(&ids).await.unwrap();
    let mut makers: Vec<_> = made.iter().map(|job| (job.backup_id.unwrap(), job.job_type)).collect();
    makers.sort_unstable_by_key(|(id, _)| *id);
    let mut expected = vec![(one.id, JobType::Backup), (two.id, JobType::Backup), (copy.id, JobType::Copy)];
    expected.sort_unstable_by_key(|(id, _)| *id);
    assert_eq!(makers, expected);
    same(catalog.last_drills_of(&ids).await, vec![world.job(drills[1]).await, world.job(drills[3]).await]);
    let found = catalog.holds_of(&ids).await.unwrap();
    assert_eq!(found.len(), 3);
    for backup in [&one, &two, &copy] {
        let of_backup: Vec<_> = found.iter().filter(|hold| hold.backup_id == backup.id).cloned().collect();
        assert_eq!(of_backup, catalog.holds(backup.id).await.unwrap(), "newest first");
    }
    same(catalog.copies_of(&ids).await, vec![copy.clone()]);
    let cut = async |id| (id, catalog.backup_contents(id).await.unwrap().unwrap());
    same(catalog.contents_of(&ids).await, vec![cut(one.id).await, cut(two.id).await]);
    let verification = catalog.verification(two.id).await.unwrap().unwrap();
    same(catalog.verifications_of(&ids).await, vec![(two.id, verification)]);
}

async fn what_belongs_to_jobs_is_found_together(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let restore = world.start_restore(2).await;
    let other = world.add_ended_restore().await;
    world.set_step(restore, 0, RestoreStep::Done).await;
    world.set_step(restore, 1, RestoreStep::Failed).await;
    catalog.complete_restore(restore, &[String::from("late")], progress(7), at(8)).await.unwrap();
    let undo = world.request(&new_undo(&world.cluster, other)).await;
    let compare = world.request(&new_compare(&world.cluster, other)).await;
    let report = CompareReport::default();
    world.start(compare).await;
    catalog.save_compare_report(compare, &report).await.unwrap();
    let backup = world.available_named("drilled").await;
    let drill = world.request(&new_drill(&world.cluster, &backup)).await;
    world.start(drill).await;
    catalog.save_restore_plan(drill, &plan(1), &waiting(1)).await.unwrap();
    let leftovers = Leftovers::new(drill, world.cluster.id, String::from("away"), at(0));
    catalog.remember_leftovers(&leftovers).await.unwrap();
    let Job { id: verify, .. } = world.add_verify(backup.id).await;
    world.start(verify).await;
    let verified = VerifyReport { objects_checked: 3, ..VerifyReport::default() };
    catalog.complete_verify(verify, &verified, progress(3), at(6)).await.unwrap();
    let jobs = [restore, other, undo, compare, drill, verify];
    let ids = with_strangers(&jobs, JobId::from_uuid(uuid()));

    let events = catalog.events_of(&ids).await.unwrap();
    for job_id in jobs {
        let of_job = events.iter().filter(|(id, _)| *id == job_id).map(|(_, event)| event.clone());
        let expected = catalog.job_events(job_id).await.unwrap();
        assert_eq!(of_job.collect::<Vec<_>>(), expected, "oldest first");
        assert!(!expected.is_empty());
    }
    let (mut requests, mut restores) = (Vec::new(), Vec::new());
    for job_id in jobs {
        requests.extend(catalog.job_request(job_id).await.unwrap().map(|request| (job_id, request)));
        restores.extend(catalog.restore(job_id).await.unwrap().map(|restore| (job_id, restore)));
    }
    assert_eq!((requests.len(), restores.len()), (5, 3));
    same(catalog.requests_of(&ids).await, requests);
    same(catalog.restores_of(&ids).await, restores);
    same(catalog.verify_reports_of(&ids).await, vec![(verify, verified)]);
    same(catalog.compare_reports_of(&ids).await, vec![(compare, report)]);
    same(catalog.leftovers_of(&ids).await, vec![leftovers]);
}

async fn schedules_are_found_together(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let second = world.add_cluster("second").await;
    let policy = VerifyPolicy {
        enabled: true,
        level: VerifyLevel::Content,
        every_days: 30,
        hour: 3,
        time_zone: TimeZone::UTC,
        max_bytes_per_second: None,
    };
    let verifies = VerifySchedule::changed(None, world.repository.id, policy, at(0)).unwrap();
    let saved = catalog.save_verify_schedule(&verifies, None).await.unwrap();
    assert_eq!(saved, SaveScheduleOutcome::Saved);
    let policy = DrillPolicy {
        enabled: true,
        timing: Timing::Cron(String::from("0 3 * * 0")),
        time_zone: TimeZone::UTC,
        target_cluster_id: world.cluster.id,
        sample: DrillSample::InTurn,
        max_bytes: None,
        depth: CompareDepth::Rows,
    };
    let drills = DrillSchedule::changed(None, second.id, policy, at(0)).unwrap();
    let saved = catalog.save_drill_schedule(&drills, None, at(1)).await.unwrap();
    assert_eq!(saved, SaveScheduleOutcome::Saved);
    let schedule = super::schedules::schedule(world.cluster.id);
    assert_eq!(catalog.save_schedule(&schedule).await.unwrap(), SaveScheduleOutcome::Saved);

    let clusters = [world.cluster.id, second.id];
    let kept = catalog.schedule(world.cluster.id).await.unwrap().unwrap();
    same(catalog.schedules_of(&clusters).await, vec![kept]);
    let kept = catalog.drill_schedule(second.id).await.unwrap().unwrap();
    same(catalog.drill_schedules_of(&clusters).await, vec![kept]);
    let kept = catalog.verify_schedule(world.repository.id).await.unwrap().unwrap();
    same(catalog.verify_schedules_of(&[world.repository.id]).await, vec![kept]);
}

async fn batches_have_a_limit(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let catalog = &world.catalog;
    let ids = |count: usize| (0..count).map(|_| BackupId::from_uuid(uuid())).collect::<Vec<_>>();
    same(catalog.backups_among(&[]).await, vec![]);
    same(catalog.backups_among(&ids(BATCH_MAX)).await, vec![]);
    same(catalog.holds_of(&ids(BATCH_MAX)).await, vec![]);
    same(catalog.contents_of(&ids(LARGE_BATCH_MAX)).await, vec![]);
    let error = catalog.backups_among(&ids(BATCH_MAX + 1)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput);
    let error = catalog.contents_of(&ids(LARGE_BATCH_MAX + 1)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput);
    let projects: Vec<_> = (0..=BATCH_MAX).map(|_| ProjectId::from_uuid(uuid())).collect();
    assert_eq!(catalog.usage(&projects).await.unwrap_err().kind(), PortErrorKind::InvalidInput);
}
