//! How backups leave a repository.

use super::{Lab, SEGMENTS, backup_id, cluster_id, content, header, insert_key};
use chrono::DateTime;
use milvault_domain::job::VerifyLevel;
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::plan::ObjectIndex;
use milvault_domain::ports::{BackupRemains, PortErrorKind};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::sweep::{DataFile, condemned};

fn tombstone(number: u128) -> Tombstone {
    Tombstone { backup_id: backup_id(number), cluster_id: cluster_id(), deleted_at: DateTime::UNIX_EPOCH }
}

/// Two backups that share most files; the first is buried and swept, the second stays whole.
pub(crate) async fn a_buried_backup_goes(lab: &Lab) {
    lab.back_up(backup_id(1), &[]).await;
    lab.source.remove(&insert_key(SEGMENTS[0], 100, 5).to_string()).await;
    lab.source.put(&insert_key(SEGMENTS[0], 100, 77).to_string(), &content(77, 4_000)).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let repository = &lab.repository;
    assert_eq!(repository.tombstone(backup_id(1)).await.unwrap(), None);
    repository.bury(&tombstone(1)).await.unwrap();
    let later = Tombstone { deleted_at: DateTime::from_timestamp(9, 0).unwrap(), ..tombstone(1) };
    repository.bury(&later).await.unwrap();
    assert_eq!(repository.tombstone(backup_id(1)).await.unwrap(), Some(tombstone(1)));
    assert_eq!(repository.list_backups().await.unwrap(), [backup_id(2)]);
    let remains = |number, tombstone| BackupRemains {
        backup_id: backup_id(number),
        manifest: true,
        plan: false,
        tombstone,
    };
    assert_eq!(repository.backup_remains().await.unwrap(), [remains(1, true), remains(2, false)]);
    assert_eq!(repository.owner(backup_id(1)).await.unwrap(), Some(cluster_id()));
    assert_eq!(repository.owner(backup_id(3)).await.unwrap(), None);

    let due = repository.referenced_files(backup_id(1)).await.unwrap();
    let kept = repository.referenced_files(backup_id(2)).await.unwrap();
    let all: Vec<DataFile> = due.iter().collect();
    assert_eq!(repository.existing_files(&all).await.unwrap().len(), all.len());
    let files = condemned(&due, &kept);
    for _ in 0..2 {
        for file in &files {
            repository.remove_file(*file).await.unwrap();
        }
        repository.remove_backup(backup_id(1)).await.unwrap();
    }
    assert_eq!(repository.existing_files(&files).await.unwrap(), []);
    assert_eq!(repository.backup_remains().await.unwrap(), [remains(2, false)]);
    assert_eq!(lab.verify(backup_id(2), VerifyLevel::Content).await.failures, []);
    let gone = repository.read_header(backup_id(1)).await.unwrap_err();
    assert_eq!(gone.kind(), PortErrorKind::NotFound);
}

/// A backup that was given up after its first unit.
pub(crate) async fn a_plan_is_left(lab: &Lab) {
    let plan = lab.plan(&ObjectIndex::new()).await;
    let repository = &lab.repository;
    repository.save_unfinished(&header(backup_id(1)), &plan).await.unwrap();
    lab.copier().await.copy(&plan.units[0], &ProgressCounters::default()).await.unwrap();
    let left = repository.backup_remains().await.unwrap();
    assert_eq!(left.len(), 1);
    assert!(left[0].plan && !left[0].manifest);
    assert_eq!(repository.owner(backup_id(1)).await.unwrap(), Some(cluster_id()));
    let files: Vec<DataFile> = repository.referenced_files(backup_id(1)).await.unwrap().iter().collect();
    let existing = repository.existing_files(&files).await.unwrap();
    assert!(!existing.is_empty() && existing.len() < files.len(), "{existing:?}");
    for listed in &existing {
        repository.remove_file(listed.file).await.unwrap();
    }
    repository.remove_backup(backup_id(1)).await.unwrap();
    assert_eq!(repository.backup_remains().await.unwrap(), []);
    assert!(lab.index(&[], &[backup_id(1)]).await.is_empty());
}
