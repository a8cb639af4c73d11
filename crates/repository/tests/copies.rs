//! Copies of backups between two repositories on the local disk, and what damage does to them.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::error::PortErrorKind;
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::Location;
use milvault_domain::plan::CopyUnit;
use milvault_domain::ports::Stores;
use milvault_domain::progress::ProgressCounters;
use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;
use support::copies::local_target;
use support::{Lab, SEGMENTS, backup_id, content, copies, files_below, insert_key, local_lab};

#[tokio::test(flavor = "multi_thread")]
async fn from_disk_to_disk_keeps_the_contract() {
    copies::run(local_lab, local_target).await;
}

/// A lab with one backup, whose first pack that holds an object of 4,096 bytes is named.
async fn backed_up() -> (Lab, std::path::PathBuf, u64, String) {
    let lab = local_lab().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    let object = made.objects.iter().find(|object| object.stored_bytes == 4096).unwrap();
    let Location::Pack { pack_id, offset_bytes } = object.location else { panic!("it is in a pack") };
    let name = pack_id.to_string();
    let pack = lab.root().join("packs").join(&name[..2]).join(&name);
    (lab, pack, offset_bytes, object.source.key.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_object_is_named_and_nothing_visible_remains() {
    let (lab, pack, offset, key) = backed_up().await;
    let to = local_target().await;
    let handle = fs::OpenOptions::new().write(true).open(&pack).unwrap();
    handle.write_all_at(b"!", offset + 100).unwrap();
    let error = lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&key), "{error}");
    assert_eq!(to.repository.list_backups().await.unwrap(), []);
    let name = pack.file_name().unwrap();
    let root = to.directory.as_ref().unwrap().path();
    assert!(
        files_below(root).iter().all(|file| file.file_name() != Some(name)),
        "a damaged pack got its name"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_or_short_file_is_damage_like_any_other() {
    for short in [false, true] {
        let (lab, pack, offset, _) = backed_up().await;
        let to = local_target().await;
        if short {
            fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(offset + 10).unwrap();
        } else {
            fs::remove_file(&pack).unwrap();
        }
        let error = lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.err().unwrap();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("insert_log/"), "{error}");
        assert_eq!(to.repository.list_backups().await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_manifest_is_not_copied() {
    let (lab, ..) = backed_up().await;
    let to = local_target().await;
    let manifest = lab.root().join(format!("backups/{}/manifest", backup_id(1)));
    let bytes = fs::read(&manifest).unwrap();
    let handle = fs::OpenOptions::new().write(true).open(&manifest).unwrap();
    handle.write_all_at(&[bytes[bytes.len() / 2] ^ 1], bytes.len() as u64 / 2).unwrap();
    let error = lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_of_a_pack_in_part_is_packed_anew() {
    let (lab, ..) = backed_up().await;
    let to = local_target().await;
    // The second backup shares all but one object with the first one.
    lab.source.remove(&insert_key(SEGMENTS[0], 100, 4).to_string()).await;
    lab.back_up(backup_id(2), &[backup_id(1)]).await;
    let copied = lab.copy_to(&to, backup_id(3), backup_id(2), &[]).await.unwrap();
    assert_eq!(copied.objects.len(), 16);
    let before: Vec<_> = copied
        .plan
        .units
        .iter()
        .filter_map(|unit| match unit {
            CopyUnit::Pack { pack_id, .. } => Some(pack_id.to_string()),
            CopyUnit::ServerSide { .. } => None,
        })
        .collect();
    let known = files_below(&lab.root().join("packs"));
    let known: Vec<_> = known.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(before.iter().filter(|name| !known.contains(&name.as_str())).count(), 1, "{before:?}");
    let report = to.repository.verify(backup_id(3), VerifyLevel::Content, Arc::default()).await.unwrap();
    assert_eq!((report.failures.as_slice(), report.objects_checked), ([].as_slice(), 16));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_pack_in_the_other_repository_is_written_again() {
    let (lab, pack, ..) = backed_up().await;
    let to = local_target().await;
    lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.unwrap();
    let root = to.directory.as_ref().unwrap().path().join("second");
    let copy = root.join(pack.strip_prefix(lab.root()).unwrap());
    let length = fs::metadata(&copy).unwrap().len();
    fs::OpenOptions::new().write(true).open(&copy).unwrap().write_all_at(&[0; 8], length - 8).unwrap();
    lab.copy_to(&to, backup_id(3), backup_id(1), &[]).await.unwrap();
    for id in [2, 3] {
        let report = to.repository.verify(backup_id(id), VerifyLevel::Content, Arc::default()).await.unwrap();
        assert_eq!(report.failures, []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_of_bytes_per_second_holds() {
    let lab = local_lab().await;
    lab.source.put(&insert_key(SEGMENTS[0], 100, 1).to_string(), &content(1, 300_000)).await;
    lab.back_up(backup_id(1), &[]).await;
    let to = local_target().await;
    let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
    let (from, into) = (Arc::clone(&lab.repository), Arc::clone(&to.repository));
    let copier = lab.stores.open_backup_copier(from, &objects, into, Some(1_000_000)).await.unwrap();
    let (_, plan) = lab.plan_of_copy(&to, backup_id(1), &[]).await.unwrap();
    let began_at = Instant::now();
    let progress = ProgressCounters::default();
    copier.copy(&plan.units[0], &progress).await.unwrap();
    // A lower bound, which no load of the machine can break.
    assert!(began_at.elapsed().as_millis() > 150);
    assert_eq!(progress.snapshot().bytes_through_server, 300_000);
}
