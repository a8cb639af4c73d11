//! A backup repository, as the catalog knows it.

use crate::ids::{ProjectId, RepositoryId};
use crate::storage::StorageConfig;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A place where backups live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Identity; also written into the repository itself.
    pub id: RepositoryId,
    /// Project it belongs to.
    pub project_id: ProjectId,
    /// Name for people, unique in the project.
    pub name: String,
    /// Where it lies.
    pub storage: StorageConfig,
    /// What its store was found to do.
    pub capabilities: StoreCapabilities,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
}

/// What a store was found to do when the repository was made. Speed rests on it, correctness does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreCapabilities {
    /// Refuses to overwrite when asked not to. Some stores accept the condition and ignore it.
    pub conditional_put: bool,
    /// Copies an object without the bytes passing through us.
    pub server_side_copy: bool,
    /// Copies a part of an object into a multipart upload the same way.
    pub multipart_copy: bool,
}
