//! Collections in a backup.

use super::contents::Property;
use crate::graphql::scalar::{Int64, print_id};
use async_graphql::{Enum, ID, Object, SimpleObject};
use milvault_domain::milvus::{self as domain, CollectionCut, Cut, FieldDescription};
use std::collections::HashMap;
use std::sync::Arc;

/// A collection in a backup.
pub(crate) struct BackupCollection {
    cut: Arc<Cut>,
    database: usize,
    index: usize,
}

impl BackupCollection {
    pub(crate) const fn new(cut: Arc<Cut>, database: usize, index: usize) -> Self {
        Self { cut, database, index }
    }

    fn collection(&self) -> &CollectionCut {
        &self.cut.databases[self.database].collections[self.index]
    }
}

/// Consistency level of a collection.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConsistencyLevel {
    /// Reads see everything written before.
    Strong,
    /// Reads see what the same client wrote.
    Session,
    /// Reads may be behind by a bounded time.
    Bounded,
    /// Reads see what is there.
    Eventually,
    /// Reads say themselves what they want to see.
    Customized,
}

/// Whether a collection is in memory.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::LoadState")]
pub(crate) enum LoadState {
    /// Not in memory.
    NotLoaded,
    /// On its way into memory.
    Loading,
    /// In memory, can be searched.
    Loaded,
}

/// A collection in a backup, as it was at the cut.
#[Object]
impl BackupCollection {
    /// Name.
    async fn name(&self) -> &str {
        &self.collection().name
    }

    /// Milvus's id of the collection.
    async fn id(&self) -> ID {
        print_id(self.collection().collection_id)
    }

    /// Description.
    async fn description(&self) -> &str {
        &self.collection().description
    }

    /// Number of shards.
    async fn shard_count(&self) -> i32 {
        self.collection().shard_count
    }

    /// Consistency level; null for one that this version of Milvault does not know.
    async fn consistency_level(&self) -> Option<ConsistencyLevel> {
        match self.collection().consistency_level {
            0 => Some(ConsistencyLevel::Strong),
            1 => Some(ConsistencyLevel::Session),
            2 => Some(ConsistencyLevel::Bounded),
            3 => Some(ConsistencyLevel::Eventually),
            4 => Some(ConsistencyLevel::Customized),
            _ => None,
        }
    }

    /// Whether rows may carry fields outside the schema.
    async fn dynamic_field(&self) -> bool {
        self.collection().dynamic_field
    }

    /// Properties.
    async fn properties(&self) -> Vec<Property> {
        self.collection().properties.iter().map(Into::into).collect()
    }

    /// Partitions.
    async fn partitions(&self) -> Vec<BackupPartition> {
        // One pass over the segments: there may be thousands of partitions.
        let mut rows: HashMap<i64, u64> = HashMap::new();
        for segment in &self.collection().segments {
            *rows.entry(segment.partition_id).or_default() += segment.row_count;
        }
        let partitions = self.collection().partitions.iter();
        partitions
            .map(|partition| BackupPartition {
                id: print_id(partition.partition_id),
                name: partition.name.clone(),
                row_count: Int64(rows.get(&partition.partition_id).copied().unwrap_or_default()),
            })
            .collect()
    }

    /// Fields of the schema.
    async fn fields(&self) -> Vec<BackupField> {
        self.collection().fields.iter().map(Into::into).collect()
    }

    /// Indexes.
    async fn indexes(&self) -> Vec<BackupIndex> {
        self.collection().indexes.iter().map(Into::into).collect()
    }

    /// Aliases.
    async fn aliases(&self) -> &[String] {
        &self.collection().aliases
    }

    /// Load state.
    async fn load_state(&self) -> LoadState {
        self.collection().load_state.into()
    }

    /// Replicas in memory; 0 when not loaded.
    async fn replica_count(&self) -> u32 {
        self.collection().replica_count
    }

    /// Rows of all segments, before deletes are applied.
    async fn row_count(&self) -> Int64 {
        Int64(self.collection().row_count())
    }

    /// Number of segments.
    async fn segment_count(&self) -> usize {
        self.collection().segments.len()
    }
}

/// A partition in a backup.
#[derive(SimpleObject)]
pub(crate) struct BackupPartition {
    /// Milvus's id of the partition.
    id: ID,
    /// Name.
    name: String,
    /// Rows of its segments, before deletes are applied.
    row_count: Int64,
}

/// A field of a collection's schema.
#[derive(SimpleObject)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent attributes of Milvus's own schema")]
pub(crate) struct BackupField {
    /// Milvus's id of the field.
    id: ID,
    /// Name.
    name: String,
    /// Description.
    description: String,
    /// Type as Milvus spells it, such as `Int64`, `VarChar`, `FloatVector`.
    data_type: String,
    /// Type of an array's elements; null for other types.
    element_type: Option<String>,
    /// Parameters such as `dim` and `max_length`.
    type_params: Vec<Property>,
    /// Whether it is the primary key.
    primary_key: bool,
    /// Whether Milvus makes the values of the primary key.
    auto_id: bool,
    /// Whether rows are spread over partitions by it.
    partition_key: bool,
    /// Whether it holds the fields outside the schema.
    dynamic: bool,
    /// Whether it may be null.
    nullable: bool,
}

/// An index of a collection.
#[derive(SimpleObject)]
pub(crate) struct BackupIndex {
    /// Name.
    name: String,
    /// Field it is built on.
    field_name: String,
    /// Parameters such as `index_type` and `metric_type`.
    params: Vec<Property>,
}

impl From<&FieldDescription> for BackupField {
    fn from(field: &FieldDescription) -> Self {
        Self {
            id: print_id(field.field_id),
            name: field.name.clone(),
            description: field.description.clone(),
            data_type: field.data_type.clone(),
            element_type: Some(field.element_type.clone()).filter(|element| !element.is_empty()),
            type_params: field.type_params.iter().map(Into::into).collect(),
            primary_key: field.flags.primary_key,
            auto_id: field.flags.auto_id,
            partition_key: field.flags.partition_key,
            dynamic: field.flags.dynamic,
            nullable: field.flags.nullable,
        }
    }
}

impl From<&domain::IndexDescription> for BackupIndex {
    fn from(index: &domain::IndexDescription) -> Self {
        Self {
            name: index.name.clone(),
            field_name: index.field_name.clone(),
            params: index.params.iter().map(Into::into).collect(),
        }
    }
}
