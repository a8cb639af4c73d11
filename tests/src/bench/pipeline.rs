//! The product's own pipeline in this process: the real actors, catalog and repository, and a Milvus that answers with
//! a given cut.

use super::phases::Phases;
use anyhow::{Context as _, ensure};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_actors::{BackupRequest, Deps, NewCluster, NewRepository, Runtime, Service, Settings};
use milvault_catalog::Sealer;
use milvault_domain::access::ApiKey;
use milvault_domain::backup::{Backup, BackupScope, CreationMethod};
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::ids::{ApiKeyId, ClusterId, OrganizationId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    Catalog, Clock, IdSource, PortError, PortErrorKind, PortResult, SecretSource, Stores, Tenancy,
    WebhookMessage, WebhookSender,
};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::StorageConfig;
use milvault_domain::webhook::SendOutcome;
use milvault_milvus::MilvusBinlogReader;
use milvault_milvus::fake::FakeMilvus;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;

/// A running service with one registered cluster.
pub(super) struct Pipeline {
    service: Service,
    runtime: Runtime,
    /// Its catalog.
    pub(super) catalog: Arc<dyn Catalog>,
    /// Its project.
    pub(super) project_id: ProjectId,
    /// The cluster's repository.
    pub(super) repository_id: RepositoryId,
    /// The cluster.
    pub(super) cluster_id: ClusterId,
}

/// A backup that was made.
pub(super) struct Made {
    /// How long it took.
    pub(super) phases: Phases,
    /// Its job.
    pub(super) job: Job,
    /// Itself.
    pub(super) backup: Backup,
}

impl Pipeline {
    /// Starts the service with its catalog in `directory`, and registers an empty repository and the cluster.
    pub(super) async fn start(
        directory: &Path,
        stores: Arc<dyn Stores>,
        source: StorageConfig,
        repository: StorageConfig,
        cut: Cut,
    ) -> anyhow::Result<Self> {
        let url = format!("sqlite://{}", directory.join("catalog.db").display());
        let catalog = milvault_catalog::open(&url, Sealer::from_key_bytes([7; 32])).await?;
        let project_id = make_tenancy(&*catalog).await?.project_id;
        let deps = Deps {
            catalog: Arc::clone(&catalog),
            stores,
            milvus: Arc::new(FakeMilvus::new(cut)),
            binlogs: Arc::new(MilvusBinlogReader),
            clock: Arc::new(SystemClock),
            ids: Arc::new(Uuids),
            webhooks: Arc::new(NoWebhooks),
        };
        let (service, runtime) = milvault_actors::start(deps, Settings::default()).await?;
        let repository = NewRepository { project_id, name: String::from("bench"), storage: repository };
        let repository_id = service.register_repository(repository).await?.id;
        let endpoint = MilvusEndpoint {
            uri: String::from("http://127.0.0.1:1"),
            auth: MilvusAuth::None,
            ca_pem: None,
            server_name: None,
        };
        let cluster = NewCluster {
            project_id,
            name: String::from("bench"),
            endpoint,
            storage: source,
            repository_id,
            cu_size: None,
            max_bytes_per_second: None,
        };
        let cluster_id = service.register_cluster(cluster).await?.id;
        Ok(Self { service, runtime, catalog, project_id, repository_id, cluster_id })
    }

    /// Makes a backup of the whole cluster, from the request to the end of its job.
    pub(super) async fn back_up(&self) -> anyhow::Result<Made> {
        let mut changes = self.service.changes();
        let request = BackupRequest {
            cluster_id: self.cluster_id,
            scope: BackupScope::Cluster,
            name: None,
            description: None,
            retention_days: None,
            idempotency_key: None,
            creation_method: CreationMethod::Manual,
            created_by: String::from("bench"),
        };
        let began = Instant::now();
        let requested = self.service.request_backup(request).await?;
        loop {
            match changes.recv().await {
                Ok(change) if change.job_id != requested.job.id => continue,
                // Having missed some is as good as having heard of one: the catalog knows.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => anyhow::bail!("the service ended before the job"),
            }
            let job = self.catalog.job(requested.job.id).await?.context("the job is gone")?;
            if job.state.is_final() {
                let duration = began.elapsed();
                let failure = job.failure.as_deref().unwrap_or("no reason given");
                ensure!(job.state == JobState::Successful, "the backup is {:?}: {failure}", job.state);
                let backup = self.catalog.backup(requested.backup.id).await?.context("the backup is gone")?;
                let events = self.catalog.job_events(job.id).await?;
                return Ok(Made { phases: Phases::of(&job, &events, duration)?, job, backup });
            }
        }
    }

    /// Stops the service.
    pub(super) async fn stop(self) {
        self.runtime.shutdown().await;
    }
}

/// Makes the first organization of a catalog, with a project.
pub(super) async fn make_tenancy(catalog: &dyn Catalog) -> anyhow::Result<Tenancy> {
    let organization_id = OrganizationId::from_uuid(Uuids.new_uuid());
    let tenancy = Tenancy {
        organization_id,
        organization_name: String::from("bench"),
        project_id: ProjectId::from_uuid(Uuids.new_uuid()),
        project_name: String::from("bench"),
    };
    let key = ApiKey {
        id: ApiKeyId::from_uuid(Uuids.new_uuid()),
        organization_id,
        name: String::from("bench"),
        secret_hash: [0; 32],
        grants: Vec::new(),
        created_at: SystemClock.now(),
        expires_at: None,
        revoked_at: None,
        user: None,
    };
    let (tenancy, _made) = catalog.ensure_tenancy(&tenancy, &key).await?;
    Ok(tenancy)
}

/// The machine's clock.
pub(super) struct SystemClock;

#[allow(clippy::disallowed_methods, reason = "this is the clock that everything here is given")]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Ids by time and chance.
pub(super) struct Uuids;

#[allow(clippy::disallowed_methods, reason = "this is the source of ids that everything here is given")]
impl IdSource for Uuids {
    fn new_uuid(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Secrets as they are given; benchmarks have none that could leak.
pub(super) struct GivenSecrets;

impl SecretSource for GivenSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        match secret {
            Secret::Value(value) => Ok(value.clone()),
            Secret::Environment(_) | Secret::File(_) => {
                Err(PortError::new(PortErrorKind::Unsupported, "benchmarks give secrets as values only"))
            }
        }
    }
}

/// Nobody is told anything by a bench.
struct NoWebhooks;

#[async_trait]
impl WebhookSender for NoWebhooks {
    async fn check(&self, _: &str) -> PortResult<()> {
        Ok(())
    }

    async fn send(&self, _: &WebhookMessage) -> SendOutcome {
        SendOutcome::Failed(String::from("a bench tells nobody"))
    }
}
