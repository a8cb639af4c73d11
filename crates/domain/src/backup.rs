//! A backup: an immutable point-in-time copy.

use crate::error::{InvalidInput, check_description, check_name};
use crate::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use crate::milvus::Cut;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A backup as the catalog knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backup {
    /// Identity.
    pub id: BackupId,
    /// Project of its cluster.
    pub project_id: ProjectId,
    /// The cluster it shows.
    pub cluster_id: ClusterId,
    /// Name of the cluster when it was made.
    pub cluster_name: String,
    /// Where it lies.
    pub repository_id: RepositoryId,
    /// Name for people.
    pub name: String,
    /// Description for people.
    pub description: String,
    /// What was asked for.
    pub scope: BackupScope,
    /// How it came to be.
    pub creation_method: CreationMethod,
    /// Whether it can be used.
    pub status: BackupStatus,
    /// Who asked for it.
    pub created_by: String,
    /// When it was asked for.
    pub created_at: DateTime<Utc>,
    /// When it became available.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it ends by itself; `None` is never.
    pub expires_at: Option<DateTime<Utc>>,
    /// What it consists of; known once it is available.
    pub facts: Option<BackupFacts>,
    /// Where it was copied from; `None` for a backup that was made of the cluster itself.
    pub copied_from: Option<CopyOrigin>,
}

/// The backup that a copy was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyOrigin {
    /// The backup.
    pub backup_id: BackupId,
    /// Where it lay.
    pub repository_id: RepositoryId,
}

/// What a finished backup consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// The instant it shows the cluster at.
    pub cut_at: DateTime<Utc>,
    /// Version of the Milvus it was taken from.
    pub milvus_version: String,
    /// Sum of the sizes of its objects at the source.
    pub logical_bytes: u64,
    /// Bytes that this backup added to the repository, manifest included.
    pub newly_stored_bytes: u64,
    /// Number of objects.
    pub object_count: u64,
    /// Objects that were already in the repository.
    pub reused_object_count: u64,
    /// Rows of all segments, before deletes are applied.
    pub row_count: u64,
    /// Number of collections.
    pub collection_count: u32,
}

/// What to back up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupScope {
    /// Everything, users and roles included.
    Cluster,
    /// All collections of these databases.
    Databases(Vec<String>),
    /// These collections.
    Collections(Vec<CollectionName>),
}

impl BackupScope {
    /// Whether a backup of this scope shows everything that one of the other shows.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        *self == Self::Cluster || self == other
    }
}

/// A collection by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionName {
    /// Database; `default` where none was created.
    pub database: String,
    /// Collection.
    pub collection: String,
}

/// Kind of a backup, by its scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupType {
    /// The whole cluster.
    Cluster,
    /// Chosen databases.
    Database,
    /// Chosen collections.
    Collection,
}

/// How a backup came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum CreationMethod {
    /// Somebody asked for it.
    Manual,
    /// A schedule did.
    Auto,
}

/// Whether a backup can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BackupStatus {
    /// Its job is pending or at work. Nothing can be restored from it.
    Creating,
    /// Complete: its manifest was written, read back and checked.
    Available,
    /// Its job failed or was canceled. It has no manifest.
    Failed,
    /// Past its retention or deleted: out of reach, its bytes wait for the sweep.
    Deleted,
}

impl BackupScope {
    /// Most databases or collections that one request may name.
    pub const NAMES_MAX: usize = 10_000;

    /// Kind of a backup with this scope.
    #[must_use]
    pub const fn backup_type(&self) -> BackupType {
        match self {
            Self::Cluster => BackupType::Cluster,
            Self::Databases(_) => BackupType::Database,
            Self::Collections(_) => BackupType::Collection,
        }
    }

    /// Sorted, without duplicates, checked.
    ///
    /// # Errors
    /// An empty list, too many names, or an empty name.
    pub fn normalized(self) -> Result<Self, InvalidInput> {
        match self {
            Self::Cluster => Ok(Self::Cluster),
            Self::Databases(mut names) => {
                names.sort();
                names.dedup();
                check_list(names.len(), names.iter().all(|name| !name.is_empty()))?;
                Ok(Self::Databases(names))
            }
            Self::Collections(mut names) => {
                names.sort();
                names.dedup();
                let complete = names.iter().all(|n| !n.database.is_empty() && !n.collection.is_empty());
                check_list(names.len(), complete)?;
                Ok(Self::Collections(names))
            }
        }
    }

    /// Whether a database has anything to do with the scope.
    #[must_use]
    pub fn includes_database(&self, database: &str) -> bool {
        match self {
            Self::Cluster => true,
            Self::Databases(names) => names.iter().any(|name| name == database),
            Self::Collections(names) => names.iter().any(|name| name.database == database),
        }
    }

    /// Whether a collection is in the scope.
    #[must_use]
    pub fn includes_collection(&self, database: &str, collection: &str) -> bool {
        match self {
            Self::Cluster | Self::Databases(_) => self.includes_database(database),
            Self::Collections(names) => {
                names.iter().any(|name| name.database == database && name.collection == collection)
            }
        }
    }
}

fn check_list(count: usize, complete: bool) -> Result<(), InvalidInput> {
    if count == 0 {
        return Err(InvalidInput::new(
            "scope",
            "must name at least one; leave the scope out for the whole cluster",
        ));
    }
    if count > BackupScope::NAMES_MAX {
        return Err(InvalidInput::new("scope", format!("must name at most {}", BackupScope::NAMES_MAX)));
    }
    if !complete {
        return Err(InvalidInput::new("scope", "must not contain empty names"));
    }
    Ok(())
}

/// Checks the texts that a person may give a backup.
///
/// # Errors
/// Names the field and the rule.
pub fn check_backup_texts(name: Option<&str>, description: Option<&str>) -> Result<(), InvalidInput> {
    name.map_or(Ok(()), |name| check_name("name", name))?;
    description.map_or(Ok(()), |text| check_description("description", text))
}

/// Everything about a backup that goes into its manifest before the list of objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestHeader {
    /// The backup.
    pub backup_id: BackupId,
    /// Its cluster.
    pub cluster_id: ClusterId,
    /// Name of the cluster.
    pub cluster_name: String,
    /// Project of the cluster.
    pub project_id: ProjectId,
    /// Name of the backup when it was made.
    pub name: String,
    /// Description when it was made.
    pub description: String,
    /// What was asked for.
    pub scope: BackupScope,
    /// How it came to be.
    pub creation_method: CreationMethod,
    /// Who asked for it.
    pub created_by: String,
    /// When it was asked for, milliseconds since 1970-01-01 UTC.
    pub created_at_ms: i64,
    /// When it ends by itself as decided when it was made; the catalog's figure wins.
    pub expires_at_ms: Option<i64>,
    /// The source's storage, for people; no credentials.
    pub source_url: String,
    /// Where it was copied from; `None` for a backup that was made of the cluster itself.
    pub copied_from: Option<CopyOrigin>,
    /// What the cluster was at the cut.
    pub cut: Cut,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn collection(database: &str, collection: &str) -> CollectionName {
        CollectionName { database: database.to_owned(), collection: collection.to_owned() }
    }

    #[test]
    fn a_scope_is_sorted_and_without_duplicates() {
        let scope =
            BackupScope::Collections(vec![collection("b", "x"), collection("a", "y"), collection("b", "x")]);
        assert_eq!(
            scope.normalized().unwrap(),
            BackupScope::Collections(vec![collection("a", "y"), collection("b", "x")])
        );
    }

    #[test]
    fn empty_scopes_and_names_are_refused() {
        assert!(BackupScope::Databases(vec![]).normalized().is_err());
        assert!(BackupScope::Databases(vec![String::new()]).normalized().is_err());
        assert!(BackupScope::Collections(vec![collection("", "x")]).normalized().is_err());
    }

    #[test]
    fn a_scope_includes_what_it_names() {
        let scope = BackupScope::Collections(vec![collection("a", "x")]);
        assert!(scope.includes_database("a") && scope.includes_collection("a", "x"));
        assert!(!scope.includes_collection("a", "y") && !scope.includes_database("b"));
        assert!(BackupScope::Cluster.includes_collection("any", "thing"));
    }
}
