//! Digests of both sides of a real restore: `cargo test -p milvault-milvus --features live-tests --test binlog_live`.
//!
//! - `MILVAULT_TEST_MILVUS_URI`: `http://host:port` of a Milvus 2.3.5 without authentication
//! - `MILVAULT_TEST_MILVUS_STORAGE`: its local storage directory

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod files;
mod rows;
mod server;

use files::{copy_segments, key_digest, value_digest};
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::milvus::{CollectionCut, Cut};
use milvault_domain::ports::{ImportRequest, ImportState, MilvusTarget, NewCollection, RowChoice, RowDigest};
use rows::{Keys, Workload};
use server::Server;
use std::path::Path;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_restore_have_the_same_digests() {
    for keys in [Keys::Int64, Keys::VarChar] {
        let server = Server::open().await;
        let mut workload = Workload::start(&server, keys).await;
        workload.before_the_cut().await;
        // What is acknowledged is at least a tick old when the cut is taken.
        let expected = workload.row_count();
        let cut = take_cut(&server, &workload.name).await;
        workload.after_the_cut().await;

        let copied = tempfile::tempdir().unwrap();
        let source = collection(&cut);
        copy_segments(source, copied.path());
        let at_cut = key_digest(source, copied.path(), cut.cut_at_ms);
        assert_eq!(at_cut.rows, expected, "{keys:?}");
        let later = key_digest(source, copied.path(), i64::MAX);
        assert_ne!(at_cut, later, "what was written after the cut concerns rows of the cut");

        let target = server.target().await;
        let name = server::unique("restored");
        assert_eq!(restore(&*target, source, cut.cut_at_ms, copied.path(), &name).await, expected);

        let restored_cut = take_cut(&server, &name).await;
        let restored_files = tempfile::tempdir().unwrap();
        let restored = collection(&restored_cut);
        copy_segments(restored, restored_files.path());
        let now = restored_cut.cut_at_ms;
        assert_eq!(key_digest(restored, restored_files.path(), now), at_cut, "{keys:?}");
        for (field, same) in source.fields.iter().zip(&restored.fields) {
            assert_eq!((field.field_id, &field.name), (same.field_id, &same.name));
            for wanted in [RowChoice::All, RowChoice::OneIn(10)] {
                let before = value_digest(source, field, copied.path(), cut.cut_at_ms, wanted);
                let after = value_digest(restored, same, restored_files.path(), now, wanted);
                assert_eq!(before, after, "{keys:?} {} {wanted:?}", field.name);
                assert_ne!(before, RowDigest::default());
            }
        }
    }
}

async fn take_cut(server: &Server, name: &str) -> Cut {
    let scope = BackupScope::Collections(vec![collection_name(name)]);
    server.cluster().await.take_cut(&scope).await.unwrap()
}

fn collection(cut: &Cut) -> &CollectionCut {
    cut.collections().next().unwrap().1
}

fn collection_name(name: &str) -> CollectionName {
    CollectionName { database: String::from("default"), collection: name.to_owned() }
}

/// Rows that the server says to have imported.
async fn restore(
    target: &dyn MilvusTarget,
    source: &CollectionCut,
    cut_at_ms: i64,
    copied: &Path,
    name: &str,
) -> u64 {
    let name = collection_name(name);
    let new = NewCollection {
        name: name.clone(),
        schema_proto: source.schema_proto.clone(),
        // Rows are spread anew, so that nothing can be equal by its place.
        shard_count: 1,
        consistency_level: source.consistency_level,
        properties: source.properties.clone(),
        partitions: source.partitions.iter().map(|partition| partition.name.clone()).collect(),
    };
    target.create_collection(&new).await.unwrap();
    let mut rows = 0;
    for partition in &source.partitions {
        let path = |kind: &str| format!("{kind}/{}/{}/", source.collection_id, partition.partition_id);
        let absolute = |kind: &str| copied.join(path(kind)).display().to_string();
        let request = ImportRequest {
            name: name.clone(),
            partition: partition.name.clone(),
            insert_path: absolute("insert_log"),
            delta_path: copied.join(path("delta_log")).exists().then(|| absolute("delta_log")),
            cut_at_ms,
        };
        for import_id in target.import(&request).await.unwrap() {
            rows += finish(target, import_id).await;
        }
    }
    target.flush(&name).await.unwrap();
    rows
}

async fn finish(target: &dyn MilvusTarget, import_id: i64) -> u64 {
    for _ in 0..600 {
        let progress = target.import_progress(import_id).await.unwrap();
        match progress.state {
            ImportState::Completed => return progress.row_count,
            ImportState::Failed(reason) => panic!("{reason}"),
            ImportState::Running => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("import {import_id} does not end");
}
