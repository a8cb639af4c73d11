//! A collection of a manifest's header, version 1.

use crate::milvus::{
    CollectionCut, FieldDescription, FieldFlags, IndexDescription, LoadState, PartitionDescription, Property,
    SegmentCut,
};
use serde::{Deserialize, Serialize};

/// Keys with values.
pub(super) type PropertiesV1 = Vec<(String, String)>;

/// A collection; `database` is the position of its database in the header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct CollectionV1 {
    pub(super) database: u32,
    collection_id: i64,
    name: String,
    description: String,
    shard_count: i32,
    consistency_level: i32,
    schema_proto: Vec<u8>,
    fields: Vec<FieldV1>,
    dynamic_field: bool,
    properties: PropertiesV1,
    partitions: Vec<(i64, String)>,
    indexes: Vec<IndexV1>,
    aliases: Vec<String>,
    load_state: LoadStateV1,
    replica_count: u32,
    segments: Vec<SegmentV1>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent attributes of Milvus's own schema")]
struct FieldV1 {
    field_id: i64,
    name: String,
    description: String,
    data_type: String,
    element_type: String,
    type_params: PropertiesV1,
    primary_key: bool,
    auto_id: bool,
    partition_key: bool,
    dynamic: bool,
    nullable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct IndexV1 {
    name: String,
    field_name: String,
    params: PropertiesV1,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum LoadStateV1 {
    NotLoaded,
    Loading,
    Loaded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct SegmentV1 {
    segment_id: i64,
    partition_id: i64,
    row_count: u64,
}

impl CollectionV1 {
    /// The collection in this version's form; `database` is its database's position in the cut.
    pub(in super::super) fn from_domain(database: u32, collection: &CollectionCut) -> Self {
        Self {
            database,
            collection_id: collection.collection_id,
            name: collection.name.clone(),
            description: collection.description.clone(),
            shard_count: collection.shard_count,
            consistency_level: collection.consistency_level,
            schema_proto: collection.schema_proto.clone(),
            fields: collection.fields.iter().map(FieldV1::from).collect(),
            dynamic_field: collection.dynamic_field,
            properties: properties_to_v1(&collection.properties),
            partitions: collection.partitions.iter().map(|p| (p.partition_id, p.name.clone())).collect(),
            indexes: collection
                .indexes
                .iter()
                .map(|index| IndexV1 {
                    name: index.name.clone(),
                    field_name: index.field_name.clone(),
                    params: properties_to_v1(&index.params),
                })
                .collect(),
            aliases: collection.aliases.clone(),
            load_state: match collection.load_state {
                LoadState::NotLoaded => LoadStateV1::NotLoaded,
                LoadState::Loading => LoadStateV1::Loading,
                LoadState::Loaded => LoadStateV1::Loaded,
            },
            replica_count: collection.replica_count,
            segments: collection
                .segments
                .iter()
                .map(|segment| SegmentV1 {
                    segment_id: segment.segment_id,
                    partition_id: segment.partition_id,
                    row_count: segment.row_count,
                })
                .collect(),
        }
    }
}

impl From<CollectionV1> for CollectionCut {
    fn from(collection: CollectionV1) -> Self {
        Self {
            collection_id: collection.collection_id,
            name: collection.name,
            description: collection.description,
            shard_count: collection.shard_count,
            consistency_level: collection.consistency_level,
            schema_proto: collection.schema_proto,
            fields: collection.fields.into_iter().map(FieldDescription::from).collect(),
            dynamic_field: collection.dynamic_field,
            properties: properties_from_v1(collection.properties),
            partitions: collection
                .partitions
                .into_iter()
                .map(|(partition_id, name)| PartitionDescription { partition_id, name })
                .collect(),
            indexes: collection
                .indexes
                .into_iter()
                .map(|index| IndexDescription {
                    name: index.name,
                    field_name: index.field_name,
                    params: properties_from_v1(index.params),
                })
                .collect(),
            aliases: collection.aliases,
            load_state: match collection.load_state {
                LoadStateV1::NotLoaded => LoadState::NotLoaded,
                LoadStateV1::Loading => LoadState::Loading,
                LoadStateV1::Loaded => LoadState::Loaded,
            },
            replica_count: collection.replica_count,
            segments: collection
                .segments
                .into_iter()
                .map(|segment| SegmentCut {
                    segment_id: segment.segment_id,
                    partition_id: segment.partition_id,
                    row_count: segment.row_count,
                })
                .collect(),
        }
    }
}

impl From<&FieldDescription> for FieldV1 {
    fn from(field: &FieldDescription) -> Self {
        Self {
            field_id: field.field_id,
            name: field.name.clone(),
            description: field.description.clone(),
            data_type: field.data_type.clone(),
            element_type: field.element_type.clone(),
            type_params: properties_to_v1(&field.type_params),
            primary_key: field.flags.primary_key,
            auto_id: field.flags.auto_id,
            partition_key: field.flags.partition_key,
            dynamic: field.flags.dynamic,
            nullable: field.flags.nullable,
        }
    }
}

impl From<FieldV1> for FieldDescription {
    fn from(field: FieldV1) -> Self {
        Self {
            field_id: field.field_id,
            name: field.name,
            description: field.description,
            data_type: field.data_type,
            element_type: field.element_type,
            type_params: properties_from_v1(field.type_params),
            flags: FieldFlags {
                primary_key: field.primary_key,
                auto_id: field.auto_id,
                partition_key: field.partition_key,
                dynamic: field.dynamic,
                nullable: field.nullable,
            },
        }
    }
}

/// Properties in this version's form.
pub(super) fn properties_to_v1(properties: &[Property]) -> PropertiesV1 {
    properties.iter().map(|property| (property.key.clone(), property.value.clone())).collect()
}

/// Properties in the domain's form.
pub(super) fn properties_from_v1(properties: PropertiesV1) -> Vec<Property> {
    properties.into_iter().map(|(key, value)| Property { key, value }).collect()
}
