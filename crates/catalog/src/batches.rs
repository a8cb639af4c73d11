//! Reads of many records at once: one statement each, whatever the number of ids.

use crate::catalog::SqlCatalog;
use crate::database::{Record, Statement};
use crate::model::id;
use crate::{
    backups, checks, clusters, comparisons, completion, copies, jobs, lifecycle, requests, restores,
    schedules, webhooks,
};
use async_trait::async_trait;
use milvault_domain::backup::Backup;
use milvault_domain::checks::{DrillSchedule, Leftovers, Verification, VerifySchedule};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId, WebhookId};
use milvault_domain::job::{Job, JobEvent};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lifecycle::BackupHold;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BATCH_MAX, BatchCatalog, LARGE_BATCH_MAX, PortError, PortErrorKind, PortResult, VerifyReport,
};
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore};
use milvault_domain::schedule::ClusterSchedule;
use milvault_domain::webhook::Webhook;
use std::collections::BTreeMap;
use std::fmt::Display;

const CLUSTERS: &str = "SELECT * FROM clusters WHERE removed_at_us IS NULL AND id IN (";
const REPOSITORIES: &str = "SELECT * FROM repositories WHERE id IN (";
const BACKUPS: &str = "SELECT * FROM backups WHERE id IN (";
const JOBS: &str = "SELECT * FROM jobs WHERE id IN (";
const WEBHOOKS: &str = "SELECT * FROM webhooks WHERE deleted_at_us IS NULL AND id IN (";
/// A backup has few jobs, which are found by its id; types are compared row by row, not looked up in an index of theirs.
const MAKERS: &str =
    "SELECT * FROM jobs WHERE job_type || '' IN ('BACKUP', 'ADOPT', 'COPY') AND backup_id IN (";
const CONTENTS: &str = "SELECT backup_id, cut FROM backup_contents WHERE backup_id IN (";
const VERIFICATIONS: &str = "SELECT backup_id, verification FROM backup_verifications WHERE backup_id IN (";
const SCHEDULES: &str = "SELECT * FROM schedules WHERE cluster_id IN (";
const DRILL_SCHEDULES: &str = "SELECT * FROM drill_policies WHERE cluster_id IN (";
const VERIFY_SCHEDULES: &str = "SELECT * FROM verify_policies WHERE repository_id IN (";
const REQUESTS: &str = "SELECT job_id, request_sealed FROM job_requests WHERE job_id IN (";
const VERIFY_REPORTS: &str = "SELECT job_id, report FROM verify_reports WHERE job_id IN (";
const COMPARE_REPORTS: &str = "SELECT job_id, report FROM compare_reports WHERE job_id IN (";
const LEFTOVERS: &str = "SELECT * FROM drill_leftovers WHERE job_id IN (";

#[async_trait]
impl BatchCatalog for SqlCatalog {
    async fn clusters_among(&self, ids: &[ClusterId]) -> PortResult<Vec<Cluster>> {
        self.batch(ids, CLUSTERS, |row| clusters::read(&self.sealer, row)).await
    }

    async fn repositories_among(&self, ids: &[RepositoryId]) -> PortResult<Vec<Repository>> {
        self.batch(ids, REPOSITORIES, |row| clusters::read_repository(&self.sealer, row)).await
    }

    async fn backups_among(&self, ids: &[BackupId]) -> PortResult<Vec<Backup>> {
        self.batch(ids, BACKUPS, backups::read).await
    }

    async fn jobs_among(&self, ids: &[JobId]) -> PortResult<Vec<Job>> {
        self.batch(ids, JOBS, jobs::read).await
    }

    async fn webhooks_among(&self, ids: &[WebhookId]) -> PortResult<Vec<Webhook>> {
        self.batch(ids, WEBHOOKS, |row| webhooks::read_webhook(&self.sealer, row)).await
    }

    async fn makers_of(&self, ids: &[BackupId]) -> PortResult<Vec<Job>> {
        self.batch(ids, MAKERS, jobs::read).await
    }

    async fn last_drills_of(&self, ids: &[BackupId]) -> PortResult<Vec<Job>> {
        self.read_batch(ids, BATCH_MAX, select_last_drills, jobs::read).await
    }

    async fn holds_of(&self, ids: &[BackupId]) -> PortResult<Vec<BackupHold>> {
        self.read_batch(ids, BATCH_MAX, select_holds, lifecycle::read_hold).await
    }

    async fn copies_of(&self, ids: &[BackupId]) -> PortResult<Vec<Backup>> {
        self.read_batch(ids, BATCH_MAX, select_copies, backups::read).await
    }

    async fn contents_of(&self, ids: &[BackupId]) -> PortResult<Vec<(BackupId, Cut)>> {
        let read = |row: &mut Record| Ok((id(&row.text("backup_id")?)?, backups::read_contents(row)?));
        self.read_batch(ids, LARGE_BATCH_MAX, |ids| among(CONTENTS, ids), read).await
    }

    async fn verifications_of(&self, ids: &[BackupId]) -> PortResult<Vec<(BackupId, Verification)>> {
        let read = |row: &mut Record| Ok((id(&row.text("backup_id")?)?, checks::read_verification(row)?));
        self.batch(ids, VERIFICATIONS, read).await
    }

    async fn schedules_of(&self, ids: &[ClusterId]) -> PortResult<Vec<ClusterSchedule>> {
        self.batch(ids, SCHEDULES, schedules::read).await
    }

    async fn drill_schedules_of(&self, ids: &[ClusterId]) -> PortResult<Vec<DrillSchedule>> {
        self.batch(ids, DRILL_SCHEDULES, checks::read_drill).await
    }

    async fn verify_schedules_of(&self, ids: &[RepositoryId]) -> PortResult<Vec<VerifySchedule>> {
        self.batch(ids, VERIFY_SCHEDULES, checks::read_verify).await
    }

    async fn events_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, JobEvent)>> {
        let read = |row: &mut Record| Ok((id(&row.text("job_id")?)?, jobs::read_event(row)?));
        self.read_batch(ids, BATCH_MAX, select_events, read).await
    }

    async fn requests_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, JobRequest)>> {
        let read = |row: &mut Record| {
            let job_id = id(&row.text("job_id")?)?;
            Ok((job_id, requests::read(&self.sealer, job_id, row)?))
        };
        self.batch(ids, REQUESTS, read).await
    }

    async fn restores_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, Restore)>> {
        let mut parts: BTreeMap<JobId, Vec<Record>> = BTreeMap::new();
        for mut row in self.rows(ids, LARGE_BATCH_MAX, select_restores).await? {
            parts.entry(id(&row.text("job_id")?)?).or_default().push(row);
        }
        let mut found = Vec::with_capacity(parts.len());
        for (job_id, rows) in parts {
            found.extend(restores::read(&self.sealer, job_id, rows)?.map(|restore| (job_id, restore)));
        }
        Ok(found)
    }

    async fn verify_reports_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, VerifyReport)>> {
        let read = |row: &mut Record| Ok((id(&row.text("job_id")?)?, completion::read_report(row)?));
        self.batch(ids, VERIFY_REPORTS, read).await
    }

    async fn compare_reports_of(&self, ids: &[JobId]) -> PortResult<Vec<(JobId, CompareReport)>> {
        let read = |row: &mut Record| Ok((id(&row.text("job_id")?)?, comparisons::read(row)?));
        self.read_batch(ids, LARGE_BATCH_MAX, |ids| among(COMPARE_REPORTS, ids), read).await
    }

    async fn leftovers_of(&self, ids: &[JobId]) -> PortResult<Vec<Leftovers>> {
        self.batch(ids, LEFTOVERS, checks::read_leftovers).await
    }
}

impl SqlCatalog {
    /// The rows of a table that have one of the ids; the text ends before the first id.
    async fn batch<I: Display + Sync, T>(
        &self,
        ids: &[I],
        select: &'static str,
        read: impl Fn(&mut Record) -> PortResult<T> + Send,
    ) -> PortResult<Vec<T>> {
        self.read_batch(ids, BATCH_MAX, |ids| among(select, ids), read).await
    }

    /// The rows that a statement selects for the ids, of which there may be so many.
    pub(crate) async fn read_batch<I: Display + Sync, T>(
        &self,
        ids: &[I],
        ids_max: usize,
        select: impl Fn(&[I]) -> Statement + Send,
        read: impl Fn(&mut Record) -> PortResult<T> + Send,
    ) -> PortResult<Vec<T>> {
        self.rows(ids, ids_max, select).await?.iter_mut().map(read).collect()
    }

    async fn rows<I: Display + Sync>(
        &self,
        ids: &[I],
        ids_max: usize,
        select: impl Fn(&[I]) -> Statement + Send,
    ) -> PortResult<Vec<Record>> {
        if ids_max < ids.len() {
            let message = format!("at most {ids_max} ids may be asked about at once, got {}", ids.len());
            return Err(PortError::new(PortErrorKind::InvalidInput, message));
        }
        // `IN ()` is no SQL for PostgreSQL.
        if ids.is_empty() { Ok(Vec::new()) } else { self.database.read(select(ids)).await }
    }
}

/// A text that ends before the first id, with the ids and the bracket that ends them.
pub(crate) fn among<I: Display>(select: &'static str, ids: &[I]) -> Statement {
    bind_all(Statement::new(select), ids)
}

/// Appends the ids and the bracket that ends them.
fn bind_all<I: Display>(statement: Statement, ids: &[I]) -> Statement {
    let mut statement = statement;
    for (index, id) in ids.iter().enumerate() {
        statement = statement.push(if index == 0 { "" } else { ", " }).bind(id.to_string());
    }
    statement.push(")")
}

/// The job's type is spelled as in the partial index.
fn select_last_drills(ids: &[BackupId]) -> Statement {
    among(
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY backup_id ORDER BY created_at_us DESC, id DESC) \
         AS place FROM jobs WHERE job_type = 'DRILL' AND backup_id IN (",
        ids,
    )
    .push(") AS placed WHERE place = 1")
}

fn select_holds(ids: &[BackupId]) -> Statement {
    among(
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY backup_id ORDER BY created_at_us DESC, id DESC) \
         AS place FROM backup_holds WHERE backup_id IN (",
        ids,
    )
    .push(") AS placed WHERE place <= ")
    .bind(lifecycle::HOLDS_LISTED_MAX)
    .push(" ORDER BY place")
}

/// The condition is spelled as in the partial index.
fn select_copies(ids: &[BackupId]) -> Statement {
    among(
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY copied_from ORDER BY created_at_us DESC, id DESC) \
         AS place FROM backups WHERE copied_from IS NOT NULL AND status <> 'DELETED' AND copied_from IN (",
        ids,
    )
    .push(") AS placed WHERE place <= ")
    .bind(copies::COPIES_MAX)
    .push(" ORDER BY place")
}

/// The latest events of each job, earliest first.
fn select_events(ids: &[JobId]) -> Statement {
    among(
        "SELECT * FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY job_id ORDER BY sequence DESC) \
         AS place FROM job_events WHERE job_id IN (",
        ids,
    )
    .push(") AS placed WHERE place <= ")
    .bind(jobs::EVENTS_MAX)
    .push(" ORDER BY place DESC")
}

/// The parts of restores as [`restores::read`] takes them, each with its job.
fn select_restores(ids: &[JobId]) -> Statement {
    let statement = among(
        "SELECT job_id, 'REQUEST' AS part, CAST(0 AS BIGINT) AS position, request_sealed AS value \
         FROM job_requests WHERE job_id IN (",
        ids,
    );
    let statement = bind_all(
        statement.push(" UNION ALL SELECT job_id, 'PLAN', 0, plan FROM restore_plans WHERE job_id IN ("),
        ids,
    );
    let statement = bind_all(
        statement
            .push(" UNION ALL SELECT job_id, 'WARNINGS', 0, warnings FROM job_completions WHERE job_id IN ("),
        ids,
    );
    bind_all(
        statement.push(
            " UNION ALL SELECT job_id, 'COLLECTION', position, state FROM restored_collections WHERE job_id IN (",
        ),
        ids,
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::database::Database;
    use crate::query_plans::plan;
    use crate::sqlite::SqliteDatabase;
    use uuid::Uuid;

    #[tokio::test]
    async fn batches_are_found_by_index() {
        let database = SqliteDatabase::open_in_memory().await.unwrap();
        let uuids = [Uuid::from_u128(1), Uuid::from_u128(2)];
        let (jobs, backups) = (uuids.map(JobId::from_uuid), uuids.map(BackupId::from_uuid));
        let texts = [
            CLUSTERS,
            REPOSITORIES,
            BACKUPS,
            JOBS,
            WEBHOOKS,
            MAKERS,
            CONTENTS,
            VERIFICATIONS,
            SCHEDULES,
            DRILL_SCHEDULES,
            VERIFY_SCHEDULES,
            REQUESTS,
            VERIFY_REPORTS,
            COMPARE_REPORTS,
            LEFTOVERS,
        ];
        let statements = texts.map(|text| among(text, &jobs)).into_iter().chain([
            select_last_drills(&backups),
            select_holds(&backups),
            select_copies(&backups),
            select_events(&jobs),
            select_restores(&jobs),
        ]);
        for (number, statement) in statements.enumerate() {
            // The statement is one that the database takes, too.
            database.read(statement.clone()).await.unwrap();
            let plan = plan(&database, statement).await;
            assert!(plan.contains("SEARCH "), "{number}: {plan}");
            // What was found is numbered and looked through once more; no table is.
            let found_already = |step: &&str| step.contains("placed") || step.contains("(subquery");
            let scans = plan.split("; ").filter(|step| step.starts_with("SCAN "));
            assert!(scans.filter(|step| !found_already(step)).count() == 0, "{number}: {plan}");
        }
    }
}
