//! Staging from a repository into a local directory, and finding a repository again.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::error::PortErrorKind;
use milvault_domain::object::{Location, StoredObject};
use milvault_domain::plan::CopyRoute;
use milvault_domain::ports::{Stager, Stores};
use milvault_domain::progress::ProgressCounters;
use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use support::{
    Lab, LocalTestSource, TestSource, backup_id, files_below, local, local_lab, repository_id, staging,
    stores,
};

/// Set in the process that runs inside a small file system.
const SMALL_DISK: &str = "MILVAULT_TEST_SMALL_DISK";

/// A backup and an empty cluster storage.
struct Staging {
    lab: Lab,
    target: LocalTestSource,
    stager: Arc<dyn Stager>,
    objects: Vec<StoredObject>,
}

async fn staging_in(target: LocalTestSource, max_bytes_per_second: Option<u64>) -> Staging {
    let lab = local_lab().await;
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    let repository = Arc::clone(&lab.repository);
    let stager = lab.stores.open_stager(repository, &target.config(), max_bytes_per_second).await.unwrap();
    let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
    Staging { lab, target, stager, objects }
}

async fn staging() -> Staging {
    staging_in(LocalTestSource::new(), None).await
}

fn pack_of(lab: &Lab, object: &StoredObject) -> (PathBuf, u64) {
    let Location::Pack { pack_id, offset_bytes } = object.location else { panic!("{object:?}") };
    let id = pack_id.to_string();
    (lab.root().join(format!("packs/{}/{id}", &id[..2])), offset_bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_disk_to_a_disk_keeps_the_contract() {
    staging::run(local_lab, async || Box::new(LocalTestSource::new()) as Box<dyn TestSource>).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn milvus_is_told_absolute_paths() {
    let staging = staging().await;
    assert_eq!(staging.stager.route(), CopyRoute::Packs);
    let root = staging.target.directory.path().display().to_string();
    assert_eq!(staging.stager.import_path("a/insert_log/1/2/"), format!("{root}/a/insert_log/1/2/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_a_pack_never_reaches_the_cluster() {
    let Staging { lab, target, stager, objects } = staging().await;
    for object in objects.iter().filter(|object| 0 < object.stored_bytes) {
        let (pack, offset) = pack_of(&lab, object);
        let position = offset + object.stored_bytes / 2;
        let file = fs::OpenOptions::new().read(true).write(true).open(&pack).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, position).unwrap();
        file.write_all_at(&[byte[0] ^ 4], position).unwrap();

        let key = object.source.key.to_string();
        let error =
            stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(&key), "{error}");
        assert!(!target.path(&format!("{}/{key}", staging::directory())).exists());
        let error = lab.repository.read_object(object).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");

        file.write_all_at(&byte, position).unwrap();
        stager.remove(&staging::directory()).await.unwrap();
    }
    stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap();
    assert_eq!(target.files().await.len(), 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_and_missing_packs_are_damage() {
    let Staging { lab, target: _target, stager, objects } = staging().await;
    let longest = objects.iter().max_by_key(|object| object.stored_bytes).unwrap();
    let (pack, offset) = pack_of(&lab, longest);
    let stage = async || {
        let progress = ProgressCounters::default();
        let error = stager.stage(&objects, &staging::directory(), &progress).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(pack.to_str().unwrap()), "{error}");
    };
    for length in [offset + longest.stored_bytes - 1, offset + 1, 0] {
        fs::OpenOptions::new().write(true).open(&pack).unwrap().set_len(length).unwrap();
        stage().await;
        assert_eq!(lab.repository.read_object(longest).await.unwrap_err().kind(), PortErrorKind::Corrupt);
    }
    fs::remove_file(&pack).unwrap();
    stage().await;
    let error = lab.repository.read_object(longest).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_restore() {
    let Staging { lab: _lab, target, stager, objects } = staging().await;
    stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap();
    let shared = target.path("milvault_restore");
    stager.remove(&staging::directory()).await.unwrap();
    assert!(shared.exists(), "only the part was removed");
    let job = staging::directory().rsplitn(3, '/').last().unwrap().to_owned();
    stager.remove(&job).await.unwrap();
    assert!(!shared.exists());
}

/// Milvus may run as another user.
#[tokio::test(flavor = "multi_thread")]
async fn staged_files_of_all_sizes_can_be_read_by_others() {
    let Staging { lab: _lab, target, stager, objects } = staging().await;
    let plain = target.path("plain");
    fs::write(&plain, "x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    let expected = mode(&plain);
    stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap();
    let staged = files_below(&target.path("milvault_restore"));
    assert_eq!(staged.len(), 17);
    for path in staged {
        assert_eq!(mode(&path), expected, "{}", path.display());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_stage_is_the_same_stage() {
    let Staging { lab, target, stager, objects } = staging_in(LocalTestSource::new(), Some(200 << 20)).await;
    let progress = ProgressCounters::default();
    stager.stage(&objects, &staging::directory(), &progress).await.unwrap();
    let total: u64 = objects.iter().map(|object| object.stored_bytes).sum();
    assert_eq!(progress.snapshot().bytes_through_server, total);
    let staged: Vec<Vec<u8>> = target.files().await.into_values().collect();
    assert!(staged == lab.source.files().await.into_values().collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_not_there_is_not_made() {
    let Staging { lab: _lab, target, stager, objects } = staging().await;
    let root = target.directory.path().to_owned();
    fs::remove_dir(&root).unwrap();
    let error =
        stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    assert!(!root.exists());
    assert_eq!(stager.remove(&staging::directory()).await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_neither_followed_nor_removed() {
    let Staging { lab: _lab, target, stager, .. } = staging().await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("precious"), "x").unwrap();
    let job = target.path(staging::directory().rsplitn(3, '/').last().unwrap());
    fs::create_dir_all(job.parent().unwrap()).unwrap();
    symlink(outside.path(), &job).unwrap();
    let refused = stager.remove(&staging::directory()).await.unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::InvalidInput, "{refused}");

    fs::remove_file(&job).unwrap();
    fs::create_dir_all(job.join("0/12")).unwrap();
    symlink(outside.path(), job.join("0/12/insert_log")).unwrap();
    assert_eq!(stager.remove(&staging::directory()).await.unwrap(), 1);
    assert!(outside.path().join("precious").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_stage_leaves_no_half_file_under_its_name() {
    let Staging { lab, target, stager, objects } = staging_in(LocalTestSource::new(), Some(4 << 20)).await;
    let contents = lab.source.files().await;
    let progress = ProgressCounters::default();
    {
        let directory = staging::directory();
        let mut stage = std::pin::pin!(stager.stage(&objects, &directory, &progress));
        while progress.snapshot().bytes_done == 0 {
            tokio::select! {
                ended = &mut stage => panic!("8 MB at 4 MiB/s ended at once: {ended:?}"),
                () = tokio::time::sleep(std::time::Duration::from_millis(5)) => {}
            }
        }
    }
    let prefix = format!("{}/", staging::directory());
    for (name, content) in target.files().await {
        let key = name.strip_prefix(&prefix).unwrap();
        assert!(key.starts_with("partial/") || contents.get(key) == Some(&content), "{name}");
    }
}

/// Another stager removes, as after a cancel or a crash: what the stopped one had begun to write must not come back.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_stopped_stage_was_writing_does_not_come_back() {
    let Staging { lab, target, stager, objects } = staging().await;
    let other = lab.stores.open_stager(Arc::clone(&lab.repository), &target.config(), None).await.unwrap();
    for polls in 0..40 {
        {
            let (directory, progress) = (staging::directory(), ProgressCounters::default());
            let mut stage = std::pin::pin!(stager.stage(&objects, &directory, &progress));
            for _ in 0..polls {
                tokio::select! {
                    biased;
                    _ = &mut stage => break,
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        other.remove(&staging::directory()).await.unwrap();
        assert!(target.files().await.is_empty(), "stopped after {polls} polls");
    }
}

/// Runs itself again inside a file system of 4 MiB of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_told() {
    const NAME: &str = "a_full_disk_is_told";
    if let Ok(disk) = std::env::var(SMALL_DISK) {
        let target = LocalTestSource { directory: tempfile::tempdir_in(disk).unwrap() };
        let Staging { lab: _lab, target, stager, objects } = staging_in(target, None).await;
        let error =
            stager.stage(&objects, &staging::directory(), &ProgressCounters::default()).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::StorageFull, "{error}");
        stager.remove(&staging::directory()).await.unwrap();
        assert_eq!(files_below(target.directory.path()), Vec::<PathBuf>::new());
        return;
    }
    let disk = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=4m tmpfs \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script, "sh"])
        .arg(disk.path())
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env(SMALL_DISK, disk.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_found_again_without_its_catalog() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("repository");
    let none = stores().attach_repository(&local(&root)).await.unwrap_err();
    assert_eq!(none.kind(), PortErrorKind::NotFound, "{none}");
    assert!(!root.exists(), "looking changes nothing");

    let capabilities = stores().create_repository(repository_id(9), &local(&root)).await.unwrap();
    let before = files_below(&root);
    let found = stores().attach_repository(&local(&root)).await.unwrap();
    assert_eq!((found.repository_id, found.capabilities), (repository_id(9), capabilities));
    assert_eq!(files_below(&root), before);
    assert!(stores().open_repository(found.repository_id, &local(&root), found.capabilities).await.is_ok());

    let marker = root.join("milvault.json");
    let text = fs::read_to_string(&marker).unwrap();
    let kind = async |text: String| {
        fs::write(Path::new(&marker), text).unwrap();
        stores().attach_repository(&local(&root)).await.unwrap_err().kind()
    };
    let newer = text.replace("\"format_version\": 1", "\"format_version\": 2");
    assert_eq!(kind(newer).await, PortErrorKind::Unsupported);
    let unnamed = text.replace(&repository_id(9).to_string(), "rep_nobody");
    assert_eq!(kind(unnamed).await, PortErrorKind::Corrupt);
    assert_eq!(kind(String::from("{")).await, PortErrorKind::Corrupt);
}
