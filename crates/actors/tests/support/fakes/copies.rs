//! Copies in the fake catalog.

use super::catalog::MemoryCatalog;
use super::tables::{Tables, error};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{CopyCatalog, DueCopy, InsertCopyOutcome, NewCopy, PortErrorKind, PortResult};

impl Tables {
    /// The job of an open copy that reads a backup.
    pub fn open_copy(&self, backup_id: BackupId) -> Option<&Job> {
        let reads = |job: &&Job| {
            let copy = job.backup_id.and_then(|id| self.backups.get(&id));
            let origin = copy.and_then(|copy| copy.copied_from);
            job.job_type == JobType::Copy
                && !job.state.is_final()
                && origin.is_some_and(|origin| origin.backup_id == backup_id)
        };
        self.jobs.values().find(reads)
    }

    pub fn record_due_copy(&mut self, job_id: JobId, now: DateTime<Utc>) {
        let job = &self.jobs[&job_id];
        let backup = &self.backups[&job.backup_id.unwrap()];
        let policy = self.schedules.schedules.get(&backup.cluster_id).map(|schedule| &schedule.policy);
        let copy = policy.and_then(|policy| policy.copy);
        if let (JobType::Backup, CreationMethod::Auto, Some(copy)) =
            (job.job_type, backup.creation_method, copy)
        {
            let due = DueCopy {
                backup_id: backup.id,
                cluster_id: backup.cluster_id,
                repository_id: copy.repository_id,
                retention_days: copy.retention_days,
                due_since: now,
            };
            self.due_copies.insert(backup.id, due);
        }
    }

    fn insert_copy(&mut self, new: &NewCopy) -> PortResult<InsertCopyOutcome> {
        let copy = &new.backup.backup;
        let origin = copy.copied_from.unwrap();
        match self.known(copy.cluster_id, new.backup.idempotency.as_ref()) {
            Some((true, job_id)) => return Ok(InsertCopyOutcome::Duplicate(Box::new(self.pair(job_id)))),
            Some((false, job_id)) => return Ok(InsertCopyOutcome::KeyReused(job_id)),
            None => {}
        }
        let source = self.backups.get(&origin.backup_id);
        let source = source.ok_or_else(|| error(PortErrorKind::NotFound, "no such backup"))?;
        assert_ne!(source.repository_id, copy.repository_id);
        if source.status != BackupStatus::Available {
            return Ok(InsertCopyOutcome::SourceNotAvailable(source.status));
        }
        let has_name = |other: &Backup| {
            other.cluster_id == copy.cluster_id
                && other.name == copy.name
                && !matches!(other.status, BackupStatus::Deleted | BackupStatus::Failed)
        };
        if self.backups.values().any(has_name) {
            return Ok(InsertCopyOutcome::NameTaken);
        }
        if new.is_due && self.due_copies.remove(&origin.backup_id).is_none() {
            return Ok(InsertCopyOutcome::NotDue);
        }
        if !new.is_due {
            self.admit(copy.cluster_id)?;
        }
        self.keep_key(&new.backup.job, new.backup.idempotency.as_ref());
        self.backups.insert(copy.id, copy.clone());
        self.jobs.insert(new.backup.job.id, new.backup.job.clone());
        Ok(InsertCopyOutcome::Created)
    }
}

#[async_trait]
impl CopyCatalog for MemoryCatalog {
    async fn insert_copy(&self, new: &NewCopy) -> PortResult<InsertCopyOutcome> {
        self.gates.pass("insert_copy").await?;
        let outcome = self.tables().insert_copy(new)?;
        self.gates.pass("inserted_copy").await?;
        Ok(outcome)
    }

    async fn copies(&self, backup_id: BackupId) -> PortResult<Vec<Backup>> {
        let tables = self.tables();
        let is_copy = |backup: &&Backup| {
            backup.copied_from.is_some_and(|origin| origin.backup_id == backup_id)
                && backup.status != BackupStatus::Deleted
        };
        Ok(tables.backups.values().rev().filter(is_copy).cloned().collect())
    }

    async fn due_copies(&self, limit: u32) -> PortResult<Vec<DueCopy>> {
        self.gates.pass("due_copies").await?;
        let mut due: Vec<_> = self.tables().due_copies.values().copied().collect();
        due.sort_by_key(|due| (due.due_since, due.backup_id));
        due.truncate(limit as usize);
        Ok(due)
    }

    async fn forget_due_copy(&self, backup_id: BackupId) -> PortResult<()> {
        self.tables().due_copies.remove(&backup_id);
        Ok(())
    }
}
