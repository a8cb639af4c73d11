//! Scheduled verifies and drills: begun once, and what they found stays until it is found otherwise.

use super::Home;
use super::restore_samples::new_drill;
use super::samples::{FIRST_PAGE, World, at, manual_backup, progress, uuid, verify_job};
use milvault_domain::backup::BackupStatus;
use milvault_domain::checks::{
    BackupChecked, Damage, DamageKey, DrillPolicy, DrillSample, DrillSchedule, Leftovers, SkippedDrill,
    VerificationState, VerifyPolicy, VerifySchedule,
};
use milvault_domain::ids::{BackupId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobState, VerifyLevel};
use milvault_domain::object::{ObjectId, PackId};
use milvault_domain::ports::{
    BackupFilter, ClusterRemoval, PortErrorKind, RecordedCheck, SaveScheduleOutcome, VerifyFailure,
    VerifyReport,
};
use milvault_domain::restore::CompareDepth;
use milvault_domain::schedule::{LOOK_AHEAD_MAX, TimeZone, Timing};
use milvault_domain::sweep::DataFile;
use std::sync::Arc;

super::cases![
    a_verify_policy_reads_back,
    a_share_is_begun_once_together_with_its_job,
    racing_servers_begin_one_share,
    due_policies_come_earliest_first_and_bounded,
    what_a_check_found_is_about_repository_and_backups,
    a_share_goes_on_once,
    a_deleted_backup_is_left_alone,
    backups_are_listed_by_what_was_found,
    a_drill_policy_reads_back_and_begins_one_drill,
    drills_of_a_removed_cluster_end,
    the_newest_drill_of_a_backup_is_found,
    leftovers_are_claimed_once_and_forgotten,
];

fn verifies(repository_id: RepositoryId) -> VerifySchedule {
    let policy = VerifyPolicy {
        enabled: true,
        level: VerifyLevel::Content,
        every_days: 30,
        hour: 3,
        time_zone: "Europe/Berlin".parse().unwrap(),
        max_bytes_per_second: Some(1 << 20),
    };
    VerifySchedule::changed(None, repository_id, policy, at(0)).unwrap()
}

fn drills(world: &World) -> DrillSchedule {
    let policy = DrillPolicy {
        enabled: true,
        timing: Timing::Cron(String::from("0 3 * * 0")),
        time_zone: TimeZone::UTC,
        target_cluster_id: world.cluster.id,
        sample: DrillSample::InTurn,
        max_bytes: Some(7),
        depth: CompareDepth::Rows,
    };
    DrillSchedule::changed(None, world.cluster.id, policy, at(0)).unwrap()
}

fn share_job(world: &World) -> Job {
    Job { backup_id: None, ..verify_job(&world.cluster, BackupId::from_uuid(uuid())) }
}

fn damage(number: u8, level: VerifyLevel) -> Damage {
    Damage {
        key: DamageKey {
            file: DataFile::Pack(PackId::from_bytes([number; 16])),
            object: number.is_multiple_of(2).then(|| ObjectId::from_bytes([number + 1; 16])),
        },
        source_key: Some(format!("insert_log/{number}")),
        reason: String::from("flipped \0"),
        level,
    }
}

fn finding() -> VerifyFailure {
    VerifyFailure { file: String::from("packs/ab/x"), key: None, reason: String::from("flipped") }
}

impl World {
    async fn keep_verifies(&self, schedule: &VerifySchedule, job: Option<&Job>) -> SaveScheduleOutcome {
        self.catalog.save_verify_schedule(schedule, job).await.unwrap()
    }

    async fn verifies(&self) -> VerifySchedule {
        self.catalog.verify_schedule(self.repository.id).await.unwrap().unwrap()
    }

    /// Begins a share whose job is at work.
    async fn begin_share(&self) -> JobId {
        let job = share_job(self);
        let mut schedule = verifies(self.repository.id);
        schedule.begin(job.id);
        assert_eq!(self.keep_verifies(&schedule, Some(&job)).await, SaveScheduleOutcome::Saved);
        self.start(job.id).await;
        job.id
    }

    fn check(&self, job_id: JobId, backup_id: BackupId, damaged_count: u64) -> RecordedCheck {
        let findings = (damaged_count > 0).then(finding).into_iter().collect();
        let checked = BackupChecked { objects: 700, whole: false, damaged_count, findings };
        RecordedCheck {
            job_id,
            repository_id: self.repository.id,
            level: VerifyLevel::Content,
            found: vec![],
            sound: vec![],
            backups: vec![(backup_id, checked)],
            now: at(9),
        }
    }

    async fn state(&self, backup_id: BackupId) -> VerificationState {
        self.catalog.verification(backup_id).await.unwrap().unwrap_or_default().state()
    }

    async fn listed(&self, state: VerificationState) -> Vec<BackupId> {
        let filter = BackupFilter {
            project_ids: Some(vec![self.project_id]),
            verification: Some(state),
            ..BackupFilter::default()
        };
        let page = self.catalog.backups(&filter, FIRST_PAGE).await.unwrap();
        page.items.into_iter().map(|backup| backup.id).collect()
    }
}

async fn a_verify_policy_reads_back(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    assert_eq!(world.catalog.verify_schedule(world.repository.id).await.unwrap(), None);
    let first = verifies(world.repository.id);
    assert_eq!(world.keep_verifies(&first, None).await, SaveScheduleOutcome::Saved);
    assert_eq!(world.verifies().await, VerifySchedule { revision: 1, ..first.clone() });
    assert_eq!(world.keep_verifies(&first, None).await, SaveScheduleOutcome::ScheduleChanged);
    let later = VerifySchedule { position: u64::MAX, owed: 3, next_look: None, ..world.verifies().await };
    assert_eq!(world.keep_verifies(&later, None).await, SaveScheduleOutcome::Saved);
    assert_eq!(world.verifies().await, VerifySchedule { revision: 2, ..later });
    let nowhere = verifies(RepositoryId::from_uuid(uuid()));
    let refused = world.catalog.save_verify_schedule(&nowhere, None).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::NotFound);
}

async fn a_share_is_begun_once_together_with_its_job(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let (mut first, mut second) = (verifies(world.repository.id), verifies(world.repository.id));
    let jobs = [share_job(&world), share_job(&world)];
    first.begin(jobs[0].id);
    second.begin(jobs[1].id);
    assert_eq!(world.keep_verifies(&first, Some(&jobs[0])).await, SaveScheduleOutcome::Saved);
    assert_eq!(world.keep_verifies(&second, Some(&jobs[1])).await, SaveScheduleOutcome::ScheduleChanged);
    assert_eq!(world.job(jobs[0].id).await, jobs[0]);
    assert_eq!(world.catalog.job(jobs[1].id).await.unwrap(), None);
    let of_job = world.catalog.verify_schedule_of_job(jobs[0].id).await.unwrap();
    assert_eq!(of_job, Some(world.verifies().await));
    assert_eq!(world.catalog.verify_schedule_of_job(jobs[1].id).await.unwrap(), None);
}

async fn racing_servers_begin_one_share(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    assert_eq!(world.keep_verifies(&verifies(world.repository.id), None).await, SaveScheduleOutcome::Saved);
    let schedule = world.verifies().await;
    let begins = (0..6).map(|_| {
        let job = share_job(&world);
        let mut schedule = schedule.clone();
        schedule.begin(job.id);
        let catalog = Arc::clone(&world.catalog);
        tokio::spawn(async move { catalog.save_verify_schedule(&schedule, Some(&job)).await.unwrap() })
    });
    let begins: Vec<_> = begins.collect();
    let mut saved = 0;
    for begun in begins {
        saved += u32::from(begun.await.unwrap() == SaveScheduleOutcome::Saved);
    }
    assert_eq!(saved, 1);
    assert_eq!(world.catalog.open_jobs().await.unwrap().len(), 1);
}

async fn due_policies_come_earliest_first_and_bounded(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let mut expected = Vec::new();
    for (name, look) in [("later", Some(at(20))), ("far", Some(at(30) + LOOK_AHEAD_MAX)), ("off", None)] {
        let repository = super::samples::repository(world.project_id, name);
        world.catalog.insert_repository(&repository).await.unwrap();
        let schedule = VerifySchedule { next_look: look, ..verifies(repository.id) };
        assert_eq!(world.keep_verifies(&schedule, None).await, SaveScheduleOutcome::Saved);
        expected.push(repository.id);
    }
    let now = VerifySchedule { next_look: Some(at(10)), ..verifies(world.repository.id) };
    assert_eq!(world.keep_verifies(&now, None).await, SaveScheduleOutcome::Saved);
    let due = world.catalog.due_verify_schedules(at(25), 10).await.unwrap();
    let due: Vec<_> = due.into_iter().map(|schedule| schedule.repository_id).collect();
    assert_eq!(due, [world.repository.id, expected[0], expected[1]]);
    assert_eq!(world.catalog.due_verify_schedules(at(25), 1).await.unwrap().len(), 1);
}

async fn what_a_check_found_is_about_repository_and_backups(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    let verify = world.add_verify(backup.id).await;
    let found = vec![damage(1, VerifyLevel::Content), damage(2, VerifyLevel::Structure)];
    let check = RecordedCheck { found, ..world.check(verify.id, backup.id, 2) };
    world.catalog.record_check(&check).await.unwrap();
    world.catalog.record_check(&check).await.unwrap();
    let shown = |damage: Damage| Damage { reason: String::from("flipped \u{fffd}"), ..damage };
    let expected: Vec<_> = check.found.iter().cloned().map(shown).collect();
    assert_eq!(world.catalog.damage(world.repository.id).await.unwrap(), expected);
    assert_eq!(world.catalog.damage(RepositoryId::from_uuid(uuid())).await.unwrap(), []);
    let known = world.catalog.verification(backup.id).await.unwrap().unwrap();
    assert_eq!((known.state(), known.damaged_count), (VerificationState::Damaged, 2));
    assert_eq!((known.findings, known.object_count), (vec![finding()], 70_000));
    assert_eq!(known.last_verified_at, Some(at(9)));

    let sound = vec![check.found[0].key];
    let whole = BackupChecked { objects: 70_000, whole: true, ..BackupChecked::default() };
    let backups = vec![(backup.id, whole)];
    let healed = RecordedCheck { found: vec![], sound, backups, ..check };
    world.catalog.record_check(&healed).await.unwrap();
    assert_eq!(world.catalog.damage(world.repository.id).await.unwrap(), expected[1..]);
    assert_eq!(world.state(backup.id).await, VerificationState::Verified);
}

async fn a_share_goes_on_once(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    let job_id = world.begin_share().await;
    let before = world.verifies().await;
    for _ in 0..2 {
        world.catalog.record_check(&world.check(job_id, backup.id, 0)).await.unwrap();
    }
    let after = world.verifies().await;
    assert_eq!((after.position, after.revision), (before.share.unwrap().share.end(), before.revision + 1));
    let known = world.catalog.verification(backup.id).await.unwrap().unwrap();
    assert_eq!((known.covered_objects, known.covered_percent()), (700, 1));
    assert_eq!(known.state(), VerificationState::Partial);
    let report = VerifyReport { objects_checked: 700, ..VerifyReport::default() };
    let ended = world.catalog.complete_verify(job_id, &report, progress(1), at(10)).await.unwrap();
    assert_eq!(ended.state, JobState::Successful);
}

async fn a_deleted_backup_is_left_alone(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    let job_id = world.begin_share().await;
    world.catalog.take_deletions(&[backup.id], at(3)).await.unwrap();
    assert_eq!(world.backup(backup.id).await.status, BackupStatus::Deleted);
    world.catalog.record_check(&world.check(job_id, backup.id, 3)).await.unwrap();
    assert_eq!(world.state(backup.id).await, VerificationState::Never);
    let unknown = BackupId::from_uuid(uuid());
    world.catalog.record_check(&world.check(JobId::from_uuid(uuid()), unknown, 3)).await.unwrap();
}

async fn backups_are_listed_by_what_was_found(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let (damaged, partial) = (world.add_restorable().await, world.add_restorable().await);
    let never = world.add_restorable().await;
    for (backup_id, count) in [(damaged.id, 1), (partial.id, 0)] {
        let verify = world.add_verify(backup_id).await;
        world.catalog.record_check(&world.check(verify.id, backup_id, count)).await.unwrap();
    }
    assert_eq!(world.listed(VerificationState::Damaged).await, [damaged.id]);
    assert_eq!(world.listed(VerificationState::Partial).await, [partial.id]);
    assert_eq!(world.listed(VerificationState::Never).await, [never.id]);
    assert_eq!(world.listed(VerificationState::Verified).await, []);
    let unfinished = manual_backup(&world.cluster);
    world.add(&unfinished).await;
    assert_eq!(world.listed(VerificationState::Never).await, [unfinished.backup.id, never.id]);
}

async fn a_drill_policy_reads_back_and_begins_one_drill(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    let first = drills(&world);
    let save = |schedule: DrillSchedule, job| {
        let catalog = Arc::clone(&world.catalog);
        async move { catalog.save_drill_schedule(&schedule, job, at(2)).await.unwrap() }
    };
    assert_eq!(save(first.clone(), None).await, SaveScheduleOutcome::Saved);
    let kept = world.catalog.drill_schedule(world.cluster.id).await.unwrap().unwrap();
    assert_eq!(kept, DrillSchedule { revision: 1, ..first });
    let (new, other) = (new_drill(&world.cluster, &backup), new_drill(&world.cluster, &backup));
    let skipped = SkippedDrill { scheduled_for: at(1), reason: String::from("busy \0") };
    let begun = DrillSchedule {
        last_job_id: Some(new.job.id),
        last_skipped: Some(skipped),
        next_look: Some(at(50)),
        ..kept
    };
    assert_eq!(save(begun.clone(), Some(&new)).await, SaveScheduleOutcome::Saved);
    assert_eq!(save(begun.clone(), Some(&other)).await, SaveScheduleOutcome::ScheduleChanged);
    assert_eq!(world.catalog.job(other.job.id).await.unwrap(), None);
    assert_eq!(world.catalog.job_request(new.job.id).await.unwrap(), Some(new.request.clone()));
    let kept = world.catalog.drill_schedule(world.cluster.id).await.unwrap().unwrap();
    assert_eq!(kept, DrillSchedule { revision: 2, ..begun });
    assert_eq!(world.catalog.due_drill_schedules(at(49), 5).await.unwrap(), []);
    assert_eq!(world.catalog.due_drill_schedules(at(50), 5).await.unwrap(), std::slice::from_ref(&kept));

    world.catalog.transition_job(new.job.id, JobState::Canceled, None, at(4)).await.unwrap();
    world.catalog.take_deletions(&[backup.id], at(5)).await.unwrap();
    let late = new_drill(&world.cluster, &backup);
    let refused = world.catalog.save_drill_schedule(&kept, Some(&late), at(6)).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Conflict);
    let now = world.catalog.drill_schedule(world.cluster.id).await.unwrap();
    assert_eq!(now, Some(kept));
}

async fn drills_of_a_removed_cluster_end(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let saved = world.catalog.save_drill_schedule(&drills(&world), None, at(1)).await.unwrap();
    assert_eq!(saved, SaveScheduleOutcome::Saved);
    assert_eq!(world.catalog.due_drill_schedules(at(5), 5).await.unwrap().len(), 1);
    let removed = world.catalog.remove_cluster(world.cluster.id, at(2)).await.unwrap();
    assert_eq!(removed, ClusterRemoval::Removed);
    assert_eq!(world.catalog.due_drill_schedules(at(5), 5).await.unwrap(), []);
    let refused = world.catalog.save_drill_schedule(&drills(&world), None, at(1)).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::NotFound);
}

async fn the_newest_drill_of_a_backup_is_found(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    assert_eq!(world.catalog.last_drill(backup.id).await.unwrap(), None);
    let mut newest = None;
    for seconds in [5, 6] {
        let mut new = new_drill(&world.cluster, &backup);
        new.job.created_at = at(seconds);
        newest = Some(world.request(&new).await);
    }
    world.add_verify(backup.id).await;
    let found = world.catalog.last_drill(backup.id).await.unwrap();
    assert_eq!(found.map(|job| job.id), newest);
}

async fn leftovers_are_claimed_once_and_forgotten(home: Arc<dyn Home>) {
    let world = World::open(home.as_ref()).await;
    let backup = world.add_restorable().await;
    let job_id = world.request(&new_drill(&world.cluster, &backup)).await;
    let first = Leftovers::new(job_id, world.cluster.id, String::from("away \0"), at(0));
    world.catalog.remember_leftovers(&first).await.unwrap();
    let again = Leftovers { attempts: 9, ..first.clone() };
    world.catalog.remember_leftovers(&again).await.unwrap();
    let kept = Leftovers { last_failure: String::from("away \u{fffd}"), ..first };
    assert_eq!(world.catalog.leftovers(job_id).await.unwrap(), Some(kept.clone()));
    assert_eq!(world.catalog.due_leftovers(at(59), 5).await.unwrap(), []);
    assert_eq!(world.catalog.due_leftovers(at(60), 5).await.unwrap(), std::slice::from_ref(&kept));
    let attempted = kept.attempted(at(60));
    assert!(world.catalog.claim_leftovers(&attempted).await.unwrap());
    assert!(!world.catalog.claim_leftovers(&attempted).await.unwrap());
    assert_eq!(world.catalog.due_leftovers(at(60), 5).await.unwrap(), []);
    world.catalog.note_leftovers_failure(job_id, "still away").await.unwrap();
    let noted = world.catalog.leftovers(job_id).await.unwrap().unwrap();
    assert_eq!((noted.attempts, noted.last_failure.as_str()), (1, "still away"));
    world.catalog.forget_leftovers(job_id).await.unwrap();
    assert_eq!(world.catalog.leftovers(job_id).await.unwrap(), None);
    let nobody = Leftovers { job_id: JobId::from_uuid(uuid()), ..noted };
    assert!(world.catalog.remember_leftovers(&nobody).await.is_err());
}
