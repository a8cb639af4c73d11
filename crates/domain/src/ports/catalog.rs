//! The catalog: clusters, repositories, backups, jobs and keys.

use crate::access::ApiKey;
use crate::backup::{Backup, BackupFacts, BackupStatus, BackupType, CreationMethod};
use crate::checks::VerificationState;
use crate::cluster::Cluster;
use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, JobId, OrganizationId, ProjectId, RepositoryId};
use crate::job::{Job, JobEvent, JobPhase, JobState, JobType};
use crate::job_request::JobRequest;
use crate::milvus::Cut;
use crate::ports::{
    AuditCatalog, BatchCatalog, ChecksCatalog, CopyCatalog, IdentityCatalog, JobPruning, LeaseCatalog,
    LifecycleCatalog, PolicyRecordCatalog, RecoveryCatalog, ScheduleCatalog, SignInCatalog, VerifyReport,
    WebhookCatalog,
};
use crate::progress::Progress;
use crate::repository::Repository;
use crate::restore::{CompareReport, Restore, RestorePlan, RestoredCollection};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// The database of everything that Milvault knows. It is the truth about jobs: whoever wants work done writes a row
/// first and tells an actor afterwards.
///
/// Every method is one transaction. Lookups return `None` for what does not exist; changes of what does not exist
/// are `NotFound`. Secrets in clusters' and repositories' configuration are encrypted at rest.
#[async_trait]
pub trait Catalog:
    Send
    + Sync
    + CopyCatalog
    + LifecycleCatalog
    + IdentityCatalog
    + SignInCatalog
    + ScheduleCatalog
    + AuditCatalog
    + BatchCatalog
    + JobPruning
    + super::KeyedJobs
    + LeaseCatalog
    + ChecksCatalog
    + RecoveryCatalog
    + PolicyRecordCatalog
    + super::UsageCatalog
    + WebhookCatalog
{
    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    async fn ping(&self) -> PortResult<()>;

    /// Makes the organization, its project and its first key unless an organization exists. Returns the tenancy that
    /// exists afterwards, and whether this call made it.
    ///
    /// # Errors
    /// Errors of the database.
    async fn ensure_tenancy(&self, tenancy: &Tenancy, owner_key: &ApiKey) -> PortResult<(Tenancy, bool)>;

    /// Finds a key by the hash of its text.
    ///
    /// # Errors
    /// Errors of the database.
    async fn find_api_key(&self, secret_hash: &[u8; 32]) -> PortResult<Option<ApiKey>>;

    /// Adds a key that the server makes by itself, and writes that down in the audit log, in one transaction.
    ///
    /// # Errors
    /// Errors of the database.
    async fn insert_api_key(&self, key: &ApiKey) -> PortResult<()>;

    /// Adds a cluster. `Conflict` when its name is taken in the project.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn insert_cluster(&self, cluster: &Cluster) -> PortResult<()>;

    /// Replaces what a person may change of a cluster: all but id, project and creation time. `Conflict` when its name is taken.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn update_cluster(&self, cluster: &Cluster) -> PortResult<()>;

    /// Removes a cluster from service: its record is hidden from queries, its manual backups stay, its automatic ones expire now.
    ///
    /// # Errors
    /// Errors of the database.
    async fn remove_cluster(&self, cluster_id: ClusterId, now: DateTime<Utc>) -> PortResult<ClusterRemoval>;

    /// Finds a cluster that was not removed.
    ///
    /// # Errors
    /// Errors of the database.
    async fn cluster(&self, cluster_id: ClusterId) -> PortResult<Option<Cluster>>;

    /// Lists clusters by creation, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn clusters(&self, filter: &ClusterFilter, page: PageRequest) -> PortResult<Page<Cluster>>;

    /// Adds a repository. `Conflict` when its name is taken in the project.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn insert_repository(&self, repository: &Repository) -> PortResult<()>;

    /// Finds a repository.
    ///
    /// # Errors
    /// Errors of the database.
    async fn repository(&self, repository_id: RepositoryId) -> PortResult<Option<Repository>>;

    /// Lists repositories by creation, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn repositories(
        &self,
        filter: &RepositoryFilter,
        page: PageRequest,
    ) -> PortResult<Page<Repository>>;

    /// Writes a backup in status CREATING together with its pending job, or tells why not. The rule "one manual
    /// backup pending or in progress per cluster" is guaranteed by a unique index here.
    ///
    /// # Errors
    /// `Busy` when [`WAITING_MAX`](crate::queue::ClusterQueue::WAITING_MAX) jobs of the cluster are pending, unless the backup is an automatic one;
    /// errors of the database.
    async fn insert_backup(&self, new: &NewBackup) -> PortResult<InsertOutcome>;

    /// Adds a pending job that makes no backup.
    ///
    /// # Errors
    /// `Busy` when [`WAITING_MAX`](crate::queue::ClusterQueue::WAITING_MAX) jobs of the cluster are pending; errors of the database.
    async fn insert_job(&self, job: &Job) -> PortResult<()>;

    /// Adds a pending job together with what it was asked to do, or tells why not.
    ///
    /// # Errors
    /// `InvalidInput` when job and request do not fit each other; `NotFound` when the target of a restore or drill is
    /// not in service, or the restore that the request is about is none of this cluster; `Conflict` when that restore
    /// has not ended; `Busy` when [`WAITING_MAX`](crate::queue::ClusterQueue::WAITING_MAX) jobs of the cluster are pending; errors of the database.
    async fn insert_requested_job(&self, new: &NewJob) -> PortResult<InsertJobOutcome>;

    /// What a job was asked to do; `None` for jobs that need no more than their own row.
    ///
    /// # Errors
    /// Errors of the database; `Internal` when it cannot be decrypted with this server's key.
    async fn job_request(&self, job_id: JobId) -> PortResult<Option<JobRequest>>;

    /// Keeps the plan of a restore or drill and what has become of its collections so far (same order and number).
    /// Once kept, a plan is not changed, but for the databases that are made: doing it again changes nothing.
    ///
    /// # Errors
    /// `InvalidInput` when the numbers differ; `NotFound` when the job is none; errors of the database.
    async fn save_restore_plan(
        &self,
        job_id: JobId,
        plan: &RestorePlan,
        collections: &[RestoredCollection],
    ) -> PortResult<()>;

    /// Records which databases of its plan a restore or drill makes itself, in place of what was recorded before. Asked
    /// for before they are made, so that nobody else's is taken for them later.
    ///
    /// # Errors
    /// `NotFound` when the job has no plan; errors of the database.
    async fn save_made_databases(&self, job_id: JobId, names: &[String]) -> PortResult<()>;

    /// Records what has become of one collection of the plan, by its position.
    ///
    /// # Errors
    /// `NotFound` when the plan has no such position; errors of the database.
    async fn save_restored_collection(
        &self,
        job_id: JobId,
        position: u32,
        collection: &RestoredCollection,
    ) -> PortResult<()>;

    /// A restore or drill with its plan and what has become of it; `None` when the job is none.
    ///
    /// # Errors
    /// As for [`Self::job_request`].
    async fn restore(&self, job_id: JobId) -> PortResult<Option<Restore>>;

    /// Ends a restore, drill or undo: SUCCESSFUL when no collection of its plan has failed, else FAILED with a reason
    /// that counts them and names the first. A restore's collection that was left half-way counts as failed; so does a
    /// drill's that differs in the kept report, and what an undo has left of its restore. Keeps the warnings (those of
    /// an undo in the reason of its end). Doing it again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the job has ended otherwise or is not at work; `NotFound` when a restore or drill has no plan;
    /// errors of the database.
    async fn complete_restore(
        &self,
        job_id: JobId,
        warnings: &[String],
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job>;

    /// Keeps the report of a comparison of a restore's collections: of a compare job, or of a drill. Doing it again
    /// replaces it.
    ///
    /// # Errors
    /// `Conflict` when the job has ended or is another one; errors of the database.
    async fn save_compare_report(&self, job_id: JobId, report: &CompareReport) -> PortResult<()>;

    /// Ends a compare job whose report is kept: SUCCESSFUL when nothing differs, else FAILED with a reason that counts
    /// the differing collections and names the first. Doing it again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the job has ended otherwise; `NotFound` without a report; errors of the database.
    async fn complete_compare(
        &self,
        job_id: JobId,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job>;

    /// The report of a comparison.
    ///
    /// # Errors
    /// Errors of the database.
    async fn compare_report(&self, job_id: JobId) -> PortResult<Option<CompareReport>>;

    /// Adds backups that were found in a repository and are not in the catalog, as AVAILABLE. Those that are there
    /// already are left as they are. Returns how many were added. A cluster that is not known becomes known as one that
    /// is not in service. This takes several transactions when there are many; calling again adds the rest.
    ///
    /// # Errors
    /// `InvalidInput` for backups that are not AVAILABLE or have no facts; `Conflict` when clusters of another project
    /// made some of them (the others are added); errors of the database.
    async fn insert_found_backups(&self, found: &[FoundBackup]) -> PortResult<u32>;

    /// Finds a backup.
    ///
    /// # Errors
    /// Errors of the database.
    async fn backup(&self, backup_id: BackupId) -> PortResult<Option<Backup>>;

    /// What a finished backup showed of the cluster (without protobuf schemas); `None` until it is available.
    ///
    /// # Errors
    /// Errors of the database.
    async fn backup_contents(&self, backup_id: BackupId) -> PortResult<Option<Cut>>;

    /// Lists backups by creation, newest first. A search for a part of a name looks through at most
    /// [`BackupFilter::NAMES_LOOKED_THROUGH_MAX`] backups for a page; [`Page::stopped_at`] tells where that was the end.
    ///
    /// # Errors
    /// Errors of the database.
    async fn backups(&self, filter: &BackupFilter, page: PageRequest) -> PortResult<Page<Backup>>;

    /// The newest backups of a cluster in a repository with this status, newest first: where reusable objects are found.
    ///
    /// # Errors
    /// Errors of the database.
    async fn newest_backups(
        &self,
        cluster_id: ClusterId,
        repository_id: RepositoryId,
        status: BackupStatus,
        limit: u32,
    ) -> PortResult<Vec<BackupId>>;

    /// Finds a job.
    ///
    /// # Errors
    /// Errors of the database.
    async fn job(&self, job_id: JobId) -> PortResult<Option<Job>>;

    /// A job's states and phases, oldest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn job_events(&self, job_id: JobId) -> PortResult<Vec<JobEvent>>;

    /// Lists jobs by creation, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn jobs(&self, filter: &JobFilter, page: PageRequest) -> PortResult<Page<Job>>;

    /// All jobs that have not ended, oldest first: what a starting server takes up again.
    ///
    /// # Errors
    /// Errors of the database.
    async fn open_jobs(&self) -> PortResult<Vec<Job>>;

    /// Changes a job's state by the rules of [`JobState::transition`] and adds it to the history. Entering
    /// `IN_PROGRESS` sets the start time (once) and counts an attempt; a final state sets the end time, and for a job
    /// that was making a backup FAILED and CANCELED make the backup FAILED in the same transaction. Going to the
    /// state it is in already changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the rules forbid it; errors of the database.
    async fn transition_job(
        &self,
        job_id: JobId,
        to: JobState,
        reason: Option<&str>,
        now: DateTime<Utc>,
    ) -> PortResult<Job>;

    /// Puts a job aside in order: PENDING as by [`Self::transition_job`], without counting the attempt that ends so.
    ///
    /// # Errors
    /// As [`Self::transition_job`].
    async fn park_job(&self, job_id: JobId, reason: &str, now: DateTime<Utc>) -> PortResult<Job>;

    /// Records phase and progress of a job; a new phase is added to the history.
    ///
    /// # Errors
    /// Errors of the database.
    async fn save_progress(
        &self,
        job_id: JobId,
        phase: JobPhase,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<()>;

    /// Makes a sealed backup AVAILABLE and its job SUCCESSFUL, in one transaction. Doing it again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the job has ended otherwise; errors of the database.
    async fn complete_backup(
        &self,
        job_id: JobId,
        backup_id: BackupId,
        facts: &BackupFacts,
        contents: &Cut,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<(Backup, Job)>;

    /// Ends a verify: keeps its report; the job becomes SUCCESSFUL when there was no failure, else FAILED with a
    /// reason that counts the failures and names the first. Doing it again changes nothing.
    ///
    /// # Errors
    /// `Conflict` when the job has ended otherwise; errors of the database.
    async fn complete_verify(
        &self,
        job_id: JobId,
        report: &VerifyReport,
        progress: Progress,
        now: DateTime<Utc>,
    ) -> PortResult<Job>;

    /// The report of an ended verify job.
    ///
    /// # Errors
    /// Errors of the database.
    async fn verify_report(&self, job_id: JobId) -> PortResult<Option<VerifyReport>>;

    /// Marks available backups whose time is over as DELETED, at most `limit`, and returns them. Their bytes stay. Those
    /// that a hold or an open job keeps are left as they are, and so are the automatic ones of a cluster in service that
    /// has a schedule: see [`LifecycleCatalog::overdue_clusters`].
    ///
    /// # Errors
    /// Errors of the database.
    async fn expire_backups(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<BackupId>>;
}

/// The organization and project that everything belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenancy {
    /// Organization.
    pub organization_id: OrganizationId,
    /// Its name.
    pub organization_name: String,
    /// Project.
    pub project_id: ProjectId,
    /// Its name.
    pub project_name: String,
}

/// What removing a cluster did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterRemoval {
    /// It is removed.
    Removed,
    /// It has jobs that have not ended; cancel them or wait.
    HasOpenJobs(Vec<JobId>),
}

/// A backup to be made, with the job that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBackup {
    /// The backup, in status CREATING. One whose name is empty gets the next default name of its cluster.
    pub backup: Backup,
    /// The job, in state PENDING, referring to the backup.
    pub job: Job,
    /// What the job was asked to do, beyond its row.
    pub request: Option<JobRequest>,
    /// Makes repeated requests give the same job.
    pub idempotency: Option<Idempotency>,
    /// Whether a person asks for an automatic backup again: then it is refused while any other backup of the cluster is
    /// being made. Those of schedules are not; they wait.
    pub asked_again: bool,
}

/// A job to be added that makes no backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The job, in state PENDING.
    pub job: Job,
    /// What it was asked to do.
    pub request: JobRequest,
    /// Makes repeated requests give the same job.
    pub idempotency: Option<Idempotency>,
}

/// What became of a request for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertJobOutcome {
    /// It is written.
    Created,
    /// A request with this idempotency key was accepted before.
    Duplicate(Box<Job>),
    /// A request with this idempotency key asked for something else.
    KeyReused(JobId),
}

/// A backup that was found in a repository: its row, and what it shows of its cluster (without protobuf schemas).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundBackup {
    /// The row, in status AVAILABLE, with facts.
    pub backup: Backup,
    /// What it shows.
    pub contents: Cut,
    /// Its holds, ended ones included.
    pub holds: Vec<crate::lifecycle::BackupHold>,
    /// Revision of the record that lies beside its manifest; 0 when there is none.
    pub record_revision: u64,
}

/// What makes a repeated request recognizable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key; unique per cluster, for ever.
    pub key: String,
    /// Hash of what was asked for, to tell a repetition from another request under the same key.
    pub request_hash: [u8; 32],
}

/// A backup with the job that makes or made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupWithJob {
    /// The backup.
    pub backup: Backup,
    /// The job.
    pub job: Job,
}

/// What became of a request for a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertOutcome {
    /// Both rows are written.
    Created,
    /// A request with this idempotency key was accepted before.
    Duplicate(Box<BackupWithJob>),
    /// A request with this idempotency key asked for something else.
    KeyReused(JobId),
    /// Another manual backup of the cluster is pending or in progress, or an automatic one is in progress.
    Busy(JobId),
    /// This backup of the cluster, which is being made or available, has the name.
    NameTaken(BackupId),
}

/// Position in a list: creation time and id of the last entry seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey {
    /// Creation time.
    pub created_at: DateTime<Utc>,
    /// Id.
    pub id: Uuid,
}

/// Which page of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    /// Entries wanted, 1 to [`PageRequest::LIMIT_MAX`].
    pub limit: u32,
    /// The entry after which the page begins; `None` is the beginning.
    pub after: Option<SortKey>,
}

impl PageRequest {
    /// Most entries of a page.
    pub const LIMIT_MAX: u32 = 200;
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Whether there are more after them.
    pub has_more: bool,
    /// Where a search has stopped because it had looked through as much as one page may: there may be more after this
    /// place, which comes after the last entry.
    pub stopped_at: Option<SortKey>,
}

impl<T> Page<T> {
    /// The only page of an empty list.
    #[must_use]
    pub const fn empty() -> Self {
        Self { items: Vec::new(), has_more: false, stopped_at: None }
    }
}

/// Which clusters to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterFilter {
    /// Only of these projects.
    pub project_ids: Option<Vec<ProjectId>>,
    /// Only whose name contains this, without regard to case.
    pub name_contains: Option<String>,
}

/// Which repositories to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepositoryFilter {
    /// Only of these projects.
    pub project_ids: Option<Vec<ProjectId>>,
}

/// Which backups to list. DELETED ones are listed only when asked for by status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BackupFilter {
    /// Only of these projects.
    pub project_ids: Option<Vec<ProjectId>>,
    /// Only of this cluster.
    pub cluster_id: Option<ClusterId>,
    /// Only with this status.
    pub status: Option<BackupStatus>,
    /// Only of this kind.
    pub backup_type: Option<BackupType>,
    /// Only made this way.
    pub creation_method: Option<CreationMethod>,
    /// Only of which verifies have found this.
    pub verification: Option<VerificationState>,
    /// Only asked for at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Only asked for before.
    pub created_before: Option<DateTime<Utc>>,
    /// Only whose name contains this, without regard to case.
    pub name_contains: Option<String>,
}

impl BackupFilter {
    /// Most backups whose names are looked through for one page.
    pub const NAMES_LOOKED_THROUGH_MAX: u32 = 10_000;
}

/// Which jobs to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobFilter {
    /// Only of these projects.
    pub project_ids: Option<Vec<ProjectId>>,
    /// Only of this cluster.
    pub cluster_id: Option<ClusterId>,
    /// Only about this backup.
    pub backup_id: Option<BackupId>,
    /// Only in these states.
    pub states: Option<Vec<JobState>>,
    /// Only of these types.
    pub job_types: Option<Vec<JobType>>,
    /// Only asked for by this name.
    pub created_by: Option<String>,
    /// Only of a cluster or about a backup with this name, or with this word in its name, without regard to case. Words
    /// are what lies between spaces and `_`, `-`, `.`, `/` and `:`. The names are those at the time when the job was
    /// asked for.
    pub name: Option<String>,
    /// Only asked for at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Only asked for before.
    pub created_before: Option<DateTime<Utc>>,
}
