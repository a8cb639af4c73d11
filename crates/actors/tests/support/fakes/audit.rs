//! The audit log and the end of old jobs in the fake catalog. Nothing is written down.

use super::catalog::MemoryCatalog;
use super::tables::Tables;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::{AuditEntry, AuditRecord};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{JobId, ProjectId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{
    AuditCatalog, AuditFilter, AuditPage, JobPruning, Page, PortResult, ProjectUsage, UsageCatalog,
};

impl Tables {
    fn prune_jobs(&mut self, ended_before: DateTime<Utc>, limit: u32) -> u32 {
        let prunable = |job: &&Job| {
            job.ended_at.is_some_and(|ended_at| ended_at < ended_before)
                && match job.job_type {
                    JobType::Verify | JobType::Compare | JobType::Drill => true,
                    JobType::Backup => {
                        let backup = job.backup_id.and_then(|backup_id| self.backups.get(&backup_id));
                        backup.is_some_and(|backup| backup.status == BackupStatus::Deleted)
                    }
                    _ => false,
                }
        };
        let pruned: Vec<JobId> =
            self.jobs.values().filter(prunable).take(limit as usize).map(|job| job.id).collect();
        for job_id in &pruned {
            self.jobs.remove(job_id);
        }
        u32::try_from(pruned.len()).unwrap()
    }
}

#[async_trait]
impl AuditCatalog for MemoryCatalog {
    async fn append_audit(&self, _: &AuditRecord) -> PortResult<u64> {
        Ok(1)
    }

    async fn audit_entries(&self, _: &AuditFilter, _: AuditPage) -> PortResult<Page<AuditEntry>> {
        Ok(Page::empty())
    }
}

#[async_trait]
impl JobPruning for MemoryCatalog {
    async fn prune_jobs(&self, ended_before: DateTime<Utc>, _: DateTime<Utc>, limit: u32) -> PortResult<u32> {
        self.gates.pass("prune_jobs").await?;
        Ok(self.tables().prune_jobs(ended_before, limit))
    }
}

#[async_trait]
impl UsageCatalog for MemoryCatalog {
    async fn usage(&self, _: &[ProjectId]) -> PortResult<Vec<(ProjectId, ProjectUsage)>> {
        Ok(Vec::new())
    }
}
