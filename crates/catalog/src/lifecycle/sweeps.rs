//! What sweeps need to know, and what they leave behind.

use crate::clusters;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::jobs::{self, OPEN_STATES};
use crate::model::{id, optional_time, spelled};
use chrono::{DateTime, Utc};
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::lifecycle::Standing;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};

/// Adds a sweep unless one is open. The lock on the cluster's row keeps two requests apart.
pub(crate) async fn insert(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job: &Job,
) -> PortResult<Option<Job>> {
    if job.job_type != JobType::Sweep || job.state != JobState::Pending || job.backup_id.is_some() {
        let message = format!("job {} must be PENDING, and the SWEEP of a cluster", job.id);
        return Err(PortError::new(PortErrorKind::InvalidInput, message));
    }
    clusters::lock_known(transaction, dialect, job.cluster_id).await?;
    if let Some(open) = jobs::load(transaction, select_open(job.cluster_id)).await? {
        return Ok(Some(open));
    }
    jobs::insert_with_event(transaction, job, None).await?;
    Ok(None)
}

/// The open sweep of a cluster.
pub(crate) fn select_open(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND job_type = 'SWEEP' AND ")
        .push(OPEN_STATES)
}

/// Every backup of a repository that was not swept.
pub(crate) fn select_standings(repository_id: RepositoryId) -> Statement {
    Statement::new("SELECT id, cluster_id, status, deleted_at_us, CASE WHEN EXISTS (SELECT 1 FROM jobs WHERE jobs.backup_id = backups.id AND jobs.job_type NOT IN ('UNDO', 'DELETE') AND jobs.state IN ('PENDING', 'IN_PROGRESS', 'CANCELING')) THEN 'YES' ELSE 'NO' END AS in_use FROM backups WHERE swept_at_us IS NULL AND repository_id = ")
        .bind(repository_id.to_string())
}

pub(super) fn read_standing(row: &mut Record) -> PortResult<Standing> {
    Ok(Standing {
        backup_id: id(&row.text("id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        status: spelled(&row.text("status")?)?,
        ended_at: optional_time(row.optional_integer("deleted_at_us")?)?,
        in_use: row.text("in_use")? == "YES",
    })
}

/// Repositories with backups of a cluster that were not swept.
pub(crate) fn select_repositories(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT DISTINCT repository_id FROM backups WHERE swept_at_us IS NULL AND cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" ORDER BY repository_id")
}

pub(super) fn read_repository_id(row: &mut Record) -> PortResult<RepositoryId> {
    id(&row.text("repository_id")?)
}

/// Clusters with something to sweep, and without a sweep that is open or was asked for lately. One that was asked for
/// by a clock that ran ahead would be late for as long as that.
pub(crate) fn select_due(
    ended_before: DateTime<Utc>,
    not_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Statement {
    Statement::new("SELECT id AS cluster_id, project_id FROM clusters WHERE EXISTS (SELECT 1 FROM backups WHERE backups.cluster_id = clusters.id AND backups.status IN ('FAILED', 'DELETED') AND backups.swept_at_us IS NULL AND backups.deleted_at_us <= ")
        .bind(ended_before.timestamp_micros())
        .push(") AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.cluster_id = clusters.id AND jobs.job_type = 'SWEEP' AND jobs.created_at_us > ")
        .bind(not_since.timestamp_micros())
        .push(" AND jobs.created_at_us <= ")
        .bind(now.timestamp_micros())
        .push(") AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.cluster_id = clusters.id AND jobs.job_type = 'SWEEP' AND jobs.state IN ('PENDING', 'IN_PROGRESS', 'CANCELING'))")
}

pub(super) fn read_cluster_id(row: &mut Record) -> PortResult<ClusterId> {
    id(&row.text("cluster_id")?)
}

pub(super) fn read_due(row: &mut Record) -> PortResult<(ClusterId, ProjectId)> {
    Ok((read_cluster_id(row)?, id(&row.text("project_id")?)?))
}

/// Records that a backup was swept. One that is used again (it never is) stays as it is.
pub(crate) fn mark(backup_id: BackupId, now: DateTime<Utc>) -> Statement {
    Statement::update("backups", [("swept_at_us", now.timestamp_micros().into())])
        .push("status IN ('FAILED', 'DELETED') AND id = ")
        .bind(backup_id.to_string())
}
