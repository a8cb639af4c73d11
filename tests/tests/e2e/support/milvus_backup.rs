//! A directory as milvus-backup leaves it, built from a real cluster's files and answers.

use anyhow::{Context as _, Result};
use milvault_tests::milvus_client::MilvusClient;
use milvus::proto::common::KeyValuePair;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The versions of milvus-backup whose directories differ.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writer {
    /// From 2024 on: one description, a group for each segment, a time of the flush that is the last checkpoint's.
    Recent,
    /// Before July 2023: level files only, no groups, seconds where milliseconds would be, no time of its end.
    LevelFiles,
}

/// Writes `<root>/<name>` with the collections of a database, which must be flushed.
pub(crate) async fn write_milvus_backup(
    writer: Writer,
    database: &MilvusClient,
    collections: &[&str],
    storage: &Path,
    directory: &Path,
) -> Result<()> {
    let name = directory.file_name().and_then(|name| name.to_str()).context("a directory has a name")?;
    let now_ms = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    let made = Made { writer, storage, directory, now_ms };
    let mut infos = Vec::new();
    for collection in collections {
        infos.push(collection_info(database, collection, &made).await?);
    }
    let mut full = json!({
        "id": "b1b6ff5c", "state_code": 2, "name": name, "start_time": now_ms - 5000,
        "progress": 100, "backup_timestamp": now_ms - 4000, "size": 1, "milvus_version": "v2.3.5",
        "something_newer": { "unknown": true },
    });
    let meta = directory.join("meta");
    fs::create_dir_all(&meta)?;
    let write = |file: &str, content: &Value| -> Result<()> {
        Ok(fs::write(meta.join(file), serde_json::to_vec(content)?)?)
    };
    match writer {
        Writer::Recent => {
            full["end_time"] = json!(now_ms);
            full["collection_backups"] = json!(infos);
            write("full_meta.json", &full)
        }
        Writer::LevelFiles => {
            let mut partitions = take_all(&mut infos, "partition_backups");
            let segments = take_all(&mut partitions, "segment_backups");
            write("backup_meta.json", &full)?;
            write("collection_meta.json", &json!({ "infos": infos }))?;
            write("partition_meta.json", &json!({ "infos": partitions }))?;
            write("segment_meta.json", &json!({ "infos": segments }))
        }
    }
}

/// What is the same for all collections of a directory.
struct Made<'a> {
    writer: Writer,
    storage: &'a Path,
    directory: &'a Path,
    now_ms: u64,
}

/// Takes a list out of each of several objects.
fn take_all(from: &mut [Value], key: &str) -> Vec<Value> {
    from.iter_mut().flat_map(|from| from[key].take().as_array().cloned().unwrap_or_default()).collect()
}

async fn collection_info(database: &MilvusClient, collection: &str, made: &Made<'_>) -> Result<Value> {
    let described = database.describe(collection).await?;
    let schema = described.schema.as_ref().context("a collection has a schema")?;
    let segments = database.segments(collection).await?;
    let mut partitions = Vec::new();
    for (partition_name, partition_id) in database.partitions(collection).await? {
        let mut infos = Vec::new();
        for segment in segments.iter().filter(|segment| segment.partition_id == partition_id) {
            let place = format!("{}/{partition_id}", described.collection_id);
            let group = match made.writer {
                Writer::Recent => format!("{}/", segment.segment_id),
                Writer::LevelFiles => String::new(),
            };
            let mut info = json!({
                "segment_id": segment.segment_id, "collection_id": described.collection_id,
                "partition_id": partition_id, "num_of_rows": segment.num_rows,
                "binlogs": made.copy_insert_logs(&place, &group, segment.segment_id)?,
                "deltalogs": made.copy_delta_logs(&place, &group, segment.segment_id)?,
            });
            if made.writer == Writer::Recent {
                info["group_id"] = json!(segment.segment_id);
            }
            infos.push(info);
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
    let flushed_at = made.now_ms / 1000;
    let timestamp = match made.writer {
        // Of a checkpoint from before the rows.
        Writer::Recent => (made.now_ms - 3_600_000) << 18,
        Writer::LevelFiles => flushed_at << 18,
    };
    Ok(json!({
        "id": "c", "state_code": 2, "collection_id": described.collection_id, "db_name": database.database(),
        "collection_name": collection, "shards_num": described.shards_num,
        "consistency_level": described.consistency_level, "backup_timestamp": timestamp,
        "backup_physical_timestamp": flushed_at, "has_index": true, "load_state": "Loaded",
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

impl Made<'_> {
    /// Copies a segment's insert logs. Returns what a description says about them.
    fn copy_insert_logs(&self, place: &str, group: &str, segment_id: i64) -> Result<Vec<Value>> {
        let from = self.storage.join(format!("insert_log/{place}/{segment_id}"));
        let mut fields = Vec::new();
        for field in names_in(&from)? {
            let logs = self.copy_logs(
                &format!("insert_log/{place}/{segment_id}/{field}"),
                &format!("insert_log/{place}/{group}{segment_id}/{field}"),
            )?;
            fields.push(json!({ "fieldID": field.parse::<i64>()?, "binlogs": logs }));
        }
        Ok(fields)
    }

    /// Copies a segment's delta logs. Their list always has one entry, which has no field.
    fn copy_delta_logs(&self, place: &str, group: &str, segment_id: i64) -> Result<Vec<Value>> {
        let logs = self.copy_logs(
            &format!("delta_log/{place}/{segment_id}"),
            &format!("delta_log/{place}/{group}{segment_id}"),
        )?;
        Ok(vec![json!({ "binlogs": logs })])
    }

    fn copy_logs(&self, from: &str, to: &str) -> Result<Vec<Value>> {
        let target = self.directory.join("binlogs").join(to);
        let mut logs = Vec::new();
        for log in names_in(&self.storage.join(from))? {
            fs::create_dir_all(&target)?;
            let size = fs::copy(self.storage.join(from).join(&log), target.join(&log))?;
            let mut info = json!({ "log_path": format!("files/{from}/{log}"), "log_size": size });
            if self.writer == Writer::Recent {
                info["log_id"] = json!(log.parse::<i64>()?);
            }
            logs.push(info);
        }
        Ok(logs)
    }
}

/// Names in a directory, sorted; one that does not exist has none.
fn names_in(directory: &Path) -> Result<Vec<String>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}
