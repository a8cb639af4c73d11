//! Backups that were found in a repository.

use super::Home;
use super::restore_samples::new_restore;
use super::samples::{FIRST_PAGE, World, at, automatic_backup, cluster, cut, facts, manual_backup, uuid};
use milvault_domain::backup::BackupStatus;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::JobState;
use milvault_domain::ports::{BackupFilter, ClusterFilter, FoundBackup, PageRequest, PortErrorKind};
use std::sync::Arc;

super::cases![
    found_backups_are_available_with_their_contents,
    known_backups_are_left_as_they_are,
    a_cluster_that_nobody_knows_is_not_in_service,
    found_backups_can_be_used,
    many_found_backups_are_added_once,
    racing_calls_add_each_backup_once,
    clusters_of_another_project_are_refused,
    malformed_found_backups_are_refused,
    texts_of_found_backups_are_cut,
];

/// A backup of a cluster as another catalog's repository shows it.
fn found(cluster: &Cluster) -> FoundBackup {
    let mut backup = manual_backup(cluster).backup;
    backup.status = BackupStatus::Available;
    backup.completed_at = Some(at(4));
    backup.facts = Some(facts());
    FoundBackup { backup, contents: cut(), holds: Vec::new(), record_revision: 0 }
}

/// A cluster that was never registered here.
fn stranger(world: &World) -> Cluster {
    cluster(&world.repository, "stranger")
}

async fn found_backups_are_available_with_their_contents(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (mut first, second) = (found(&stranger(&world)), found(&world.cluster));
    first.backup.expires_at = Some(at(1_000_000));
    let all = [first, second];
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 2);
    for found in &all {
        assert_eq!(world.backup(found.backup.id).await, found.backup);
        let contents = world.catalog.backup_contents(found.backup.id).await.unwrap().unwrap();
        assert_eq!(contents.row_count(), found.contents.row_count());
        assert!(contents.databases[0].collections[0].schema_proto.is_empty());
    }
    assert_eq!(world.catalog.insert_found_backups(&[]).await.unwrap(), 0);
}

async fn known_backups_are_left_as_they_are(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let deleted = automatic_backup(&world.cluster);
    let open = manual_backup(&world.cluster);
    let mut ending = deleted.clone();
    ending.backup.expires_at = Some(at(10));
    world.add_available(&ending).await;
    world.catalog.expire_backups(at(20), 10).await.unwrap();
    world.add(&open).await;
    let before = (world.backup(ending.backup.id).await, world.backup(open.backup.id).await);
    assert_eq!((before.0.status, before.1.status), (BackupStatus::Deleted, BackupStatus::Creating));

    let again = |backup_id| {
        let mut found = found(&world.cluster);
        found.backup.id = backup_id;
        found.backup.name = String::from("another name");
        found
    };
    let new = found(&world.cluster);
    let all = [again(ending.backup.id), new.clone(), again(open.backup.id), new.clone()];
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 1);
    assert_eq!((world.backup(ending.backup.id).await, world.backup(open.backup.id).await), before);
    assert_eq!(world.catalog.backup_contents(open.backup.id).await.unwrap(), None);
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 0);
    assert_eq!(world.backup(new.backup.id).await, new.backup);
}

async fn a_cluster_that_nobody_knows_is_not_in_service(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let stranger = stranger(&world);
    let backup = found(&stranger);
    world.catalog.insert_found_backups(std::slice::from_ref(&backup)).await.unwrap();
    assert_eq!(world.catalog.cluster(stranger.id).await.unwrap(), None);
    let listed = world.catalog.clusters(&ClusterFilter::default(), FIRST_PAGE).await.unwrap().items;
    assert_eq!(listed, std::slice::from_ref(&world.cluster));
    let not_found = PortErrorKind::NotFound;
    assert_eq!(world.catalog.update_cluster(&stranger).await.unwrap_err().kind(), not_found);
    assert_eq!(world.catalog.remove_cluster(stranger.id, at(9)).await.unwrap_err().kind(), not_found);
    let asked = world.catalog.insert_backup(&manual_backup(&stranger)).await;
    assert_eq!(asked.unwrap_err().kind(), not_found);
    let asked = world.catalog.insert_requested_job(&new_restore(&stranger, &backup.backup)).await;
    assert_eq!(asked.unwrap_err().kind(), not_found);
    // It holds no name: the cluster can be registered anew.
    world.add_cluster(&stranger.name).await;
}

async fn found_backups_can_be_used(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut backup = found(&stranger(&world)).backup;
    backup.expires_at = Some(at(100));
    let found =
        FoundBackup { backup: backup.clone(), contents: cut(), holds: Vec::new(), record_revision: 0 };
    world.catalog.insert_found_backups(&[found]).await.unwrap();
    let filter = BackupFilter { cluster_id: Some(backup.cluster_id), ..BackupFilter::default() };
    let listed = world.catalog.backups(&filter, FIRST_PAGE).await.unwrap().items;
    assert_eq!(listed, std::slice::from_ref(&backup));
    let newest = world
        .catalog
        .newest_backups(backup.cluster_id, backup.repository_id, BackupStatus::Available, 5)
        .await
        .unwrap();
    assert_eq!(newest, [backup.id]);
    let restore = world.request(&new_restore(&world.cluster, &backup)).await;
    let mut verify = super::samples::verify_job(&world.cluster, backup.id);
    verify.cluster_id = backup.cluster_id;
    world.catalog.insert_job(&verify).await.unwrap();
    // As long as a job needs it, it stays.
    for job_id in [restore, verify.id] {
        assert!(world.catalog.expire_backups(at(100), 5).await.unwrap().is_empty());
        world.catalog.transition_job(job_id, JobState::Canceled, None, at(50)).await.unwrap();
    }
    assert_eq!(world.catalog.expire_backups(at(100), 5).await.unwrap(), [backup.id]);
}

async fn many_found_backups_are_added_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let strangers: Vec<_> = (0..3).map(|_| stranger(&world)).collect();
    let all: Vec<_> = (0..100).map(|number| found(&strangers[number % 3])).collect();
    assert_eq!(world.catalog.insert_found_backups(&all[..40]).await.unwrap(), 40);
    assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap(), 60);
    let page = PageRequest { limit: PageRequest::LIMIT_MAX, after: None };
    let listed = world.catalog.backups(&BackupFilter::default(), page).await.unwrap().items;
    assert_eq!(listed.len(), 100);
}

async fn racing_calls_add_each_backup_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let stranger = stranger(&world);
    let all: Vec<_> = (0..40).map(|_| found(&stranger)).collect();
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (catalog, all) = (Arc::clone(&world.catalog), all.clone());
            tokio::spawn(async move { catalog.insert_found_backups(&all).await.unwrap() })
        })
        .collect();
    let mut added = 0;
    for call in calls {
        added += call.await.unwrap();
    }
    assert_eq!(added, 40);
}

async fn clusters_of_another_project_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (mut foreign, own) = (found(&world.cluster), found(&stranger(&world)));
    foreign.backup.project_id = ProjectId::from_uuid(uuid());
    let all = [foreign.clone(), own.clone()];
    for added in [1, 0] {
        let error = world.catalog.insert_found_backups(&all).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Conflict);
        let text = error.to_string();
        assert!(text.contains(&world.cluster.id.to_string()), "{text}");
        assert!(text.contains(&format!("{added} other backups were added")), "{text}");
        assert_eq!(world.catalog.backup(foreign.backup.id).await.unwrap(), None);
        assert_eq!(world.backup(own.backup.id).await, own.backup);
    }
}

async fn malformed_found_backups_are_refused(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut creating = found(&world.cluster);
    creating.backup.status = BackupStatus::Creating;
    let mut without_facts = found(&world.cluster);
    without_facts.backup.facts = None;
    let mut elsewhere = found(&stranger(&world));
    elsewhere.backup.repository_id = RepositoryId::from_uuid(uuid());
    let good = found(&world.cluster);
    for (wrong, kind) in [
        (creating, PortErrorKind::InvalidInput),
        (without_facts, PortErrorKind::InvalidInput),
        (elsewhere, PortErrorKind::NotFound),
    ] {
        let all = [good.clone(), wrong.clone()];
        assert_eq!(world.catalog.insert_found_backups(&all).await.unwrap_err().kind(), kind);
        for backup_id in [good.backup.id, wrong.backup.id] {
            assert_eq!(world.catalog.backup(backup_id).await.unwrap(), None);
        }
    }
    assert_eq!(world.catalog.backup(BackupId::from_uuid(uuid())).await.unwrap(), None);
}

async fn texts_of_found_backups_are_cut(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut found = found(&world.cluster);
    found.backup.cluster_id = ClusterId::from_uuid(uuid());
    found.backup.cluster_name = "ü".repeat(1_000);
    found.backup.name = format!("\0{}", "ß".repeat(1_000));
    if let Some(facts) = &mut found.backup.facts {
        facts.milvus_version = String::from("2.4\0");
    }
    assert_eq!(world.catalog.insert_found_backups(&[found.clone()]).await.unwrap(), 1);
    let kept = world.backup(found.backup.id).await;
    assert_eq!(kept.cluster_name, "ü".repeat(64));
    assert_eq!(kept.name, format!("\u{fffd}{}", "ß".repeat(63)));
    assert_eq!(kept.facts.unwrap().milvus_version, "2.4\u{fffd}");
}
