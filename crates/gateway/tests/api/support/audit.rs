//! The audit log in the catalog of the tests: the real one, unless it is told to fail.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::{AuditEntry, AuditRecord};
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{
    AuditCatalog, AuditFilter, AuditPage, JobPruning, Page, PortError, PortErrorKind, PortResult,
    ProjectUsage, UsageCatalog,
};
use std::sync::atomic::Ordering;

#[async_trait]
impl AuditCatalog for TestCatalog {
    async fn append_audit(&self, record: &AuditRecord) -> PortResult<u64> {
        if self.audit_fails.load(Ordering::Relaxed) {
            return Err(PortError::new(PortErrorKind::StorageFull, "the disk is full"));
        }
        self.counted("append_audit").append_audit(record).await
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: AuditPage) -> PortResult<Page<AuditEntry>> {
        self.counted("audit_entries").audit_entries(filter, page).await
    }
}

#[async_trait]
impl JobPruning for TestCatalog {
    async fn prune_jobs(
        &self,
        ended_before: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<u32> {
        self.counted("prune_jobs").prune_jobs(ended_before, now, limit).await
    }
}

#[async_trait]
impl UsageCatalog for TestCatalog {
    async fn usage(&self, project_ids: &[ProjectId]) -> PortResult<Vec<(ProjectId, ProjectUsage)>> {
        self.counted("usage").usage(project_ids).await
    }
}
