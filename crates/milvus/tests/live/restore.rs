//! Restores collections of a cut from Milvus's own files, to see what the cut shows.

use crate::server::{Server, ok, pair, storage};
use milvault_domain::milvus::CollectionCut;
use milvus::proto::common::ImportState;
use milvus::proto::milvus::{GetImportStateRequest, ImportRequest};
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

/// Imports copied segments into a new collection of the default database and loads it.
pub(crate) async fn import(server: &Server, cut: &CollectionCut, cut_at_ms: i64, copied: &Path, name: &str) {
    server.create_simple("default", name, 1).await;
    for partition in &cut.partitions {
        let path =
            |kind: &str| copied.join(kind).join(format!("{}/{}", cut.collection_id, partition.partition_id));
        if !path("insert_log").exists() {
            continue;
        }
        let delta = path("delta_log");
        let delta = if delta.exists() { format!("{}/", delta.display()) } else { String::new() };
        let request = ImportRequest {
            collection_name: name.to_owned(),
            partition_name: partition.name.clone(),
            files: vec![format!("{}/", path("insert_log").display()), delta],
            options: vec![
                pair("backup", "true"),
                pair("end_ts", &cut_at_ms.to_string()),
                pair("skip_disk_quota_check", "true"),
            ],
            ..Default::default()
        };
        let answer = server.raw().import(request).await.unwrap().into_inner();
        ok(answer.status);
        for task in answer.tasks {
            wait_for_import(server, task).await;
        }
    }
    server.flush("default", name).await;
    server.index("default", name).await;
    server.load("default", name).await;
}

async fn wait_for_import(server: &Server, task: i64) {
    for _ in 0..600 {
        let answer =
            server.raw().get_import_state(GetImportStateRequest { task }).await.unwrap().into_inner();
        match answer.state() {
            ImportState::ImportCompleted => return,
            ImportState::ImportFailed | ImportState::ImportFailedAndCleaned => {
                panic!("import failed: {:?}", answer.infos)
            }
            _ => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
    panic!("import {task} does not end");
}
