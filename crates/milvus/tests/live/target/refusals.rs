//! What a Milvus refuses, and how it is told.

use crate::restore::finish_import;
use crate::server::{Server, collection_name, key_field, storage, target, unique, vector_field};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::PortErrorKind;
use milvault_domain::milvus::{IndexDescription, Property};
use milvault_domain::ports::{ImportRequest, NewCollection};
use milvus::proto::schema::{CollectionSchema, FieldSchema};
use prost::Message;
use std::fs;

/// An int64 key `id` and a vector `v`, with the ids that a server gives them.
pub(crate) fn simple_schema() -> CollectionSchema {
    CollectionSchema {
        name: String::from("whatever it was"),
        fields: vec![
            FieldSchema { field_id: 100, ..key_field("id") },
            FieldSchema { field_id: 101, ..vector_field("v") },
        ],
        ..Default::default()
    }
}

fn new(name: &CollectionName, schema: &CollectionSchema) -> NewCollection {
    NewCollection {
        name: name.clone(),
        schema_proto: schema.encode_to_vec(),
        shard_count: 1,
        consistency_level: 1,
        properties: Vec::new(),
        partitions: vec![String::from("_default")],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_conflicts_although_the_schema_is_equal() {
    let target = target().await;
    let name = collection_name("default", &unique("taken"));
    let made = target.create_collection(&new(&name, &simple_schema())).await.unwrap();
    assert_eq!(made.partitions.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["_default"]);
    let alias = unique("alias");
    target.set_alias(&name, &alias).await.unwrap();
    for taken in [name.clone(), collection_name("default", &alias)] {
        let error = target.create_collection(&new(&taken, &simple_schema())).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    }
    assert_eq!(target.find_collection(&name).await.unwrap(), Some(made.clone()));
    target.drop_collection(&name, made.collection_id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_comes_out_otherwise_is_not_left_behind() {
    let target = target().await;
    let name = collection_name("default", &unique("ids"));
    let mut schema = simple_schema();
    // As after a field was dropped, which newer servers can do.
    schema.fields[1].field_id = 102;
    let error = target.create_collection(&new(&name, &schema)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("field `v` gets id 101, its rows have 102"), "{error}");
    assert_eq!(target.find_collection(&name).await.unwrap(), None);

    schema.fields[1].field_id = 101;
    schema.fields[1].data_type = 104;
    let error = target.create_collection(&new(&name, &schema)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("type of field `v`"), "{error}");
    schema.fields[1].data_type = simple_schema().fields[1].data_type;
    schema.fields[1].nullable = true;
    let error = target.create_collection(&new(&name, &schema)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
    assert!(error.to_string().contains("permission to be null"), "{error}");
    let partitions = vec![String::from("_default"), String::from("no name")];
    let named = NewCollection { partitions, ..new(&name, &simple_schema()) };
    let error = target.create_collection(&named).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unsupported, "{error}");
    assert_eq!(target.find_collection(&name).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn imports_that_cannot_be_fail_with_the_reason() {
    let server = Server::open().await;
    let target = target().await;
    let name = collection_name("default", &unique("import"));
    server.create_simple(&name.database, &name.collection, 1).await;
    let request = |partition: &str, insert_path: &str| ImportRequest {
        name: name.clone(),
        partition: partition.to_owned(),
        insert_path: insert_path.to_owned(),
        delta_path: None,
        cut_at_ms: 1_700_000_000_000,
    };
    let nowhere = format!("{}/nowhere/insert_log/1/2/", storage().display());
    let error = target.import(&request("no such partition", &nowhere)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    let error = target.import(&request("", &nowhere)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    let error = target.import_progress(12_345).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");

    // Without files an import succeeds with no rows: the caller has to count.
    let imports = target.import(&request("_default", &nowhere)).await.unwrap();
    assert_eq!(finish_import(target.as_ref(), imports[0]).await, Ok(0));

    let copies = tempfile::tempdir().unwrap();
    let segment = copies.path().join("insert_log/1/2/3");
    for field in [0, 1, 100, 101] {
        fs::create_dir_all(segment.join(field.to_string())).unwrap();
        fs::write(segment.join(field.to_string()).join("4"), b"no binlog").unwrap();
    }
    let garbage = format!("{}/insert_log/1/2/", copies.path().display());
    let imports = target.import(&request("_default", &garbage)).await.unwrap();
    let reason = finish_import(target.as_ref(), imports[0]).await.unwrap_err();
    assert!(!reason.is_empty() && reason != "the server gives no reason", "{reason}");
    assert_eq!(target.row_counts(&name).await.unwrap(), [(String::from("_default"), 0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_and_loading_tell_what_is_wrong() {
    let server = Server::open().await;
    let target = target().await;
    let name = collection_name("default", &unique("index"));
    server.create_simple(&name.database, &name.collection, 1).await;
    // None is defined, so none is missing.
    assert!(target.indexes_built(&name).await.unwrap());
    let error = target.load(&name, 1).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    let index = |index_type: &str| {
        let params = [("index_type", index_type), ("metric_type", "L2")];
        let params = params.map(|(key, value)| Property { key: key.to_owned(), value: value.to_owned() });
        IndexDescription { name: String::from("i"), field_name: String::from("v"), params: params.into() }
    };
    let error = target.create_index(&name, &index("NOPE")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    target.create_index(&name, &index("FLAT")).await.unwrap();
    let error = target.create_index(&name, &index("IVF_FLAT")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    let error = target.load(&name, 50).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");

    let missing = collection_name("default", "nope");
    assert_eq!(target.find_collection(&missing).await.unwrap(), None);
    target.drop_collection(&missing, 1).await.unwrap();
    let errors = [
        target.load(&missing, 1).await.unwrap_err(),
        target.release(&missing).await.unwrap_err(),
        target.load_state(&missing).await.unwrap_err(),
        target.flush(&missing).await.unwrap_err(),
        target.row_counts(&missing).await.unwrap_err(),
        target.create_index(&missing, &index("FLAT")).await.unwrap_err(),
        target.indexes_built(&missing).await.unwrap_err(),
    ];
    for error in errors {
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    }
}
