//! What a job was asked to do, for the jobs that need more than a backup's id to know it.

use crate::ids::JobId;
use crate::restore::{CompareDepth, RestoreRequest};
use crate::storage::StorageConfig;
use serde::{Deserialize, Serialize};

/// Kept with the job from before it begins, encrypted at rest because it may hold passwords and storage keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobRequest {
    /// Of a `Restore`.
    Restore(RestoreRequest),
    /// Of a `Drill`: names lead into scratch databases.
    Drill(RestoreRequest),
    /// Of an `Undo`: the restore whose collections are to be removed again.
    Undo {
        /// The restore; it has ended.
        restore_job_id: JobId,
    },
    /// Of a `Compare`.
    Compare {
        /// The restore whose collections are compared with their backup.
        restore_job_id: JobId,
        /// How thoroughly.
        depth: CompareDepth,
    },
    /// Of an `Adopt`.
    Adopt(AdoptRequest),
}

/// A backup that milvus-backup made, to be taken over into a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptRequest {
    /// The place that holds milvus-backup's directories.
    pub storage: StorageConfig,
    /// Name of the backup's directory in it.
    pub directory: String,
}
