//! What makes a lost catalog replaceable: which changes are due in repositories, and clusters without an address.

use super::Home;
use super::samples::{
    FIRST_PAGE, World, at, automatic_backup, cluster, cut, facts, manual_backup, sealer, uuid,
};
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, HoldId};
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupChange, BackupHold, Release};
use milvault_domain::ports::{ClusterFilter, FoundBackup, PortErrorKind};
use std::sync::Arc;

super::cases![
    an_available_backup_has_a_record_that_is_due,
    every_change_is_due_until_its_revision_is_noted,
    what_goes_has_no_record,
    removing_a_cluster_is_told_of_its_automatic_backups,
    due_records_come_in_pages,
    a_found_backup_comes_with_its_holds_and_is_not_due,
    a_cluster_without_an_address_is_in_service_under_a_name_of_its_own,
    an_organization_is_known_once_it_is_made,
];

fn hold(backup: &Backup) -> BackupHold {
    BackupHold {
        id: HoldId::from_uuid(uuid()),
        backup_id: backup.id,
        cluster_id: backup.cluster_id,
        hold: Hold { reason: String::from("audit"), until: Some(at(9_000)) },
        created_by: String::from("ada"),
        created_at: at(7),
        released: None,
    }
}

async fn revision(world: &World, backup_id: BackupId) -> Option<u64> {
    world.catalog.due_record(backup_id).await.unwrap().map(|due| due.revision)
}

async fn an_available_backup_has_a_record_that_is_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    assert_eq!(world.catalog.due_records(None, 10).await.unwrap(), []);
    let other = manual_backup(&world.add_cluster("other").await);
    world.add_available(&other).await;
    let due = world.catalog.due_records(None, 10).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(
        (due[0].backup_id, due[0].repository_id, due[0].revision),
        (other.backup.id, world.repository.id, 1)
    );
    let record = due[0].record.clone().unwrap();
    assert_eq!((record.organization.id, record.project.id), (world.organization_id, world.project_id));
    assert_eq!((record.organization.name.as_str(), record.project.name.as_str()), ("Acme", "Default"));
    assert_eq!(record.completed_at, at(5));
    // A backup that is read from its manifest becomes what it was by its record.
    let was = world.backup(other.backup.id).await;
    let mut read = was.clone();
    read.name = String::from("as it was made");
    read.completed_at = None;
    read.expires_at = Some(at(1));
    if let Some(facts) = &mut read.facts {
        facts.newly_stored_bytes = 0;
        facts.reused_object_count = 0;
    }
    record.apply_to(&mut read);
    assert_eq!(read, was);
}

async fn every_change_is_due_until_its_revision_is_noted(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let backup_id = new.backup.id;
    world.catalog.note_record(backup_id, 1).await.unwrap();
    assert_eq!(revision(&world, backup_id).await, None);

    let change = BackupChange { name: Some(String::from("renamed")), ..BackupChange::default() };
    world.catalog.update_backup(backup_id, &change).await.unwrap();
    assert_eq!(revision(&world, backup_id).await, Some(2));
    let hold = hold(&new.backup);
    world.catalog.insert_hold(&hold).await.unwrap();
    let due = world.catalog.due_record(backup_id).await.unwrap().unwrap();
    assert_eq!((due.revision, due.record.as_ref().unwrap().name.as_str()), (3, "renamed"));
    assert_eq!(due.record.unwrap().holds, std::slice::from_ref(&hold));
    // What was written late does not hide what came since.
    world.catalog.note_record(backup_id, 2).await.unwrap();
    assert_eq!(revision(&world, backup_id).await, Some(3));
    world.catalog.note_record(backup_id, 3).await.unwrap();
    world.catalog.note_record(backup_id, 1).await.unwrap();
    assert_eq!(revision(&world, backup_id).await, None);

    let release = Release { by: String::from("bob"), at: at(8) };
    for _ in 0..2 {
        world.catalog.release_hold(hold.id, &release).await.unwrap();
        assert_eq!(revision(&world, backup_id).await, Some(4), "a hold is taken off once");
    }
}

async fn what_goes_has_no_record(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut new = automatic_backup(&world.cluster);
    new.backup.expires_at = Some(at(10));
    world.add_available(&new).await;
    assert_eq!(world.catalog.expire_backups(at(11), 5).await.unwrap(), [new.backup.id]);
    let due = world.catalog.due_record(new.backup.id).await.unwrap().unwrap();
    assert_eq!(due.record, None);
    world.catalog.note_record(new.backup.id, due.revision).await.unwrap();
    assert_eq!(revision(&world, new.backup.id).await, None);
}

async fn removing_a_cluster_is_told_of_its_automatic_backups(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let (manual, automatic) = (manual_backup(&world.cluster), automatic_backup(&world.cluster));
    for new in [&manual, &automatic] {
        world.add_available(new).await;
        world.catalog.note_record(new.backup.id, 1).await.unwrap();
    }
    world.catalog.remove_cluster(world.cluster.id, at(20)).await.unwrap();
    assert_eq!(revision(&world, manual.backup.id).await, None);
    let due = world.catalog.due_record(automatic.backup.id).await.unwrap().unwrap();
    assert_eq!(due.record.unwrap().expires_at, Some(at(20)));
}

async fn due_records_come_in_pages(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        let new = manual_backup(&world.cluster);
        world.add_available(&new).await;
        ids.push(new.backup.id);
    }
    ids.sort_unstable();
    let mut seen = Vec::new();
    let mut after = None;
    loop {
        let page = world.catalog.due_records(after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some(last.backup_id);
        seen.extend(page.iter().map(|due| due.backup_id));
    }
    assert_eq!(seen, ids);
}

async fn a_found_backup_comes_with_its_holds_and_is_not_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut backup = automatic_backup(&world.cluster).backup;
    backup.status = BackupStatus::Available;
    backup.completed_at = Some(at(4));
    backup.facts = Some(facts());
    backup.expires_at = Some(at(100));
    let mut released = hold(&backup);
    released.released = Some(Release { by: String::from("bob"), at: at(50) });
    let mut holds = vec![hold(&backup), released];
    holds.sort_unstable_by_key(|hold| hold.id);
    let found =
        FoundBackup { backup: backup.clone(), contents: cut(), holds: holds.clone(), record_revision: 7 };
    assert_eq!(world.catalog.insert_found_backups(std::slice::from_ref(&found)).await.unwrap(), 1);
    assert_eq!(world.catalog.insert_found_backups(&[found]).await.unwrap(), 0);
    let mut kept = world.catalog.holds(backup.id).await.unwrap();
    kept.sort_unstable_by_key(|hold| hold.id);
    assert_eq!(kept, holds);
    assert_eq!(revision(&world, backup.id).await, None);
    assert!(world.catalog.expire_backups(at(200), 5).await.unwrap().is_empty(), "it is held");
    let release = Release { by: String::from("ada"), at: at(300) };
    let binding = holds.iter().find(|hold| hold.released.is_none()).unwrap();
    world.catalog.release_hold(binding.id, &release).await.unwrap();
    assert_eq!(revision(&world, backup.id).await, Some(8), "the count goes on");
    assert_eq!(world.catalog.expire_backups(at(301), 5).await.unwrap(), [backup.id]);
}

async fn a_cluster_without_an_address_is_in_service_under_a_name_of_its_own(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut of_it = manual_backup(&cluster(&world.repository, "production")).backup;
    of_it.cluster_name = String::from("production");
    let unregistered = Cluster::unregistered(&of_it);
    assert!(world.catalog.insert_unregistered_cluster(&unregistered).await.unwrap());
    assert!(!world.catalog.insert_unregistered_cluster(&unregistered).await.unwrap());
    let kept = world.catalog.cluster(unregistered.id).await.unwrap().unwrap();
    assert!(kept.needs_registration());
    assert!(!world.catalog.cluster(world.cluster.id).await.unwrap().unwrap().needs_registration());
    let digits = unregistered.id.to_string();
    assert_eq!(kept.name, format!("production-{}", &digits[digits.len() - 8..]));
    let listed = world.catalog.clusters(&ClusterFilter::default(), FIRST_PAGE).await.unwrap().items;
    assert_eq!(listed.len(), 2);
    let registered = Cluster { name: String::from("again"), ..cluster(&world.repository, "again") };
    let registered = Cluster { id: unregistered.id, ..registered };
    world.catalog.update_cluster(&registered).await.unwrap();
    assert!(!world.catalog.cluster(unregistered.id).await.unwrap().unwrap().needs_registration());
    let mut foreign = unregistered.clone();
    foreign.repository_id = milvault_domain::ids::RepositoryId::from_uuid(uuid());
    foreign.id = milvault_domain::ids::ClusterId::from_uuid(uuid());
    let error = world.catalog.insert_unregistered_cluster(&foreign).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound);
}

async fn an_organization_is_known_once_it_is_made(home: Arc<dyn Home>) {
    let catalog = home.open(sealer()).await.unwrap();
    assert_eq!(catalog.organization().await.unwrap(), None);
    drop(catalog);
    let world = World::open(&*home).await;
    let organization = world.catalog.organization().await.unwrap().unwrap();
    assert_eq!((organization.id, organization.name.as_str()), (world.organization_id, "Acme"));
}
