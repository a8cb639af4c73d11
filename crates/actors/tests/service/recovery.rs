//! A catalog that is lost is made again from the repository, on the real catalog.

use super::on_sqlite::open_in;
use crate::support::fakes::gates::Act;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::{World, bounded, directory, project, request};
use chrono::TimeDelta;
use milvault_actors::{
    BackupPatch, BackupRequest, ClusterPatch, RebuildRequest, Rebuilt, ServiceError, rebuild_catalog,
};
use milvault_catalog::{Sealer, open};
use milvault_domain::access::ApiKey;
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::ids::{ApiKeyId, OrganizationId};
use milvault_domain::job::JobState;
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupHold, Tombstone};
use milvault_domain::ports::{
    BackupFilter, Catalog, Clock, ClusterFilter, PageRequest, PortErrorKind, RepositoryFilter,
};
use milvault_domain::recovery::REBUILD;
use std::sync::Arc;
use tempfile::TempDir;
use uuid::Uuid;

mod policies;

const ALL: PageRequest = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };

/// An empty catalog.
async fn empty() -> (TempDir, Arc<dyn Catalog>) {
    let directory = TempDir::new().unwrap();
    let url = format!("sqlite://{}", directory.path().join("catalog.db").display());
    let catalog = open(&url, Sealer::from_key_bytes([9; 32])).await.unwrap();
    (directory, catalog)
}

fn owner_key(world: &World) -> ApiKey {
    ApiKey {
        id: ApiKeyId::from_uuid(Uuid::from_u128(77)),
        organization_id: OrganizationId::from_uuid(Uuid::nil()),
        name: String::from("owner"),
        secret_hash: [5; 32],
        user: None,
        grants: vec![],
        created_at: world.clock.now(),
        expires_at: None,
        revoked_at: None,
    }
}

async fn rebuild(
    world: &World,
    catalog: &Arc<dyn Catalog>,
    grace: TimeDelta,
    merge: bool,
) -> Result<Rebuilt, ServiceError> {
    let mut deps = world.deps();
    deps.catalog = Arc::clone(catalog);
    let repositories = vec![(String::from("safe"), directory("/repository"))];
    let request = RebuildRequest { repositories, grace, merge, owner_key: owner_key(world) };
    rebuild_catalog(&deps, request, false).await
}

/// Everything that a person sees of the backups: rows and holds, by id.
async fn seen(catalog: &dyn Catalog) -> Vec<(Backup, Vec<BackupHold>)> {
    let mut all = Vec::new();
    for backup in catalog.backups(&BackupFilter::default(), ALL).await.unwrap().items {
        let holds = catalog.holds(backup.id).await.unwrap();
        all.push((backup, holds));
    }
    all
}

#[tokio::test]
async fn what_is_rebuilt_is_what_was() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;
        let mut ids = Vec::new();
        for number in 0..6_u32 {
            let creation_method = if number == 5 { CreationMethod::Auto } else { CreationMethod::Manual };
            let wanted = BackupRequest {
                creation_method,
                name: Some(format!("backup {number}")),
                retention_days: (number >= 4).then_some(7),
                ..request(cluster.id)
            };
            let pair = server.service.request_backup(wanted).await.unwrap();
            let job = server.ended(pair.job.id).await;
            assert_eq!(job.state, JobState::Successful, "{:?}", job.failure);
            ids.push(pair.backup.id);
        }
        let patch = BackupPatch {
            name: Some(String::from("renamed")),
            description: Some(String::from("described")),
            retention_days: Some(Some(20)),
        };
        server.service.update_backup(ids[0], patch).await.unwrap();
        let hold = Hold { reason: String::from("audit"), until: None };
        server.service.hold_backup(ids[1], hold.clone(), String::from("ada")).await.unwrap();
        let released = server.service.hold_backup(ids[2], hold, String::from("ada")).await.unwrap();
        server.service.release_hold(released.id, String::from("bob")).await.unwrap();
        let deleted = server.service.delete_backup(ids[3], String::from("ada")).await.unwrap();
        server.ended(deleted.job.unwrap().id).await;
        let before = seen(catalog.as_ref()).await;
        assert_eq!(before.len(), 5);
        server.shutdown().await;

        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::days(3), false).await.unwrap();
        assert!(rebuilt.made_organization);
        let organization = again.organization().await.unwrap().unwrap();
        assert_eq!(Some(&organization), catalog.organization().await.unwrap().as_ref());
        let report = &rebuilt.repositories[0];
        assert_eq!((report.readable, report.added, report.held, report.deleted), (5, 5, 0, 1));
        assert_eq!((report.unfinished.len(), report.unreadable.len()), (0, 0));
        assert_eq!(seen(again.as_ref()).await, before);
        let projects = again.projects(organization.id).await.unwrap();
        assert_eq!(
            projects.iter().map(|known| (known.id, known.name.as_str())).collect::<Vec<_>>(),
            [(project(), "project")]
        );
        let repositories = again.repositories(&RepositoryFilter::default(), ALL).await.unwrap().items;
        assert_eq!((repositories.len(), repositories[0].id), (1, cluster.repository_id));
        let key = again.find_api_key(&[5; 32]).await.unwrap().unwrap();
        assert_eq!(key.organization_id, organization.id);

        // Once more: refused, and with leave nothing changes.
        let refused = rebuild(&world, &again, TimeDelta::days(3), false).await.unwrap_err();
        assert!(
            matches!(&refused, ServiceError::Conflict { message, .. } if message.contains("--merge")),
            "{refused:?}"
        );
        let merged = rebuild(&world, &again, TimeDelta::days(3), true).await.unwrap();
        assert!(!merged.made_organization);
        assert_eq!((merged.repositories[0].readable, merged.repositories[0].added), (5, 0));
        assert_eq!(seen(again.as_ref()).await, before);

        // The cluster waits for its address; then its next backup finds what is there.
        world.real_catalog = Some(Arc::clone(&again));
        let server = world.start().await;
        let clusters = again.clusters(&ClusterFilter::default(), ALL).await.unwrap().items;
        assert_eq!(
            clusters.iter().map(|known| (known.id, known.needs_registration())).collect::<Vec<_>>(),
            [(cluster.id, true)]
        );
        let refused = server.service.request_backup(request(cluster.id)).await.unwrap_err();
        assert!(
            matches!(&refused, ServiceError::Conflict { message, .. } if message.contains("updateCluster")),
            "{refused:?}"
        );
        let half = ClusterPatch { endpoint: Some(cluster.endpoint.clone()), ..ClusterPatch::default() };
        assert!(server.service.update_cluster(cluster.id, half).await.unwrap().needs_registration());
        let patch = ClusterPatch { storage: Some(cluster.storage.clone()), ..ClusterPatch::default() };
        assert!(!server.service.update_cluster(cluster.id, patch).await.unwrap().needs_registration());
        let copied = world.copied_objects();
        let next = server.back_up(cluster.id).await;
        let job = server.ended(next.job.id).await;
        assert_eq!(job.state, JobState::Successful, "{:?}", job.failure);
        assert_eq!(world.copied_objects(), copied, "nothing is copied twice");
        let facts = again.backup(next.backup.id).await.unwrap().unwrap().facts.unwrap();
        assert_eq!(facts.reused_object_count, facts.object_count);
    })
    .await;
}

#[tokio::test]
async fn nothing_ends_before_the_grace_is_over() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;
        let wanted = BackupRequest { retention_days: Some(1), ..request(cluster.id) };
        let pair = server.service.request_backup(wanted).await.unwrap();
        assert_eq!(server.ended(pair.job.id).await.state, JobState::Successful);
        let expires_at = catalog.backup(pair.backup.id).await.unwrap().unwrap().expires_at;
        server.shutdown().await;

        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::days(3), false).await.unwrap();
        assert_eq!((rebuilt.repositories[0].added, rebuilt.repositories[0].held), (1, 1));
        let seen = seen(again.as_ref()).await;
        assert_eq!(seen[0].0.expires_at, expires_at, "what was decided stays as it was");
        assert_eq!(seen[0].1.len(), 1);
        assert_eq!(seen[0].1[0].created_by, REBUILD);
        let now = world.clock.now();
        assert!(again.expire_backups(now + TimeDelta::days(2), 5).await.unwrap().is_empty());
        assert_eq!(again.expire_backups(now + TimeDelta::days(4), 5).await.unwrap(), [pair.backup.id]);

        let (_third, without) = empty().await;
        let rebuilt = rebuild(&world, &without, TimeDelta::zero(), false).await.unwrap();
        assert_eq!(rebuilt.repositories[0].held, 0);
    })
    .await;
}

#[tokio::test]
async fn what_the_repository_says_is_deleted_stays_so_whatever_held_it() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        let cluster = server.register().await;
        let pair = server.back_up(cluster.id).await;
        assert_eq!(server.ended(pair.job.id).await.state, JobState::Successful);
        let backup_id = pair.backup.id;
        let hold = Hold { reason: String::from("audit"), until: None };
        server.service.hold_backup(backup_id, hold, String::from("ada")).await.unwrap();
        server.shutdown().await;
        // The catalog is of the day before; then the hold was released and the backup deleted.
        let tombstone = Tombstone { backup_id, cluster_id: cluster.id, deleted_at: world.clock.now() };
        world.stores.repository.tombstones.lock().unwrap().insert(backup_id, tombstone);

        let rebuilt = rebuild(&world, &catalog, TimeDelta::days(3), true).await.unwrap();
        let report = &rebuilt.repositories[0];
        assert_eq!((report.deleted, report.readable, report.unreadable.len()), (1, 0, 0));
        let backup = catalog.backup(backup_id).await.unwrap().unwrap();
        assert_eq!(backup.status, BackupStatus::Deleted);
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_stops_nothing() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        world.real_catalog = Some(open_in(&first, &world).await);
        let server = world.start().await;
        let cluster = server.register().await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            let pair = server.back_up(cluster.id).await;
            assert_eq!(server.ended(pair.job.id).await.state, JobState::Successful);
            ids.push(pair.backup.id);
        }
        world.show(cut(vec![collection(9, "fresh", 2)]));
        world.gates.once("seal", Act::Hang);
        let unfinished = server.back_up(cluster.id).await;
        world.gates.reached("seal", 3).await;
        server.kill().await;
        world.stores.repository.unreadable.lock().unwrap().insert(ids[0]);
        // The record of the other is lost: its manifest alone is a backup.
        world.stores.repository.records.lock().unwrap().clear();

        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::days(3), false).await.unwrap();
        let report = &rebuilt.repositories[0];
        assert_eq!((report.readable, report.added), (1, 1));
        assert_eq!(report.unreadable, [format!("{}: the manifest is damaged", ids[0])]);
        assert_eq!(report.unfinished, [unfinished.backup.id.to_string()]);
        let seen = seen(again.as_ref()).await;
        assert_eq!(seen.iter().map(|(backup, _)| backup.id).collect::<Vec<_>>(), [ids[1]]);
        assert_eq!(rebuilt.clusters[&cluster.id].backups, 1);
    })
    .await;
}

#[tokio::test]
async fn what_may_have_been_kept_by_a_damaged_record_stays() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        world.real_catalog = Some(open_in(&first, &world).await);
        let server = world.start().await;
        let cluster = server.register().await;
        let wanted = BackupRequest { retention_days: Some(1), ..request(cluster.id) };
        let expiring = server.service.request_backup(wanted).await.unwrap();
        assert_eq!(server.ended(expiring.job.id).await.state, JobState::Successful);
        let lasting = server.back_up(cluster.id).await;
        assert_eq!(server.ended(lasting.job.id).await.state, JobState::Successful);
        server.shutdown().await;
        let damaged = [expiring.backup.id, lasting.backup.id];
        world.stores.repository.unreadable_records.lock().unwrap().extend(damaged);

        let (_second, again) = empty().await;
        let rebuilt = rebuild(&world, &again, TimeDelta::zero(), false).await.unwrap();
        let report = &rebuilt.repositories[0];
        assert_eq!((report.added, report.held, report.unreadable.len()), (2, 1, 0));
        assert_eq!(report.without_record.len(), 2, "{:?}", report.without_record);
        assert!(report.without_record.iter().all(|told| told.ends_with("the record is damaged")));
        let holds = again.holds(expiring.backup.id).await.unwrap();
        assert_eq!((holds.len(), holds[0].hold.until), (1, None));
        assert!(again.holds(lasting.backup.id).await.unwrap().is_empty());
        let later = world.clock.now() + TimeDelta::days(400);
        assert!(again.expire_backups(later, 5).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_record_that_cannot_be_written_follows_later() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        world.gates.once("write_record", Act::Fail(PortErrorKind::Unavailable, "away"));
        let server = world.start().await;
        let cluster = server.register().await;
        let pair = server.back_up(cluster.id).await;
        assert_eq!(server.ended(pair.job.id).await.state, JobState::Successful);
        // The timer of retention looks for what is due.
        world.gates.reached("write_record", 2).await;
        while catalog.due_record(pair.backup.id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        let written = world.stores.repository.records.lock().unwrap()[&pair.backup.id].clone();
        assert_eq!((written.revision, &written.name), (1, &pair.backup.name));
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_place_that_does_not_answer_leaves_the_catalog_empty() {
    bounded(async {
        let world = World::new();
        let (_directory, catalog) = empty().await;
        let refused = rebuild(&world, &catalog, TimeDelta::days(3), false).await.unwrap_err();
        assert!(refused.to_string().contains("safe"), "{refused}");
        assert_eq!(catalog.organization().await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn the_catalog_is_backed_up_once_a_day_and_old_backups_go() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        world.settings.catalog_backup.keep = 2;
        let server = world.start().await;
        let other = world.start().await;
        let cluster = server.register().await;
        let made = |number: usize| {
            let catalog = Arc::clone(&catalog);
            async move {
                loop {
                    let all = catalog.catalog_backups(10).await.unwrap();
                    let done = all.iter().filter(|made| made.size_bytes.is_some()).count();
                    if done == number {
                        return all;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                }
            }
        };
        assert_eq!(made(1).await.len(), 1, "two servers make one");
        for number in 2..=4 {
            world.clock.advance(TimeDelta::days(1));
            assert_eq!(made(number).await.len(), number);
        }
        // The oldest go after the newest is there.
        let files = || world.stores.repository.catalog_backups.lock().unwrap().len();
        while files() != 2 {
            tokio::task::yield_now().await;
        }
        world.gates.once("create_catalog_backup", Act::Fail(PortErrorKind::Unavailable, "away"));
        world.clock.advance(TimeDelta::days(1));
        world.gates.reached("create_catalog_backup", 5).await;
        let failed = loop {
            let latest = catalog.catalog_backups(1).await.unwrap().remove(0);
            if latest.ended_at.is_some() && latest.size_bytes.is_none() {
                break latest;
            }
            tokio::task::yield_now().await;
        };
        assert!(failed.failure.unwrap().contains("away"));
        world.clock.advance(TimeDelta::hours(2));
        let all = made(5).await;
        assert!(all.iter().all(|made| made.repository_id == cluster.repository_id));
        server.shutdown().await;
        other.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_backup_of_the_catalog_is_made_when_somebody_asks() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        world.settings.catalog_backup.enabled = false;
        let server = world.start().await;
        let refused = server.service.create_catalog_backup(None).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Conflict { .. }), "there is no repository: {refused:?}");
        let cluster = server.register().await;
        let unknown = milvault_domain::ids::RepositoryId::from_uuid(Uuid::nil());
        let refused = server.service.create_catalog_backup(Some(unknown)).await.unwrap_err();
        assert!(matches!(refused, ServiceError::NotFound { .. }), "{refused:?}");

        let hold = world.gates.hold_once("create_catalog_backup");
        let begun = server.service.create_catalog_backup(Some(cluster.repository_id)).await.unwrap();
        assert_eq!((begun.day, begun.ended_at), (None, None));
        world.gates.reached("create_catalog_backup", 1).await;
        let again = server.service.create_catalog_backup(None).await.unwrap();
        assert_eq!(again.name, begun.name, "one is at work");
        hold.add_permits(1);
        let made = loop {
            let latest = catalog.catalog_backups(5).await.unwrap();
            assert_eq!(latest.len(), 1);
            if latest[0].ended_at.is_some() {
                break latest[0].clone();
            }
            tokio::task::yield_now().await;
        };
        assert!(made.size_bytes.is_some(), "{made:?}");
        assert!(world.stores.repository.catalog_backups.lock().unwrap().contains_key(&made.name));
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_catalog_that_is_not_backed_up_for_days_is_told() {
    bounded(async {
        let (first, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&first, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let server = world.start().await;
        server.register().await;
        while catalog.catalog_backups(1).await.unwrap().first().is_none_or(|made| made.size_bytes.is_none()) {
            tokio::task::yield_now().await;
        }
        assert!(!server.service.catalog_backup_is_overdue());
        // One attempt a day, and each of them fails.
        for day in 1..=3 {
            world.gates.once("create_catalog_backup", Act::Fail(PortErrorKind::Unavailable, "away"));
            world.clock.advance(TimeDelta::days(1));
            world.gates.reached("create_catalog_backup", day + 1).await;
        }
        while !server.service.catalog_backup_is_overdue() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        world.clock.advance(TimeDelta::hours(2));
        while server.service.catalog_backup_is_overdue() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        server.shutdown().await;
    })
    .await;
}
