//! Removing old jobs.

use crate::error::PortResult;
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that forgets jobs.
#[async_trait]
pub trait JobPruning: Send + Sync {
    /// Removes jobs that ended before a time, at most `limit`, the oldest first, with their history, reports and
    /// idempotency keys, and writes that into the audit log. Restores stay, and so does the making of a backup that is
    /// neither deleted nor failed. Returns how many.
    ///
    /// # Errors
    /// Errors of the database.
    async fn prune_jobs(
        &self,
        ended_before: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<u32>;
}
