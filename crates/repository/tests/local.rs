//! Repositories and sources on a local disk.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::job::VerifyLevel;
use milvault_domain::object::StoredObject;
use milvault_domain::plan::{CopyPlan, ObjectIndex};
use milvault_domain::ports::Stores;
use milvault_domain::progress::ProgressCounters;
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::SourceLayout;
use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use support::{
    COLLECTION, Lab, LocalTestSource, PARTITION, SEGMENTS, TestSource, backup_id, contract, delta_key,
    insert_key, local, local_lab, local_lab_in, repository_id, stores,
};

/// Set in the process that runs inside a small file system.
const SMALL_DISK: &str = "MILVAULT_TEST_SMALL_DISK";

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_on_a_disk_keeps_the_contract() {
    contract::run(local_lab).await;
}

async fn copy_all(lab: &Lab, plan: &CopyPlan) -> PortResult<Vec<StoredObject>> {
    let copier = lab.copier().await;
    let mut objects = Vec::new();
    for unit in &plan.units {
        objects.extend(copier.copy(unit, &ProgressCounters::default()).await?);
    }
    Ok(objects)
}

fn temporary_files(root: &Path) -> usize {
    fs::read_dir(root.join("tmp")).map_or(0, Iterator::count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_becomes_a_repository_once_and_only_when_empty() {
    let directory = tempfile::tempdir().unwrap();
    let stores = stores();
    let config = local(directory.path());
    let none = stores.open_repository(repository_id(1), &config, StoreCapabilities::default()).await;
    assert_eq!(none.err().unwrap().kind(), PortErrorKind::NotFound);

    fs::write(directory.path().join("letter.txt"), "dear reader").unwrap();
    let refused = stores.create_repository(repository_id(1), &config).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Conflict);
    assert!(refused.to_string().contains("letter.txt"), "{refused}");
    fs::remove_file(directory.path().join("letter.txt")).unwrap();
    // What the check of a file system has found is its own affair, and usually cannot even be listed.
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    fs::write(directory.path().join("lost+found/#12"), "").unwrap();

    let capabilities = stores.create_repository(repository_id(1), &config).await.unwrap();
    assert!(capabilities.conditional_put && !capabilities.server_side_copy);
    let again = stores.create_repository(repository_id(2), &config).await.unwrap_err();
    assert_eq!(again.kind(), PortErrorKind::Conflict);
    assert!(again.to_string().contains(&repository_id(1).to_string()), "{again}");

    let other = stores.open_repository(repository_id(2), &config, capabilities).await.err().unwrap();
    assert_eq!(other.kind(), PortErrorKind::Conflict);
    assert!(stores.open_repository(repository_id(1), &config, capabilities).await.is_ok());
    assert_eq!(temporary_files(directory.path()), 0, "probes are removed");

    let marker = directory.path().join("milvault.json");
    let newer =
        fs::read_to_string(&marker).unwrap().replace("\"format_version\": 1", "\"format_version\": 2");
    fs::write(&marker, newer).unwrap();
    let refused = stores.open_repository(repository_id(1), &config, capabilities).await.err().unwrap();
    assert_eq!(refused.kind(), PortErrorKind::Unsupported, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_gone_processes_left_half_written_is_removed() {
    let lab = local_lab().await;
    let root = lab.root();
    for (name, hours) in [("old", 25), ("young", 23)] {
        let file = File::create(root.join("tmp").join(name)).unwrap();
        let written = SystemTime::now() - Duration::from_secs(hours * 3600);
        file.set_times(FileTimes::new().set_modified(written)).unwrap();
    }
    lab.stores.open_repository(repository_id(1), &local(&root), StoreCapabilities::default()).await.unwrap();
    assert!(!root.join("tmp/old").exists() && root.join("tmp/young").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_other_special_files_fail_a_listing_and_are_not_followed() {
    let source = LocalTestSource::new();
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("1");
    fs::write(&secret, b"secret of the host").unwrap();
    let regular = insert_key(SEGMENTS[0], 100, 1);
    source.put(&regular.to_string(), b"content").await;
    let opened = stores().open_source(&source.config(), &SourceLayout::Milvus).await.unwrap();
    let segments = HashSet::from(SEGMENTS);
    let partition = format!("insert_log/{COLLECTION}/{PARTITION}");
    // A file of rows, one of deletes, all files of a field, a whole segment, a whole partition.
    for (linked, leads_to) in [
        (insert_key(SEGMENTS[0], 100, 2).to_string(), secret.as_path()),
        (delta_key(SEGMENTS[0], 3).to_string(), secret.as_path()),
        (format!("{partition}/{}/101", SEGMENTS[0]), outside.path()),
        (format!("{partition}/{}", SEGMENTS[1]), outside.path()),
        (format!("delta_log/{COLLECTION}/-1"), outside.path()),
    ] {
        let path = source.path(&linked);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(leads_to, &path).unwrap();
        let error = opened.list_binlogs(COLLECTION, &segments).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
        assert!(error.to_string().contains(&format!("{linked}` is a symbolic link")), "{error}");
        fs::remove_file(&path).unwrap();
    }
    let pipe = insert_key(SEGMENTS[0], 100, 3).to_string();
    assert!(Command::new("mkfifo").arg(source.path(&pipe)).status().unwrap().success());
    let error = opened.list_binlogs(COLLECTION, &segments).await.unwrap_err();
    assert!(error.to_string().contains(&pipe), "{error}");
    fs::remove_file(source.path(&pipe)).unwrap();

    // What is no part of the backup does not fail it.
    symlink(outside.path(), source.path(&format!("{partition}/{}", SEGMENTS[1] + 1))).unwrap();
    symlink(outside.path(), source.path(&format!("insert_log/{COLLECTION}/notes"))).unwrap();
    let listed = opened.list_binlogs(COLLECTION, &segments).await.unwrap();
    assert_eq!(listed.iter().map(|object| object.key).collect::<Vec<_>>(), [regular]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_turned_into_a_link_or_a_pipe_is_refused() {
    let lab = local_lab().await;
    lab.fill().await;
    let plan = lab.plan(&ObjectIndex::new()).await;
    let path = Path::new(&source_root(&lab)).join(delta_key(SEGMENTS[0], 50).to_string());
    let segment = path.parent().unwrap().to_owned();
    let outside = tempfile::tempdir().unwrap();
    fs::copy(&path, outside.path().join("50")).unwrap();

    fs::remove_file(&path).unwrap();
    symlink(outside.path().join("50"), &path).unwrap();
    let error = copy_all(&lab, &plan).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");

    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let error = copy_all(&lab, &plan).await.unwrap_err();
    assert!(error.to_string().contains("50"), "{error}");

    fs::remove_dir_all(&segment).unwrap();
    symlink(outside.path(), &segment).unwrap();
    let error = copy_all(&lab, &plan).await.unwrap_err();
    assert!(error.to_string().contains("link"), "{error}");
    assert_eq!(temporary_files(&lab.root()), 0);
}

fn source_root(lab: &Lab) -> String {
    let milvault_domain::storage::StorageConfig::Local(config) = lab.source.config() else {
        unreachable!("the source is local")
    };
    config.path
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_there_is_told() {
    let lab = local_lab().await;
    let missing = local(&lab.root().join("no/such/directory"));
    let error = lab
        .stores
        .open_copier(&missing, &SourceLayout::Milvus, Arc::clone(&lab.repository), None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    let source = lab.stores.open_source(&missing, &SourceLayout::Milvus).await.unwrap();
    let findings = source.check().await;
    assert!(!findings[0].ok && findings[0].message.contains("no/such/directory"), "{findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_copy_leaves_nothing_behind() {
    let lab = local_lab().await;
    for number in 1..=4 {
        let key = insert_key(SEGMENTS[0], 100, number).to_string();
        lab.source.put(&key, &support::content(number, 9_000_000)).await;
    }
    let plan = lab.plan(&ObjectIndex::new()).await;
    let repository = Arc::clone(&lab.repository);
    let copier = lab
        .stores
        .open_copier(&lab.source.config(), &SourceLayout::Milvus, repository, Some(8 << 20))
        .await
        .unwrap();
    let progress = ProgressCounters::default();
    {
        let mut copy = std::pin::pin!(copier.copy(&plan.units[0], &progress));
        while progress.snapshot().bytes_done == 0 {
            tokio::select! {
                ended = &mut copy => panic!("36 MB at 8 MiB/s ended at once: {ended:?}"),
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
    }
    while temporary_files(&lab.root()) != 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!lab.root().join("packs").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_copy_is_the_same_copy() {
    let lab = local_lab().await;
    lab.fill().await;
    let plan = lab.plan(&ObjectIndex::new()).await;
    let repository = Arc::clone(&lab.repository);
    let copier = lab
        .stores
        .open_copier(&lab.source.config(), &SourceLayout::Milvus, repository, Some(100 << 20))
        .await
        .unwrap();
    let mut objects = Vec::new();
    for unit in &plan.units {
        objects.extend(copier.copy(unit, &ProgressCounters::default()).await.unwrap());
    }
    lab.repository.seal(&support::header(backup_id(1)), objects).await.unwrap();
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_tells_a_person_what_the_backup_is() {
    let lab = local_lab().await;
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    let path = lab.root().join(format!("backups/{}/summary.json", backup_id(1)));
    let summary: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    assert_eq!(summary["name"], "nightly");
    assert_eq!(summary["object_count"], 17);
    assert_eq!(summary["cut_at"], "2023-11-14T22:13:20.500Z");
    assert_eq!(summary["databases"][0]["collections"][0]["name"], "articles");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_of_an_attempt_that_did_not_seal_is_replaced() {
    let lab = local_lab().await;
    lab.fill().await;
    let path = lab.root().join(format!("backups/{}/summary.json", backup_id(1)));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, r#"{ "object_count": 1 }"#).unwrap();
    let mut objects = lab.back_up(backup_id(1), &[]).await.objects;
    let written = fs::read(&path).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(&written).unwrap();
    assert_eq!(summary["object_count"], 17);

    objects.pop();
    let refused = lab.repository.seal(&support::header(backup_id(1)), objects).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Conflict, "{refused}");
    assert_eq!(fs::read(&path).unwrap(), written, "it belongs to the manifest that is there");
}

/// Runs itself again inside a file system of 24 MiB of its own, which needs no privileges and ends with the process.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_read_only_disk_is_told_and_spoils_nothing() {
    if let Ok(disk) = std::env::var(SMALL_DISK) {
        return on_a_small_disk(Path::new(&disk)).await;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=24m tmpfs \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .arg("a_full_or_read_only_disk_is_told_and_spoils_nothing")
        .env(SMALL_DISK, disk.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

async fn on_a_small_disk(disk: &Path) {
    let lab = local_lab_in(disk).await;
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    for number in 1..=3 {
        let key = insert_key(SEGMENTS[1], 105, number).to_string();
        lab.source.put(&key, &support::content(number, 9_000_000)).await;
    }
    let plan = lab.plan(&lab.index(&[backup_id(1)], &[]).await).await;
    let error = copy_all(&lab, &plan).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("27000000 bytes"), "{error}");
    assert_eq!(temporary_files(&lab.root()), 0, "the space of a failed copy is given back");
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);

    let filler = disk.join("filler");
    let _ = fs::write(&filler, vec![1; 24 << 20]);
    let findings = lab.repository.check().await;
    assert!(
        findings.iter().any(|finding| !finding.ok && finding.message.contains("no space")),
        "{findings:?}"
    );
    fs::remove_file(&filler).unwrap();

    assert!(Command::new("mount").args(["-o", "remount,ro"]).arg(disk).status().unwrap().success());
    let error = copy_all(&lab, &plan).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::ReadOnly, "{error}");
    let findings = lab.repository.check().await;
    assert!(
        findings.iter().any(|finding| !finding.ok && finding.message.contains("read-only")),
        "{findings:?}"
    );
    let reopened =
        lab.stores.open_repository(repository_id(1), &local(&lab.root()), StoreCapabilities::default()).await;
    assert!(reopened.is_ok(), "what is there can still be read");
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
}
