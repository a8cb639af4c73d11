//! Attaching repositories whose backups this catalog does not know.

use crate::support::fakes::gates::Act;
use crate::support::restored::Restored;
use crate::support::{World, bounded, directory, project, request};
use chrono::TimeDelta;
use milvault_actors::{BackupRequest, NewRepository, ServiceError};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::job::JobState;
use milvault_domain::ports::{
    BackupFilter, Catalog, Clock, IdSource, LifecycleCatalog, PageRequest, PortErrorKind,
};
use milvault_domain::storage::StorageConfig;
use std::sync::Arc;

fn found(name: &str, storage: StorageConfig) -> NewRepository {
    NewRepository { project_id: project(), name: name.to_owned(), storage }
}

/// Another Milvault that sees the same repository, with an empty catalog.
fn elsewhere(world: &World) -> World {
    World { stores: Arc::clone(&world.stores), milvus: Arc::clone(&world.milvus), ..World::new() }
}

async fn backups(world: &World) -> Vec<Backup> {
    let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
    world.catalog.backups(&BackupFilter::default(), page).await.unwrap().items
}

#[tokio::test]
async fn backups_come_back_from_a_repository_whose_catalog_is_gone() {
    bounded(async {
        let first = World::new();
        let restored = Restored::backed_up(&first).await;
        let second = restored.server.back_up(restored.source_cluster.id).await;
        assert_eq!(restored.server.ended(second.job.id).await.state, JobState::Successful);
        let known = backups(&first).await;

        let world = elsewhere(&first);
        let server = world.start().await;
        let attached =
            server.service.attach_repository(found("saved", directory("/repository"))).await.unwrap();
        assert_eq!((attached.found, attached.added, attached.unreadable), (2, 2, vec![]));
        assert_eq!(attached.repository.id, restored.source_cluster.repository_id);
        let mut again = backups(&world).await;
        again.sort_by_key(|backup| std::cmp::Reverse(backup.id));
        for (known, again) in known.iter().zip(&again) {
            assert_eq!(
                (again.id, &again.name, again.status),
                (known.id, &known.name, BackupStatus::Available)
            );
            assert_eq!((again.cluster_id, &again.cluster_name), (known.cluster_id, &known.cluster_name));
            assert_eq!((again.created_at, again.expires_at), (known.created_at, known.expires_at));
            assert_eq!((again.project_id, again.creation_method), (project(), known.creation_method));
            let (known, again) = (known.facts.clone().unwrap(), again.facts.clone().unwrap());
            assert_eq!((again.logical_bytes, again.object_count), (known.logical_bytes, known.object_count));
            assert_eq!((again.cut_at, again.row_count), (known.cut_at, known.row_count));
            assert_eq!((again.newly_stored_bytes, again.reused_object_count), (0, known.object_count));
        }
        let contents = world.catalog.backup_contents(again[0].id).await.unwrap().unwrap();
        assert!(contents.collections().all(|(_, collection)| collection.schema_proto.is_empty()));
    })
    .await;
}

#[tokio::test]
async fn what_is_over_when_it_is_found_is_held_for_some_days() {
    bounded(async {
        let first = World::new();
        let server = first.start().await;
        let cluster = server.register().await;
        let creation_method = CreationMethod::Auto;
        let asked = BackupRequest { retention_days: Some(1), creation_method, ..request(cluster.id) };
        let made = server.service.request_backup(asked).await.unwrap();
        server.ended(made.job.id).await;

        let world = elsewhere(&first);
        world.clock.advance(TimeDelta::days(2));
        let server = world.start().await;
        server.service.attach_repository(found("saved", directory("/repository"))).await.unwrap();
        // A look of the timer that began after the backup came.
        let looks = world.gates.calls("expire_backups");
        world.gates.reached("expire_backups", looks + 2).await;
        let kept = world.catalog.backup(made.backup.id).await.unwrap().unwrap();
        assert_eq!(kept.status, BackupStatus::Available);
        let now = world.clock.now();
        let holds = world.catalog.holds(made.backup.id).await.unwrap();
        assert_eq!(holds.len(), 1);
        assert_eq!(holds[0].hold.until, Some(now + TimeDelta::days(3)));
        let later = now + TimeDelta::days(3);
        assert_eq!(world.catalog.expire_backups(later, 10).await.unwrap(), [made.backup.id]);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_is_added() {
    bounded(async {
        let first = World::new();
        let restored = Restored::backed_up(&first).await;
        let second = restored.server.back_up(restored.source_cluster.id).await;
        restored.server.ended(second.job.id).await;
        first.stores.repository.unreadable.lock().unwrap().insert(restored.backup_id);

        let world = elsewhere(&first);
        let server = world.start().await;
        let attached =
            server.service.attach_repository(found("saved", directory("/repository"))).await.unwrap();
        assert_eq!((attached.found, attached.added), (2, 1));
        assert_eq!(attached.unreadable, [format!("{}: the manifest is damaged", restored.backup_id)]);
        assert_eq!(backups(&world).await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_repository_is_attached_once_and_only_where_there_is_one() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let repository = server.register_repository().await;
        let attach = |name: &str, path: &str| {
            let new = found(name, directory(path));
            let service = server.service.clone();
            async move { service.attach_repository(new).await.unwrap_err() }
        };
        let error = attach("other", "/repository").await;
        assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(&repository.id.to_string()) && message.contains("\"safe\""), "{message}");
        for (name, path, field) in [("other", "/elsewhere", "storage"), ("", "/repository", "name")] {
            match attach(name, path).await {
                ServiceError::InvalidInput(invalid) => assert_eq!(invalid.field, field),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_place_that_does_not_answer_is_not_registered() {
    bounded(async {
        let first = World::new();
        let restored = Restored::backed_up(&first).await;
        drop(restored);
        let world = elsewhere(&first);
        let server = world.start().await;
        let away = Act::Fail(PortErrorKind::Unavailable, "away");
        first.gates.once("open_repository", away);
        let new = found("saved", directory("/repository"));
        let error = server.service.attach_repository(new.clone()).await.unwrap_err();
        assert!(matches!(error, ServiceError::Unavailable { .. }), "{error:?}");
        assert_eq!(server.service.attach_repository(new).await.unwrap().added, 1);
    })
    .await;
}

#[tokio::test]
async fn an_attach_that_was_cut_off_is_finished_by_asking_again() {
    bounded(async {
        let first = World::new();
        let restored = Restored::backed_up(&first).await;
        drop(restored);
        let world = elsewhere(&first);
        let server = world.start().await;
        world.gates.once("insert_found_backups", Act::Hang);
        let new = found("saved", directory("/repository"));
        let (service, cut_off) = (server.service.clone(), new.clone());
        tokio::spawn(async move { service.attach_repository(cut_off).await });
        world.gates.reached("insert_found_backups", 1).await;
        server.kill().await;

        let server = world.start().await;
        let attached = server.service.attach_repository(new.clone()).await.unwrap();
        assert_eq!((attached.repository.name.as_str(), attached.added), ("saved", 1));
        let error = server.service.attach_repository(new).await.unwrap_err();
        assert!(error.to_string().contains("registered already as \"saved\""), "{error}");
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken_is_refused_before_a_row_is_written() {
    bounded(async {
        let first = World::new();
        let restored = Restored::backed_up(&first).await;
        drop(restored);
        let world = elsewhere(&first);
        let server = world.start().await;
        // The ids of the two worlds count from the same number.
        world.ids.new_uuid();
        let mut other = found("saved", directory("/other"));
        server.service.register_repository(other.clone()).await.unwrap();
        other.storage = directory("/repository");
        let error = server.service.attach_repository(other).await.unwrap_err();
        assert!(error.to_string().contains("already has a repository named \"saved\""), "{error}");
        assert_eq!(backups(&world).await, vec![]);
    })
    .await;
}
