//! Copies of backups in other repositories, and those that policies ask for.

use crate::admission::Asker;
use crate::backups;
use crate::catalog::SqlCatalog;
use crate::clusters;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::error::corrupt;
use crate::idempotency::{self, Earlier};
use crate::model::{count, from_json, id, time};
use crate::{audit, jobs, names, schedules};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::backup::{Backup, BackupStatus, CopyOrigin, CreationMethod};
use milvault_domain::ids::BackupId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{
    BackupWithJob, CopyCatalog, DueCopy, InsertCopyOutcome, NewBackup, NewCopy, PortError, PortErrorKind,
    PortResult,
};
use milvault_domain::schedule::SchedulePolicy;

/// Most copies of one backup that are listed.
pub(crate) const COPIES_MAX: i64 = 100;

#[async_trait]
impl CopyCatalog for SqlCatalog {
    async fn insert_copy(&self, new: &NewCopy) -> PortResult<InsertCopyOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = insert(&mut *transaction, self.database.dialect(), new).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn copies(&self, backup_id: BackupId) -> PortResult<Vec<Backup>> {
        self.database.read(select_of(backup_id)).await?.iter_mut().map(backups::read).collect()
    }

    async fn due_copies(&self, limit: u32) -> PortResult<Vec<DueCopy>> {
        self.database.read(select_due(limit)).await?.iter_mut().map(read_due).collect()
    }

    async fn forget_due_copy(&self, backup_id: BackupId) -> PortResult<()> {
        self.write(delete_due(backup_id)).await.map(drop)
    }
}

/// The lock on the cluster's row puts requests for one cluster in a row, and the one on the row of the backup that is
/// copied keeps that from ending meanwhile.
async fn insert(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    new: &NewCopy,
) -> PortResult<InsertCopyOutcome> {
    let NewBackup { backup, job, idempotency, .. } = &new.backup;
    let origin = check_new(new)?;
    clusters::lock_known(transaction, dialect, backup.cluster_id).await?;
    match idempotency::find(transaction, job, idempotency.as_ref()).await? {
        Some(Earlier::Same(job)) => return repeated(transaction, *job).await,
        Some(Earlier::Other(job_id)) => return Ok(InsertCopyOutcome::KeyReused(job_id)),
        None => {}
    }
    let source = backups::load(transaction, origin.backup_id).await?;
    let fits = source.cluster_id == backup.cluster_id
        && source.repository_id == origin.repository_id
        && source.repository_id != backup.repository_id;
    if !fits {
        return Err(misfit(backup));
    }
    if transaction.execute(lock_available(origin.backup_id)).await? != 1 {
        let status = backups::load(transaction, origin.backup_id).await?.status;
        return Ok(InsertCopyOutcome::SourceNotAvailable(status));
    }
    if names::living(transaction, backup.cluster_id, &backup.name).await?.is_some() {
        return Ok(InsertCopyOutcome::NameTaken);
    }
    if new.is_due && transaction.execute(delete_due(origin.backup_id)).await? != 1 {
        return Ok(InsertCopyOutcome::NotDue);
    }
    let asker = if new.is_due { Asker::Timer } else { Asker::Person };
    asker.admit(transaction, backup.cluster_id).await?;
    transaction.execute(backups::insert(backup)?).await?;
    jobs::insert_with_event(transaction, job, None).await?;
    idempotency::insert(transaction, job, idempotency.as_ref()).await?;
    if new.is_due {
        let target = AuditTarget { kind: String::from("backup"), id: backup.id.to_string() };
        audit::append_by_system(transaction, dialect, "startScheduledCopy", target, 1, job.created_at)
            .await?;
    }
    Ok(InsertCopyOutcome::Created)
}

async fn repeated(transaction: &mut dyn Transaction, job: Job) -> PortResult<InsertCopyOutcome> {
    let backup_id = job.backup_id.ok_or_else(|| corrupt(format_args!("job {} has no backup", job.id)))?;
    let backup = backups::load(transaction, backup_id).await?;
    Ok(InsertCopyOutcome::Duplicate(Box::new(BackupWithJob { backup, job })))
}

fn check_new(new: &NewCopy) -> PortResult<CopyOrigin> {
    let NewBackup { backup, job, request, .. } = &new.backup;
    let fits = backup.status == BackupStatus::Creating
        && backup.facts.is_none()
        && request.is_none()
        && job.state == JobState::Pending
        && job.job_type == JobType::Copy
        && job.backup_id == Some(backup.id)
        && job.cluster_id == backup.cluster_id
        && job.project_id == backup.project_id;
    backup.copied_from.filter(|_| fits).ok_or_else(|| misfit(backup))
}

fn misfit(backup: &Backup) -> PortError {
    PortError::new(
        PortErrorKind::InvalidInput,
        format!(
            "backup {} must be CREATING, its job a PENDING COPY, and both of the cluster of a backup in another repository",
            backup.id
        ),
    )
}

/// Locks the row of a backup that is available.
fn lock_available(backup_id: BackupId) -> Statement {
    Statement::new("UPDATE backups SET status = status WHERE status = 'AVAILABLE' AND id = ")
        .bind(backup_id.to_string())
}

/// The copies of a backup that are not deleted.
pub(crate) fn select_of(backup_id: BackupId) -> Statement {
    Statement::new("SELECT * FROM backups WHERE copied_from = ")
        .bind(backup_id.to_string())
        .push(" AND status <> 'DELETED' ORDER BY created_at_us DESC, id DESC LIMIT ")
        .bind(COPIES_MAX)
}

/// The job of an open copy that reads a backup.
pub(crate) fn select_open_copy(backup_id: BackupId) -> Statement {
    Statement::new("SELECT jobs.id AS id FROM backups, jobs WHERE jobs.backup_id = backups.id AND backups.copied_from = ")
        .bind(backup_id.to_string())
        .push(" AND backups.status = 'CREATING' AND jobs.job_type = 'COPY' LIMIT 1")
}

/// Records that a copy is due when the policy of the backup's cluster asks for it. Runs in the transaction that makes
/// the backup available.
pub(crate) async fn record_due(
    transaction: &mut dyn Transaction,
    job: &Job,
    backup: &Backup,
    now: DateTime<Utc>,
) -> PortResult<()> {
    if job.job_type != JobType::Backup || backup.creation_method != CreationMethod::Auto {
        return Ok(());
    }
    let kept = transaction.query(schedules::select_policy(backup.cluster_id)).await?.pop();
    let policy: Option<SchedulePolicy> = kept.map(|mut row| from_json(&row.text("policy")?)).transpose()?;
    let Some(copy) = policy.and_then(|policy| policy.copy) else { return Ok(()) };
    let columns = [
        ("backup_id", backup.id.to_string().into()),
        ("cluster_id", backup.cluster_id.to_string().into()),
        ("repository_id", copy.repository_id.to_string().into()),
        ("retention_days", i64::from(copy.retention_days).into()),
        ("due_since_us", now.timestamp_micros().into()),
    ];
    transaction.execute(Statement::insert("due_copies", columns)).await.map(drop)
}

pub(crate) fn select_due(limit: u32) -> Statement {
    Statement::new("SELECT * FROM due_copies ORDER BY due_since_us, backup_id LIMIT ").bind(i64::from(limit))
}

fn delete_due(backup_id: BackupId) -> Statement {
    Statement::new("DELETE FROM due_copies WHERE backup_id = ").bind(backup_id.to_string())
}

fn read_due(row: &mut Record) -> PortResult<DueCopy> {
    Ok(DueCopy {
        backup_id: id(&row.text("backup_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        repository_id: id(&row.text("repository_id")?)?,
        retention_days: count(row.integer("retention_days")?)?,
        due_since: time(row.integer("due_since_us")?)?,
    })
}
