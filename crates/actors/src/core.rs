//! What every part of this crate shares.

use crate::catalog_backups::CatalogBackupSettings;
use crate::leases::ClusterLease;
use crate::live::LiveJobs;
use crate::retry::Retry;
use milvault_domain::ids::ServerId;
use milvault_domain::job::Job;
use milvault_domain::ports::{
    BinlogReader, Catalog, Clock, IdSource, MilvusConnector, PortResult, Stores, WebhookSender,
};
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// The outside world, through the ports.
#[derive(Clone)]
pub struct Deps {
    /// The database of jobs and backups.
    pub catalog: Arc<dyn Catalog>,
    /// Opens sources and repositories.
    pub stores: Arc<dyn Stores>,
    /// Opens connections to Milvus.
    pub milvus: Arc<dyn MilvusConnector>,
    /// Reads rows out of binlogs.
    pub binlogs: Arc<dyn BinlogReader>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Arc<dyn IdSource>,
    /// Sends to webhooks.
    pub webhooks: Arc<dyn WebhookSender>,
}

/// Limits and intervals. The defaults suit production; tests shorten them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How long a shutdown waits for jobs to end by themselves before it parks them.
    pub shutdown_grace: Duration,
    /// Time between two looks for backups whose retention is over.
    pub retention_interval: Duration,
    /// How long the files of a deleted or failed backup stay before a sweep may remove them.
    pub sweep_grace: Duration,
    /// Time between two looks for automatic backups that are due.
    pub schedule_interval: Duration,
    /// Time between two looks for deliveries to webhooks that are due.
    pub notify_interval: Duration,
    /// Time between two looks for what webhooks are told although no job has ended: backups that are late, and holds
    /// that end soon.
    pub notice_interval: Duration,
    /// How the catalog itself is backed up.
    pub catalog_backup: CatalogBackupSettings,
    /// How long ended jobs are kept, those that may be removed at all.
    pub jobs_kept: Duration,
    /// How often a job that crashes with the server is begun before it is given up.
    pub job_attempts_max: u32,
    /// Time between two events about a running job's progress.
    pub progress_interval: Duration,
    /// Time between two records of a running job's progress in the catalog.
    pub checkpoint_interval: Duration,
    /// Time between two looks whether all actors live.
    pub watchdog_interval: Duration,
    /// Time between two looks for open jobs that nobody works on.
    pub reconcile_interval: Duration,
    /// Identity of this server; `None` makes one.
    pub server_id: Option<ServerId>,
    /// A server that is known to be dead: its jobs are taken over at once.
    pub former_server_id: Option<ServerId>,
    /// Name of this server, for people.
    pub server_name: String,
    /// How long a lease on a cluster lasts that is not renewed: after a crash another server goes on no sooner.
    pub lease_length: Duration,
    /// Time between two renewals, and how long a cluster without work is kept; well below
    /// [`Self::lease_length`].
    pub lease_renew_interval: Duration,
    /// Time between two looks at what happens at other servers, where the catalog is shared.
    pub lease_poll_interval: Duration,
    /// Restarts of one cluster's actor within [`Self::restart_window`] after which it is given up.
    pub restarts_max: usize,
    /// The time in which restarts are counted.
    pub restart_window: Duration,
    /// How often a step of a job is tried when the other side cannot be reached.
    pub step_attempts_max: usize,
    /// Time before the second attempt of a step; doubled for each further one.
    pub step_retry_delay: Duration,
    /// Longest time that each part of a cluster's check may take.
    pub check_timeout: Duration,
    /// Time between the first two looks at work that goes on in a target's Milvus; doubled up to
    /// [`Self::poll_interval_max`] for each further one.
    pub poll_interval_min: Duration,
    /// Longest time between two looks at work that goes on in a target's Milvus.
    pub poll_interval_max: Duration,
    /// How long none of a restore's imports may move before it is given up.
    pub import_stall_max: Duration,
    /// Longest time that removing what a stopped restore left behind may take.
    pub cleanup_time_max: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            shutdown_grace: Duration::from_secs(30),
            retention_interval: Duration::from_mins(1),
            sweep_grace: Duration::from_hours(24),
            schedule_interval: Duration::from_secs(15),
            notify_interval: Duration::from_secs(1),
            notice_interval: Duration::from_mins(1),
            catalog_backup: CatalogBackupSettings::default(),
            jobs_kept: Duration::from_hours(365 * 24),
            job_attempts_max: 5,
            progress_interval: Duration::from_millis(250),
            checkpoint_interval: Duration::from_secs(1),
            watchdog_interval: Duration::from_secs(2),
            reconcile_interval: Duration::from_secs(30),
            server_id: None,
            former_server_id: None,
            server_name: String::from("milvault"),
            lease_length: Duration::from_secs(20),
            lease_renew_interval: Duration::from_secs(5),
            lease_poll_interval: Duration::from_millis(500),
            restarts_max: 5,
            restart_window: Duration::from_mins(10),
            step_attempts_max: 4,
            step_retry_delay: Duration::from_secs(1),
            check_timeout: Duration::from_secs(20),
            poll_interval_min: Duration::from_millis(250),
            poll_interval_max: Duration::from_secs(1),
            import_stall_max: Duration::from_mins(30),
            cleanup_time_max: Duration::from_secs(30),
        }
    }
}

/// The shared context of requests, actors and jobs.
pub(crate) struct Core {
    pub(crate) deps: Deps,
    pub(crate) settings: Settings,
    pub(crate) live: LiveJobs,
    /// Where work runs; the actors' own thread only decides.
    pub(crate) io: Handle,
    /// The lease under which the work is done that sees this; `None` for what is no work on a job.
    pub(crate) lease: Option<Arc<ClusterLease>>,
    /// Work that goes on when its job has ended.
    pub(crate) chores: TaskTracker,
    /// Whether the catalog was not backed up for long.
    pub(crate) catalog_backup_overdue: Arc<AtomicBool>,
}

impl Core {
    pub(crate) fn new(deps: Deps, settings: Settings, io: Handle) -> Self {
        let (live, chores) = (LiveJobs::new(), TaskTracker::new());
        Self { deps, settings, live, io, lease: None, chores, catalog_backup_overdue: Arc::default() }
    }

    /// The same for work on a cluster's jobs: what it writes into the catalog is refused once another server works on
    /// them.
    pub(crate) fn under(&self, lease: &Arc<ClusterLease>) -> Self {
        Self {
            deps: Deps { catalog: self.deps.catalog.fenced(lease.fence), ..self.deps.clone() },
            settings: self.settings.clone(),
            live: self.live.clone(),
            io: self.io.clone(),
            lease: Some(Arc::clone(lease)),
            chores: TaskTracker::new(),
            catalog_backup_overdue: Arc::clone(&self.catalog_backup_overdue),
        }
    }

    /// To be asked right before every step that cannot be taken back and that the catalog does not see: writing a
    /// manifest, removing files, changing a target. Where it may be repeated, before every attempt; for removals
    /// [`Self::remove`] does so.
    ///
    /// # Errors
    /// `Canceled` when this server may not work on the cluster any more.
    pub(crate) fn check_lease(&self) -> PortResult<()> {
        self.lease.as_ref().map_or(Ok(()), |lease| lease.check())
    }

    /// Removes something that the catalog does not see. The lease is asked for before every attempt: while this server
    /// paused, another one may have taken over and come to need what is to go.
    ///
    /// # Errors
    /// The last one of the removal; `Canceled` as [`Self::check_lease`] says.
    pub(crate) async fn remove<T, Step, Attempt>(&self, step: &'static str, removal: Step) -> PortResult<T>
    where
        Step: FnMut() -> Attempt,
        Attempt: Future<Output = PortResult<T>>,
    {
        Retry::of(&self.settings).run_while(|| self.check_lease(), step, removal).await
    }

    /// Finds a job that must exist.
    pub(crate) async fn job(&self, job_id: milvault_domain::ids::JobId) -> PortResult<Option<Job>> {
        self.deps.catalog.job(job_id).await
    }
}

/// Locks, whatever happened to the thread that held the lock before: the values behind the locks of this crate are
/// consistent between any two statements.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
