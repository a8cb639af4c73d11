#![allow(clippy::unwrap_used)]

use super::cut::{Problem, to_cut};
use super::meta::BackupMeta;
use super::schema::{CollectionSchema, type_name};
use milvault_domain::milvus::Cut;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};

const WRITTEN_AT_MS: i64 = 1_700_000_000_000;

fn parse(meta: &Value) -> Result<Cut, Problem> {
    to_cut(&serde_json::from_value(meta.clone()).unwrap(), WRITTEN_AT_MS)
}

fn collection(id: i64, more: &Value) -> Value {
    let mut collection = json!({ "collection_id": id, "collection_name": format!("c{id}"), "schema": {} });
    collection.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    collection
}

fn with_collections(collections: &[Value]) -> Value {
    json!({ "state_code": 0, "collection_backups": collections })
}

#[test]
fn the_cut_is_the_latest_flush_and_everything_up_to_it() {
    let hybrid = |millis: u64, logical: u64| json!({ "backup_timestamp": (millis << 18) | logical });
    let seconds = |seconds: u64| json!({ "backup_physical_timestamp": seconds });
    let cut_at = |collections: &[Value]| {
        let collections: Vec<Value> = (1..).zip(collections).map(|(id, more)| collection(id, more)).collect();
        parse(&with_collections(&collections)).unwrap().cut_at_ms
    };
    assert_eq!(cut_at(&[hybrid(1_600_000_000_123, 7)]), 1_600_000_000_124);
    assert_eq!(cut_at(&[hybrid(1_600_000_000_123, 0), hybrid(1_600_000_000_500, 0)]), 1_600_000_000_501);
    assert_eq!(cut_at(&[seconds(1_600_000_000)]), 1_600_000_000_999);
    assert_eq!(cut_at(&[seconds(1_600_000_001), hybrid(1_600_000_000_500, 1)]), 1_600_000_001_999);
    // One that was not flushed may hold rows of any time before the description was written.
    assert_eq!(cut_at(&[hybrid(1_600_000_000_123, 7), json!({})]), WRITTEN_AT_MS);
    assert_eq!(cut_at(&[]), WRITTEN_AT_MS);
    assert_eq!(cut_at(&[json!({ "backup_timestamp": u64::MAX })]), 1 << 46);
    assert_eq!(cut_at(&[seconds(u64::MAX)]), WRITTEN_AT_MS);

    let mut old = with_collections(&[collection(1, &json!({}))]);
    old["end_time"] = json!(1_650_000_000_000_i64);
    assert_eq!(parse(&old).unwrap().cut_at_ms, 1_650_000_000_000);
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
    for state in [json!({ "state_code": 0 }), json!({ "state_code": 2 }), json!({})] {
        assert!(parse(&state).is_ok(), "{state}");
    }
    for state in [1, 3, 4, 5, -1] {
        assert!(matches!(parse(&json!({ "state_code": state })), Err(Problem::Corrupt(_))), "{state}");
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
            { "fieldID": 104, "name": "lost", "data_type": 5, "default_value_proto": "\u{18}\u{fffd}\u{2}" },
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
    assert_eq!(proto.fields[4].default_value, None);
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

    let broken = json!({ "schema": { "fields": [{ "name": "n", "default_value_base64": "!" }] } });
    let problem = parse(&with_collections(&[self::collection(1, &broken)])).unwrap_err();
    assert!(matches!(&problem, Problem::Corrupt(words) if words.contains("`n`")), "{problem:?}");
}

#[test]
fn users_come_without_their_passwords() {
    let meta = json!({ "rbac_meta": {
        "users": [{ "user": "root", "password": "c2VjcmV0" },
                  { "user": "ann", "password": "c2VjcmV0", "roles": [{ "name": "reader" }] }],
        "roles": [{ "name": "admin" }, { "name": "reader" }],
        "grants": [{ "role": { "name": "reader" }, "object": { "name": "Collection" }, "object_name": "*",
                     "grantor": { "user": { "name": "root" }, "privilege": { "name": "Search" } }, "db_name": "default" }],
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
