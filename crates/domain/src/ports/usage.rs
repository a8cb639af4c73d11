//! What the catalog knows about what is stored.

use super::PortResult;
use crate::ids::ProjectId;
use async_trait::async_trait;

/// What the available backups of a project take up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProjectUsage {
    /// How many they are.
    pub backup_count: u64,
    /// Sum of the sizes of their objects at the source.
    pub logical_bytes: u64,
    /// Bytes that they added to their repositories when they were made.
    pub stored_bytes: u64,
}

/// The part of the catalog that sums up.
#[async_trait]
pub trait UsageCatalog {
    /// What the available backups of each of these projects take up; a project without any is left out.
    ///
    /// # Errors
    /// `InvalidInput` for more than [`BATCH_MAX`](super::BATCH_MAX) projects; errors of the database.
    async fn usage(&self, project_ids: &[ProjectId]) -> PortResult<Vec<(ProjectId, ProjectUsage)>>;
}
