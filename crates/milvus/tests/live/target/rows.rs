//! Whole collections, from the cut to the rows of the restored collection.

use super::kinds::{self, Kind};
use crate::restore::{copy_segments, new_collection, restore};
use crate::server::{Server, collection_name, connect, ok, setting, target, unique};
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::milvus::{CollectionCut, LoadState, Property, TIME_TO_LIVE_PROPERTY};
use milvault_domain::ports::{MilvusTarget, NewCollection};
use milvus::proto::common::ConsistencyLevel;
use milvus::proto::milvus::QueryRequest;
use milvus::proto::schema::FieldData;
use std::ops::Range;

/// Rows at the cut: those inserted before, without those deleted before.
const INSERTED: Range<i64> = 0..3_000;
const DELETED: Range<i64> = 100..400;
/// Inserted again after they were deleted.
const AGAIN: Range<i64> = 100..150;
const LATE: Range<i64> = 3_000..3_200;
const LATE_DELETED: Range<i64> = 1_000..1_100;
const EXPECTED: u64 = 3_000 - 300 + 50;

/// The rows that match, in the order of their keys; columns in the order of their names.
async fn query(server: &Server, name: &CollectionName, expression: &str, fields: &[&str]) -> Vec<FieldData> {
    let request = QueryRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        expr: expression.to_owned(),
        output_fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        consistency_level: ConsistencyLevel::Strong.into(),
        ..Default::default()
    };
    let answer = server.raw().query(request).await.unwrap().into_inner();
    ok(answer.status);
    let mut columns = answer.fields_data;
    columns.sort_by(|a, b| a.field_name.cmp(&b.field_name));
    columns
}

async fn delete(server: &Server, kind: &Kind, name: &CollectionName, keys: Range<i64>) {
    let expression = (kind.keys)(keys);
    server.delete_where(&name.database, &name.collection, &expression).await;
}

async fn fill(server: &Server, kind: &Kind, name: &CollectionName) {
    kind.insert(server, &name.database, &name.collection, INSERTED).await;
    delete(server, kind, name, DELETED).await;
    kind.insert(server, &name.database, &name.collection, AGAIN).await;
}

async fn disturb(server: &Server, kind: &Kind, name: &CollectionName) {
    delete(server, kind, name, LATE_DELETED).await;
    kind.insert(server, &name.database, &name.collection, LATE).await;
    server.flush(&name.database, &name.collection).await;
}

async fn cut_of(name: &CollectionName) -> (CollectionCut, i64) {
    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let cut = cluster.take_cut(&BackupScope::Collections(vec![name.clone()])).await.unwrap();
    let collection = cut.collections().next().unwrap().1.clone();
    (collection, cut.cut_at_ms)
}

/// What has to be the same in a restored collection.
fn made_of(cut: &CollectionCut) -> impl PartialEq + std::fmt::Debug {
    let partitions: Vec<_> = cut.partitions.iter().map(|partition| partition.name.clone()).collect();
    let described = (cut.description.clone(), cut.consistency_level, cut.dynamic_field);
    (described, cut.fields.clone(), cut.properties.clone(), partitions, cut.indexes.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_collection_comes_back_with_its_rows() {
    let server = Server::open().await;
    let target = target().await;
    let (from, to) = (unique("from"), unique("to"));
    server.create_database(&from).await;
    target.create_database(&to, &[]).await.unwrap();
    for kind in kinds::all() {
        let source = collection_name(&from, &unique(kind.label));
        let restored = collection_name(&to, &source.collection);
        kind.create(&server, &source.database, &source.collection).await;
        server.load(&source.database, &source.collection).await;
        fill(&server, &kind, &source).await;
        let whole = [(kind.keys)(0..800), (kind.keys)(800..1_600), (kind.keys)(1_600..3_200)];
        let mut expected = Vec::new();
        for keys in &whole {
            expected.push(query(&server, &source, keys, &["*"]).await);
        }
        let (cut, cut_at_ms) = cut_of(&source).await;
        disturb(&server, &kind, &source).await;
        let copies = tempfile::tempdir().unwrap();
        copy_segments(&cut, copies.path());

        let new = NewCollection { shard_count: 4, ..new_collection(&cut, &restored) };
        let created = restore(target.as_ref(), &cut, cut_at_ms, copies.path(), &new).await;
        check_counts(target.as_ref(), &kind, &restored, created.partitions.len()).await;
        let (found, _) = cut_of(&restored).await;
        assert_eq!(made_of(&found), made_of(&cut), "{}", kind.label);
        assert_eq!((found.shard_count, found.load_state), (4, LoadState::Loaded), "{}", kind.label);
        assert_eq!(found.indexes.len(), kind.index_count);
        for (keys, expected) in whole.iter().zip(&expected) {
            let rows = query(&server, &restored, keys, &["*"]).await;
            assert!(!expected.is_empty() && rows == *expected, "{}: {keys}", kind.label);
        }
        target.drop_collection(&restored, created.collection_id).await.unwrap();
        server.drop_collection(&source.database, &source.collection).await;
    }
    target.drop_empty_database(&to).await.unwrap();
}

async fn check_counts(target: &dyn MilvusTarget, kind: &Kind, name: &CollectionName, partitions: usize) {
    let counts = target.row_counts(name).await.unwrap();
    assert_eq!(counts.len(), partitions, "{}", kind.label);
    assert!(counts.is_sorted(), "{counts:?}");
    let rows: u64 = counts.iter().map(|(_, rows)| rows).sum();
    assert_eq!(rows, EXPECTED, "{}: {counts:?}", kind.label);
    if kind.label != "partition_key" {
        let filled = counts.iter().filter(|(_, rows)| *rows > 0).count();
        assert_eq!(filled, partitions, "{counts:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_are_repeated_change_nothing() {
    let server = Server::open().await;
    let target = target().await;
    let kind = kinds::rich();
    let source = collection_name("default", &unique("again"));
    kind.create(&server, &source.database, &source.collection).await;
    kind.insert(&server, &source.database, &source.collection, 0..2_000).await;
    let (cut, cut_at_ms) = cut_of(&source).await;
    let copies = tempfile::tempdir().unwrap();
    copy_segments(&cut, copies.path());
    let restored = collection_name("default", &unique("restored"));
    restore(target.as_ref(), &cut, cut_at_ms, copies.path(), &new_collection(&cut, &restored)).await;

    for index in &cut.indexes {
        target.create_index(&restored, index).await.unwrap();
    }
    target.flush(&restored).await.unwrap();
    target.load(&restored, 1).await.unwrap();
    assert!(target.indexes_built(&restored).await.unwrap());
    assert_eq!(target.load_state(&restored).await.unwrap(), LoadState::Loaded);
    for _ in 0..2 {
        target.release(&restored).await.unwrap();
        assert_eq!(target.load_state(&restored).await.unwrap(), LoadState::NotLoaded);
    }
    let rows: u64 = target.row_counts(&restored).await.unwrap().iter().map(|(_, rows)| rows).sum();
    assert_eq!(rows, 2_000);
    let property = |key: &str, value: &str| Property { key: key.to_owned(), value: value.to_owned() };
    let changed =
        [property(TIME_TO_LIVE_PROPERTY, "7200"), property("collection.autocompaction.enabled", "false")];
    for _ in 0..2 {
        target.set_properties(&restored, &changed[1..]).await.unwrap();
        target.set_properties(&restored, &changed[..1]).await.unwrap();
    }
    let mut properties = cut_of(&restored).await.0.properties;
    properties.sort_by(|a, b| b.key.cmp(&a.key));
    assert_eq!(properties, changed);
}
