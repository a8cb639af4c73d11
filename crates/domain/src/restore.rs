//! Giving a backup's rows back: what is asked for, what is planned, what has become of it.
//!
//! A collection is always restored beside whatever exists, under a working name that derives from the job, and gets
//! its own name only when its rows were compared with the backup. So a target is never seen half restored, and what a
//! restore replaces stays until the new is proven.

use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::ids::{BackupId, ClusterId, JobId};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

mod plan;

pub use plan::{PlanInput, plan_restore};

/// A restore that somebody wants. Kept with its job, so that it continues after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The backup; it must be available.
    pub backup_id: BackupId,
    /// Into which cluster.
    pub target_cluster_id: ClusterId,
    /// What of the backup.
    pub selection: RestoreSelection,
    /// Under which names.
    pub names: TargetNames,
    /// What to do when a name is taken.
    pub conflict: ConflictPolicy,
    /// Number of shards of the restored collections; `None` is as in the backup.
    pub shard_count: Option<i32>,
    /// Which collections are loaded afterwards.
    pub load: LoadChoice,
    /// What becomes of indexes.
    pub indexes: IndexChoice,
    /// Whether and how users, roles and grants are restored.
    pub access_control: Option<AccessRestore>,
    /// How thoroughly the restored rows are compared with the backup before a collection gets its name.
    pub compare: CompareDepth,
    /// A restore that ended half-way and whose remaining collections are to be restored; everything else is as it was
    /// asked for then.
    pub continues: Option<JobId>,
}

/// What of a backup to restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreSelection {
    /// Everything, into a cluster that must hold no collections yet.
    NewCluster,
    /// Everything, beside what is there.
    Everything,
    /// These databases, collections and partitions.
    Chosen(Vec<ChosenItem>),
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChosenItem {
    /// Database at the cut.
    pub database: String,
    /// Collection at the cut; `None` is the whole database.
    pub collection: Option<String>,
    /// Partitions of the collection; `None` is all. The collection is made with all its partitions, the others stay empty.
    pub partitions: Option<Vec<String>>,
}

/// Names at the target. The most specific rule wins: a collection's own, then its database's, then the suffix.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetNames {
    /// Databases that are called otherwise at the target.
    pub databases: Vec<DatabaseRename>,
    /// Collections that are called otherwise at the target.
    pub collections: Vec<CollectionRename>,
    /// Appended to the names of all collections that have no rule of their own; may be empty.
    pub suffix: String,
}

/// A database's name at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRename {
    /// Name in the backup.
    pub from: String,
    /// Name at the target.
    pub to: String,
}

/// A collection's name at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionRename {
    /// Name in the backup.
    pub from: CollectionName,
    /// Name at the target, database included.
    pub to: CollectionName,
}

/// What to do when a collection of the target's name exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// Refuse the whole restore before anything is touched.
    #[default]
    Fail,
    /// Leave the existing collection alone and do not restore that one.
    Skip,
    /// Restore under another free name.
    Rename,
    /// Restore beside it, compare, then take its place. It is dropped when the whole restore has succeeded.
    Replace,
}

/// Which collections are loaded after a restore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadChoice {
    /// Those that were loaded at the cut, with as many replicas.
    #[default]
    AsInBackup,
    /// All, with one replica where they were not loaded.
    All,
    /// None.
    None,
}

/// What becomes of the indexes of a backup.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexChoice {
    /// Defined, and built before the restore ends.
    #[default]
    Build,
    /// Not defined; the collection then cannot be loaded either.
    Leave,
}

/// How users, roles and grants are restored. What exists at the target stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessRestore {
    /// Passwords of users that are to be made. Milvus does not give passwords out, so a backup has none: users
    /// without an entry here are not made, and the restore names them.
    pub passwords: Vec<UserPassword>,
}

/// The password that a restored user gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserPassword {
    /// User.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// How thoroughly rows are compared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompareDepth {
    /// Number of rows of every partition.
    Counts,
    /// Besides, a checksum over all primary keys.
    #[default]
    Keys,
    /// Besides, every field of a sample of rows.
    Sample,
    /// Besides, every field of every row.
    Rows,
}

impl RestoreRequest {
    /// Most items, renames or passwords that one request may name.
    pub const ITEMS_MAX: usize = 10_000;

    /// Checks what does not need the backup or the target to be looked at.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        plan::validate(self)
    }
}

/// What a restore will do. Made before anything is touched, and never changed afterwards, but for
/// [`DatabaseRestore::made`]: a job that continues goes by the plan it began with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestorePlan {
    /// The instant that is restored, physical milliseconds since 1970-01-01 UTC.
    pub cut_at_ms: i64,
    /// Databases of the target that are needed.
    pub databases: Vec<DatabaseRestore>,
    /// Collections, in the order of their source names.
    pub collections: Vec<CollectionRestore>,
    /// Users, roles and grants.
    pub access_control: Option<AccessPlan>,
    /// Why it cannot be carried out; empty when it can.
    pub conflicts: Vec<RestoreConflict>,
    /// What a person should know before it is carried out.
    pub warnings: Vec<String>,
}

/// A database of the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseRestore {
    /// Name at the target.
    pub name: String,
    /// Whether it has to be created.
    pub create: bool,
    /// Properties it is created with.
    pub properties: Vec<crate::milvus::Property>,
    /// Whether the restore makes it itself, so that it may be dropped again. Recorded right before it is made, and no
    /// longer true once it is dropped.
    #[serde(default)]
    pub made: bool,
}

/// What is done about a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreAction {
    /// Its name is free.
    Create,
    /// It takes the place of the collection of that name.
    Replace,
    /// It is not restored, because its name is taken.
    Skip,
}

/// A collection to be restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CollectionRestore {
    /// Name in the backup.
    pub source: CollectionName,
    /// Milvus's id of it in the backup.
    pub source_collection_id: i64,
    /// Name at the target.
    pub target: CollectionName,
    /// Name at the target until it is proven, in the same database.
    pub working_name: String,
    /// What is done.
    pub action: RestoreAction,
    /// Names of the partitions whose rows are restored.
    pub partitions: Vec<String>,
    /// Number of shards.
    pub shard_count: i32,
    /// Whether its indexes are defined and built.
    pub build_indexes: bool,
    /// Replicas to load; 0 leaves it out of memory.
    pub replica_count: u32,
    /// Aliases it gets.
    pub aliases: Vec<String>,
    /// Objects to be imported.
    pub object_count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows in them before deletes and the cut are applied: an upper limit of the rows restored.
    pub stored_row_count: u64,
}

/// Users, roles and grants to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessPlan {
    /// Users that are made.
    pub users: Vec<String>,
    /// Users of the backup that are not made because no password was given.
    pub users_without_password: Vec<String>,
    /// Roles that are made.
    pub roles: Vec<String>,
    /// Number of grants that are made.
    pub grant_count: u64,
}

/// A name of the target that is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreConflict {
    /// Database at the target.
    pub database: String,
    /// Collection or alias at the target.
    pub name: String,
    /// What is in the way, and what to do.
    pub reason: String,
}

impl RestorePlan {
    /// Bytes that the restore has to move.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.restored().map(|collection| collection.bytes).sum()
    }

    /// Objects that the restore has to move.
    #[must_use]
    pub fn object_count(&self) -> u64 {
        self.restored().map(|collection| collection.object_count).sum()
    }

    /// Names of the databases that the restore makes itself, and has not dropped again.
    #[must_use]
    pub fn made_databases(&self) -> Vec<String> {
        self.databases.iter().filter(|database| database.made).map(|database| database.name.clone()).collect()
    }

    /// Collections that are not skipped.
    pub fn restored(&self) -> impl Iterator<Item = &CollectionRestore> {
        self.collections.iter().filter(|collection| collection.action != RestoreAction::Skip)
    }
}

/// Name of a restore's own directory below the target cluster's storage root. Everything below it belongs to the job
/// and is removed when the job ends, also after a crash.
#[must_use]
pub fn staging_directory(job_id: JobId) -> String {
    format!("milvault_restore/{job_id}")
}

/// What has become of one collection of a restore.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredCollection {
    /// How far it is.
    pub step: RestoreStep,
    /// Milvus's id of the new collection, once it is created.
    pub target_collection_id: Option<i64>,
    /// The collection whose place it took, and the name under which that one is kept until the restore has succeeded.
    pub replaced: Option<ReplacedCollection>,
    /// Rows by partition, once they were compared.
    pub partitions: Vec<PartitionRows>,
    /// Why it is not there.
    pub failure: Option<String>,
    /// What could not be restored although the rows are there.
    pub warnings: Vec<String>,
}

/// How far a collection's restore is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreStep {
    /// Nothing was done.
    #[default]
    Waiting,
    /// It exists under its working name; rows may be missing.
    Created,
    /// Its rows were compared with the backup; it still has its working name.
    Compared,
    /// It is there under its own name, with indexes, aliases and load state.
    Done,
    /// It was not to be restored.
    Skipped,
    /// It could not be restored; nothing of it is left.
    Failed,
    /// It was removed again on request.
    Undone,
}

/// A collection that had to give way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplacedCollection {
    /// Milvus's id.
    pub collection_id: i64,
    /// Name until it is dropped; `None` once it is.
    pub kept_as: Option<String>,
    /// Its aliases that the restored collection got; they come back to it when the restore is undone.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// Rows of a partition, in the backup at the cut and at the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionRows {
    /// Partition.
    pub partition: String,
    /// Rows at the cut, deletes applied.
    pub expected: u64,
    /// Rows at the target.
    pub found: u64,
}

/// A restore as the catalog keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// What was asked for.
    pub request: RestoreRequest,
    /// What is done, once it is planned.
    pub plan: Option<RestorePlan>,
    /// What has become of the plan's collections, in its order.
    pub collections: Vec<RestoredCollection>,
    /// What could not be done besides, in words.
    pub warnings: Vec<String>,
}

/// Result of comparing a target's collections with a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareReport {
    /// One entry for each collection that was compared.
    pub collections: Vec<ComparedCollection>,
}

/// What was found about one collection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedCollection {
    /// Name in the backup.
    pub source: CollectionName,
    /// Name at the target.
    pub target: CollectionName,
    /// Rows by partition.
    pub partitions: Vec<PartitionRows>,
    /// Rows of which every field was compared.
    pub rows_compared_whole: u64,
    /// What differs, in words; empty when nothing does. At most [`CompareReport::DIFFERENCES_MAX`].
    pub differences: Vec<String>,
}

impl CompareReport {
    /// Most differences that are described for one collection.
    pub const DIFFERENCES_MAX: usize = 20;

    /// Number of collections with differences.
    #[must_use]
    pub fn differing(&self) -> usize {
        self.collections.iter().filter(|collection| !collection.differences.is_empty()).count()
    }
}
