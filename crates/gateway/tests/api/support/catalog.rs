//! The real catalog, with more keys than it has projects for, and with failures on request.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::access::ApiKey;
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, JobId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobEvent, JobPhase, JobState};
use milvault_domain::job_request::JobRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, Catalog, ClusterFilter, ClusterRemoval, FoundBackup, InsertJobOutcome, InsertOutcome,
    JobFilter, NewBackup, NewJob, Page, PageRequest, PortError, PortErrorKind, PortResult, RepositoryFilter,
    Tenancy, VerifyReport,
};
use milvault_domain::progress::Progress;
use milvault_domain::repository::Repository;
use milvault_domain::restore::{CompareReport, Restore, RestorePlan, RestoredCollection};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

/// What reads of single clusters do.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Trouble {
    #[default]
    None,
    Unavailable,
    Defect,
    Panic,
    Hang,
}

pub(crate) struct TestCatalog {
    pub(crate) inner: Arc<dyn Catalog>,
    pub(crate) keys: Mutex<Vec<ApiKey>>,
    pub(crate) trouble: Mutex<Trouble>,
    /// Transactions that recorded uses of keys.
    pub(crate) key_use_batches: AtomicU64,
    /// Whether nothing can be added to the audit log.
    pub(crate) audit_fails: AtomicBool,
    /// Clusters and backups, by the printed id, that are told to be in this project instead of their own.
    pub(crate) elsewhere: Mutex<HashMap<String, ProjectId>>,
    /// How often each method was called.
    pub(crate) calls: Mutex<BTreeMap<&'static str, u32>>,
}

impl TestCatalog {
    /// The real catalog, for a call of a method.
    pub(super) fn counted(&self, method: &'static str) -> &dyn Catalog {
        *self.calls.lock().unwrap().entry(method).or_default() += 1;
        self.inner.as_ref()
    }

    pub(super) fn elsewhere(&self, id: &impl ToString) -> Option<ProjectId> {
        self.elsewhere.lock().unwrap().get(&id.to_string()).copied()
    }

    pub(super) async fn meet_trouble(&self) -> PortResult<()> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::None => Ok(()),
            Trouble::Unavailable => {
                Err(PortError::new(PortErrorKind::Unavailable, "cannot reach postgres://canary-host"))
            }
            Trouble::Defect => Err(PortError::new(PortErrorKind::Internal, "canary-detail: no such column")),
            Trouble::Panic => panic!("canary-panic"),
            Trouble::Hang => std::future::pending().await,
        }
    }
}

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl Catalog for TestCatalog {
            async fn ping(&self) -> PortResult<()> {
                self.meet_trouble().await?;
                self.counted("ping").ping().await
            }

            async fn find_api_key(&self, secret_hash: &[u8; 32]) -> PortResult<Option<ApiKey>> {
                let extra = self.keys.lock().unwrap().iter().find(|key| key.secret_hash == *secret_hash).cloned();
                match extra {
                    Some(key) => Ok(Some(key)),
                    None => self.counted("find_api_key").find_api_key(secret_hash).await,
                }
            }

            async fn cluster(&self, cluster_id: ClusterId) -> PortResult<Option<Cluster>> {
                self.meet_trouble().await?;
                let mut found = self.counted("cluster").cluster(cluster_id).await?;
                if let (Some(cluster), Some(project_id)) = (&mut found, self.elsewhere(&cluster_id)) {
                    cluster.project_id = project_id;
                }
                Ok(found)
            }

            async fn backup(&self, backup_id: BackupId) -> PortResult<Option<Backup>> {
                let mut found = self.counted("backup").backup(backup_id).await?;
                if let (Some(backup), Some(project_id)) = (&mut found, self.elsewhere(&backup_id)) {
                    backup.project_id = project_id;
                }
                Ok(found)
            }

            $(async fn $name(&self, $($argument: $kind),*) -> $answer {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*
        }
    };
}

delegate! {
    ensure_tenancy(tenancy: &Tenancy, owner_key: &ApiKey) -> PortResult<(Tenancy, bool)>;
    insert_api_key(key: &ApiKey) -> PortResult<()>;
    insert_cluster(cluster: &Cluster) -> PortResult<()>;
    update_cluster(cluster: &Cluster) -> PortResult<()>;
    remove_cluster(cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<ClusterRemoval>;
    clusters(filter: &ClusterFilter, page: PageRequest) -> PortResult<Page<Cluster>>;
    insert_repository(repository: &Repository) -> PortResult<()>;
    repository(repository_id: RepositoryId) -> PortResult<Option<Repository>>;
    repositories(filter: &RepositoryFilter, page: PageRequest) -> PortResult<Page<Repository>>;
    insert_backup(new: &NewBackup) -> PortResult<InsertOutcome>;
    insert_job(job: &Job) -> PortResult<()>;
    insert_requested_job(new: &NewJob) -> PortResult<InsertJobOutcome>;
    job_request(job_id: JobId) -> PortResult<Option<JobRequest>>;
    save_restore_plan(job_id: JobId, plan: &RestorePlan, collections: &[RestoredCollection]) -> PortResult<()>;
    save_made_databases(job_id: JobId, names: &[String]) -> PortResult<()>;
    save_restored_collection(job_id: JobId, position: u32, collection: &RestoredCollection) -> PortResult<()>;
    restore(job_id: JobId) -> PortResult<Option<Restore>>;
    complete_restore(job_id: JobId, warnings: &[String], progress: Progress, now: DateTime<Utc>)
        -> PortResult<Job>;
    save_compare_report(job_id: JobId, report: &CompareReport) -> PortResult<()>;
    complete_compare(job_id: JobId, progress: Progress, now: DateTime<Utc>) -> PortResult<Job>;
    compare_report(job_id: JobId) -> PortResult<Option<CompareReport>>;
    insert_found_backups(found: &[FoundBackup]) -> PortResult<u32>;
    backup_contents(backup_id: BackupId) -> PortResult<Option<Cut>>;
    backups(filter: &BackupFilter, page: PageRequest) -> PortResult<Page<Backup>>;
    newest_backups(cluster_id: ClusterId, repository_id: RepositoryId, status: BackupStatus, limit: u32)
        -> PortResult<Vec<BackupId>>;
    job(job_id: JobId) -> PortResult<Option<Job>>;
    job_events(job_id: JobId) -> PortResult<Vec<JobEvent>>;
    jobs(filter: &JobFilter, page: PageRequest) -> PortResult<Page<Job>>;
    open_jobs() -> PortResult<Vec<Job>>;
    park_job(job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Job>;
    transition_job(job_id: JobId, to: JobState, reason: Option<&str>, now: DateTime<Utc>) -> PortResult<Job>;
    save_progress(job_id: JobId, phase: JobPhase, progress: Progress, now: DateTime<Utc>) -> PortResult<()>;
    complete_backup(job_id: JobId, backup_id: BackupId, facts: &BackupFacts, contents: &Cut, progress: Progress,
        now: DateTime<Utc>) -> PortResult<(Backup, Job)>;
    complete_verify(job_id: JobId, report: &VerifyReport, progress: Progress, now: DateTime<Utc>)
        -> PortResult<Job>;
    verify_report(job_id: JobId) -> PortResult<Option<VerifyReport>>;
    expire_backups(now: DateTime<Utc>, limit: u32) -> PortResult<Vec<BackupId>>;
}
