//! Directories as milvus-backup writes them, built by the tests themselves.

use super::*;
use milvault_domain::ports::WantedDirectories;
use serde_json::{Value, json};

/// Segment of deletes of all partitions.
pub(crate) const L0: i64 = 449_000_000_000_000_203;
/// The directory that [`files`] and [`meta`] describe.
pub(crate) const NIGHTLY: &str = "nightly";

/// The files of a directory below `binlogs/`, with the keys they have for Milvus. Grouped by segment as a rule; one
/// segment has another group, and deletes of all partitions have none.
pub(crate) fn files() -> Vec<(String, BinlogKey)> {
    let (first, second) = (SEGMENTS[0], SEGMENTS[1]);
    let mut files = Vec::new();
    for (group, segment) in [(first, first), (77, second)] {
        for (field, log) in [(0, 1), (1, 2), (100, 3), (101, 4)] {
            let path = format!("insert_log/{COLLECTION}/{PARTITION}/{group}/{segment}/{field}/{log}");
            files.push((path, insert_key(segment, field, log)));
        }
    }
    let path = format!("delta_log/{COLLECTION}/{PARTITION}/{first}/{first}/9");
    files.push((path, delta_key(first, 9)));
    let path = format!("delta_log/{COLLECTION}/-1/{L0}/10");
    files.push((path, BinlogKey { partition_id: -1, ..delta_key(L0, 10) }));
    files
}

/// `full_meta.json` for [`files`].
pub(crate) fn meta() -> Value {
    let log = |log: i64, path: &str| json!({ "log_path": path, "log_id": log, "log_size": 12 });
    let segment = |segment: i64, group: i64, rows: i64| {
        let fields = [(0, 1), (1, 2), (100, 3), (101, 4)].map(|(field, id)| {
            let path = format!("files/insert_log/{COLLECTION}/{PARTITION}/{segment}/{field}/{id}");
            json!({ "fieldID": field, "binlogs": [log(id, &path)] })
        });
        json!({
            "segment_id": segment, "collection_id": COLLECTION, "partition_id": PARTITION, "num_of_rows": rows,
            "binlogs": fields, "size": 500, "group_id": group, "a_key_of_tomorrow": { "x": [1, 2] },
        })
    };
    let mut first = segment(SEGMENTS[0], SEGMENTS[0], 300);
    first["deltalogs"] = json!([{ "binlogs": [log(9, "")] }]);
    let l0 = json!({
        "segment_id": L0, "partition_id": -1, "num_of_rows": 4, "is_l0": true,
        "deltalogs": [{ "binlogs": [{ "log_path": "x/10" }] }],
    });
    let collection = json!({
        "id": "task", "collection_id": COLLECTION.to_string(), "db_name": "shop", "collection_name": "articles",
        "schema": {
            "name": "articles", "description": "what is sold",
            "fields": [
                { "fieldID": 100, "name": "id", "is_primary_key": true, "data_type": 5 },
                { "fieldID": 101, "name": "vector", "data_type": 101,
                  "type_params": [{ "key": "dim", "value": "8" }] },
            ],
            "enable_dynamic_field": true,
        },
        "shards_num": 2, "consistency_level": 2,
        "partition_backups": [
            { "partition_id": PARTITION, "partition_name": "_default",
              "segment_backups": [first, segment(SEGMENTS[1], 77, 200)], "size": 1000 },
            { "partition_id": PARTITION + 1, "partition_name": "empty", "size": 0, "segment_backups": null },
        ],
        "l0_segments": [l0],
        // The checkpoint lies before the flush.
        "backup_timestamp": 442_000_000_000_000_001_u64, "backup_physical_timestamp": 1_712_999_900_u64,
        "size": 1000, "has_index": true,
        "index_infos": [{ "field_name": "vector", "index_name": "by_vector", "index_type": "HNSW",
                          "params": { "metric_type": "L2", "M": "8" } }],
        "load_state": "Loaded", "properties": [{ "key": "collection.ttl.seconds", "value": "3600" }],
        "aliases": ["goods"],
    });
    json!({
        "id": "task", "state_code": 2, "start_time": 1_686_000_000_000_i64, "end_time": 1_713_000_000_123_i64, "name": NIGHTLY, "size": 1000,
        "milvus_version": "v2.4.1", "collection_backups": [collection],
        "database_backups": [{ "db_name": "shop", "properties": [{ "key": "database.replica.number", "value": "1" }] }],
    })
}

/// The same as the level files of versions before `full_meta.json`, by their names.
pub(crate) fn levels(milvus_version: &str) -> [(&'static str, Value); 4] {
    let mut backup = meta();
    let mut collection = backup["collection_backups"][0].take();
    let members = backup.as_object_mut().unwrap();
    members.retain(|key, _| !["collection_backups", "database_backups"].contains(&key.as_str()));
    members.insert(String::from("milvus_version"), json!(milvus_version));
    let mut partitions = collection["partition_backups"].take();
    let mut segments = Vec::new();
    for partition in partitions.as_array_mut().unwrap() {
        partition["collection_id"] = json!(COLLECTION);
        segments.extend(partition["segment_backups"].take().as_array().cloned().unwrap_or_default());
    }
    collection.as_object_mut().unwrap().remove("l0_segments");
    [
        ("backup_meta.json", backup),
        ("collection_meta.json", json!({ "infos": [collection] })),
        ("partition_meta.json", json!({ "infos": partitions })),
        ("segment_meta.json", json!({ "infos": segments })),
    ]
}

/// Puts the directory into a source.
pub(crate) async fn put(source: &dyn TestSource) {
    put_files(source).await;
    source.put(&format!("{NIGHTLY}/meta/full_meta.json"), &serde_json::to_vec(&meta()).unwrap()).await;
    source.put(&format!("{NIGHTLY}/meta/backup_meta.json"), b"{}").await;
}

async fn put_files(source: &dyn TestSource) {
    for (number, (path, _)) in (0..).zip(files()) {
        source.put(&format!("{NIGHTLY}/binlogs/{path}"), &content(number, 5000)).await;
    }
}

pub(crate) fn layout() -> SourceLayout {
    SourceLayout::MilvusBackup { directory: String::from(NIGHTLY) }
}

/// Copies what a directory holds, and compares it key by key.
pub(crate) async fn copies_keep_their_keys(lab: &Lab) {
    put_files(lab.source.as_ref()).await;
    // Neither a binlog.
    lab.source.put(&format!("{NIGHTLY}/binlogs/insert_log/{COLLECTION}/notes"), b"x").await;
    let source = lab.stores.open_source(&lab.source.config(), &layout()).await.unwrap();
    let segments = HashSet::from([SEGMENTS[0], SEGMENTS[1], L0]);
    let listed = source.list_binlogs(COLLECTION, &segments).await.unwrap();
    let mut keys: Vec<BinlogKey> = listed.iter().map(|object| object.key).collect();
    keys.sort();
    let mut expected: Vec<BinlogKey> = files().into_iter().map(|(_, key)| key).collect();
    expected.sort();
    assert_eq!(keys, expected);
    let one = source.list_binlogs(COLLECTION, &HashSet::from([L0])).await.unwrap();
    assert_eq!(one.len(), 1);

    // A copier that has not listed finds the files as well: a job that continues has only its plan.
    let repository = Arc::clone(&lab.repository);
    let copier = lab.stores.open_copier(&lab.source.config(), &layout(), repository, None).await.unwrap();
    let plan = split(plan_copy(cluster_id(), listed, &ObjectIndex::new(), copier.route()));
    let mut objects = Vec::new();
    for unit in &plan.units {
        objects.extend(copier.copy(unit, &ProgressCounters::default()).await.unwrap());
    }
    lab.repository.seal(&header(backup_id(1)), objects).await.unwrap();
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
    let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
    for (number, (_, key)) in (0..).zip(files()) {
        let object = objects.iter().find(|object| object.source.key == key).unwrap();
        assert_eq!(lab.repository.read_object(object).await.unwrap(), content(number, 5000), "{key}");
        assert_eq!(source.read_binlog(&key).await.unwrap(), content(number, 5000), "{key}");
    }
    let gone = insert_key(SEGMENTS[0] + 1000, 100, 1);
    assert_eq!(source.read_binlog(&gone).await.unwrap_err().kind(), PortErrorKind::NotFound);
}

/// Finds, reads and copies a directory.
pub(crate) async fn a_directory_is_listed_read_and_copied(lab: &Lab) {
    put(lab.source.as_ref()).await;
    let storage = lab.source.config();
    let listed = lab.stores.list_foreign_backups(&storage, &WantedDirectories::At(0..9)).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    assert_eq!((listed[0].directory.as_str(), &listed[0].problem), (NIGHTLY, &None));
    let cut = lab.stores.read_foreign_backup(&storage, NIGHTLY).await.unwrap();
    assert_eq!(cut.row_count(), 500);
    copies_keep_their_keys(lab).await;
}
