//! The facts of a backup for a person who has no Milvault.

use milvault_domain::backup::{BackupScope, CreationMethod, ManifestHeader};
use milvault_domain::manifest::FORMAT_VERSION;
use milvault_domain::milvus::{CollectionCut, Property};
use milvault_domain::object::StoredObject;
use serde_json::{Map, Value, json};

/// Renders the summary. The list of objects is left out; the manifest has it.
pub(crate) fn render(header: &ManifestHeader, objects: &[StoredObject]) -> Vec<u8> {
    let logical_bytes: u64 = objects.iter().map(|object| object.source.size_bytes).sum();
    let databases: Vec<Value> = header
        .cut
        .databases
        .iter()
        .map(|database| {
            json!({
                "name": database.name,
                "properties": properties(&database.properties),
                "collections": database.collections.iter().map(collection).collect::<Vec<_>>(),
            })
        })
        .collect();
    let summary = json!({
        "about": "A Milvault backup. `manifest` beside this file is what counts; docs/format.md describes it.",
        "format_version": FORMAT_VERSION,
        "backup_id": header.backup_id.to_string(),
        "name": header.name,
        "description": header.description,
        "cluster": { "id": header.cluster_id.to_string(), "name": header.cluster_name },
        "project_id": header.project_id.to_string(),
        "source": header.source_url,
        "copied_from": header.copied_from.map(|origin| json!({
            "backup_id": origin.backup_id.to_string(),
            "repository_id": origin.repository_id.to_string(),
        })),
        "scope": scope(&header.scope),
        "creation_method": match header.creation_method {
            CreationMethod::Manual => "manual",
            CreationMethod::Auto => "auto",
        },
        "created_by": header.created_by,
        "created_at": timestamp(header.created_at_ms),
        "cut_at": timestamp(header.cut.cut_at_ms),
        "expires_at": header.expires_at_ms.map(timestamp),
        "milvus_version": header.cut.server.version,
        "object_count": objects.len(),
        "logical_bytes": logical_bytes,
        "row_count": header.cut.row_count(),
        "databases": databases,
    });
    // Values made of strings and numbers always render.
    serde_json::to_vec_pretty(&summary).unwrap_or_default()
}

fn timestamp(milliseconds: i64) -> Value {
    chrono::DateTime::from_timestamp_millis(milliseconds)
        .map_or(json!(milliseconds), |time| json!(time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)))
}

fn scope(scope: &BackupScope) -> Value {
    match scope {
        BackupScope::Cluster => json!("cluster"),
        BackupScope::Databases(names) => json!({ "databases": names }),
        BackupScope::Collections(names) => json!({
            "collections": names.iter()
                .map(|name| json!({ "database": name.database, "collection": name.collection }))
                .collect::<Vec<_>>(),
        }),
    }
}

fn properties(properties: &[Property]) -> Value {
    Value::Object(
        properties
            .iter()
            .map(|property| (property.key.clone(), json!(property.value)))
            .collect::<Map<_, _>>(),
    )
}

fn collection(collection: &CollectionCut) -> Value {
    let fields: Vec<Value> = collection
        .fields
        .iter()
        .map(|field| {
            json!({
                "field_id": field.field_id,
                "name": field.name,
                "data_type": field.data_type,
                "type_params": properties(&field.type_params),
                "primary_key": field.flags.primary_key,
            })
        })
        .collect();
    let indexes: Vec<Value> = collection
        .indexes
        .iter()
        .map(|index| {
            json!({ "name": index.name, "field": index.field_name, "params": properties(&index.params) })
        })
        .collect();
    json!({
        "name": collection.name,
        "collection_id": collection.collection_id,
        "description": collection.description,
        "row_count": collection.row_count(),
        "segment_count": collection.segments.len(),
        "shard_count": collection.shard_count,
        "partitions": collection.partitions.iter().map(|partition| &partition.name).collect::<Vec<_>>(),
        "aliases": collection.aliases,
        "fields": fields,
        "indexes": indexes,
    })
}
