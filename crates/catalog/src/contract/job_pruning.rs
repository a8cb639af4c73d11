//! Removing old jobs.

use super::Home;
use super::restore_samples::{new_restore, new_undo};
use super::samples::{World, at, automatic_backup, manual_backup, uuid, verify_job};
use milvault_domain::audit::AuditActor;
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{AuditFilter, AuditPage, Idempotency, InsertOutcome};
use std::sync::Arc;

super::cases![
    ended_verifies_go_when_their_time_is_over,
    the_making_of_a_backup_goes_after_the_backup,
    what_cleans_up_goes_by_age_and_restores_stay,
    the_making_of_a_failed_backup_goes_by_age,
    pruning_is_bounded_and_oldest_first,
];

impl World {
    async fn end_at(&self, job_id: JobId, seconds: i64) {
        self.start(job_id).await;
        let failed = JobState::Failed;
        self.catalog.transition_job(job_id, failed, Some("no"), at(seconds)).await.unwrap();
    }

    async fn prune(&self, seconds: i64, limit: u32) -> u32 {
        self.catalog.prune_jobs(at(seconds), at(1_000), limit).await.unwrap()
    }

    async fn is_there(&self, job_id: JobId) -> bool {
        self.catalog.job(job_id).await.unwrap().is_some()
    }
}

async fn ended_verifies_go_when_their_time_is_over(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let (old, recent) = (world.add_verify(new.backup.id).await, world.add_verify(new.backup.id).await);
    let open = world.add_verify(new.backup.id).await;
    world.end_at(old.id, 10).await;
    world.end_at(recent.id, 20).await;
    assert_eq!(world.prune(10, 100).await, 0);
    assert_eq!(world.prune(11, 100).await, 1);
    assert!(!world.is_there(old.id).await);
    assert!(world.catalog.job_events(old.id).await.unwrap().is_empty());
    assert_eq!(world.prune(500, 100).await, 1);
    // What has not ended stays, and so does the making of a backup that is there.
    assert!(world.is_there(open.id).await && world.is_there(new.job.id).await);

    let page = AuditPage { limit: 10, after: None, newest_first: true };
    let entries =
        world.catalog.audit_entries(&AuditFilter::of(world.organization_id), page).await.unwrap().items;
    assert_eq!(entries.len(), 2);
    for entry in entries {
        let record = entry.record;
        assert_eq!((record.action.as_str(), record.count), ("pruneJobs", 1));
        assert_eq!(record.actor, AuditActor::system());
        assert_eq!(record.target.unwrap().id, world.cluster.id.to_string());
    }
}

async fn the_making_of_a_backup_goes_after_the_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = automatic_backup(&world.cluster);
    new.backup.expires_at = Some(at(100));
    let idempotency = Idempotency { key: String::from("nightly"), request_hash: [1; 32] };
    new.idempotency = Some(idempotency.clone());
    world.add_available(&new).await;
    assert_eq!(world.prune(500, 100).await, 0);
    world.catalog.expire_backups(at(100), 10).await.unwrap();
    assert_eq!(world.prune(500, 100).await, 1);
    assert!(!world.is_there(new.job.id).await);
    // The key is forgotten with its job.
    let mut again = automatic_backup(&world.cluster);
    again.idempotency = Some(idempotency);
    assert_eq!(world.catalog.insert_backup(&again).await.unwrap(), InsertOutcome::Created);
}

async fn what_cleans_up_goes_by_age_and_restores_stay(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let restore = new_restore(&world.cluster, &new.backup);
    world.catalog.insert_requested_job(&restore).await.unwrap();
    world.end_at(restore.job.id, 10).await;
    let undo = new_undo(&world.cluster, restore.job.id);
    world.catalog.insert_requested_job(&undo).await.unwrap();
    let template = verify_job(&world.cluster, new.backup.id);
    let sweep = Job { job_type: JobType::Sweep, verify_level: None, backup_id: None, ..template.clone() };
    world.catalog.insert_sweep(&sweep).await.unwrap();
    for job_id in [undo.job.id, sweep.id] {
        world.end_at(job_id, 10).await;
        assert_eq!(world.prune(10, 100).await, 0, "before its time");
        assert_eq!(world.prune(500, 100).await, 1);
        assert!(!world.is_there(job_id).await);
    }
    // The backup is there, and so is its making; a restore may be resumed.
    assert!(world.is_there(new.job.id).await && world.is_there(restore.job.id).await);
    let deletion =
        Job { id: JobId::from_uuid(uuid()), job_type: JobType::Delete, verify_level: None, ..template };
    world.catalog.delete_backup(&deletion, at(11)).await.unwrap();
    world.end_at(deletion.id, 12).await;
    assert_eq!(world.prune(500, 100).await, 2, "the deletion and the making");
    assert!(!world.is_there(deletion.id).await && world.is_there(restore.job.id).await);
}

async fn the_making_of_a_failed_backup_goes_by_age(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.catalog.insert_backup(&new).await.unwrap();
    world.end_at(new.job.id, 10).await;
    assert_eq!(world.catalog.backup(new.backup.id).await.unwrap().unwrap().status, BackupStatus::Failed);
    assert_eq!((world.prune(10, 100).await, world.prune(500, 100).await), (0, 1));
    assert!(!world.is_there(new.job.id).await);
    assert!(world.catalog.backup(new.backup.id).await.unwrap().is_some());
}

async fn pruning_is_bounded_and_oldest_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let mut ids = Vec::new();
    for seconds in [30, 10, 20] {
        let job = world.add_verify(new.backup.id).await;
        world.end_at(job.id, seconds).await;
        ids.push(job.id);
    }
    assert_eq!(world.prune(500, 2).await, 2);
    assert!(world.is_there(ids[0]).await && !world.is_there(ids[1]).await && !world.is_there(ids[2]).await);
}
