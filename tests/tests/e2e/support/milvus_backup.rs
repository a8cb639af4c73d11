//! A directory as milvus-backup leaves it, built from a real cluster's files and answers.

use anyhow::{Context as _, Result};
use milvault_tests::milvus_client::MilvusClient;
use milvus::proto::common::KeyValuePair;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes `<root>/<name>` with the collections of a database, which must be flushed.
pub(crate) async fn write_milvus_backup(
    database: &MilvusClient,
    collections: &[&str],
    storage: &Path,
    root: &Path,
    name: &str,
) -> Result<()> {
    let directory = root.join(name);
    // A timestamp of Milvus after everything that is in the files.
    let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let mut infos = Vec::new();
    for collection in collections {
        infos.push(collection_info(database, collection, storage, &directory, now_ms).await?);
    }
    let full = json!({
        "id": "b1b6ff5c", "state_code": 2, "name": name, "start_time": now_ms - 5000, "end_time": now_ms,
        "progress": 100, "backup_timestamp": now_ms, "size": 1, "milvus_version": "v2.3.5",
        "collection_backups": infos, "something_newer": { "unknown": true },
    });
    let meta = directory.join("meta");
    fs::create_dir_all(&meta)?;
    fs::write(meta.join("full_meta.json"), serde_json::to_vec(&full)?)?;
    Ok(())
}

async fn collection_info(
    database: &MilvusClient,
    collection: &str,
    storage: &Path,
    directory: &Path,
    now_ms: u64,
) -> Result<Value> {
    let described = database.describe(collection).await?;
    let schema = described.schema.as_ref().context("a collection has a schema")?;
    let segments = database.segments(collection).await?;
    let mut partitions = Vec::new();
    for (partition_name, partition_id) in database.partitions(collection).await? {
        let mut infos = Vec::new();
        for segment in segments.iter().filter(|segment| segment.partition_id == partition_id) {
            let place = format!("{}/{partition_id}", described.collection_id);
            copy_segment(storage, directory, &place, segment.segment_id)?;
            infos.push(json!({
                "segment_id": segment.segment_id, "collection_id": described.collection_id,
                "partition_id": partition_id, "num_of_rows": segment.num_rows, "group_id": segment.segment_id,
            }));
        }
        partitions.push(json!({
            "partition_id": partition_id, "partition_name": partition_name,
            "collection_id": described.collection_id, "segment_backups": infos,
        }));
    }
    let fields: Vec<Value> = schema
        .fields
        .iter()
        .map(|field| {
            json!({
                "fieldID": field.field_id, "name": field.name, "is_primary_key": field.is_primary_key,
                "data_type": field.data_type, "type_params": pairs(&field.type_params), "autoID": field.auto_id,
                "element_type": field.element_type, "is_dynamic": field.is_dynamic,
                "is_partition_key": field.is_partition_key,
            })
        })
        .collect();
    Ok(json!({
        "id": "c", "state_code": 2, "collection_id": described.collection_id, "db_name": database.database(),
        "collection_name": collection, "shards_num": described.shards_num,
        "consistency_level": described.consistency_level, "backup_timestamp": now_ms << 18,
        "backup_physical_timestamp": now_ms / 1000, "has_index": true, "load_state": "Loaded",
        "index_infos": [{ "field_name": "embedding", "index_name": "embedding", "index_type": "FLAT",
            "params": { "index_type": "FLAT", "metric_type": "L2", "params": "{}" } }],
        "schema": { "name": collection, "description": schema.description, "fields": fields,
            "enable_dynamic_field": schema.enable_dynamic_field },
        "partition_backups": partitions,
    }))
}

fn pairs(pairs: &[KeyValuePair]) -> Vec<Value> {
    pairs.iter().map(|pair| json!({ "key": pair.key, "value": pair.value })).collect()
}

/// Copies a segment's logs below a group of its own.
fn copy_segment(storage: &Path, directory: &Path, place: &str, segment_id: i64) -> Result<()> {
    for kind in ["insert_log", "delta_log"] {
        let from = storage.join(kind).join(place).join(segment_id.to_string());
        let group = directory.join("binlogs").join(kind).join(place).join(segment_id.to_string());
        if from.exists() {
            copy_tree(&from, &group.join(segment_id.to_string()))?;
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
