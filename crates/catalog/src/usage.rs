//! What the available backups of a project take up.

use crate::catalog::SqlCatalog;
use crate::database::Statement;
use crate::model::count;
use async_trait::async_trait;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{PortResult, ProjectUsage, UsageCatalog};

#[async_trait]
impl UsageCatalog for SqlCatalog {
    async fn usage(&self, project_id: ProjectId) -> PortResult<ProjectUsage> {
        let Some(mut row) = self.database.read(select(project_id)).await?.pop() else {
            return Ok(ProjectUsage::default());
        };
        Ok(ProjectUsage {
            backup_count: count(row.integer("backup_count")?)?,
            logical_bytes: count(row.integer("logical_bytes")?)?,
            stored_bytes: count(row.integer("stored_bytes")?)?,
        })
    }
}

/// One row. What the status is not lets the index of live backups be used. PostgreSQL sums into a type of its own, so the sums are cast back.
pub(crate) fn select(project_id: ProjectId) -> Statement {
    Statement::new(
        "SELECT COUNT(*) AS backup_count, CAST(COALESCE(SUM(logical_bytes), 0) AS BIGINT) AS logical_bytes, \
         CAST(COALESCE(SUM(newly_stored_bytes), 0) AS BIGINT) AS stored_bytes \
         FROM backups WHERE status = 'AVAILABLE' AND status <> 'DELETED' AND project_id = ",
    )
    .bind(project_id.to_string())
}
