//! What callers may ask for.

use milvault_domain::backup::{BackupScope, CreationMethod};
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareDepth, RestoreSelection};
use milvault_domain::storage::StorageConfig;

/// A backup that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupRequest {
    /// Of which cluster.
    pub cluster_id: ClusterId,
    /// Of what part of it.
    pub scope: BackupScope,
    /// Name; `None` gets the next default one of the cluster.
    pub name: Option<String>,
    /// Description; `None` is empty.
    pub description: Option<String>,
    /// Days to keep it; `None` is for ever (manual) or the default (automatic).
    pub retention_days: Option<u32>,
    /// A repeated request with the same key gets the backup and job of the first.
    pub idempotency_key: Option<String>,
    /// A person or a schedule.
    pub creation_method: CreationMethod,
    /// Who asks.
    pub created_by: String,
}

/// A copy of a backup in another repository that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    /// Which backup; it must be available.
    pub backup_id: BackupId,
    /// Where the copy goes: another repository of the same project.
    pub repository_id: RepositoryId,
    /// Name; `None` makes one from the backup's.
    pub name: Option<String>,
    /// Description; `None` is that of the backup.
    pub description: Option<String>,
    /// Days to keep it, counted from now; `None` is for ever.
    pub retention_days: Option<u32>,
    /// A repeated request with the same key gets the backup and job of the first.
    pub idempotency_key: Option<String>,
    /// Who asks.
    pub created_by: String,
}

/// A check of a backup that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRequest {
    /// Which backup; it must be available.
    pub backup_id: BackupId,
    /// How thoroughly.
    pub level: VerifyLevel,
    /// Who asks.
    pub created_by: String,
}

/// A proof that a backup can be restored: into scratch databases, which are dropped again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DrillRequest {
    /// Which backup; it must be available.
    pub backup_id: BackupId,
    /// In which cluster; it must have databases.
    pub target_cluster_id: ClusterId,
    /// What of the backup.
    pub selection: RestoreSelection,
    /// How thoroughly the rows are compared; only [`CompareDepth::Rows`] proves every field.
    pub depth: CompareDepth,
    /// Who asks.
    pub created_by: String,
}

/// A cluster to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCluster {
    /// Project it will belong to.
    pub project_id: ProjectId,
    /// Name, unique in the project.
    pub name: String,
    /// How to reach Milvus.
    pub endpoint: MilvusEndpoint,
    /// Where Milvus keeps its binlogs.
    pub storage: StorageConfig,
    /// Where its backups go; a repository of the same project.
    pub repository_id: RepositoryId,
    /// Compute units; `None` is the default.
    pub cu_size: Option<u32>,
    /// Upper limit of copied bytes per second; `None` is unlimited.
    pub max_bytes_per_second: Option<u64>,
}

/// Changes of a cluster: what is `None` stays as it is. Jobs that run keep what they began with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterPatch {
    /// New name.
    pub name: Option<String>,
    /// New way to reach Milvus.
    pub endpoint: Option<MilvusEndpoint>,
    /// New place of the binlogs.
    pub storage: Option<StorageConfig>,
    /// New repository; earlier backups stay where they are.
    pub repository_id: Option<RepositoryId>,
    /// New compute units.
    pub cu_size: Option<u32>,
    /// New limit of copied bytes per second; `Some(None)` removes it.
    pub max_bytes_per_second: Option<Option<u64>>,
}

/// A repository to be made and registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRepository {
    /// Project it will belong to.
    pub project_id: ProjectId,
    /// Name, unique in the project.
    pub name: String,
    /// An empty place.
    pub storage: StorageConfig,
}

/// A backup of milvus-backup that somebody wants to take over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdoptBackupRequest {
    /// The cluster whose backup it becomes.
    pub cluster_id: ClusterId,
    /// The place that holds milvus-backup's directories.
    pub storage: StorageConfig,
    /// Name of the directory in it.
    pub directory: String,
    /// Name of the backup; `None` is the directory's.
    pub name: Option<String>,
    /// Who asks.
    pub created_by: String,
}

/// What attaching a repository has found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedBackups {
    /// The repository.
    pub repository: Repository,
    /// Backups in it.
    pub found: u32,
    /// Those of them that the catalog did not know yet.
    pub added: u32,
    /// Backups that cannot be read, each with the reason; past the first hundred only their number.
    pub unreadable: Vec<String>,
}
