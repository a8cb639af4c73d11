//! Restores collections of a cut from Milvus's own files, to see what the cut shows.

use crate::server::storage;
use milvault_domain::backup::CollectionName;
use milvault_domain::milvus::{CollectionCut, LoadState};
use milvault_domain::ports::{CreatedCollection, ImportRequest, ImportState, MilvusTarget, NewCollection};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Copies the segments of a cut as they are now.
pub(crate) fn copy_segments(cut: &CollectionCut, target: &Path) {
    for segment in &cut.segments {
        for kind in ["insert_log", "delta_log"] {
            let relative =
                format!("{kind}/{}/{}/{}", cut.collection_id, segment.partition_id, segment.segment_id);
            let source = storage().join(&relative);
            if source.exists() {
                copy_directory(&source, &target.join(&relative));
            } else if kind == "insert_log" && segment.row_count > 0 {
                panic!("segment {segment:?} has no files at {}", source.display());
            }
        }
    }
}

fn copy_directory(source: &Path, target: &Path) {
    fs::create_dir_all(target).unwrap();
    for entry in fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let destination = target.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &destination);
        } else {
            fs::copy(entry.path(), destination).unwrap();
        }
    }
}

/// The collection of a cut, to be created under this name.
pub(crate) fn new_collection(cut: &CollectionCut, name: &CollectionName) -> NewCollection {
    NewCollection {
        name: name.clone(),
        schema_proto: cut.schema_proto.clone(),
        shard_count: cut.shard_count,
        consistency_level: cut.consistency_level,
        properties: cut.properties.clone(),
        partitions: cut.partitions.iter().map(|partition| partition.name.clone()).collect(),
    }
}

/// Creates the collection, imports the copied segments, builds the indexes and loads.
pub(crate) async fn restore(
    target: &dyn MilvusTarget,
    cut: &CollectionCut,
    cut_at_ms: i64,
    copied: &Path,
    new: &NewCollection,
) -> CreatedCollection {
    let created = target.create_collection(new).await.unwrap();
    import(target, cut, cut_at_ms, copied, &new.name).await;
    target.flush(&new.name).await.unwrap();
    for index in &cut.indexes {
        target.create_index(&new.name, index).await.unwrap();
    }
    until(async || target.indexes_built(&new.name).await.unwrap()).await;
    target.load(&new.name, 1).await.unwrap();
    until(async || target.load_state(&new.name).await.unwrap() == LoadState::Loaded).await;
    created
}

/// Imports the copied segments of all partitions; returns the rows that the server says to have imported.
pub(crate) async fn import(
    target: &dyn MilvusTarget,
    cut: &CollectionCut,
    cut_at_ms: i64,
    copied: &Path,
    name: &CollectionName,
) -> u64 {
    let mut rows = 0;
    for partition in &cut.partitions {
        let path =
            |kind: &str| copied.join(kind).join(format!("{}/{}", cut.collection_id, partition.partition_id));
        if !path("insert_log").exists() {
            continue;
        }
        let delta = path("delta_log");
        let request = ImportRequest {
            name: name.clone(),
            partition: partition.name.clone(),
            insert_path: format!("{}/", path("insert_log").display()),
            delta_path: delta.exists().then(|| format!("{}/", delta.display())),
            cut_at_ms,
        };
        for import_id in target.import(&request).await.unwrap() {
            rows += finish_import(target, import_id).await.unwrap();
        }
    }
    rows
}

/// Rows of an import that completes, or why it failed.
pub(crate) async fn finish_import(target: &dyn MilvusTarget, import_id: i64) -> Result<u64, String> {
    for _ in 0..600 {
        let progress = target.import_progress(import_id).await.unwrap();
        match progress.state {
            ImportState::Completed => return Ok(progress.row_count),
            ImportState::Failed(reason) => return Err(reason),
            ImportState::Running => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("import {import_id} does not end");
}

async fn until(mut condition: impl AsyncFnMut() -> bool) {
    for _ in 0..600 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not happen");
}
