//! How backups end: deleted by hand, or because their time is over.

use super::holds;
use crate::admission::Asker;
use crate::audit;
use crate::backups;
use crate::clusters;
use crate::copies::select_open_copy;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::jobs::{self, OPEN_STATES};
use crate::model::{Spelled, id, optional_time, spelled, time};
use crate::names;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::keep::RetainedBackup;
use milvault_domain::ports::{DeleteOutcome, PortError, PortErrorKind, PortResult};

/// Reads a backup that must exist and locks its row until the transaction ends.
pub(super) async fn load_locked(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    backup_id: BackupId,
) -> PortResult<Backup> {
    match transaction.query(backups::select(backup_id).push(dialect.lock_rows)).await?.pop() {
        Some(mut row) => backups::read(&mut row),
        None => Err(PortError::new(PortErrorKind::NotFound, format!("backup {backup_id} does not exist"))),
    }
}

/// Keeps a backup from ending while a job that needs it is added, by the lock on its row.
///
/// # Errors
/// `NotFound` when it does not exist, `Conflict` when it has ended already.
pub(crate) async fn guard_reader(transaction: &mut dyn Transaction, job: &Job) -> PortResult<()> {
    let Some(backup_id) = job.backup_id.filter(|_| job.job_type.reads_backup()) else { return Ok(()) };
    let touch = Statement::new("UPDATE backups SET status = status WHERE status <> 'DELETED' AND id = ")
        .bind(backup_id.to_string());
    if transaction.execute(touch).await? == 1 {
        return Ok(());
    }
    backups::load(transaction, backup_id).await?;
    Err(super::conflict(format!("backup {backup_id} is deleted")))
}

/// Deletes a backup on request. The cluster's lock and then the backup's: in the order in which others take them.
pub(super) async fn delete(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job: &Job,
    now: DateTime<Utc>,
) -> PortResult<DeleteOutcome> {
    let (JobType::Delete, JobState::Pending, Some(backup_id)) = (job.job_type, job.state, job.backup_id)
    else {
        let message = format!("job {} must be PENDING, and the DELETE of a backup", job.id);
        return Err(PortError::new(PortErrorKind::InvalidInput, message));
    };
    clusters::lock_known(transaction, dialect, job.cluster_id).await?;
    let backup = load_locked(transaction, dialect, backup_id).await?;
    if backup.status == BackupStatus::Deleted {
        let earlier = jobs::load(transaction, select_deletion(backup_id)).await?;
        return Ok(earlier.map_or(DeleteOutcome::Gone, |job| DeleteOutcome::Repeated(Box::new(job))));
    }
    for need in [select_open_need(backup_id), select_open_copy(backup_id)] {
        if let Some(mut row) = transaction.query(need).await?.pop() {
            return Ok(DeleteOutcome::InUse(read_job_id(&mut row)?));
        }
    }
    if let Some(mut row) = transaction.query(holds::select_binding(backup_id, now)).await?.into_iter().next()
    {
        return Ok(DeleteOutcome::Held(Box::new(holds::read(&mut row)?)));
    }
    Asker::Person.admit(transaction, job.cluster_id).await?;
    let mark = Statement::update(
        "backups",
        [
            ("status", BackupStatus::Deleted.spelling().into()),
            ("deleted_at_us", now.timestamp_micros().into()),
            ("swept_at_us", None::<i64>.into()),
        ],
    );
    transaction.execute(mark.push("id = ").bind(backup_id.to_string())).await?;
    jobs::insert_with_event(transaction, job, None).await?;
    Ok(DeleteOutcome::Accepted)
}

fn read_job_id(row: &mut Record) -> PortResult<JobId> {
    id(&row.text("id")?)
}

/// The latest job that deleted a backup.
pub(crate) fn select_deletion(backup_id: BackupId) -> Statement {
    Statement::new("SELECT * FROM jobs WHERE backup_id = ")
        .bind(backup_id.to_string())
        .push(" AND job_type = 'DELETE' ORDER BY created_at_us DESC, id DESC LIMIT 1")
}

/// An open job that needs a backup. An undo removes what a restore made and needs no backup.
pub(crate) fn select_open_need(backup_id: BackupId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE backup_id = ")
        .bind(backup_id.to_string())
        .push(" AND job_type <> 'UNDO' AND ")
        .push(OPEN_STATES)
        .push(" ORDER BY created_at_us, id LIMIT 1")
}

/// Nothing keeps the backup of this row: neither a hold nor an open job, nor a copy that is being made of it.
const UNBOUND: &str = " AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.backup_id = backups.id AND jobs.job_type <> 'UNDO' \
                       AND jobs.state IN ('PENDING', 'IN_PROGRESS', 'CANCELING')) AND NOT EXISTS (SELECT 1 FROM backups AS copies \
                       WHERE copies.copied_from = backups.id AND copies.status = 'CREATING') AND NOT EXISTS (SELECT 1 FROM backup_holds \
                       WHERE backup_holds.backup_id = backups.id AND backup_holds.released_at_us IS NULL \
                       AND (backup_holds.until_us IS NULL OR backup_holds.until_us > ";

/// Finds the backups to expire, earliest first, and locks them until the transaction ends.
pub(crate) fn select_expired(dialect: Dialect, now: DateTime<Utc>, limit: u32) -> Statement {
    Statement::new("SELECT id FROM backups WHERE status = 'AVAILABLE' AND expires_at_us IS NOT NULL AND expires_at_us <= ")
        .bind(now.timestamp_micros())
        .push(UNBOUND)
        .bind(now.timestamp_micros())
        .push(")) AND (creation_method = 'MANUAL' OR copied_from IS NOT NULL OR NOT EXISTS (SELECT 1 FROM schedules, clusters WHERE schedules.cluster_id = backups.cluster_id AND clusters.id = schedules.cluster_id AND clusters.removed_at_us IS NULL)) ORDER BY expires_at_us, id LIMIT ")
        .bind(i64::from(limit))
        .push(dialect.lock_rows)
}

/// Marks an available backup as deleted whose time is over, unless something keeps it. To be run under the lock on its
/// row: then it sees every hold, job and change of its end that came before.
pub(crate) fn make_deleted(backup_id: BackupId, now: DateTime<Utc>) -> Statement {
    take_deletion(backup_id, now)
        .push(" AND expires_at_us IS NOT NULL AND expires_at_us <= ")
        .bind(now.timestamp_micros())
        .push(UNBOUND)
        .bind(now.timestamp_micros())
        .push("))")
}

/// Marks an available backup as deleted, whatever keeps it.
pub(crate) fn take_deletion(backup_id: BackupId, now: DateTime<Utc>) -> Statement {
    Statement::update(
        "backups",
        [
            ("status", BackupStatus::Deleted.spelling().into()),
            ("deleted_at_us", now.timestamp_micros().into()),
        ],
    )
    .push("status = 'AVAILABLE' AND id = ")
    .bind(backup_id.to_string())
}

/// Backups that have expired after `ended_after` although their time is not over, and that neither a sweep nor a person
/// has done anything about. Whether all of them is there only their repositories tell.
fn expired_early(columns: &'static str, now: DateTime<Utc>, ended_after: DateTime<Utc>) -> Statement {
    Statement::new("SELECT ")
        .push(columns)
        .push(" FROM backups WHERE status = 'DELETED' AND swept_at_us IS NULL AND deleted_at_us > ")
        .bind(ended_after.timestamp_micros())
        .push(" AND expires_at_us <= deleted_at_us AND expires_at_us > ")
        .bind(now.timestamp_micros())
        .push(" AND early_expiry_judged_at_us IS NULL AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.cluster_id = backups.cluster_id AND jobs.job_type = 'SWEEP' AND jobs.state IN ('PENDING', 'IN_PROGRESS', 'CANCELING')) AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.backup_id = backups.id AND jobs.job_type = 'DELETE') AND (creation_method = 'MANUAL' OR copied_from IS NOT NULL OR EXISTS (SELECT 1 FROM clusters WHERE clusters.id = backups.cluster_id AND clusters.removed_at_us IS NULL))")
}

/// Backups that a clock has expired which was ahead.
pub(crate) fn select_expired_early(now: DateTime<Utc>, ended_after: DateTime<Utc>, limit: u32) -> Statement {
    expired_early("id, repository_id", now, ended_after)
        .push(" ORDER BY deleted_at_us, id LIMIT ")
        .bind(i64::from(limit))
}

pub(super) fn read_expired_early(row: &mut Record) -> PortResult<(BackupId, RepositoryId)> {
    Ok((backups::read_id(row)?, id(&row.text("repository_id")?)?))
}

/// An expiry that a clock may have made which was ahead.
pub(super) struct EarlyExpiry {
    pub(super) backup_id: BackupId,
    pub(super) now: DateTime<Utc>,
    pub(super) ended_after: DateTime<Utc>,
}

impl EarlyExpiry {
    /// Decides about it, once, and returns whether the backup is available. The lock on the cluster's row keeps its sweeps
    /// and new names away meanwhile.
    pub(super) async fn judge(
        &self,
        transaction: &mut dyn Transaction,
        dialect: Dialect,
        is_whole: bool,
    ) -> PortResult<bool> {
        let id = self.backup_id.to_string();
        let cluster_id = backups::load(transaction, self.backup_id).await?.cluster_id;
        clusters::lock_known(transaction, dialect, cluster_id).await?;
        let backup = load_locked(transaction, dialect, self.backup_id).await?;
        let is_one = expired_early("id", self.now, self.ended_after).push(" AND id = ").bind(id.clone());
        if transaction.query(is_one).await?.is_empty() {
            return Ok(backup.status == BackupStatus::Available);
        }
        let is_free = names::living(transaction, cluster_id, &backup.name).await?.is_none();
        let judged = ("early_expiry_judged_at_us", self.now.timestamp_micros().into());
        let mark = if is_whole && is_free {
            let target = AuditTarget { kind: String::from("backup"), id: id.clone() };
            audit::append_by_system(transaction, dialect, "takeBackExpiry", target, 1, self.now).await?;
            let status = ("status", BackupStatus::Available.spelling().into());
            Statement::update("backups", [status, ("deleted_at_us", None::<i64>.into()), judged])
        } else {
            Statement::update("backups", [judged])
        };
        transaction.execute(mark.push("id = ").bind(id)).await?;
        Ok(is_whole && is_free)
    }
}

/// The available backups of a cluster.
pub(crate) fn select_retained(cluster_id: ClusterId) -> Statement {
    Statement::new(
        "SELECT id, creation_method, created_at_us, expires_at_us, copied_from FROM backups WHERE status = 'AVAILABLE' AND cluster_id = ",
    )
    .bind(cluster_id.to_string())
}

pub(super) fn read_retained(row: &mut Record) -> PortResult<RetainedBackup> {
    Ok(RetainedBackup {
        id: backups::read_id(row)?,
        creation_method: spelled(&row.text("creation_method")?)?,
        created_at: time(row.integer("created_at_us")?)?,
        expires_at: optional_time(row.optional_integer("expires_at_us")?)?,
        is_copy: row.optional_text("copied_from")?.is_some(),
    })
}

/// Clusters in service with a schedule and with automatic backups whose age is over.
pub(crate) fn select_overdue_clusters(now: DateTime<Utc>) -> Statement {
    Statement::new("SELECT schedules.cluster_id FROM schedules, clusters WHERE clusters.id = schedules.cluster_id AND clusters.removed_at_us IS NULL AND EXISTS (SELECT 1 FROM backups WHERE backups.cluster_id = schedules.cluster_id AND backups.status = 'AVAILABLE' AND backups.creation_method = 'AUTO' AND backups.copied_from IS NULL AND backups.expires_at_us <= ")
        .bind(now.timestamp_micros())
        .push(")")
}
