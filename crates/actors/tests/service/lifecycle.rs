//! What happens to backups after they are made: holds, deletion, retention by rules, sweeps.

use crate::support::fakes::gates::Act;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::fakes::stores::OBJECT_BYTES;
use crate::support::{Server, World, bounded, directory, project, request};
use chrono::TimeDelta;
use milvault_actors::{BackupPatch, BackupRequest, CopyRequest, NewRepository, ServiceError, VerifyRequest};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod, ManifestHeader};
use milvault_domain::ids::{BackupId, ClusterId, JobId, OrganizationId};
use milvault_domain::job::{Job, JobState, JobType, VerifyLevel};
use milvault_domain::keep::{Hold, KeepReason};
use milvault_domain::ports::{Catalog, PortErrorKind};
use milvault_domain::recovery::{BackupRecord, NamedOrganization, NamedProject};
use uuid::Uuid;

const GRACE: TimeDelta = TimeDelta::hours(24);

async fn made(server: &Server, request: BackupRequest) -> Backup {
    let accepted = server.service.request_backup(request).await.unwrap();
    let job = server.ended(accepted.job.id).await;
    assert_eq!((job.state, job.failure), (JobState::Successful, None));
    accepted.backup
}

/// Two backups: the second shares the six objects of one collection with the first, and has others besides.
async fn two_backups(world: &World, server: &Server) -> (ClusterId, Backup, Backup) {
    let cluster = server.register().await;
    let first = made(server, request(cluster.id)).await;
    world.clock.advance(TimeDelta::minutes(1));
    world.show(cut(vec![collection(1, "cities", 3), collection(3, "rivers", 1)]));
    let second = made(server, request(cluster.id)).await;
    (cluster.id, first, second)
}

async fn delete(server: &Server, backup_id: BackupId) -> JobId {
    let deleted = server.service.delete_backup(backup_id, "tester".to_owned()).await.unwrap();
    assert_eq!(deleted.backup.status, BackupStatus::Deleted);
    let job = server.ended(deleted.job.unwrap().id).await;
    assert_eq!((job.state, job.progress.percent()), (JobState::Successful, 100));
    job.id
}

/// The next sweep of anybody, ended.
async fn swept(world: &World, server: &Server) -> Job {
    loop {
        let sweep = world.catalog.all_jobs().into_iter().rev().find(|job| job.job_type == JobType::Sweep);
        if let Some(sweep) = sweep {
            return server.ended(sweep.id).await;
        }
        tokio::task::yield_now().await;
    }
}

fn stored(world: &World) -> usize {
    world.stores.repository.stored.lock().unwrap().len()
}

/// Every object of every manifest is there.
fn check_whole(world: &World) {
    let stored = world.stores.repository.stored.lock().unwrap();
    for (_, objects) in world.stores.repository.sealed.lock().unwrap().values() {
        assert!(objects.iter().all(|object| stored.contains_key(&object.id)), "a manifest lost a file");
    }
}

#[tokio::test]
async fn a_deleted_backup_goes_after_its_grace_and_takes_only_its_own_files() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, second) = two_backups(&world, &server).await;
        assert_eq!(stored(&world), 12);
        let uses = async || server.service.storage_uses(cluster_id, first.repository_id).await.unwrap();
        let storage = uses().await[&first.id];
        assert_eq!((storage.stored_bytes, storage.shared_bytes), (10 * OBJECT_BYTES, 6 * OBJECT_BYTES));
        assert_eq!(storage.freed_if_deleted_bytes(), 4 * OBJECT_BYTES);

        let job_id = delete(&server, first.id).await;
        assert_eq!(delete(&server, first.id).await, job_id, "asking again gives the same job");
        assert!(world.stores.repository.tombstones.lock().unwrap().contains_key(&first.id));
        let preview = server.service.preview_sweep(cluster_id).await.unwrap();
        assert_eq!((preview.files, preview.waiting), (0, 1));
        assert_eq!(uses().await.get(&first.id), None);

        world.clock.advance(GRACE);
        let sweep = swept(&world, &server).await;
        assert_eq!(
            (sweep.state, sweep.failure, sweep.created_by.as_str()),
            (JobState::Successful, None, "retention")
        );
        assert_eq!((sweep.progress.objects_done, sweep.progress.bytes_done), (4, 4 * OBJECT_BYTES));
        assert_eq!(stored(&world), 8);
        assert_eq!(world.sealed_backups(), 1);
        assert!(world.stores.repository.tombstones.lock().unwrap().is_empty());
        check_whole(&world);
        let storage = uses().await[&second.id];
        assert_eq!((storage.stored_bytes, storage.shared_bytes), (8 * OBJECT_BYTES, 0));
    })
    .await;
}

#[tokio::test]
async fn a_preview_shows_what_the_sweep_then_does() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, _) = two_backups(&world, &server).await;
        delete(&server, first.id).await;
        // Before the timer finds out.
        world.gates.hang_next("expire_backups").await;
        world.clock.advance(GRACE);
        let preview = server.service.preview_sweep(cluster_id).await.unwrap();
        assert_eq!(
            (preview.backups.as_slice(), preview.files, preview.bytes),
            ([first.id].as_slice(), 4, 4 * OBJECT_BYTES)
        );
        assert_eq!(stored(&world), 12);
        let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
        assert_eq!(server.ended(job.id).await.progress.objects_done, 4);
        let preview = server.service.preview_sweep(cluster_id).await.unwrap();
        assert_eq!((preview.backups.len(), preview.files, preview.waiting), (0, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn holds_and_open_jobs_keep_a_backup() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (_, first, _) = two_backups(&world, &server).await;
        let hold = Hold { reason: "audit of 2026".to_owned(), until: None };
        let hold = server.service.hold_backup(first.id, hold, "auditor".to_owned()).await.unwrap();
        let error = server.service.delete_backup(first.id, "tester".to_owned()).await.unwrap_err();
        assert!(error.to_string().contains("audit of 2026"), "{error}");
        assert!(matches!(error, ServiceError::Conflict { job_id: None, .. }), "{error:?}");
        server.service.release_hold(hold.id, "auditor".to_owned()).await.unwrap();

        let gate = world.gates.hold_once("verify");
        let verify = VerifyRequest {
            backup_id: first.id,
            level: VerifyLevel::Content,
            created_by: "tester".to_owned(),
        };
        let verify = server.service.request_verify(verify).await.unwrap();
        let error = server.service.delete_backup(first.id, "tester".to_owned()).await.unwrap_err();
        assert!(
            matches!(error, ServiceError::Conflict { job_id: Some(id), .. } if id == verify.id),
            "{error:?}"
        );
        gate.add_permits(1);
        server.ended(verify.id).await;
        delete(&server, first.id).await;
    })
    .await;
}

#[tokio::test]
async fn a_deletion_is_not_taken_back() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (_, first, _) = two_backups(&world, &server).await;
        let gate = world.gates.hold_once("bury");
        let deleted = server.service.delete_backup(first.id, "tester".to_owned()).await.unwrap();
        let job_id = deleted.job.unwrap().id;
        let error = server.service.cancel_job(job_id).await.unwrap_err();
        assert!(error.to_string().contains("cannot be taken back"), "{error}");
        gate.add_permits(1);
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn what_a_failed_backup_left_goes_too() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("seal", Act::Fail(PortErrorKind::Corrupt, "no"));
        let failed = server.back_up(cluster.id).await;
        assert_eq!(server.ended(failed.job.id).await.state, JobState::Failed);
        assert_eq!(stored(&world), 10);
        world.clock.advance(GRACE - TimeDelta::seconds(1));
        assert_eq!(server.service.preview_sweep(cluster.id).await.unwrap().waiting, 1);
        world.clock.advance(TimeDelta::seconds(1));
        assert_eq!(swept(&world, &server).await.state, JobState::Successful);
        assert_eq!((stored(&world), world.stores.repository.unfinished.lock().unwrap().len()), (0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_sweep_that_is_cut_off_anywhere_is_finished_by_the_next_server() {
    for (point, call) in [
        ("backup_remains", 1),
        ("bury", 1),
        ("referenced_files", 2),
        ("backup_remains", 2),
        ("remove_file", 1),
        ("removed_file", 2),
        ("remove_file", 4),
        ("remove_backup", 1),
        ("removed_manifest", 1),
        ("mark_swept", 1),
    ] {
        bounded(async {
            let world = World::new();
            let server = world.start().await;
            let (cluster_id, first, _) = two_backups(&world, &server).await;
            delete(&server, first.id).await;
            // As if the server had died before the tombstone.
            world.stores.repository.tombstones.lock().unwrap().clear();
            for _ in 1..call {
                world.gates.once(point, Act::Pass);
            }
            for _ in 0..8 {
                world.gates.once(point, Act::Hang);
            }
            let before = world.gates.calls(point);
            world.gates.always("expire_backups", Act::Hang);
            world.clock.advance(GRACE);
            let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
            world.gates.reached(point, before + call).await;
            server.kill().await;
            world.gates.clear(point);
            check_survivor(&world);

            let server = world.start().await;
            let job = server.ended(job.id).await;
            assert_eq!((job.state, job.failure), (JobState::Successful, None), "{point} {call}");
            assert_eq!((stored(&world), world.sealed_backups()), (8, 1), "{point} {call}");
            assert!(world.stores.repository.tombstones.lock().unwrap().is_empty(), "{point} {call}");
            check_whole(&world);
            let left = server.service.preview_sweep(cluster_id).await.unwrap();
            assert_eq!((left.backups.len(), left.files), (0, 0), "{point} {call}");
        })
        .await;
    }
}

/// Whatever is listed is whole, also in the middle of a sweep.
fn check_survivor(world: &World) {
    let tombstones = world.stores.repository.tombstones.lock().unwrap().clone();
    let stored = world.stores.repository.stored.lock().unwrap();
    for (id, (_, objects)) in world.stores.repository.sealed.lock().unwrap().iter() {
        let whole = objects.iter().all(|object| stored.contains_key(&object.id));
        assert!(whole || tombstones.contains_key(id), "a backup without a tombstone lost a file");
    }
}

#[tokio::test]
async fn an_unreadable_manifest_costs_nothing_but_itself() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, second) = two_backups(&world, &server).await;
        delete(&server, first.id).await;
        world.gates.always("expire_backups", Act::Hang);
        world.clock.advance(GRACE);
        // One that is to stay: what it needs is not known, so nothing goes.
        world.stores.repository.unreadable.lock().unwrap().insert(second.id);
        let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
        let failure = server.ended(job.id).await.failure.unwrap();
        assert!(failure.contains(&second.id.to_string()), "{failure}");
        assert_eq!(stored(&world), 12);
        // One that is to go: it stays, and the sweep says so.
        *world.stores.repository.unreadable.lock().unwrap() = [first.id].into();
        let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
        let failure = server.ended(job.id).await.failure.unwrap();
        assert!(failure.contains(&first.id.to_string()), "{failure}");
        assert_eq!((stored(&world), world.sealed_backups()), (12, 2));
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_cannot_be_swept_keeps_no_other_from_it() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, second) = two_backups(&world, &server).await;
        let new = NewRepository {
            project_id: project(),
            name: "elsewhere".to_owned(),
            storage: directory("/elsewhere"),
        };
        let elsewhere = server.service.register_repository(new).await.unwrap().id;
        let there = world.stores.separate(elsewhere);
        let copy = CopyRequest {
            backup_id: first.id,
            repository_id: elsewhere,
            name: None,
            description: None,
            retention_days: None,
            idempotency_key: None,
            created_by: "tester".to_owned(),
        };
        let copy = server.service.request_copy(copy).await.unwrap();
        assert_eq!(server.ended(copy.job.id).await.state, JobState::Successful);
        delete(&server, first.id).await;
        delete(&server, copy.backup.id).await;
        world.gates.hang_next("expire_backups").await;
        world.clock.advance(GRACE);
        // Repositories are swept in the order of their ids, and the first one cannot be.
        assert!(first.repository_id < elsewhere);
        world.stores.repository.unreadable.lock().unwrap().insert(second.id);
        let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
        let failure = server.ended(job.id).await.failure.unwrap();
        assert!(failure.contains(&first.repository_id.to_string()), "{failure}");
        assert!(!failure.contains(&elsewhere.to_string()), "{failure}");
        assert_eq!((stored(&world), there.stored.lock().unwrap().len()), (12, 0));
        assert_eq!(there.sealed.lock().unwrap().len(), 0);
    })
    .await;
}

/// What lies beside a manifest and says whose it is.
fn record(backup: &Backup, id: BackupId, cluster_id: ClusterId) -> BackupRecord {
    BackupRecord {
        backup_id: id,
        cluster_id,
        revision: 1,
        organization: NamedOrganization { id: OrganizationId::from_uuid(Uuid::nil()), name: String::new() },
        project: NamedProject { id: backup.project_id, name: String::new() },
        name: backup.name.clone(),
        description: String::new(),
        created_at: backup.created_at,
        completed_at: backup.created_at,
        expires_at: None,
        newly_stored_bytes: 0,
        reused_object_count: 0,
        holds: Vec::new(),
    }
}

#[tokio::test]
async fn a_stranger_that_cannot_be_read_keeps_only_its_own_cluster_from_being_swept() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, second) = two_backups(&world, &server).await;
        delete(&server, first.id).await;
        world.gates.hang_next("expire_backups").await;
        world.clock.advance(GRACE);
        let repository = &world.stores.repository;
        // Of another catalog.
        let (stranger, other) =
            (BackupId::from_uuid(Uuid::from_u128(7)), ClusterId::from_uuid(Uuid::from_u128(8)));
        let (header, objects) = repository.sealed.lock().unwrap()[&second.id].clone();
        let header = ManifestHeader { backup_id: stranger, cluster_id: other, ..header };
        repository.sealed.lock().unwrap().insert(stranger, (header, objects));
        repository.unreadable.lock().unwrap().insert(stranger);
        let sweep = async || {
            let job = server.service.request_sweep(cluster_id, "tester".to_owned()).await.unwrap();
            server.ended(job.id).await
        };
        // Whose it is, nobody knows; then it is this cluster's.
        for owner in [None, Some(cluster_id)] {
            let record = owner.map(|owner| (stranger, record(&second, stranger, owner)));
            repository.records.lock().unwrap().extend(record);
            let failure = sweep().await.failure.unwrap();
            assert!(failure.contains(&stranger.to_string()), "{failure}");
            assert_eq!(stored(&world), 12);
        }
        repository.records.lock().unwrap().insert(stranger, record(&second, stranger, other));
        let job = sweep().await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stored(&world), 8);
    })
    .await;
}

#[tokio::test]
async fn retention_is_changed_and_shown() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let (cluster_id, first, second) = two_backups(&world, &server).await;
        let patch = BackupPatch {
            retention_days: Some(Some(3)),
            name: Some("weekly".to_owned()),
            ..BackupPatch::default()
        };
        let changed = server.service.update_backup(first.id, patch).await.unwrap();
        assert_eq!(changed.expires_at, Some(first.created_at + TimeDelta::days(3)));
        let taken = BackupPatch { name: Some("weekly".to_owned()), ..BackupPatch::default() };
        let error = server.service.update_backup(second.id, taken).await.unwrap_err();
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");

        let then = first.created_at + TimeDelta::days(3);
        let verdicts = server.service.preview_retention(cluster_id, Some(then)).await.unwrap();
        assert_eq!(
            verdicts.iter().map(|verdict| verdict.backup_id).collect::<Vec<_>>(),
            [second.id, first.id]
        );
        assert_eq!(verdicts[0].kept_by, [KeepReason::Forever]);
        assert!(verdicts[1].expires());
        let now = server.service.preview_retention(cluster_id, None).await.unwrap();
        assert!(!now[1].expires());

        world.clock.advance(TimeDelta::days(3));
        while world.catalog.backup(first.id).await.unwrap().unwrap().status == BackupStatus::Available {
            tokio::task::yield_now().await;
        }
        let late = BackupPatch { retention_days: Some(Some(1)), ..BackupPatch::default() };
        let error = server.service.update_backup(second.id, late).await.unwrap_err();
        assert!(matches!(error, ServiceError::InvalidInput(_)), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn removing_a_cluster_ends_its_automatic_backups_and_keeps_the_others() {
    bounded(async {
        let mut world = World::new();
        world.settings.sweep_grace = std::time::Duration::ZERO;
        let server = world.start().await;
        let cluster = server.register().await;
        let automatic =
            made(&server, BackupRequest { creation_method: CreationMethod::Auto, ..request(cluster.id) })
                .await;
        world.show(cut(vec![collection(5, "lakes", 1)]));
        let manual = made(&server, request(cluster.id)).await;
        world.catalog.edit_backup(automatic.id, |row| row.expires_at = Some(row.created_at));
        server.service.remove_cluster(cluster.id).await.unwrap();
        assert_eq!(swept(&world, &server).await.state, JobState::Successful);
        assert_eq!(world.sealed_backups(), 1);
        assert_eq!(world.catalog.backup(manual.id).await.unwrap().unwrap().status, BackupStatus::Available);
        check_whole(&world);
    })
    .await;
}
