//! Backups that nothing disturbs.
use crate::support::fakes::gates::Act;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::fakes::repository::MANIFEST_BYTES;
use crate::support::fakes::stores::OBJECT_BYTES;
use crate::support::{World, bounded, request};
use milvault_actors::{BackupRequest, ClusterPatch, Lifecycle, ServiceError};
use milvault_domain::backup::{BackupScope, BackupStatus, BackupType, CreationMethod};
use milvault_domain::ids::BackupId;
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::ports::{Catalog, PortErrorKind};
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_backup_goes_through_all_phases_and_becomes_available() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        assert_eq!(server.service.lifecycle(), Lifecycle::Ready);
        let cluster = server.register().await;
        let accepted = server.back_up(cluster.id).await;
        assert_eq!((accepted.job.state, accepted.backup.status), (JobState::Pending, BackupStatus::Creating));
        assert_eq!(accepted.backup.name, "prod_backup1");

        let job = server.ended(accepted.job.id).await;
        assert_eq!((job.state, job.failure.as_deref(), job.attempt), (JobState::Successful, None, 1));
        assert_eq!(job.progress.percent(), 100);
        let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
        let facts = backup.facts.unwrap();
        assert_eq!(backup.status, BackupStatus::Available);
        assert_eq!((facts.object_count, facts.reused_object_count), (10, 0));
        assert_eq!(facts.logical_bytes, 10 * OBJECT_BYTES);
        assert_eq!(facts.newly_stored_bytes, 10 * OBJECT_BYTES + MANIFEST_BYTES);
        assert_eq!((facts.row_count, facts.collection_count), (50, 2));
        assert_eq!(facts.cut_at.timestamp_millis(), 1_790_000_000_123);

        let contents = world.catalog.backup_contents(backup.id).await.unwrap().unwrap();
        assert!(contents.collections().all(|(_, collection)| collection.schema_proto.is_empty()));
        check_manifest(&world, backup.id);

        let phases: Vec<_> = world
            .catalog
            .job_events(job.id)
            .await
            .unwrap()
            .into_iter()
            .filter(|event| event.state == JobState::InProgress)
            .filter_map(|event| event.phase)
            .collect();
        assert_eq!(phases, [JobPhase::Cut, JobPhase::Plan, JobPhase::Copy, JobPhase::Seal]);
    })
    .await;
}

fn check_manifest(world: &World, backup_id: BackupId) {
    let sealed = world.stores.repository.sealed.lock().unwrap();
    let (header, objects) = &sealed[&backup_id];
    assert!(header.cut.collections().all(|(_, collection)| collection.schema_proto == [1, 2, 3]));
    assert!(objects.is_sorted_by_key(|object| object.source.key));
}

#[tokio::test]
async fn a_second_backup_copies_only_what_is_new() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        server.ended(server.back_up(cluster.id).await.job.id).await;
        // Segment 102 was compacted away, collection 3 is new.
        world.show(cut(vec![
            collection(1, "cities", 2),
            collection(2, "people", 2),
            collection(3, "roads", 1),
        ]));
        let second = server.back_up(cluster.id).await;
        assert_eq!(server.ended(second.job.id).await.state, JobState::Successful);
        let facts = world.catalog.backup(second.backup.id).await.unwrap().unwrap().facts.unwrap();
        assert_eq!((facts.object_count, facts.reused_object_count), (10, 8));
        assert_eq!(facts.newly_stored_bytes, 2 * OBJECT_BYTES + MANIFEST_BYTES);
        assert_eq!((world.copied_objects(), world.copies_max()), (12, 1));
    })
    .await;
}

#[tokio::test]
async fn a_scope_is_normalized_and_kept() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let scope = BackupScope::Databases(vec!["default".to_owned(), "default".to_owned()]);
        let accepted =
            server.service.request_backup(BackupRequest { scope, ..request(cluster.id) }).await.unwrap();
        assert_eq!(accepted.backup.scope, BackupScope::Databases(vec!["default".to_owned()]));
        assert_eq!(accepted.backup.scope.backup_type(), BackupType::Database);
        assert_eq!(accepted.job.description, "Backup of 1 database of cluster \"prod\"");
        server.ended(accepted.job.id).await;
    })
    .await;
}

#[tokio::test]
async fn bad_requests_write_no_row() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let good = request(cluster.id);
        for (field, bad) in [
            ("name", BackupRequest { name: Some(String::new()), ..good.clone() }),
            ("description", BackupRequest { description: Some("\u{7}".to_owned()), ..good.clone() }),
            ("retentionDays", BackupRequest { retention_days: Some(31), ..good.clone() }),
            ("scope", BackupRequest { scope: BackupScope::Databases(vec![]), ..good.clone() }),
            ("idempotencyKey", BackupRequest { idempotency_key: Some("x".repeat(256)), ..good.clone() }),
        ] {
            match server.service.request_backup(bad).await {
                Err(ServiceError::InvalidInput(invalid)) => assert_eq!(invalid.field, field),
                other => panic!("{field}: {other:?}"),
            }
        }
        let unknown = milvault_domain::ids::ClusterId::from_uuid(uuid::Uuid::nil());
        let error = server.service.request_backup(request(unknown)).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "cluster", .. }), "{error:?}");
        assert_eq!(world.catalog.all_jobs().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_gets_the_first_pair_and_another_one_is_refused() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let keyed = BackupRequest { idempotency_key: Some("k".to_owned()), ..request(cluster.id) };
        let first = server.service.request_backup(keyed.clone()).await.unwrap();
        let again = server.service.request_backup(keyed.clone()).await.unwrap();
        assert_eq!(first.job.id, again.job.id);
        server.ended(first.job.id).await;
        let later = server.service.request_backup(keyed.clone()).await.unwrap();
        assert_eq!((later.job.id, later.job.state), (first.job.id, JobState::Successful));
        let other = BackupRequest { name: Some("other".to_owned()), ..keyed };
        match server.service.request_backup(other).await {
            Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(first.job.id)),
            unexpected => panic!("{unexpected:?}"),
        }
        assert_eq!(world.catalog.all_jobs().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn automatic_backups_wait_for_their_turn() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let first = server.back_up(cluster.id).await;
        world.gates.reached("cut", 1).await;
        let automatic = BackupRequest { creation_method: CreationMethod::Auto, ..request(cluster.id) };
        let second = server.service.request_backup(automatic).await.unwrap();
        assert!(second.backup.expires_at.is_some());
        assert_eq!(world.job(second.job.id).state, JobState::Pending);
        assert_eq!(world.gates.calls("cut"), 1);
        hold.add_permits(1);
        assert_eq!(server.ended(first.job.id).await.state, JobState::Successful);
        assert_eq!(server.ended(second.job.id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn an_automatic_backup_is_done_again_when_no_other_is_being_made() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let automatic = BackupRequest { creation_method: CreationMethod::Auto, ..request(cluster.id) };
        world.gates.always("seal", Act::Fail(PortErrorKind::Corrupt, "no"));
        let failed = server.service.request_backup(automatic.clone()).await.unwrap().job.id;
        assert_eq!(server.ended(failed).await.state, JobState::Failed);
        world.gates.clear("seal");

        // One that works, and one of the other kind that waits behind it.
        let cuts = world.gates.calls("cut");
        let hold = world.gates.hold_once("cut");
        let manual = server.back_up(cluster.id).await.job.id;
        world.gates.reached("cut", cuts + 1).await;
        let waiting = server.service.request_backup(automatic).await.unwrap().job.id;
        let refused = server.service.retry_job(failed, "again".to_owned()).await;
        assert!(
            matches!(&refused, Err(ServiceError::Conflict { job_id: Some(id), .. }) if *id == manual),
            "{refused:?}"
        );
        let gate = world.gates.hold_once("cut");
        hold.add_permits(1);
        assert_eq!(server.ended(manual).await.state, JobState::Successful);
        let refused = server.service.retry_job(failed, "again".to_owned()).await;
        assert!(
            matches!(&refused, Err(ServiceError::Conflict { job_id: Some(id), .. }) if *id == waiting),
            "{refused:?}"
        );
        gate.add_permits(1);
        assert_eq!(server.ended(waiting).await.state, JobState::Successful);
        let again = server.service.retry_job(failed, "again".to_owned()).await.unwrap();
        let again = server.ended(again.id).await;
        assert_eq!(again.state, JobState::Successful);
        let made = world.catalog.backup(again.backup_id.unwrap()).await.unwrap().unwrap();
        assert_eq!((made.creation_method, made.created_by.as_str()), (CreationMethod::Auto, "again"));
    })
    .await;
}

#[tokio::test]
async fn a_running_job_shows_its_progress_and_tells_subscribers() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let mut changes = server.service.changes();
        world.gates.once("copy", Act::Hang);
        world.gates.once("copy", Act::Hang);
        let accepted = server.back_up(cluster.id).await;
        world.gates.reached("copy", 2).await;
        let live = server.service.live(accepted.job.id).unwrap();
        assert_eq!(live.phase, JobPhase::Copy);
        assert_eq!((live.progress.bytes_total, live.progress.bytes_done), (10 * OBJECT_BYTES, 0));
        // The totals reach the catalog by a checkpoint, while nothing moves.
        while world.job(accepted.job.id).progress.bytes_total == 0 {
            changes.recv().await.ok();
        }
        let change = loop {
            if let Ok(change) = changes.recv().await {
                break change;
            }
        };
        assert_eq!((change.job_id, change.cluster_id), (accepted.job.id, cluster.id));
        server.service.cancel_job(accepted.job.id).await.unwrap();
        server.ended(accepted.job.id).await;
        assert_eq!(server.service.live(accepted.job.id), None);
    })
    .await;
}

#[tokio::test]
async fn copies_in_flight_follow_the_cluster() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let patch = ClusterPatch { cu_size: Some(3), ..Default::default() };
        server.service.update_cluster(cluster.id, patch).await.unwrap();
        let gate = Arc::new(Semaphore::new(0));
        world.gates.always("copy", Act::Hold(Arc::clone(&gate)));
        let accepted = server.back_up(cluster.id).await;
        world.gates.reached("copy", 4).await;
        // Each permit lets one unit through, and exactly one more is pulled.
        for units in 5..=10 {
            gate.add_permits(1);
            world.gates.reached("copied", units - 4).await;
            world.gates.reached("copy", units).await;
            assert_eq!(world.gates.calls("copy"), units);
        }
        gate.add_permits(4);
        assert_eq!(server.ended(accepted.job.id).await.state, JobState::Successful);
        assert_eq!(world.gates.calls("copy"), 10);
    })
    .await;
}

#[tokio::test]
async fn expired_backups_are_marked() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let short = BackupRequest { retention_days: Some(1), ..request(cluster.id) };
        let accepted = server.service.request_backup(short).await.unwrap();
        server.ended(accepted.job.id).await;
        world.gates.once("expire_backups", Act::Panic);
        world.clock.advance(chrono::TimeDelta::days(1));
        while world.catalog.backup(accepted.backup.id).await.unwrap().unwrap().status != BackupStatus::Deleted
        {
            let calls = world.gates.calls("expire_backups");
            world.gates.reached("expire_backups", calls + 1).await;
        }
    })
    .await;
}
