//! What the available backups of projects take up.

use crate::batches::among;
use crate::catalog::SqlCatalog;
use crate::database::{Record, Statement};
use crate::model::{count, id};
use async_trait::async_trait;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{BATCH_MAX, PortResult, ProjectUsage, UsageCatalog};

#[async_trait]
impl UsageCatalog for SqlCatalog {
    async fn usage(&self, project_ids: &[ProjectId]) -> PortResult<Vec<(ProjectId, ProjectUsage)>> {
        self.read_batch(project_ids, BATCH_MAX, select, read).await
    }
}

/// One row for each project. What the status is not lets the index of live backups be used. PostgreSQL sums into a type of
/// its own, so the sums are cast back.
pub(crate) fn select(project_ids: &[ProjectId]) -> Statement {
    among(
        "SELECT project_id, COUNT(*) AS backup_count, \
         CAST(COALESCE(SUM(logical_bytes), 0) AS BIGINT) AS logical_bytes, \
         CAST(COALESCE(SUM(newly_stored_bytes), 0) AS BIGINT) AS stored_bytes \
         FROM backups WHERE status = 'AVAILABLE' AND status <> 'DELETED' AND project_id IN (",
        project_ids,
    )
    .push(" GROUP BY project_id")
}

fn read(row: &mut Record) -> PortResult<(ProjectId, ProjectUsage)> {
    let usage = ProjectUsage {
        backup_count: count(row.integer("backup_count")?)?,
        logical_bytes: count(row.integer("logical_bytes")?)?,
        stored_bytes: count(row.integer("stored_bytes")?)?,
    };
    Ok((id(&row.text("project_id")?)?, usage))
}
