#![allow(clippy::unwrap_used)]

use super::cut::{Problem, has_l0_segments, to_cut};
use super::levels::Levels;
use super::meta::{BackupMeta, CollectionMeta, LevelMeta};
use super::schema::{CollectionSchema, type_name};
use milvault_domain::milvus::Cut;
use proptest::prelude::*;
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const WRITTEN_AT_MS: i64 = 1_700_000_000_000;
/// What is added where no end is told.
const MARGIN_MS: i64 = 3_600_000;

fn parse(meta: &Value) -> Result<Cut, Problem> {
    to_cut(&serde_json::from_value(meta.clone()).unwrap(), WRITTEN_AT_MS)
}

fn collection(id: i64, more: &Value) -> Value {
    let mut collection = json!({ "collection_id": id, "collection_name": format!("c{id}"), "schema": {} });
    collection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    collection
}

fn with_collections(collections: &[Value]) -> Value {
    json!({ "name": "nightly", "state_code": 0, "collection_backups": collections })
}

/// Milliseconds as Milvus writes them.
fn hybrid(millis: u64, logical: u64) -> u64 {
    (millis << 18) | logical
}

#[test]
fn nothing_in_the_files_is_later_than_the_cut() {
    const END_MS: u64 = 1_650_000_000_000;
    let cut_at = |end_ms: Option<u64>, collections: &[Value]| {
        let collections: Vec<Value> = (1..).zip(collections).map(|(id, more)| collection(id, more)).collect();
        let mut meta = with_collections(&collections);
        meta["end_time"] = json!(end_ms);
        // Milliseconds, not a hybrid timestamp; of the beginning. It says nothing about the rows.
        meta["backup_timestamp"] = json!(END_MS - 60_000);
        parse(&meta).unwrap().cut_at_ms
    };
    let end_ms = i64::try_from(END_MS).unwrap();
    // The latest checkpoint lies before rows that the flush wrote, and the second of the flush before those that came
    // until the segments were listed.
    let checkpoint = json!({ "backup_timestamp": hybrid(END_MS - 70_000, 7) });
    let flushed = json!({ "backup_timestamp": hybrid(END_MS - 70_000, 7),
                          "backup_physical_timestamp": END_MS / 1000 - 5 });
    assert_eq!(cut_at(Some(END_MS), &[checkpoint.clone(), flushed.clone(), json!({})]), end_ms);
    assert_eq!(cut_at(None, &[checkpoint, flushed]), WRITTEN_AT_MS + MARGIN_MS);
    assert_eq!(cut_at(None, &[]), WRITTEN_AT_MS + MARGIN_MS);
    // Clocks differ, and who copies a directory may set times back: a flush that is told is in nevertheless.
    let later = json!({ "backup_physical_timestamp": END_MS / 1000 + 2 });
    assert_eq!(cut_at(Some(END_MS), std::slice::from_ref(&later)), end_ms + 2999);
    let later = json!({ "backup_timestamp": hybrid(END_MS + 10, 7) });
    assert_eq!(cut_at(Some(END_MS), &[later, json!({})]), end_ms + 11);
    // What is no instant is passed over.
    for number in [u64::MAX, 1 << 50] {
        let wild = json!({ "backup_physical_timestamp": number });
        assert_eq!(cut_at(Some(END_MS), std::slice::from_ref(&wild)), end_ms);
    }
    assert_eq!(cut_at(Some(1 << 50), &[]), WRITTEN_AT_MS + MARGIN_MS);
    assert_eq!(cut_at(None, &[json!({ "backup_timestamp": u64::MAX })]), 1 << 46);
}

/// Ids begin with the time at which Milvus gave them out.
#[test]
fn an_end_before_the_newest_file_is_not_believed() {
    let with_log = |log: &Value| {
        let segment = json!({ "segment_id": 3, "binlogs": [{ "binlogs": [log] }] });
        let partition = json!({ "partition_id": 2, "partition_name": "p", "segment_backups": [segment] });
        let mut meta = with_collections(&[collection(1, &json!({ "partition_backups": [partition] }))]);
        meta["end_time"] = json!(WRITTEN_AT_MS - 1000);
        parse(&meta).unwrap().cut_at_ms
    };
    let given_out = |before_ms| hybrid(u64::try_from(WRITTEN_AT_MS - before_ms).unwrap(), 5);
    assert_eq!(with_log(&json!({ "log_id": given_out(1000) })), WRITTEN_AT_MS - 1000);
    assert_eq!(with_log(&json!({ "log_id": given_out(999) })), WRITTEN_AT_MS + MARGIN_MS);
    let path = format!("files/insert_log/1/2/3/0/{}", given_out(999));
    assert_eq!(with_log(&json!({ "log_path": path })), WRITTEN_AT_MS + MARGIN_MS);
    // Neither is a description that was given an older time than its files.
    assert_eq!(with_log(&json!({ "log_id": given_out(-5000) })), WRITTEN_AT_MS + 5000 + MARGIN_MS);
}

/// Before Milvus 2.4, the second of the flush stood where a hybrid timestamp has milliseconds.
#[test]
fn seconds_in_the_place_of_milliseconds_are_not_taken_for_1970() {
    let second = u64::try_from(WRITTEN_AT_MS / 1000 + 7).unwrap();
    let flush = json!({ "backup_timestamp": hybrid(second, 0), "backup_physical_timestamp": second });
    let cut = parse(&with_collections(&[collection(1, &flush)])).unwrap();
    assert_eq!(cut.cut_at_ms, WRITTEN_AT_MS + 7999 + MARGIN_MS);
    let old = json!({ "backup_timestamp": hybrid(second, 0) });
    let cut = parse(&with_collections(&[collection(1, &old)])).unwrap();
    assert_eq!(cut.cut_at_ms, WRITTEN_AT_MS + 7999 + MARGIN_MS);
}

#[test]
fn what_would_be_read_as_nothing_is_refused() {
    for (meta, words) in [
        (json!({}), "`collection_backups` are missing"),
        (
            json!({ "id": "1", "name": "n", "collectionBackups": [{ "collectionId": "7" }] }),
            "`collectionBackups`",
        ),
        (json!({ "id": "1", "name": "n", "format": "snapshot" }), "`format`"),
    ] {
        let (Problem::Corrupt(problem) | Problem::Unsupported(problem)) = parse(&meta).unwrap_err();
        assert!(problem.contains(words), "{problem}");
    }
    for meta in [json!({ "name": "n" }), json!({ "id": "1", "format": "binlog" })] {
        assert_eq!(parse(&meta).unwrap().databases, [], "an empty cluster");
    }
}

#[test]
fn collections_of_one_name_in_two_databases_are_two() {
    let c_of = |id, database: &str| collection(id, &json!({ "collection_name": "c", "db_name": database }));
    let cut = parse(&with_collections(&[c_of(1, "shop"), c_of(2, "")])).unwrap();
    let names: Vec<_> =
        cut.collections().map(|(database, collection)| (database, &*collection.name)).collect();
    assert_eq!(names, [("default", "c"), ("shop", "c")]);
    let problem = parse(&with_collections(&[c_of(1, "default"), c_of(2, "")])).unwrap_err();
    assert!(matches!(&problem, Problem::Corrupt(words) if words.contains("`default.c`")), "{problem:?}");
}

#[test]
fn segments_of_deletes_that_had_rows_have_lost_them() {
    let with_segment = |version: &str, segment: &Value| {
        let partition = json!({ "partition_id": 2, "partition_name": "p", "segment_backups": [segment] });
        let mut meta = with_collections(&[collection(1, &json!({ "partition_backups": [partition] }))]);
        meta["milvus_version"] = json!(version);
        parse(&meta).map(|cut| cut.row_count())
    };
    let no_logs = json!([{ "fieldID": 0 }]);
    let logs = json!([{ "binlogs": [{ "log_path": "files/delta_log/1/2/3/4" }] }]);
    let segment = |rows: i64, deltalogs: &Value| json!({ "segment_id": 3, "num_of_rows": rows, "is_l0": true, "deltalogs": deltalogs });
    assert_eq!(with_segment("v2.4.5", &segment(9, &logs)), Ok(0));
    assert_eq!(with_segment("v2.4.5", &segment(0, &no_logs)), Ok(0));
    for (version, deltalogs) in [("v2.4.5", &no_logs), ("2.3.9", &no_logs), ("2.3.9", &logs)] {
        let problem = with_segment(version, &segment(9, deltalogs)).unwrap_err();
        assert!(matches!(&problem, Problem::Corrupt(words) if words.contains("segment 3")), "{problem:?}");
    }
}

/// Deletes of one partition are listed with it, those of all partitions beside the partitions.
#[test]
fn segments_of_deletes_are_seen_wherever_they_are_listed() {
    let l0 = |version: &str, segment: &Value, of_all: bool| {
        let (segments, l0_segments) =
            if of_all { (json!([]), json!([segment])) } else { (json!([segment]), json!([])) };
        let partition = json!({ "partition_id": 2, "partition_name": "p", "segment_backups": segments });
        let more = json!({ "partition_backups": [partition], "l0_segments": l0_segments });
        let mut meta = with_collections(&[collection(1, &more)]);
        meta["milvus_version"] = json!(version);
        parse(&meta).unwrap().server.capabilities.l0_segments
    };
    let logs = json!([{ "binlogs": [{ "log_path": "files/delta_log/1/2/3/4" }] }]);
    let of_deletes = json!({ "segment_id": 3, "is_l0": true, "deltalogs": logs });
    let of_rows = json!({ "segment_id": 3, "num_of_rows": 9, "deltalogs": logs });
    assert!(l0("v2.4.5", &of_deletes, true) && l0("v2.4.5", &of_deletes, false));
    assert!(!l0("v2.4.5", &of_rows, false));
    assert!(!l0("2.3.9", &of_deletes, false), "no such Milvus has any");
}

#[test]
fn versions_tell_whether_there_may_be_segments_of_deletes() {
    for version in ["2.2.9", "v2.3.22", "v2.3.5-dev", "1.0.1"] {
        assert!(!has_l0_segments(version), "{version}");
    }
    for version in ["2.4.0", "v2.4.10", "v2.10.1", "3.0.0", "master-20240301", "v2.3-dev", "7dcf8f7", ""] {
        assert!(has_l0_segments(version), "{version}");
    }
}

fn infos<T: DeserializeOwned + Default>(infos: &Value) -> Vec<T> {
    serde_json::from_value::<LevelMeta<T>>(json!({ "infos": infos })).unwrap().infos
}

fn join(collections: &Value, partitions: &Value, segments: &Value) -> Result<BackupMeta, String> {
    Levels {
        backup: serde_json::from_value(json!({ "name": "old", "milvus_version": "2.2.9" })).unwrap(),
        collections: infos(collections),
        partitions: infos(partitions),
        segments: infos(segments),
    }
    .join()
}

#[test]
fn level_files_are_put_together() {
    let collections = json!([
        { "collection_id": 1, "collection_name": "a", "schema": {},
          "partition_backups": [{ "partition_id": 9, "partition_name": "repeated" }] },
        { "collection_id": 2, "collection_name": "b", "schema": {} },
    ]);
    let partitions = json!([
        { "partition_id": 11, "partition_name": "_default", "collection_id": 1 },
        { "partition_id": 12, "partition_name": "empty", "collection_id": 1 },
        { "partition_id": 21, "partition_name": "_default", "collection_id": 2 },
    ]);
    let segments = json!([
        { "segment_id": 101, "collection_id": 1, "partition_id": 11, "num_of_rows": 5 },
        { "segment_id": 201, "collection_id": 2, "partition_id": 21, "num_of_rows": 7 },
        { "segment_id": 202, "collection_id": 2, "partition_id": 21, "num_of_rows": 8 },
    ]);
    let cut = to_cut(&join(&collections, &partitions, &segments).unwrap(), WRITTEN_AT_MS).unwrap();
    let found: Vec<_> = cut
        .collections()
        .map(|(_, collection)| {
            let partitions: Vec<&str> =
                collection.partitions.iter().map(|partition| &*partition.name).collect();
            (
                &*collection.name,
                partitions,
                collection.segments.iter().map(|segment| segment.row_count).sum::<u64>(),
            )
        })
        .collect();
    assert_eq!(found, [("a", vec!["_default", "empty"], 5), ("b", vec!["_default"], 15)]);

    let none = json!(null);
    assert_eq!(join(&none, &none, &none).unwrap().collection_backups.len(), 0);
    let problem = join(&collections, &json!([]), &segments).unwrap_err();
    assert!(problem.contains("partition 11 of collection 1"), "{problem}");
    let problem = join(&json!([]), &partitions, &segments).unwrap_err();
    assert!(problem.contains("partitions of collection 1"), "{problem}");
    assert!(infos::<CollectionMeta>(&none).is_empty());
}

#[test]
fn numbers_may_be_strings_and_unknown_keys_are_passed_over() {
    let meta = json!({
        "state_code": "2", "size": "9223372036854775807", "tomorrow": { "a": [1, { "b": null }] },
        "collection_backups": [{
            "collection_id": "449000000000000100", "collection_name": "c", "schema": null, "extra": [1.5, "x"],
            "backup_timestamp": "18446744073709551615", "shards_num": "3",
            "partition_backups": null,
        }],
    });
    let parsed: BackupMeta = serde_json::from_value(meta).unwrap();
    assert_eq!((parsed.state_code, parsed.size), (2, i64::MAX));
    let collection = &parsed.collection_backups[0];
    assert_eq!((collection.collection_id, collection.shards_num), (449_000_000_000_000_100, 3));
    assert_eq!(collection.backup_timestamp, u64::MAX);
    for wrong in [
        json!({ "size": "many" }),
        json!({ "size": 1.5 }),
        json!({ "size": "9223372036854775808" }),
        json!({ "size": [] }),
    ] {
        assert!(serde_json::from_value::<BackupMeta>(wrong.clone()).is_err(), "{wrong}");
    }
}

/// Versions from 0.5 on write no state.
#[test]
fn a_backup_without_state_is_finished() {
    let with_state = |state: Value| parse(&json!({ "id": "1", "state_code": state }));
    for state in [json!(0), json!(2), json!("2"), json!(null)] {
        assert!(with_state(state.clone()).is_ok(), "{state}");
    }
    for state in [1, 3, 4, 5, -1] {
        assert!(matches!(with_state(json!(state)), Err(Problem::Corrupt(_))), "{state}");
    }
}

#[test]
fn the_schema_becomes_milvus_own_protobuf() {
    let schema = json!({
        "name": "articles", "description": "d", "autoID": true, "enable_dynamic_field": true,
        "properties": [{ "key": "k", "value": "v" }],
        "functions": [{ "name": "bm25", "id": "7", "type": 1, "input_field_names": ["text"],
                        "input_field_ids": ["101"], "output_field_ids": [102] }],
        "fields": [
            { "fieldID": 100, "name": "id", "is_primary_key": true, "data_type": 5, "autoID": true },
            { "fieldID": 101, "name": "tags", "data_type": 22, "element_type": 21, "nullable": true,
              "type_params": [{ "key": "max_capacity", "value": "4" }], "is_partition_key": true },
            // The protobuf of a default value: long_data = 300.
            { "fieldID": 102, "name": "n", "data_type": 5, "default_value_base64": "GKwC", "is_clustering_key": true },
            { "fieldID": 103, "name": "old", "data_type": 1, "default_value_proto": "\u{8}\u{1}", "is_dynamic": true },
            { "fieldID": 104, "name": "both", "data_type": 5, "default_value_proto": "\u{18}\u{fffd}\u{2}",
              "default_value_base64": "GKwC" },
        ],
    });
    let cut = parse(&with_collections(&[collection(1, &json!({ "schema": schema }))])).unwrap();
    let collection = &cut.databases[0].collections[0];
    assert_eq!(cut.databases[0].name, "default");
    let proto = CollectionSchema::decode(collection.schema_proto.as_slice()).unwrap();
    assert_eq!((proto.name.as_str(), proto.auto_id, proto.enable_dynamic_field), ("articles", true, true));
    assert_eq!((proto.properties.len(), proto.functions[0].id, proto.functions[0].kind), (1, 7, 1));
    assert_eq!(proto.functions[0].input_field_ids, [101]);
    assert_eq!(proto.fields[2].default_value, Some(vec![0x18, 0xac, 0x02]));
    assert_eq!(proto.fields[3].default_value, Some(vec![8, 1]));
    assert_eq!(proto.fields[4].default_value, proto.fields[2].default_value);
    assert!(
        proto.fields[1].nullable && proto.fields[1].is_partition_key && proto.fields[2].is_clustering_key
    );
    let field = &collection.fields[1];
    assert_eq!((field.data_type.as_str(), field.element_type.as_str()), ("Array", "VarChar"));
    assert!(field.flags.nullable && field.flags.partition_key && !field.flags.primary_key);
    assert_eq!(type_name(999), "Unknown(999)");

    // Bytes as Milvus's public schema.proto numbers them.
    let small = json!({ "schema": { "name": "a", "fields": [{ "fieldID": 100, "name": "b", "is_primary_key": true, "data_type": 5 }] } });
    let cut = parse(&with_collections(&[self::collection(1, &small)])).unwrap();
    let expected = [0x0a, 1, b'a', 0x22, 9, 0x08, 100, 0x12, 1, b'b', 0x18, 1, 0x28, 5];
    assert_eq!(cut.databases[0].collections[0].schema_proto, expected);

    // Bytes that are no text did not survive versions that wrote them as text.
    for (key, value) in [("default_value_base64", "!"), ("default_value_proto", "\u{18}\u{fffd}\u{2}")] {
        let broken = json!({ "schema": { "fields": [{ "name": "n", key: value }] } });
        let problem = parse(&with_collections(&[self::collection(1, &broken)])).unwrap_err();
        let Problem::Corrupt(words) = &problem else { panic!("{problem:?}") };
        assert!(words.contains("`n`") && words.contains(key), "{words}");
    }
}

#[test]
fn users_come_without_their_passwords() {
    let meta = json!({ "id": "1", "rbac_meta": {
        "users": [{ "user": "root", "password": "c2VjcmV0" },
                  { "user": "ann", "password": "c2VjcmV0", "roles": [{ "name": "reader" }] }],
        "roles": [{ "name": "admin" }, { "name": "reader" }],
        "grants": [{ "role": { "name": "reader" }, "object": { "name": "Collection" }, "object_name": "*",
                     "grantor": { "user": { "name": "root" }, "privilege": { "name": "Search" } }, "db_name": "default" }],
        "privilege_groups": [{ "group_name": "readers", "privileges": [{ "name": "Search" }] }],
    }});
    let cut = parse(&meta).unwrap();
    assert!(!format!("{cut:?}").contains("c2VjcmV0"));
    let access = cut.access_control.unwrap();
    assert_eq!(access.users, ["ann", "root"]);
    let roles: Vec<_> = access.roles.iter().map(|role| (role.name.as_str(), role.users.len())).collect();
    assert_eq!(roles, [("admin", 0), ("reader", 1)]);
    let grant = &access.grants[0];
    assert_eq!(
        (grant.role.as_str(), grant.privilege.as_str(), grant.grantor.as_str()),
        ("reader", "Search", "root")
    );
    assert_eq!((grant.object_type.as_str(), grant.database.as_str()), ("Collection", "default"));
}

#[test]
fn the_number_of_shards_is_that_of_the_channels_where_it_is_left_out() {
    let shards = |more: &Value| {
        parse(&with_collections(&[collection(1, more)])).unwrap().databases[0].collections[0].shard_count
    };
    assert_eq!(shards(&json!({ "shards_num": 4, "virtual_channel_names": ["a"] })), 4);
    assert_eq!(shards(&json!({ "virtual_channel_names": ["a", "b"] })), 2);
    assert_eq!(shards(&json!({})), 1);
}

/// Values that know the file's keys, so that the parser is reached in its depth.
fn any_json() -> impl Strategy<Value = Value> {
    let keys = [
        "state_code",
        "collection_backups",
        "collection_id",
        "collection_name",
        "schema",
        "fields",
        "fieldID",
        "size",
        "partition_backups",
        "partition_id",
        "partition_name",
        "segment_backups",
        "segment_id",
        "num_of_rows",
        "binlogs",
        "l0_segments",
        "index_infos",
        "params",
        "rbac_meta",
        "users",
        "backup_timestamp",
        "default_value_base64",
        "data_type",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[0-9]{1,22}".prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(keys.to_vec()), inner), 0..6).prop_map(|pairs| {
                Value::Object(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn no_json_makes_it_panic(json in any_json()) {
        if let Ok(meta) = serde_json::from_value::<BackupMeta>(json) {
            let _ = to_cut(&meta, WRITTEN_AT_MS);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(meta) = serde_json::from_slice::<BackupMeta>(&bytes) {
            let _ = to_cut(&meta, WRITTEN_AT_MS);
        }
    }

    #[test]
    fn a_damaged_description_makes_it_no_panic(position in 0_usize..10_000, byte in any::<u8>()) {
        let meta = with_collections(&[collection(1, &json!({
            "backup_timestamp": 442_000_000_000_000_001_u64, "shards_num": 2,
            "partition_backups": [{ "partition_id": 2, "partition_name": "p", "segment_backups": [{ "segment_id": 3, "num_of_rows": 9 }] }],
        }))]);
        let mut bytes = serde_json::to_vec(&meta).unwrap();
        let position = position % bytes.len();
        bytes[position] = byte;
        if let Ok(meta) = serde_json::from_slice::<BackupMeta>(&bytes) {
            let _ = to_cut(&meta, WRITTEN_AT_MS);
        }
    }
}
