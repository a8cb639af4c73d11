//! A Milvus that rows are given back to.

use crate::backup::CollectionName;
use crate::error::PortResult;
use crate::milvus::{AccessControl, IndexDescription, LoadState, Property};
use crate::ports::MilvusCluster;
use crate::restore::UserPassword;
use async_trait::async_trait;

/// A connected Milvus that can be changed. Every call has a deadline; transient errors are retried inside, a bounded
/// number of times. Calls that make or remove something are harmless when repeated.
#[async_trait]
pub trait MilvusTarget: MilvusCluster {
    /// Databases, collections and aliases, users and roles that exist.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn inventory(&self) -> PortResult<Inventory>;

    /// Creates a database; one that exists is left as it is.
    ///
    /// # Errors
    /// `Unsupported` where the server has no databases; errors of the connection.
    async fn create_database(&self, name: &str, properties: &[Property]) -> PortResult<()>;

    /// Drops a database if it exists and is empty; one with collections is left alone. Returns whether there is none of
    /// that name now.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn drop_empty_database(&self, name: &str) -> PortResult<bool>;

    /// Creates a collection with its partitions, and checks that the server gave the fields the ids of the schema.
    ///
    /// # Errors
    /// `Conflict` when the name is taken; `Unsupported` when the server cannot make this schema or gives other field
    /// ids (the collection is dropped again then); errors of the connection.
    async fn create_collection(&self, new: &NewCollection) -> PortResult<CreatedCollection>;

    /// Sets properties of a collection; others stay as they are.
    ///
    /// # Errors
    /// `InvalidInput` when the server refuses them; errors of the connection.
    async fn set_properties(&self, name: &CollectionName, properties: &[Property]) -> PortResult<()>;

    /// What is known of a collection or alias of this name; `None` when there is none.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn find_collection(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>>;

    /// Drops the collection if its name still belongs to this id; otherwise does nothing. Its aliases are dropped first.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn drop_collection(&self, name: &CollectionName, collection_id: i64) -> PortResult<()>;

    /// Renames a collection within its database.
    ///
    /// # Errors
    /// `Conflict` when the new name is taken, `NotFound` when the old one is not there.
    async fn rename_collection(&self, name: &CollectionName, to: &str) -> PortResult<()>;

    /// Begins the import of staged binlogs into one partition; returns the ids of the server's import jobs.
    ///
    /// # Errors
    /// `InvalidInput` when the server refuses the files; errors of the connection.
    async fn import(&self, request: &ImportRequest) -> PortResult<Vec<i64>>;

    /// How far an import job is.
    ///
    /// # Errors
    /// `NotFound` when the server does not know it (any more); errors of the connection.
    async fn import_progress(&self, import_id: i64) -> PortResult<ImportProgress>;

    /// Makes everything that was imported durable and visible in [`Self::row_counts`].
    ///
    /// # Errors
    /// Errors of the connection.
    async fn flush(&self, name: &CollectionName) -> PortResult<()>;

    /// Rows in each partition, by the server's own statistics of its segments.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn row_counts(&self, name: &CollectionName) -> PortResult<Vec<(String, u64)>>;

    /// Defines an index; an equal one that exists is left as it is. Building goes on in the server.
    ///
    /// # Errors
    /// `InvalidInput` when the server refuses the parameters; errors of the connection.
    async fn create_index(&self, name: &CollectionName, index: &IndexDescription) -> PortResult<()>;

    /// Whether all indexes of the collection are built.
    ///
    /// # Errors
    /// `InvalidInput` when building one has failed; errors of the connection.
    async fn indexes_built(&self, name: &CollectionName) -> PortResult<bool>;

    /// Begins to load a collection.
    ///
    /// # Errors
    /// `Unavailable` when the server has too little memory or too few nodes; errors of the connection.
    async fn load(&self, name: &CollectionName, replica_count: u32) -> PortResult<()>;

    /// Takes a collection out of memory.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn release(&self, name: &CollectionName) -> PortResult<()>;

    /// Load state of a collection.
    ///
    /// # Errors
    /// `Unavailable` when loading it has failed for too little memory or too few nodes, `InvalidInput` when for another
    /// reason; errors of the connection.
    async fn load_state(&self, name: &CollectionName) -> PortResult<LoadState>;

    /// Makes an alias point to a collection, wherever it pointed before.
    ///
    /// # Errors
    /// `Conflict` when a collection has that name; errors of the connection.
    async fn set_alias(&self, name: &CollectionName, alias: &str) -> PortResult<()>;

    /// Makes users (those with a password), roles, memberships and grants that do not exist yet. Returns what could
    /// not be made, in words.
    ///
    /// # Errors
    /// Errors of the connection.
    async fn restore_access(
        &self,
        access: &AccessControl,
        passwords: &[UserPassword],
    ) -> PortResult<Vec<String>>;
}

/// Names that exist at a Milvus.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inventory {
    /// Databases, sorted by name.
    pub databases: Vec<DatabaseInventory>,
    /// Users; empty where the server does not tell.
    pub users: Vec<String>,
    /// Roles; empty where the server does not tell.
    pub roles: Vec<String>,
}

/// Names that exist in a database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseInventory {
    /// Name.
    pub name: String,
    /// Collections, sorted by name.
    pub collections: Vec<CollectionInventory>,
}

/// A collection that exists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CollectionInventory {
    /// Name.
    pub name: String,
    /// Milvus's id.
    pub collection_id: i64,
    /// Its aliases, sorted.
    pub aliases: Vec<String>,
}

/// A collection to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCollection {
    /// Name.
    pub name: CollectionName,
    /// The schema as the backup kept it: a protobuf `milvus.proto.schema.CollectionSchema`.
    pub schema_proto: Vec<u8>,
    /// Number of shards.
    pub shard_count: i32,
    /// Consistency level as Milvus numbers it.
    pub consistency_level: i32,
    /// Properties.
    pub properties: Vec<Property>,
    /// Names of all partitions. With a partition key only their number matters: the server names them.
    pub partitions: Vec<String>,
}

/// A collection that exists, with its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedCollection {
    /// Milvus's id.
    pub collection_id: i64,
    /// Its own name; differs from the name asked for when that was an alias.
    pub name: String,
    /// Partitions with Milvus's ids, sorted by name.
    pub partitions: Vec<(String, i64)>,
}

/// Staged binlogs of one partition, to be imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportRequest {
    /// Into which collection.
    pub name: CollectionName,
    /// Into which partition; empty for deletes that concern all (L0).
    pub partition: String,
    /// Path of the directory whose children are segments, as the server has to be told it; ends with `/`. Empty to
    /// import the deletes of L0 segments alone, which servers with [`l0_segments`](crate::milvus::Capabilities) take.
    pub insert_path: String,
    /// The same for delta logs; `None` when there are none.
    pub delta_path: Option<String>,
    /// The cut: later rows and deletes are left out. Physical milliseconds since 1970-01-01 UTC; the unit that the
    /// server's version wants is the implementation's matter.
    pub cut_at_ms: i64,
}

/// How far an import job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImportProgress {
    /// State.
    pub state: ImportState,
    /// Whole percent.
    pub percent: u8,
    /// Rows imported so far. Whether all arrived is for the caller to compare: servers report success without.
    pub row_count: u64,
}

/// State of an import job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportState {
    /// Waiting or at work.
    Running,
    /// The rows are written; they count from now on.
    Completed,
    /// Failed, with the server's reason.
    Failed(String),
}
