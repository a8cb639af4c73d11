//! What happens to backups after they are made.

use super::Home;
use super::samples::{World, at, automatic_backup, manual_backup, uuid, verify_job};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, HoldId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release};
use milvault_domain::ports::{AuditFilter, AuditPage, DeleteOutcome, NewBackup, PortErrorKind};
use std::collections::BTreeSet;
use std::sync::Arc;

super::cases![
    backups_are_renamed_and_names_stay_unique,
    held_backups_neither_expire_nor_are_deleted,
    what_is_kept_longer_meanwhile_does_not_expire,
    what_expired_by_a_clock_that_was_ahead_is_judged_once,
    a_backup_that_an_open_job_needs_stays,
    deleting_twice_gives_the_same_job,
    no_job_begins_about_a_deleted_backup,
    sweeps_are_due_once_and_one_is_open_at_a_time,
];

async fn available(world: &World, name: &str, expires: Option<i64>) -> NewBackup {
    let mut new = manual_backup(&world.cluster);
    new.backup.name = name.to_owned();
    new.backup.expires_at = expires.map(at);
    world.add_available(&new).await;
    new
}

fn hold(new: &NewBackup, until: Option<i64>) -> BackupHold {
    BackupHold {
        id: HoldId::from_uuid(uuid()),
        backup_id: new.backup.id,
        cluster_id: new.backup.cluster_id,
        hold: Hold { reason: String::from("audit of 2026"), until: until.map(at) },
        created_by: String::from("owner"),
        created_at: at(6),
        released: None,
    }
}

fn deletion(world: &World, backup_id: BackupId) -> Job {
    Job { job_type: JobType::Delete, verify_level: None, ..verify_job(&world.cluster, backup_id) }
}

fn sweep(world: &World, created: i64) -> Job {
    let job = verify_job(&world.cluster, BackupId::from_uuid(uuid()));
    Job { job_type: JobType::Sweep, verify_level: None, backup_id: None, created_at: at(created), ..job }
}

async fn backups_are_renamed_and_names_stay_unique(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = available(&world, "first", None).await;
    let second = available(&world, "second", None).await;
    let change = BackupChange {
        name: Some(String::from("Kept")),
        description: Some(String::from("for the audit")),
        expires_at: Some(Some(at(900))),
    };
    let changed = world.catalog.update_backup(first.backup.id, &change).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.description.as_str()), ("Kept", "for the audit"));
    assert_eq!((changed.expires_at, changed), (Some(at(900)), world.backup(first.backup.id).await));
    let forever = BackupChange { expires_at: Some(None), ..BackupChange::default() };
    let changed = world.catalog.update_backup(first.backup.id, &forever).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.expires_at), ("Kept", None));

    let taken = BackupChange { name: Some(String::from("Kept")), ..BackupChange::default() };
    let error = world.catalog.update_backup(second.backup.id, &taken).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    let error = world.catalog.update_backup(BackupId::from_uuid(uuid()), &taken).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    // A deleted backup gives its name free, and is changed no more.
    world.catalog.delete_backup(&deletion(&world, first.backup.id), at(7)).await.unwrap();
    world.catalog.update_backup(second.backup.id, &taken).await.unwrap();
    let error = world.catalog.update_backup(first.backup.id, &forever).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
}

async fn held_backups_neither_expire_nor_are_deleted(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = available(&world, "held", Some(50)).await;
    let id = new.backup.id;
    let (forever, short) = (hold(&new, None), hold(&new, Some(100)));
    world.catalog.insert_hold(&forever).await.unwrap();
    world.catalog.insert_hold(&short).await.unwrap();
    assert_eq!(world.catalog.holds(id).await.unwrap().len(), 2);
    assert_eq!(world.catalog.hold(short.id).await.unwrap(), Some(short.clone()));
    let retained = world.catalog.retained(world.cluster.id, at(60)).await.unwrap();
    assert_eq!((retained.backups.len(), retained.holds.len()), (1, 2));

    let release = Release { by: String::from("owner"), at: at(8) };
    let released = world.catalog.release_hold(forever.id, &release).await.unwrap();
    assert_eq!(released.released, Some(release.clone()));
    let later = Release { by: String::from("another"), at: at(9) };
    assert_eq!(world.catalog.release_hold(forever.id, &later).await.unwrap(), released);
    let unknown = world.catalog.release_hold(HoldId::from_uuid(uuid()), &release).await.unwrap_err();
    assert_eq!(unknown.kind(), PortErrorKind::NotFound);

    assert!(world.catalog.expire_backups(at(99), 10).await.unwrap().is_empty());
    assert!(world.catalog.expire_chosen(&[id], at(99)).await.unwrap().is_empty());
    let outcome = world.catalog.delete_backup(&deletion(&world, id), at(99)).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Held(Box::new(short)));
    // Its hold has ended.
    assert!(world.catalog.retained(world.cluster.id, at(100)).await.unwrap().holds.is_empty());
    assert_eq!(world.catalog.expire_backups(at(100), 10).await.unwrap(), [id]);
    let error = world.catalog.insert_hold(&hold(&new, None)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    // What its repository says is deleted is deleted, whatever holds it.
    let held = available(&world, "held and gone", Some(200)).await;
    world.catalog.insert_hold(&hold(&held, None)).await.unwrap();
    world.catalog.take_deletions(&[held.backup.id, held.backup.id], at(101)).await.unwrap();
    assert_eq!(world.backup(held.backup.id).await.status, BackupStatus::Deleted);
}

async fn what_is_kept_longer_meanwhile_does_not_expire(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let id = available(&world, "chosen", Some(10)).await.backup.id;
    // It was chosen at second 10; before it is marked, people decide otherwise.
    for end in [None, Some(at(101))] {
        let change = BackupChange { expires_at: Some(end), ..BackupChange::default() };
        world.catalog.update_backup(id, &change).await.unwrap();
        assert_eq!(world.catalog.expire_chosen(&[id], at(100)).await.unwrap(), [], "{end:?}");
        assert_eq!(world.backup(id).await.status, BackupStatus::Available);
    }
    assert_eq!(world.catalog.expire_chosen(&[id], at(101)).await.unwrap(), [id]);
}

async fn what_expired_by_a_clock_that_was_ahead_is_judged_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = Vec::new();
    for (name, end) in [("early", 500), ("taken", 500), ("damaged", 500), ("swept", 500), ("over", 50)] {
        ids.push(available(&world, name, Some(end)).await.backup.id);
    }
    let [early, taken, damaged, swept, over] = *ids else { panic!("{ids:?}") };
    assert_eq!(world.catalog.expire_backups(at(1_000), 10).await.unwrap().len(), 5);
    // A person has deleted this one before it could expire.
    let by_hand = available(&world, "by hand", Some(500)).await.backup.id;
    world.catalog.delete_backup(&deletion(&world, by_hand), at(1_000)).await.unwrap();

    let candidates = async |now, after| {
        let found = world.catalog.early_expiries(at(now), at(after), 10).await.unwrap();
        found.into_iter().map(|(id, _)| id).collect::<BTreeSet<_>>()
    };
    let judge =
        async |id, is_whole| world.catalog.judge_early_expiry(id, is_whole, at(60), at(999)).await.unwrap();
    assert_eq!(candidates(60, 999).await, BTreeSet::from([early, taken, damaged, swept]));
    assert_eq!(world.catalog.early_expiries(at(60), at(999), 1).await.unwrap().len(), 1);
    // The clock is hardly behind the expiry, or the time is over by this clock, too.
    assert_eq!(candidates(60, 1_000).await, BTreeSet::new());
    assert_eq!(candidates(500, 999).await, BTreeSet::new());
    for id in [over, by_hand] {
        assert!(!judge(id, true).await);
    }

    assert!(judge(early, true).await);
    assert!(judge(early, true).await, "whoever comes second is told");
    let backup = world.backup(early).await;
    assert_eq!((backup.status, backup.expires_at), (BackupStatus::Available, Some(at(500))));
    let standings = world.catalog.standings(world.repository.id).await.unwrap();
    let standing = standings.iter().find(|standing| standing.backup_id == early).unwrap();
    assert_eq!((standing.status, standing.ended_at), (BackupStatus::Available, None));

    let namesake = available(&world, "taken", None).await.backup.id;
    assert!(!judge(taken, true).await);
    world.catalog.delete_backup(&deletion(&world, namesake), at(61)).await.unwrap();
    assert!(!judge(damaged, false).await);
    assert!(!judge(damaged, true).await);
    assert_eq!(candidates(60, 999).await, BTreeSet::from([swept]));
    // A sweep may be at work on it; then nothing is decided.
    let sweep = sweep(&world, 61);
    assert_eq!(world.catalog.insert_sweep(&sweep).await.unwrap(), None);
    assert_eq!(candidates(60, 999).await, BTreeSet::new());
    assert!(!judge(swept, true).await);
    world.catalog.transition_job(sweep.id, JobState::Canceled, None, at(62)).await.unwrap();
    assert_eq!(candidates(60, 999).await, BTreeSet::from([swept]));
    world.catalog.mark_swept(&[swept], at(62)).await.unwrap();
    assert!(!judge(swept, true).await);

    // A clock that stays ahead has the last word.
    assert_eq!(world.catalog.expire_backups(at(1_000), 10).await.unwrap(), [early]);
    assert_eq!(candidates(60, 999).await, BTreeSet::new());
    assert!(!judge(early, true).await);
    let page = AuditPage { limit: 10, after: None, newest_first: true };
    let action = Some(String::from("takeBackExpiry"));
    let filter = AuditFilter { action, ..AuditFilter::of(world.organization_id) };
    let entries = world.catalog.audit_entries(&filter, page).await.unwrap().items;
    let targets: Vec<_> = entries.iter().map(|entry| entry.record.target.clone().unwrap().id).collect();
    assert_eq!(targets, [early.to_string()]);
}

async fn a_backup_that_an_open_job_needs_stays(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let id = available(&world, "read", Some(10)).await.backup.id;
    let verify = world.add_verify(id).await;
    assert!(world.catalog.expire_backups(at(100), 10).await.unwrap().is_empty());
    assert!(world.catalog.expire_chosen(&[id], at(100)).await.unwrap().is_empty());
    let outcome = world.catalog.delete_backup(&deletion(&world, id), at(100)).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::InUse(verify.id));
    let standings = world.catalog.standings(world.repository.id).await.unwrap();
    assert!(standings[0].in_use);
    world.catalog.transition_job(verify.id, JobState::Canceled, None, at(101)).await.unwrap();
    assert_eq!(world.catalog.expire_chosen(&[id, id], at(102)).await.unwrap(), [id]);
    let standings = world.catalog.standings(world.repository.id).await.unwrap();
    assert_eq!((standings[0].status, standings[0].ended_at), (BackupStatus::Deleted, Some(at(102))));
    assert!(!standings[0].in_use);
}

async fn deleting_twice_gives_the_same_job(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let id = available(&world, "gone", None).await.backup.id;
    let job = deletion(&world, id);
    assert_eq!(world.catalog.delete_backup(&job, at(7)).await.unwrap(), DeleteOutcome::Accepted);
    assert_eq!(world.backup(id).await.status, BackupStatus::Deleted);
    let again = world.catalog.delete_backup(&deletion(&world, id), at(8)).await.unwrap();
    assert_eq!(again, DeleteOutcome::Repeated(Box::new(world.job(job.id).await)));
    world.start(job.id).await;
    world.catalog.transition_job(job.id, JobState::Successful, None, at(9)).await.unwrap();
    let again = world.catalog.delete_backup(&deletion(&world, id), at(10)).await.unwrap();
    assert_eq!(again, DeleteOutcome::Repeated(Box::new(world.job(job.id).await)));

    let expired = available(&world, "expired", Some(10)).await.backup.id;
    world.catalog.expire_backups(at(11), 10).await.unwrap();
    let outcome = world.catalog.delete_backup(&deletion(&world, expired), at(12)).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Gone);
    let unfinished = manual_backup(&world.cluster);
    world.add(&unfinished).await;
    let outcome = world.catalog.delete_backup(&deletion(&world, unfinished.backup.id), at(12)).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::InUse(unfinished.job.id));
    // A failed one has nothing to show and can go.
    world.catalog.transition_job(unfinished.job.id, JobState::Canceled, None, at(13)).await.unwrap();
    let outcome = world.catalog.delete_backup(&deletion(&world, unfinished.backup.id), at(14)).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Accepted);
    let error = world.catalog.delete_backup(&sweep(&world, 1), at(15)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput);
}

async fn no_job_begins_about_a_deleted_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let id = available(&world, "gone", Some(10)).await.backup.id;
    world.catalog.expire_backups(at(11), 10).await.unwrap();
    let error = world.catalog.insert_job(&verify_job(&world.cluster, id)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
}

async fn sweeps_are_due_once_and_one_is_open_at_a_time(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let id = available(&world, "gone", Some(10)).await.backup.id;
    let kept = available(&world, "kept", None).await.backup.id;
    let mut failed = automatic_backup(&world.cluster);
    failed.backup.name = String::from("failed");
    world.add(&failed).await;
    world.catalog.transition_job(failed.job.id, JobState::Canceled, None, at(12)).await.unwrap();
    world.catalog.expire_backups(at(11), 10).await.unwrap();
    assert_eq!(world.catalog.repositories_of(world.cluster.id).await.unwrap(), [world.repository.id]);

    assert!(world.catalog.due_sweeps(at(10), at(0), at(10)).await.unwrap().is_empty());
    let due = [(world.cluster.id, world.project_id)];
    assert_eq!(world.catalog.due_sweeps(at(11), at(0), at(11)).await.unwrap(), due);
    let job = sweep(&world, 20);
    assert_eq!(world.catalog.insert_sweep(&job).await.unwrap(), None);
    assert_eq!(world.catalog.insert_sweep(&sweep(&world, 21)).await.unwrap().unwrap().id, job.id);
    assert!(world.catalog.due_sweeps(at(30), at(29), at(30)).await.unwrap().is_empty(), "one is open");
    world.start(job.id).await;
    world.catalog.transition_job(job.id, JobState::Failed, Some("no"), at(22)).await.unwrap();
    assert!(
        world.catalog.due_sweeps(at(30), at(19), at(30)).await.unwrap().is_empty(),
        "one was there lately"
    );
    assert_eq!(world.catalog.due_sweeps(at(30), at(20), at(30)).await.unwrap(), due);
    // A clock that ran ahead made it.
    assert_eq!(world.catalog.due_sweeps(at(19), at(10), at(19)).await.unwrap(), due);

    // A backup that is not over is never marked.
    world.catalog.mark_swept(&[id, failed.backup.id, kept], at(40)).await.unwrap();
    assert!(world.catalog.due_sweeps(at(99), at(90), at(99)).await.unwrap().is_empty());
    let standings = world.catalog.standings(world.repository.id).await.unwrap();
    assert_eq!(standings.iter().map(|standing| standing.backup_id).collect::<Vec<_>>(), [kept]);
    assert_eq!(standings[0].status, BackupStatus::Available);
}
