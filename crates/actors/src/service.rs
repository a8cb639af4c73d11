//! The public handle: requests come in here, from any runtime and any number of tasks.

mod adopt;
mod backups;
mod catalog_backups;
mod check;
mod checks;
mod clusters;
mod compare;
mod copies;
mod idempotency;
pub(crate) mod identity;
mod jobs;
mod keyed;
mod leases;
mod lifecycle;
mod lifecycle_storage;
mod repositories;
mod restores;
mod retry;
mod schedules;
pub(crate) mod sign_in;
pub(crate) mod webhooks;

pub(crate) use lifecycle::sweep_job;
pub use lifecycle::{BackupPatch, DeletedBackup, SweepPreview};

use crate::core::{Core, Deps};
use crate::error::ServiceError;
use crate::host::Host;
use crate::live::{JobChange, LiveJob};
use crate::messages::Refusal;
use crate::runtime::Lifecycle;
use lifecycle_storage::StorageUses;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::ports::{PortError, PortErrorKind};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast};
use tracing::Instrument;

/// Accepts requests for work. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
    /// Of the request at hand.
    idempotency_key: Option<String>,
    /// The job that the request at hand does again.
    retry_of: Option<JobId>,
}

struct Inner {
    host: Arc<Host>,
    /// Changes of clusters are read, changed and written one after another, so none is lost.
    cluster_edits: Mutex<()>,
    storage_uses: StorageUses,
}

impl Service {
    pub(crate) fn new(host: Arc<Host>) -> Self {
        Self {
            inner: Arc::new(Inner {
                host,
                cluster_edits: Mutex::default(),
                storage_uses: StorageUses::default(),
            }),
            idempotency_key: None,
            retry_of: None,
        }
    }

    /// Phase, progress and rate of a job that this process works on right now; `None` for others.
    #[must_use]
    pub fn live(&self, job_id: JobId) -> Option<LiveJob> {
        self.core().live.find(job_id)
    }

    /// News about jobs, from now on. Bounded: a receiver that lags behind is told so and looks at the current state.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<JobChange> {
        self.core().live.subscribe()
    }

    /// Where the service is in its life.
    #[must_use]
    pub fn lifecycle(&self) -> Lifecycle {
        self.inner.host.lifecycle()
    }

    /// Clusters whose actor died too often and was given up. Their requests are refused until the server is started
    /// again. Empty in good health.
    #[must_use]
    pub fn degraded_clusters(&self) -> Vec<ClusterId> {
        self.inner.host.degraded_clusters()
    }

    fn core(&self) -> &Arc<Core> {
        &self.inner.host.core
    }

    fn deps(&self) -> &Deps {
        &self.core().deps
    }

    fn host(&self) -> &Host {
        &self.inner.host
    }

    fn admit(&self) -> Result<(), ServiceError> {
        match self.lifecycle() {
            Lifecycle::Ready => Ok(()),
            Lifecycle::Starting => Err(unavailable("the server is starting; try again in a moment")),
            Lifecycle::Draining | Lifecycle::Stopped => {
                Err(unavailable("the server is shutting down; try again when it is back"))
            }
        }
    }

    /// Runs a request of several steps to its end even when its caller goes away in between.
    async fn to_the_end<T, Work>(&self, work: Work) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        Work: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        self.core().io.spawn(work.in_current_span()).await.unwrap_or_else(|error| {
            Err(ServiceError::Internal(PortError::with_source(
                PortErrorKind::Internal,
                "the request broke off; look at its object before asking again",
                error,
            )))
        })
    }

    async fn cluster(&self, cluster_id: ClusterId) -> Result<Cluster, ServiceError> {
        let cluster = self.deps().catalog.cluster(cluster_id).await?;
        cluster.ok_or_else(|| not_found("cluster", &cluster_id))
    }
}

fn not_found(kind: &'static str, id: &impl ToString) -> ServiceError {
    ServiceError::NotFound { kind, id: id.to_string() }
}

fn unavailable(message: &str) -> ServiceError {
    ServiceError::Unavailable { message: message.to_owned(), retryable: true }
}

/// What a caller is told when an actor did not take a job.
fn refused(refusal: Refusal) -> ServiceError {
    match refusal {
        Refusal::Draining => unavailable("the server is shutting down; try again when it is back"),
        Refusal::Degraded => unavailable(
            "work on this cluster was given up after repeated crashes; look into the log and restart the server",
        ),
    }
}
