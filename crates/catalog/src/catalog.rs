//! The port, put together: each method is one statement or one transaction.

use crate::admission::Asker;
use crate::completion::{self, SealedBackup};
use crate::database::{Database, Record, Statement, Transaction};
use crate::page::read_page;
use crate::restore_completion::{self, Ended};
use crate::seal::Sealer;
use crate::{
    audit, backups, clusters, comparisons, found, jobs, leases, lifecycle, requests, restores, tenancy,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::ApiKey;
use milvault_domain::audit::{AuditRecord, AuditTarget};
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, RepositoryId};
use milvault_domain::job::{Job, JobEvent, JobPhase, JobState};
use milvault_domain::job_request::JobRequest;
use milvault_domain::lease::Fence;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, Catalog, ClusterFilter, ClusterRemoval, FoundBackup, InsertJobOutcome, InsertOutcome,
    JobFilter, NewBackup, NewJob, Page, PageRequest, PortErrorKind, PortResult, RepositoryFilter, Tenancy,
    VerifyReport,
};
use milvault_domain::progress::Progress;
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore, RestorePlan, RestoredCollection};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The catalog on either database.
pub(crate) struct SqlCatalog {
    pub(crate) database: Arc<dyn Database>,
    pub(crate) sealer: Arc<Sealer>,
    /// What every transaction that may write is checked against, in the view that work on a cluster's jobs has.
    fence: Option<Fence>,
}

impl SqlCatalog {
    /// Takes the database, after checking that the key is the one that its secrets are sealed with.
    pub(crate) async fn new(database: Box<dyn Database>, sealer: Sealer) -> PortResult<Self> {
        let catalog = Self { database: Arc::from(database), sealer: Arc::new(sealer), fence: None };
        catalog.check_sealing_key().await?;
        Ok(catalog)
    }

    /// The same catalog, whose writing transactions are refused when the fence is not that of the current lease.
    pub(crate) fn with_fence(&self, fence: Fence) -> Self {
        Self { database: Arc::clone(&self.database), sealer: Arc::clone(&self.sealer), fence: Some(fence) }
    }

    async fn check_sealing_key(&self) -> PortResult<()> {
        let stored = self.database.read(Statement::new("SELECT key_id FROM sealing_key")).await?;
        if let Some(mut row) = stored.into_iter().next() {
            return self.sealer.check_key_id(&row.text("key_id")?);
        }
        let columns = [("singleton", 1.into()), ("key_id", self.sealer.key_id().into())];
        match self.write(Statement::insert("sealing_key", columns)).await {
            // Another server that starts at the same time was quicker. Its key may be another one.
            Err(error) if error.kind() == PortErrorKind::Conflict => {
                let stored = self.database.read(Statement::new("SELECT key_id FROM sealing_key")).await?;
                let mut row = stored.into_iter().next().ok_or(error)?;
                self.sealer.check_key_id(&row.text("key_id")?)
            }
            written => written.map(|_| ()),
        }
    }

    /// Runs one reading statement for one entry.
    pub(crate) async fn find<T>(
        &self,
        statement: Statement,
        read: impl Fn(&mut Record) -> PortResult<T> + Send,
    ) -> PortResult<Option<T>> {
        self.database.read(statement).await?.first_mut().map(read).transpose()
    }

    /// Runs one reading statement for a page; without a statement the page is empty.
    pub(crate) async fn list<T>(
        &self,
        statement: Option<Statement>,
        page: PageRequest,
        read: impl Fn(&mut Record) -> PortResult<T> + Send,
    ) -> PortResult<Page<T>> {
        match statement {
            Some(statement) => read_page(self.database.read(statement).await?, page.limit, read),
            None => Ok(Page::empty()),
        }
    }

    /// Runs one writing statement and returns how many rows it touched.
    pub(crate) async fn write(&self, statement: Statement) -> PortResult<u64> {
        let mut transaction = self.begin().await?;
        let rows = transaction.execute(statement).await?;
        transaction.commit().await?;
        Ok(rows)
    }

    /// Begins a transaction that may write, under the fence if there is one.
    pub(crate) async fn begin(&self) -> PortResult<Box<dyn Transaction>> {
        let mut transaction = self.database.begin().await?;
        if let Some(fence) = &self.fence {
            leases::check(&mut *transaction, self.database.dialect(), fence).await?;
        }
        Ok(transaction)
    }
}

#[async_trait]
impl Catalog for SqlCatalog {
    async fn ping(&self) -> PortResult<()> {
        self.database.ping().await
    }

    async fn ensure_tenancy(&self, tenancy: &Tenancy, owner_key: &ApiKey) -> PortResult<(Tenancy, bool)> {
        let mut transaction = self.begin().await?;
        if let Some(lock) = self.database.dialect().lock_organizations {
            transaction.execute(Statement::new(lock)).await?;
        }
        let found = tenancy::ensure(&mut *transaction, tenancy, owner_key).await?;
        transaction.commit().await?;
        Ok(found)
    }

    async fn find_api_key(&self, secret_hash: &[u8; 32]) -> PortResult<Option<ApiKey>> {
        tenancy::read_key(self.database.read(tenancy::select_key(secret_hash)).await?)
    }

    async fn insert_api_key(&self, key: &ApiKey) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        tenancy::insert_key(&mut *transaction, key).await?;
        let made = AuditRecord {
            target: Some(AuditTarget { kind: String::from("apiKey"), id: key.id.to_string() }),
            inputs: BTreeMap::from([(String::from("name"), key.name.clone())]),
            ..AuditRecord::by_system(key.created_at, key.organization_id, "makeOwnerKey")
        };
        audit::append(&mut *transaction, self.database.dialect(), &made).await?;
        transaction.commit().await
    }

    async fn insert_cluster(&self, cluster: &Cluster) -> PortResult<()> {
        self.write(clusters::insert(&self.sealer, cluster)?)
            .await
            .map_err(|error| clusters::name_taken("cluster", &cluster.name, error))?;
        Ok(())
    }

    async fn update_cluster(&self, cluster: &Cluster) -> PortResult<()> {
        let rows = self
            .write(clusters::update(&self.sealer, cluster)?)
            .await
            .map_err(|error| clusters::name_taken("cluster", &cluster.name, error))?;
        if rows == 0 { Err(clusters::not_found(cluster.id)) } else { Ok(()) }
    }

    async fn remove_cluster(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<ClusterRemoval> {
        let mut transaction = self.begin().await?;
        let removal = clusters::remove(&mut *transaction, self.database.dialect(), cluster_id, now).await?;
        transaction.commit().await?;
        Ok(removal)
    }

    async fn cluster(&self, cluster_id: ClusterId) -> PortResult<Option<Cluster>> {
        self.find(clusters::select(cluster_id), |row| clusters::read(&self.sealer, row)).await
    }

    async fn clusters(&self, filter: &ClusterFilter, page: PageRequest) -> PortResult<Page<Cluster>> {
        let statement = clusters::list(self.database.dialect(), filter, page)?;
        self.list(statement, page, |row| clusters::read(&self.sealer, row)).await
    }

    async fn insert_repository(&self, repository: &Repository) -> PortResult<()> {
        self.write(clusters::insert_repository(&self.sealer, repository)?)
            .await
            .map_err(|error| clusters::name_taken("repository", &repository.name, error))?;
        Ok(())
    }

    async fn repository(&self, repository_id: RepositoryId) -> PortResult<Option<Repository>> {
        let statement = clusters::select_repository(repository_id);
        self.find(statement, |row| clusters::read_repository(&self.sealer, row)).await
    }

    async fn repositories(
        &self,
        filter: &RepositoryFilter,
        page: PageRequest,
    ) -> PortResult<Page<Repository>> {
        let statement = clusters::list_repositories(filter, page)?;
        self.list(statement, page, |row| clusters::read_repository(&self.sealer, row)).await
    }

    async fn insert_backup(&self, new: &NewBackup) -> PortResult<InsertOutcome> {
        let request = new.request.as_ref();
        let sealed =
            request.map(|request| requests::sealed(&self.sealer, new.job.id, request)).transpose()?;
        let mut transaction = self.begin().await?;
        let outcome =
            backups::insert_with_job(&mut *transaction, self.database.dialect(), new, sealed).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn insert_job(&self, job: &Job) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        jobs::insert_asked(&mut *transaction, self.database.dialect(), job).await?;
        transaction.commit().await
    }

    async fn insert_requested_job(&self, new: &NewJob) -> PortResult<InsertJobOutcome> {
        let sealed = requests::sealed(&self.sealer, new.job.id, &new.request)?;
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let asker = Asker::Person;
        let outcome = requests::insert_with_job(&mut *transaction, dialect, asker, new, sealed).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn job_request(&self, job_id: JobId) -> PortResult<Option<JobRequest>> {
        self.find(requests::select(job_id), |row| requests::read(&self.sealer, job_id, row)).await
    }

    async fn save_restore_plan(
        &self,
        job_id: JobId,
        plan: &RestorePlan,
        collections: &[RestoredCollection],
    ) -> PortResult<()> {
        let new = restores::NewPlan::new(plan, collections)?;
        let mut transaction = self.begin().await?;
        restores::save_plan(&mut *transaction, self.database.dialect(), job_id, new).await?;
        transaction.commit().await
    }

    async fn save_made_databases(&self, job_id: JobId, names: &[String]) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        restores::save_made_databases(&mut *transaction, self.database.dialect(), job_id, names).await?;
        transaction.commit().await
    }

    async fn save_restored_collection(
        &self,
        job_id: JobId,
        position: u32,
        collection: &RestoredCollection,
    ) -> PortResult<()> {
        let rows = self.write(restores::update_collection(job_id, position, collection)?).await?;
        if rows == 0 { Err(restores::no_such_collection(job_id, position)) } else { Ok(()) }
    }

    async fn restore(&self, job_id: JobId) -> PortResult<Option<Restore>> {
        restores::read(&self.sealer, job_id, self.database.read(restores::select(job_id)).await?)
    }

    async fn complete_restore(
        &self,
        job_id: JobId,
        warnings: &[String],
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let ended = Ended { warnings, progress, now };
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let job =
            restore_completion::complete_restore(&mut *transaction, dialect, &self.sealer, job_id, ended)
                .await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn save_compare_report(&self, job_id: JobId, report: &CompareReport) -> PortResult<()> {
        let report_json = comparisons::report_json(report)?;
        let mut transaction = self.begin().await?;
        comparisons::save(&mut *transaction, self.database.dialect(), job_id, report_json).await?;
        transaction.commit().await
    }

    async fn complete_compare(
        &self,
        job_id: JobId,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let ended = Ended { warnings: &[], progress, now };
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let job = restore_completion::complete_compare(&mut *transaction, dialect, job_id, ended).await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn compare_report(&self, job_id: JobId) -> PortResult<Option<CompareReport>> {
        self.find(comparisons::select(job_id), comparisons::read).await
    }

    async fn insert_found_backups(&self, found: &[FoundBackup]) -> PortResult<u32> {
        found::insert_all(&*self.database, &self.sealer, found).await
    }

    async fn backup(&self, backup_id: BackupId) -> PortResult<Option<Backup>> {
        self.find(backups::select(backup_id), backups::read).await
    }

    async fn backup_contents(&self, backup_id: BackupId) -> PortResult<Option<Cut>> {
        self.find(backups::select_contents(backup_id), backups::read_contents).await
    }

    async fn backups(&self, filter: &BackupFilter, page: PageRequest) -> PortResult<Page<Backup>> {
        if let Some(text) = &filter.name_contains {
            return self.search_backups(filter, text, page).await;
        }
        let statement = backups::list(self.database.dialect(), filter, page)?;
        self.list(statement, page, backups::read).await
    }

    async fn newest_backups(
        &self,
        cluster_id: ClusterId,
        repository_id: RepositoryId,
        status: BackupStatus,
        limit: u32,
    ) -> PortResult<Vec<BackupId>> {
        let mut rows = self.database.read(backups::newest(cluster_id, repository_id, status, limit)).await?;
        rows.iter_mut().map(backups::read_id).collect()
    }

    async fn job(&self, job_id: JobId) -> PortResult<Option<Job>> {
        self.find(jobs::select(job_id), jobs::read).await
    }

    async fn job_events(&self, job_id: JobId) -> PortResult<Vec<JobEvent>> {
        let mut latest_first = self.database.read(jobs::select_events(job_id)).await?;
        latest_first.iter_mut().rev().map(jobs::read_event).collect()
    }

    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> PortResult<Page<Job>> {
        self.list(jobs::list(self.database.dialect(), filter, page)?, page, jobs::read).await
    }

    async fn open_jobs(&self) -> PortResult<Vec<Job>> {
        self.database.read(jobs::select_open()).await?.iter_mut().map(jobs::read).collect()
    }

    async fn transition_job(
        &self,
        job_id: JobId,
        to: JobState,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let job = jobs::transition(&mut *transaction, dialect, job_id, to, reason, now).await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn park_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Job> {
        let mut transaction = self.begin().await?;
        let job = jobs::park(&mut *transaction, self.database.dialect(), job_id, reason, now).await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn save_progress(
        &self,
        job_id: JobId,
        phase: JobPhase,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        jobs::save_progress(&mut *transaction, dialect, job_id, phase, progress, now).await?;
        transaction.commit().await
    }

    async fn complete_backup(
        &self,
        job_id: JobId,
        backup_id: BackupId,
        facts: &BackupFacts,
        contents: &Cut,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<(Backup, Job)> {
        let contents_json = backups::contents_json(contents)?;
        let sealed = SealedBackup { job_id, backup_id, facts, contents_json, progress };
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let completed = completion::complete_backup(&mut *transaction, dialect, sealed, now).await?;
        transaction.commit().await?;
        Ok(completed)
    }

    async fn complete_verify(
        &self,
        job_id: JobId,
        report: &VerifyReport,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job> {
        let mut transaction = self.begin().await?;
        let dialect = self.database.dialect();
        let job =
            completion::complete_verify(&mut *transaction, dialect, job_id, report, progress, now).await?;
        transaction.commit().await?;
        Ok(job)
    }

    async fn verify_report(&self, job_id: JobId) -> PortResult<Option<VerifyReport>> {
        self.find(completion::select_report(job_id), completion::read_report).await
    }

    async fn expire_backups(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<BackupId>> {
        let mut transaction = self.begin().await?;
        let expired = lifecycle::select_expired(self.database.dialect(), now, limit);
        let mut rows = transaction.query(expired).await?;
        let mut backup_ids = Vec::new();
        for backup_id in rows.iter_mut().map(backups::read_id) {
            let backup_id = backup_id?;
            if transaction.execute(lifecycle::make_deleted(backup_id, now)).await? == 1 {
                backup_ids.push(backup_id);
            }
        }
        audit::append_expiries(&mut *transaction, self.database.dialect(), &backup_ids, now).await?;
        transaction.commit().await?;
        Ok(backup_ids)
    }
}
