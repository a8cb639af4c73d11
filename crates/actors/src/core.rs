//! What every part of this crate shares.

use crate::live::LiveJobs;
use milvault_domain::job::Job;
use milvault_domain::ports::{BinlogReader, Catalog, Clock, IdSource, MilvusConnector, PortResult, Stores};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;

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
            jobs_kept: Duration::from_hours(365 * 24),
            job_attempts_max: 5,
            progress_interval: Duration::from_millis(250),
            checkpoint_interval: Duration::from_secs(2),
            watchdog_interval: Duration::from_secs(2),
            reconcile_interval: Duration::from_secs(30),
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
}

impl Core {
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
