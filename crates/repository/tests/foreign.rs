//! Directories of milvus-backup on a local disk, and what can be wrong with them.

#![allow(clippy::unwrap_used)]

mod support;

use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::milvus::{LoadState, Property, SegmentCut};
use milvault_domain::ports::{ForeignBackup, Stores, WantedDirectories};
use milvault_domain::storage::SourceLayout;
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use support::foreign::{self, L0, NIGHTLY};
use support::{COLLECTION, LocalTestSource, PARTITION, SEGMENTS, TestSource, local_lab, stores};

/// A place with one directory, whose description may be changed.
async fn place(change: impl FnOnce(&mut Value)) -> LocalTestSource {
    let source = LocalTestSource::new();
    foreign::put(&source).await;
    let mut meta = foreign::meta();
    change(&mut meta);
    source.put(&format!("{NIGHTLY}/meta/full_meta.json"), meta.to_string().as_bytes()).await;
    source
}

async fn list(source: &LocalTestSource) -> Vec<ForeignBackup> {
    stores().list_foreign_backups(&source.config(), &WantedDirectories::At(0..99)).await.unwrap()
}

async fn failure(source: &LocalTestSource, directory: &str) -> PortError {
    stores().read_foreign_backup(&source.config(), directory).await.unwrap_err()
}

fn property(key: &str, value: &str) -> Property {
    Property { key: key.to_owned(), value: value.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_found_read_and_copied() {
    foreign::a_directory_is_listed_read_and_copied(&local_lab().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_around_the_rows_is_read() {
    let source = place(|_| {}).await;
    let found = list(&source).await.remove(0);
    assert_eq!(found.created_at_ms, Some(1_686_000_000_000));
    assert_eq!(
        (found.milvus_version.as_str(), found.collection_count, found.size_bytes),
        ("v2.4.1", 1, 1000)
    );

    let cut = stores().read_foreign_backup(&source.config(), NIGHTLY).await.unwrap();
    assert_eq!(cut.cut_at_ms, 1_713_000_000_123, "the end of the backup");
    assert_eq!(cut.server.version, "v2.4.1");
    let capabilities = cut.server.capabilities;
    assert!(!capabilities.verified && capabilities.databases && capabilities.l0_segments);
    assert_eq!(cut.databases.len(), 1);
    let database = &cut.databases[0];
    assert_eq!(database.name, "shop");
    assert_eq!(database.properties, [property("database.replica.number", "1")]);

    let collection = &database.collections[0];
    assert_eq!((collection.collection_id, collection.name.as_str()), (COLLECTION, "articles"));
    assert_eq!(collection.description, "what is sold");
    assert_eq!((collection.shard_count, collection.consistency_level), (2, 2));
    assert!(collection.dynamic_field);
    assert_eq!(collection.properties, [property("collection.ttl.seconds", "3600")]);
    assert_eq!(collection.aliases, ["goods"]);
    assert_eq!((collection.load_state, collection.replica_count), (LoadState::Loaded, 1));
    let partitions: Vec<_> = collection
        .partitions
        .iter()
        .map(|partition| (partition.partition_id, partition.name.as_str()))
        .collect();
    assert_eq!(partitions, [(PARTITION, "_default"), (PARTITION + 1, "empty")]);
    assert_eq!(collection.indexes.len(), 1);
    assert_eq!(collection.indexes[0].field_name, "vector");
    let params = [property("M", "8"), property("index_type", "HNSW"), property("metric_type", "L2")];
    assert_eq!(collection.indexes[0].params, params);
    let segment = |segment_id, partition_id, row_count| SegmentCut { segment_id, partition_id, row_count };
    let segments =
        [segment(SEGMENTS[0], PARTITION, 300), segment(SEGMENTS[1], PARTITION, 200), segment(L0, -1, 0)];
    assert_eq!(collection.segments, segments);
    let fields: Vec<_> = collection
        .fields
        .iter()
        .map(|field| (field.field_id, field.name.as_str(), field.data_type.as_str()))
        .collect();
    assert_eq!(fields, [(100, "id", "Int64"), (101, "vector", "FloatVector")]);
    assert!(collection.fields[0].flags.primary_key);
    assert_eq!(collection.fields[1].type_params, [property("dim", "8")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_without_such_directories_are_told_apart() {
    let source = LocalTestSource::new();
    assert_eq!(list(&source).await, []);
    source.put("photos/meta/holiday.jpg", b"x").await;
    source.put("full_meta.json", b"{}").await;
    source.put("insert_log/1/2/3/4/5", b"x").await;
    assert_eq!(list(&source).await, []);
    assert_eq!(failure(&source, "photos").await.kind(), PortErrorKind::NotFound);
    assert_eq!(failure(&source, "nowhere").await.kind(), PortErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_else_lies_there_hides_no_backup() {
    let source = place(|_| {}).await;
    source.put("notes/meta", b"a file where a directory would be").await;
    source.put("other/meta/full_meta.json/x", b"a directory where the description would be").await;
    source.put("lost+found/meta/backup_meta.json", b"{}").await;
    let found = list(&source).await;
    let names: Vec<(&str, bool)> =
        found.iter().map(|found| (found.directory.as_str(), found.problem.is_some())).collect();
    assert_eq!(names, [(NIGHTLY, false), ("other", true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_wanted_is_listed() {
    let source = place(|_| {}).await;
    for name in ["a", "b", "z"] {
        source.put(&format!("{name}/meta/full_meta.json"), b"{").await;
    }
    source.put("aa/photo.jpg", b"").await;
    let names = async |wanted: WantedDirectories| -> Vec<String> {
        let found = stores().list_foreign_backups(&source.config(), &wanted).await.unwrap();
        found.into_iter().map(|found| found.directory).collect()
    };
    assert_eq!(names(WantedDirectories::At(0..9)).await, ["a", "b", NIGHTLY, "z"]);
    assert_eq!(names(WantedDirectories::At(1..3)).await, ["b", NIGHTLY]);
    assert_eq!(names(WantedDirectories::At(4..9)).await, [""; 0]);
    assert_eq!(names(WantedDirectories::Named(NIGHTLY.to_owned())).await, [NIGHTLY]);
    assert_eq!(names(WantedDirectories::Named(String::from("aa"))).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_would_fill_the_memory_is_not_read() {
    let source = place(|_| {}).await;
    let path = source.path(&format!("{NIGHTLY}/meta/full_meta.json"));
    std::fs::File::options().write(true).open(path).unwrap().set_len((256 << 20) + 1).unwrap();
    let found = list(&source).await;
    assert!(found[0].problem.as_ref().is_some_and(|problem| problem.contains("are not read")), "{found:?}");
    assert_eq!(failure(&source, NIGHTLY).await.kind(), PortErrorKind::Unsupported);
}

/// A place with one directory as versions before `full_meta.json` wrote it.
async fn place_with_levels(milvus_version: &str) -> LocalTestSource {
    let source = place(|_| {}).await;
    source.remove(&format!("{NIGHTLY}/meta/full_meta.json")).await;
    for (name, level) in foreign::levels(milvus_version) {
        source.put(&format!("{NIGHTLY}/meta/{name}"), level.to_string().as_bytes()).await;
    }
    source
}

#[tokio::test(flavor = "multi_thread")]
async fn level_files_of_old_versions_say_the_same() {
    let full = place(|meta| {
        meta["milvus_version"] = json!("v2.2.9");
        meta.as_object_mut().unwrap().remove("database_backups");
        meta["collection_backups"][0].as_object_mut().unwrap().remove("l0_segments");
    })
    .await;
    let full = stores().read_foreign_backup(&full.config(), NIGHTLY).await.unwrap();
    let source = place_with_levels("v2.2.9").await;
    let found = list(&source).await.remove(0);
    assert_eq!((found.problem, found.collection_count), (None, 1));
    assert_eq!(stores().read_foreign_backup(&source.config(), NIGHTLY).await.unwrap(), full);

    for (name, _) in &foreign::levels("")[1..] {
        let source = place_with_levels("").await;
        source.remove(&format!("{NIGHTLY}/meta/{name}")).await;
        let error = failure(&source, NIGHTLY).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert!(error.to_string().contains(name), "{error}");
        source.put(&format!("{NIGHTLY}/meta/{name}"), b"[").await;
        assert!(failure(&source, NIGHTLY).await.to_string().contains(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn level_files_alone_are_not_restored_from_where_deletes_may_be_missing() {
    for version in ["v2.4.1", "a build of somebody"] {
        let source = place_with_levels(version).await;
        let found = list(&source).await;
        let problem = found[0].problem.as_ref().unwrap();
        assert!(problem.contains("level files") && problem.contains("L0"), "{problem}");
        let error = failure(&source, NIGHTLY).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert!(error.to_string().contains("L0"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_tells_no_time_is_as_old_as_its_description() {
    let source = place(|meta| {
        for key in ["start_time", "end_time"] {
            meta.as_object_mut().unwrap().remove(key);
        }
        let collection = meta["collection_backups"][0].as_object_mut().unwrap();
        collection.retain(|key, _| !key.ends_with("timestamp"));
    })
    .await;
    let path = source.path(&format!("{NIGHTLY}/meta/full_meta.json"));
    let written_at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_690_000_000);
    std::fs::File::options().write(true).open(path).unwrap().set_modified(written_at).unwrap();
    assert_eq!(list(&source).await[0].created_at_ms, Some(1_690_000_000_000));
    let cut = stores().read_foreign_backup(&source.config(), NIGHTLY).await.unwrap();
    // Whoever copied the directory set the time of the file back, to before its newest segment was made.
    assert_eq!(cut.cut_at_ms, (L0 >> 18) + 3_600_000);
}

/// Such files are of storage version 2 where the description does not tell it.
#[tokio::test(flavor = "multi_thread")]
async fn insert_logs_without_timestamps_or_keys_are_refused() {
    for field in [1, 100] {
        let source = place(|meta| {
            let segments = &mut meta["collection_backups"][0]["partition_backups"][0]["segment_backups"];
            segments[1]["binlogs"].as_array_mut().unwrap().retain(|logs| logs["fieldID"] != field);
        })
        .await;
        let directory = format!("insert_log/{COLLECTION}/{PARTITION}/77/{}/{field}/", SEGMENTS[1]);
        for (path, _) in foreign::files().iter().filter(|(path, _)| path.starts_with(&directory)) {
            source.remove(&format!("{NIGHTLY}/binlogs/{path}")).await;
        }
        let error = failure(&source, NIGHTLY).await;
        assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
        assert!(error.to_string().contains(&format!("none of field {field}")), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_do_not_hold_together_have_a_problem() {
    type Change = fn(&mut Value);
    let collection = "/collection_backups/0";
    assert!(foreign::meta().pointer(collection).is_some());
    let table: [(&str, PortErrorKind, Change); 13] = [
        ("never finished", PortErrorKind::Corrupt, |meta| meta["state_code"] = json!(1)),
        ("disk on fire", PortErrorKind::Corrupt, |meta| {
            meta["state_code"] = json!(3);
            meta["errorMessage"] = json!("disk on fire");
        }),
        ("`collection_backups` are missing", PortErrorKind::Corrupt, |meta| *meta = json!({})),
        ("collectionBackups", PortErrorKind::Unsupported, |meta| {
            meta["collectionBackups"] = meta["collection_backups"].take();
        }),
        ("`meta/full_meta.json`: the backup has the format", PortErrorKind::Unsupported, |meta| {
            meta["format"] = json!("snapshot");
        }),
        ("no schema", PortErrorKind::Corrupt, |meta| meta["collection_backups"][0]["schema"] = json!(null)),
        ("no name", PortErrorKind::Corrupt, |meta| {
            meta["collection_backups"][0]["collection_name"] = json!("");
        }),
        ("twice", PortErrorKind::Corrupt, |meta| {
            let again = meta["collection_backups"][0].clone();
            meta["collection_backups"].as_array_mut().unwrap().push(again);
        }),
        ("out of range", PortErrorKind::Corrupt, |meta| {
            meta["collection_backups"][0]["collection_id"] = json!("99999999999999999999");
        }),
        ("negative", PortErrorKind::Corrupt, |meta| {
            meta["collection_backups"][0]["partition_backups"][0]["segment_backups"][0]["num_of_rows"] =
                json!(-1);
        }),
        ("segment", PortErrorKind::Corrupt, |meta| {
            let segments = &mut meta["collection_backups"][0]["partition_backups"][0]["segment_backups"];
            segments[1]["segment_id"] = segments[0]["segment_id"].clone();
        }),
        ("storage version 2", PortErrorKind::Unsupported, |meta| {
            meta["collection_backups"][0]["partition_backups"][0]["segment_backups"][0]["storage_version"] =
                json!(2);
        }),
        ("snapshot", PortErrorKind::Unsupported, |meta| {
            meta["collection_backups"][0]["snapshot_backup"] = json!({ "metadata_path": "x" });
        }),
    ];
    for (words, kind, change) in table {
        let source = place(change).await;
        let found = list(&source).await.remove(0);
        assert!(found.problem.as_ref().is_some_and(|problem| problem.contains(words)), "{words}: {found:?}");
        let error = failure(&source, NIGHTLY).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let source = place(|_| {}).await;
    source.put(&format!("{NIGHTLY}/meta/full_meta.json"), b"{\"collection_backups\": [{").await;
    assert!(list(&source).await[0].problem.as_ref().unwrap().contains("cannot be understood"));
    assert_eq!(failure(&source, NIGHTLY).await.kind(), PortErrorKind::Corrupt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_not_copied_is_missed() {
    for (path, key) in foreign::files() {
        let source = place(|_| {}).await;
        source.remove(&format!("{NIGHTLY}/binlogs/{path}")).await;
        let error = failure(&source, NIGHTLY).await;
        assert_eq!(error.kind(), PortErrorKind::Corrupt);
        assert!(error.to_string().contains(&key.to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_lies_in_two_places_is_refused() {
    let source = place(|_| {}).await;
    let again = format!("{NIGHTLY}/binlogs/insert_log/{COLLECTION}/{PARTITION}/78/{}/100/3", SEGMENTS[1]);
    source.put(&again, b"x").await;
    let error = failure(&source, NIGHTLY).await;
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("two places"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_that_lead_elsewhere_are_refused() {
    let source = place(|_| {}).await;
    for name in ["", ".", "..", "../other", "a/b", "/etc", "a\0b", "nightly/", "nightly/../nightly"] {
        assert_eq!(failure(&source, name).await.kind(), PortErrorKind::InvalidInput, "{name:?}");
        let layout = SourceLayout::MilvusBackup { directory: name.to_owned() };
        let opened = stores().open_source(&source.config(), &layout).await.err().unwrap();
        assert_eq!(opened.kind(), PortErrorKind::InvalidInput, "{name:?}");
        let lab = local_lab().await;
        let copier = lab.stores.open_copier(&source.config(), &layout, lab.repository, None).await;
        assert_eq!(copier.err().unwrap().kind(), PortErrorKind::InvalidInput, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_directory_are_not_followed() {
    let source = place(|_| {}).await;
    let (path, key) = foreign::files().remove(0);
    let path = source.path(&format!("{NIGHTLY}/binlogs/{path}"));
    std::fs::remove_file(&path).unwrap();
    symlink("/etc/hostname", &path).unwrap();
    assert!(failure(&source, NIGHTLY).await.to_string().contains(&key.to_string()));
    let opened = stores().open_source(&source.config(), &foreign::layout()).await.unwrap();
    let error = opened.read_binlog(&key).await.unwrap_err();
    assert!(error.to_string().contains("symbolic link"), "{error}");
}
