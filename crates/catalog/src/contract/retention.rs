//! Backups whose time is over.

use super::Home;
use super::samples::{World, at, automatic_backup, manual_backup};
use milvault_domain::backup::BackupStatus;
use milvault_domain::job::JobState;
use std::sync::Arc;

super::cases![only_available_backups_whose_time_is_over_expire, expiry_is_bounded_and_earliest_first];

async fn only_available_backups_whose_time_is_over_expire(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut due = automatic_backup(&world.cluster);
    due.backup.expires_at = Some(at(100));
    let mut later = automatic_backup(&world.cluster);
    later.backup.expires_at = Some(at(101));
    let kept = manual_backup(&world.cluster);
    for new in [&due, &later, &kept] {
        world.add_available(new).await;
    }
    let mut unfinished = automatic_backup(&world.cluster);
    unfinished.backup.expires_at = Some(at(1));
    world.add(&unfinished).await;
    let mut failed = automatic_backup(&world.cluster);
    failed.backup.expires_at = Some(at(1));
    world.add(&failed).await;
    world.catalog.transition_job(failed.job.id, JobState::Failed, None, at(2)).await.unwrap();

    assert!(world.catalog.expire_backups(at(99), 10).await.unwrap().is_empty());
    assert_eq!(world.catalog.expire_backups(at(100), 10).await.unwrap(), [due.backup.id]);
    assert!(world.catalog.expire_backups(at(100), 10).await.unwrap().is_empty());
    for (new, status) in [
        (&due, BackupStatus::Deleted),
        (&later, BackupStatus::Available),
        (&kept, BackupStatus::Available),
        (&unfinished, BackupStatus::Creating),
        (&failed, BackupStatus::Failed),
    ] {
        assert_eq!(world.backup(new.backup.id).await.status, status);
    }
    // What it consisted of stays known.
    assert!(world.backup(due.backup.id).await.facts.is_some());
    assert!(world.catalog.backup_contents(due.backup.id).await.unwrap().is_some());
}

async fn expiry_is_bounded_and_earliest_first(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut ids = Vec::new();
    for seconds in [30, 10, 20] {
        let mut new = automatic_backup(&world.cluster);
        new.backup.expires_at = Some(at(seconds));
        world.add_available(&new).await;
        ids.push(new.backup.id);
    }
    assert_eq!(world.catalog.expire_backups(at(100), 2).await.unwrap(), [ids[1], ids[2]]);
    assert_eq!(world.catalog.expire_backups(at(100), 2).await.unwrap(), [ids[0]]);
}
