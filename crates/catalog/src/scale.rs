//! Catalogs of very many rows, for benchmarks and for the tests of query plans: fills them, and asks a database how it
//! answers a list.

mod fill;
mod plan;

pub use fill::Shape;
pub use plan::Explained;

use crate::database::{Database, Statement};
use crate::{audit, backups, clusters, jobs, lifecycle, name_search, schedules};
use chrono::{DateTime, Utc};
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::ports::{
    AuditFilter, AuditPage, BackupFilter, ClusterFilter, JobFilter, PageRequest, PortResult,
};

/// A catalog that is filled and asked past the port. It has a schema; its clusters are added through the port before.
pub struct ScaleCatalog {
    database: Box<dyn Database>,
}

/// Something that is read from a catalog.
#[derive(Debug, Clone)]
pub enum Question {
    /// A page of backups.
    Backups(BackupFilter, PageRequest),
    /// A page of jobs.
    Jobs(JobFilter, PageRequest),
    /// A page of clusters.
    Clusters(ClusterFilter, PageRequest),
    /// A page of the audit log.
    Audit(AuditFilter, AuditPage),
    /// A backup.
    Backup(BackupId),
    /// A job.
    Job(JobId),
    /// A job's history.
    JobEvents(JobId),
    /// All jobs that have not ended.
    OpenJobs,
    /// Backups whose time is over.
    ExpiredBackups(DateTime<Utc>, u32),
    /// Backups that expired after that moment although their time is not over.
    EarlyExpiries(DateTime<Utc>, u32),
    /// Clusters whose keep rules let something go.
    OverdueClusters(DateTime<Utc>),
    /// Backups that keep rules decide about.
    RetainedBackups(ClusterId),
    /// Schedules that are to be looked at.
    DueSchedules(DateTime<Utc>, u32),
}

impl ScaleCatalog {
    /// Opens it as [`crate::open`] does, with the same URLs. While it is open no other may be.
    ///
    /// # Errors
    /// As for [`crate::open`].
    pub async fn open(url: &str) -> PortResult<Self> {
        Ok(Self { database: crate::open_database(url).await? })
    }

    /// Adds rows to the clusters that are there, and has the database look at what it holds.
    ///
    /// # Errors
    /// Errors of the database; there must be a cluster, and no backup.
    pub async fn fill(&self, shape: Shape) -> PortResult<()> {
        fill::fill(self.database.as_ref(), shape).await
    }

    /// How the database answers a question. PostgreSQL answers it on the way and counts; SQLite tells its plan.
    ///
    /// # Errors
    /// Errors of the database; questions that have no answer whatever the catalog holds.
    pub async fn explain(&self, question: &Question) -> PortResult<Vec<Explained>> {
        let mut explained = Vec::new();
        for statement in self.statements(question).await? {
            let rows = self.database.read(statement.with_plan(self.database.dialect())).await?;
            explained.push(Explained::read(rows)?);
        }
        Ok(explained)
    }

    async fn statements(&self, question: &Question) -> PortResult<Vec<Statement>> {
        let dialect = self.database.dialect();
        let one = |statement| Ok(vec![statement]);
        let listed = |statement: PortResult<Option<Statement>>| Ok(statement?.into_iter().collect());
        match question {
            Question::Backups(filter, page) => match &filter.name_contains {
                Some(text) => name_search::first_window(&*self.database, filter, text, *page).await,
                None => listed(backups::list(dialect, filter, *page)),
            },
            Question::Jobs(filter, page) => listed(jobs::list(dialect, filter, *page)),
            Question::Clusters(filter, page) => listed(clusters::list(dialect, filter, *page)),
            Question::Audit(filter, page) => listed(audit::list(dialect, filter, *page)),
            Question::Backup(backup_id) => one(backups::select(*backup_id)),
            Question::Job(job_id) => one(jobs::select(*job_id)),
            Question::JobEvents(job_id) => one(jobs::select_events(*job_id)),
            Question::OpenJobs => one(jobs::select_open()),
            Question::ExpiredBackups(now, limit) => one(lifecycle::select_expired(dialect, *now, *limit)),
            Question::EarlyExpiries(now, limit) => one(lifecycle::select_expired_early(*now, *now, *limit)),
            Question::OverdueClusters(now) => one(lifecycle::select_overdue_clusters(*now)),
            Question::RetainedBackups(cluster_id) => one(lifecycle::select_retained(*cluster_id)),
            Question::DueSchedules(now, limit) => Ok(schedules::select_due(*now, *limit).into()),
        }
    }
}
