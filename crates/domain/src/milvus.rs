//! What a Milvus cluster consists of, as a backup keeps it, and the cut: the one timestamp a backup shows it at.

use serde::{Deserialize, Serialize};

/// A server's version and what it can do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerInfo {
    /// As the server reports it, e.g. `v2.3.5`.
    pub version: String,
    /// What Milvault uses of that version.
    pub capabilities: Capabilities,
}

/// Differences between Milvus versions that matter to backup and restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent facts about a server version")]
pub struct Capabilities {
    /// Whether this minor version was run against in the project's own tests. Others are used on the strength of
    /// public sources only.
    pub verified: bool,
    /// The server knows databases (2.2.9 and later).
    pub databases: bool,
    /// The garbage collection of old segments can be paused over HTTP (2.4 and later).
    pub gc_pause: bool,
    /// Deletes may lie in segments of their own, called L0 (2.4 and later).
    pub l0_segments: bool,
    /// The unit in which an import takes its `end_ts`.
    pub import_end_timestamp: TimestampUnit,
}

/// Unit of a timestamp argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// Physical milliseconds since 1970-01-01 UTC.
    Milliseconds,
    /// Milvus's hybrid timestamp: milliseconds shifted left by 18 bits, logical counter below.
    Hybrid,
}

/// A name with a value, as Milvus keeps properties and index parameters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Property {
    /// Key.
    pub key: String,
    /// Value.
    pub value: String,
}

/// Property of a collection by which Milvus hides and drops rows: their longest age in seconds.
pub const TIME_TO_LIVE_PROPERTY: &str = "collection.ttl.seconds";

/// All that a backup keeps of a cluster besides the binlogs, at one instant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The instant: physical milliseconds since 1970-01-01 UTC of the cluster's own clock. Rows and deletes with a
    /// timestamp up to and including it are in, later ones are out.
    pub cut_at_ms: i64,
    /// The server it was taken from.
    pub server: ServerInfo,
    /// Databases with their collections, sorted by name.
    pub databases: Vec<DatabaseCut>,
    /// Users, roles and grants; `None` for backups of less than the cluster, or where the server refuses to tell.
    pub access_control: Option<AccessControl>,
}

impl Cut {
    /// Every collection with the name of its database.
    pub fn collections(&self) -> impl Iterator<Item = (&str, &CollectionCut)> {
        self.databases
            .iter()
            .flat_map(|database| database.collections.iter().map(|c| (database.name.as_str(), c)))
    }

    /// Rows of all segments, before deletes are applied.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.collections().map(|(_, collection)| collection.row_count()).sum()
    }
}

/// A database at the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseCut {
    /// Name; `default` always exists.
    pub name: String,
    /// Properties, where the server tells them.
    pub properties: Vec<Property>,
    /// Collections, sorted by name.
    pub collections: Vec<CollectionCut>,
}

/// A collection at the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionCut {
    /// Milvus's id.
    pub collection_id: i64,
    /// Name at the cut.
    pub name: String,
    /// Description.
    pub description: String,
    /// Number of shards.
    pub shard_count: i32,
    /// Consistency level as Milvus numbers it: 0 Strong, 1 Session, 2 Bounded, 3 Eventually, 4 Customized.
    pub consistency_level: i32,
    /// The schema exactly as the server described it: a protobuf `milvus.proto.schema.CollectionSchema`. Restores use
    /// this, so that attributes unknown here survive.
    pub schema_proto: Vec<u8>,
    /// The fields, for people and for queries.
    pub fields: Vec<FieldDescription>,
    /// Whether rows may carry fields outside the schema.
    pub dynamic_field: bool,
    /// Properties of the collection, from both places where versions keep them, sorted by key.
    pub properties: Vec<Property>,
    /// Partitions, sorted by name.
    pub partitions: Vec<PartitionDescription>,
    /// Indexes, sorted by field name.
    pub indexes: Vec<IndexDescription>,
    /// Aliases, sorted.
    pub aliases: Vec<String>,
    /// Load state.
    pub load_state: LoadState,
    /// Replicas in memory; 0 when not loaded.
    pub replica_count: u32,
    /// The segments that hold the rows of the cut, sorted by id.
    pub segments: Vec<SegmentCut>,
}

impl CollectionCut {
    /// Rows of all segments, before deletes are applied.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.row_count).sum()
    }

    /// Rows of one partition's segments, before deletes are applied.
    #[must_use]
    pub fn partition_row_count(&self, partition_id: i64) -> u64 {
        self.segments
            .iter()
            .filter(|segment| segment.partition_id == partition_id)
            .map(|segment| segment.row_count)
            .sum()
    }
}

/// A field of a schema.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldDescription {
    /// Milvus's id, from 100.
    pub field_id: i64,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Type as Milvus's protobuf spells it, e.g. `Int64`, `VarChar`, `FloatVector`.
    pub data_type: String,
    /// Element type of an array, spelled the same way; empty otherwise.
    pub element_type: String,
    /// Parameters such as `dim` and `max_length`, sorted by key.
    pub type_params: Vec<Property>,
    /// What the field is for.
    pub flags: FieldFlags,
}

/// Roles that a field plays in its schema.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::struct_excessive_bools, reason = "they are independent attributes of Milvus's own schema")]
pub struct FieldFlags {
    /// Primary key.
    pub primary_key: bool,
    /// Values of the primary key are made by Milvus.
    pub auto_id: bool,
    /// Rows are spread over partitions by this field.
    pub partition_key: bool,
    /// Holds the fields outside the schema.
    pub dynamic: bool,
    /// May be null (2.5 and later).
    pub nullable: bool,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionDescription {
    /// Milvus's id.
    pub partition_id: i64,
    /// Name.
    pub name: String,
}

/// An index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexDescription {
    /// Name.
    pub name: String,
    /// Field it is built on.
    pub field_name: String,
    /// Parameters (`index_type`, `metric_type`, ...), sorted by key.
    pub params: Vec<Property>,
}

/// Whether a collection is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoadState {
    /// Not in memory.
    NotLoaded,
    /// On its way into memory.
    Loading,
    /// In memory, can be searched.
    Loaded,
}

/// A segment of the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentCut {
    /// Milvus's segment id.
    pub segment_id: i64,
    /// Milvus's partition id; -1 for segments that only hold deletes of all partitions.
    pub partition_id: i64,
    /// Rows in it, before deletes are applied and including rows later than the cut.
    pub row_count: u64,
}

/// Users, roles and grants. Passwords cannot be read from Milvus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessControl {
    /// User names, sorted.
    pub users: Vec<String>,
    /// Roles with their members, sorted by name.
    pub roles: Vec<RoleDescription>,
    /// What roles may do.
    pub grants: Vec<Grant>,
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleDescription {
    /// Name.
    pub name: String,
    /// Users that have it, sorted.
    pub users: Vec<String>,
}

/// One privilege of one role on one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// Role.
    pub role: String,
    /// Kind of object: `Collection`, `Global`, `User`.
    pub object_type: String,
    /// Name of the object, `*` for all.
    pub object_name: String,
    /// Database.
    pub database: String,
    /// Privilege, e.g. `Insert`.
    pub privilege: String,
    /// Who granted it.
    pub grantor: String,
}
