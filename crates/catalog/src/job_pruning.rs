//! Removing old jobs with everything that belongs to them.

use crate::audit;
use crate::catalog::SqlCatalog;
use crate::database::{Dialect, Statement, Transaction};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::ports::{JobPruning, PortResult};
use std::collections::BTreeMap;

/// Every statement that removes what belongs to a job, and the job; what refers to something goes before it.
const REMOVALS: [&str; 10] = [
    "DELETE FROM job_events WHERE job_id = ",
    "DELETE FROM job_names WHERE id = ",
    "DELETE FROM verify_reports WHERE job_id = ",
    "DELETE FROM idempotency_keys WHERE job_id = ",
    "DELETE FROM job_requests WHERE job_id = ",
    "DELETE FROM restored_collections WHERE job_id = ",
    "DELETE FROM restore_plans WHERE job_id = ",
    "DELETE FROM compare_reports WHERE job_id = ",
    "DELETE FROM job_completions WHERE job_id = ",
    "DELETE FROM jobs WHERE id = ",
];

#[async_trait]
impl JobPruning for SqlCatalog {
    async fn prune_jobs(
        &self,
        ended_before: DateTime<Utc>,
        now: DateTime<Utc>,
        limit: u32,
    ) -> PortResult<u32> {
        let mut transaction = self.begin().await?;
        let pruned = prune(&mut *transaction, self.database.dialect(), ended_before, now, limit).await?;
        transaction.commit().await?;
        Ok(pruned)
    }
}

async fn prune(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    ended_before: DateTime<Utc>,
    now: DateTime<Utc>,
    limit: u32,
) -> PortResult<u32> {
    let mut rows = transaction.query(select(ended_before, limit).push(dialect.lock_rows)).await?;
    let mut pruned = 0;
    let mut clusters = BTreeMap::new();
    for row in &mut rows {
        let job_id = row.text("id")?;
        *clusters.entry(row.text("cluster_id")?).or_insert(0_u32) += 1;
        for removal in REMOVALS {
            transaction.execute(Statement::new(removal).bind(job_id.as_str())).await?;
        }
        pruned += 1;
    }
    for (cluster_id, count) in clusters {
        let target = AuditTarget { kind: String::from("cluster"), id: cluster_id };
        audit::append_by_system(transaction, dialect, "pruneJobs", target, count, now).await?;
    }
    Ok(pruned)
}

/// A type that is not named here is never removed: a restore can be resumed and undone however old it is, and what was
/// undone of it stands with the restore. The making of a backup goes once the backup is deleted or has failed. The CASE
/// keeps SQLite from searching by type, which would not give the order.
pub(crate) fn select(ended_before: DateTime<Utc>, limit: u32) -> Statement {
    Statement::new("SELECT id, cluster_id FROM jobs WHERE ended_at_us IS NOT NULL AND ended_at_us < ")
        .bind(ended_before.timestamp_micros())
        .push(
            " AND CASE WHEN job_type IN ('VERIFY', 'COMPARE', 'DRILL', 'UNDO', 'DELETE', 'SWEEP') THEN TRUE \
             WHEN job_type IN ('BACKUP', 'COPY', 'ADOPT') THEN EXISTS \
             (SELECT 1 FROM backups WHERE backups.id = jobs.backup_id AND backups.status IN ('DELETED', 'FAILED')) \
             ELSE FALSE END",
        )
        .push(" ORDER BY ended_at_us, id LIMIT ")
        .bind(i64::from(limit))
}
