//! A Milvault whose outside world is in memory, and servers that can be killed and started again in it.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "fakes.rs"]
pub mod fakes;
#[path = "restored.rs"]
pub mod restored;

use fakes::binlogs::FakeBinlogs;
use fakes::catalog::MemoryCatalog;
use fakes::gates::Gates;
use fakes::milvus::{FakeMilvus, collection, cut};
use fakes::server::FakeServer;
use fakes::stores::FakeStores;
use fakes::webhooks::FakeSender;
use fakes::{FakeClock, FakeIds};
use milvault_actors::{
    BackupRequest, Deps, NewCluster, NewRepository, Runtime, Service, Settings, StartError, start,
};
use milvault_domain::backup::{BackupScope, CreationMethod};
use milvault_domain::cluster::{Cluster, MilvusAuth, MilvusEndpoint};
use milvault_domain::ids::{ClusterId, JobId, ProjectId, RepositoryId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BackupWithJob, Catalog, Stores};
use milvault_domain::repository::Repository;
use milvault_domain::storage::{LocalStorage, StorageConfig};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What outlives a server.
pub struct World {
    pub catalog: Arc<MemoryCatalog>,
    pub stores: Arc<FakeStores>,
    pub milvus: Arc<FakeMilvus>,
    pub binlogs: Arc<FakeBinlogs>,
    pub clock: Arc<FakeClock>,
    pub ids: Arc<FakeIds>,
    pub sender: Arc<FakeSender>,
    pub gates: Arc<Gates>,
    pub settings: Settings,
    /// Takes the place of `catalog` in servers.
    pub real_catalog: Option<Arc<dyn Catalog>>,
    /// Take the place of `stores` in servers.
    pub real_stores: Option<Arc<dyn Stores>>,
}

impl World {
    /// A cluster of two collections with ten objects in all, none backed up yet.
    pub fn new() -> Self {
        let gates = Arc::new(Gates::default());
        let world = Self {
            catalog: Arc::new(MemoryCatalog::new(Arc::clone(&gates))),
            stores: Arc::new(FakeStores { gates: Arc::clone(&gates), ..FakeStores::default() }),
            milvus: Arc::new(FakeMilvus::new(cut(vec![]), Arc::clone(&gates))),
            binlogs: Arc::default(),
            clock: Arc::new(FakeClock::new()),
            ids: Arc::default(),
            sender: Arc::default(),
            gates,
            settings: Settings {
                shutdown_grace: Duration::from_millis(50),
                retention_interval: Duration::from_millis(10),
                progress_interval: Duration::from_millis(5),
                checkpoint_interval: Duration::from_millis(10),
                watchdog_interval: Duration::from_millis(10),
                reconcile_interval: Duration::from_millis(20),
                step_attempts_max: 3,
                step_retry_delay: Duration::from_millis(1),
                check_timeout: Duration::from_millis(200),
                ..Settings::default()
            },
            real_catalog: None,
            real_stores: None,
        };
        world.show(cut(vec![collection(1, "cities", 3), collection(2, "people", 2)]));
        world
    }

    /// Makes this what the cluster is from now on.
    pub fn show(&self, cut: Cut) {
        self.stores.fill_source(&cut);
        *self.milvus.cut.lock().unwrap() = cut;
    }

    /// Adds a Milvus that holds real rows, at `http://<name>:19530` with its storage in `/<name>`. Servers of different
    /// numbers give different ids.
    pub fn add_milvus(&self, name: &str, number: i64) -> Arc<FakeServer> {
        let disks = Arc::clone(&self.stores.disks);
        let disk = directory(&format!("/{name}")).display_url();
        let server = Arc::new(FakeServer::new(Arc::clone(&self.gates), disks, &disk, number * 1_000_000));
        self.milvus.servers.lock().unwrap().insert(format!("http://{name}:19530"), Arc::clone(&server));
        server
    }

    pub fn deps(&self) -> Deps {
        Deps {
            catalog: self.servers_catalog(),
            stores: self.real_stores.clone().unwrap_or_else(|| Arc::clone(&self.stores) as _),
            milvus: Arc::clone(&self.milvus) as _,
            binlogs: Arc::clone(&self.binlogs) as _,
            clock: Arc::clone(&self.clock) as _,
            ids: Arc::clone(&self.ids) as _,
            webhooks: Arc::clone(&self.sender) as _,
        }
    }

    fn servers_catalog(&self) -> Arc<dyn Catalog> {
        self.real_catalog.clone().unwrap_or_else(|| Arc::clone(&self.catalog) as _)
    }

    pub async fn start(&self) -> Server {
        self.try_start().await.unwrap()
    }

    pub async fn try_start(&self) -> Result<Server, StartError> {
        let io = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (deps, settings) = (self.deps(), self.settings.clone());
        let started = io.spawn(async move { start(deps, settings).await }).await.unwrap();
        match started {
            Ok((service, runtime)) => {
                Ok(Server { service, runtime: Some(runtime), io: Some(io), catalog: self.servers_catalog() })
            }
            Err(error) => {
                io.shutdown_background();
                Err(error)
            }
        }
    }

    pub fn job(&self, job_id: JobId) -> Job {
        self.catalog.find_job(job_id)
    }

    /// How often the object that was copied most often was copied.
    pub fn copies_max(&self) -> usize {
        self.stores.repository.copies.lock().unwrap().values().copied().max().unwrap_or(0)
    }

    pub fn copied_objects(&self) -> usize {
        self.stores.repository.copies.lock().unwrap().len()
    }

    pub fn sealed_backups(&self) -> usize {
        self.stores.repository.sealed.lock().unwrap().len()
    }
}

/// One life of a server, with a runtime of its own so that it can be killed.
pub struct Server {
    pub service: Service,
    runtime: Option<Runtime>,
    io: Option<tokio::runtime::Runtime>,
    catalog: Arc<dyn Catalog>,
}

impl Server {
    /// Ends all tasks where they are, as SIGKILL does: nothing is written any more when this returns.
    pub async fn kill(mut self) {
        let io = self.io.take().unwrap();
        tokio::task::spawn_blocking(move || io.shutdown_timeout(Duration::from_secs(30))).await.unwrap();
    }

    pub async fn shutdown(mut self) {
        self.stop_service().await;
    }

    /// An orderly shutdown that leaves the runtime, and with it tasks of callers, alive.
    pub async fn stop_service(&mut self) {
        let runtime = self.runtime.take().unwrap();
        self.io.as_ref().unwrap().spawn(runtime.shutdown()).await.unwrap();
    }

    /// Lets go of the service without a shutdown.
    pub fn drop_service(&mut self) {
        self.runtime = None;
    }

    pub async fn register_repository(&self) -> Repository {
        let new = NewRepository {
            project_id: project(),
            name: "safe".to_owned(),
            storage: directory("/repository"),
        };
        self.service.register_repository(new).await.unwrap()
    }

    /// Registers what [`World::add_milvus`] made.
    pub async fn register_milvus(&self, name: &str, repository_id: RepositoryId) -> Cluster {
        let mut new = new_cluster(name, repository_id);
        new.endpoint.uri = format!("http://{name}:19530");
        new.storage = directory(&format!("/{name}"));
        self.service.register_cluster(new).await.unwrap()
    }

    pub async fn register(&self) -> Cluster {
        let repository = self.register_repository().await;
        self.service.register_cluster(new_cluster("prod", repository.id)).await.unwrap()
    }

    pub async fn back_up(&self, cluster_id: ClusterId) -> BackupWithJob {
        self.service.request_backup(request(cluster_id)).await.unwrap()
    }

    /// Waits until the job is in one of the states, and no longer at work if that is an end.
    pub async fn wait_for(&self, job_id: JobId, states: &[JobState]) -> Job {
        let mut changes = self.service.changes();
        loop {
            let job = self.catalog.job(job_id).await.unwrap().unwrap();
            let settled = !job.state.is_final() || self.service.live(job_id).is_none();
            if states.contains(&job.state) && settled {
                return job;
            }
            // The time limit only covers changes that happened before the subscription.
            let _ = tokio::time::timeout(Duration::from_millis(20), changes.recv()).await;
        }
    }

    pub async fn ended(&self, job_id: JobId) -> Job {
        self.wait_for(job_id, &[JobState::Successful, JobState::Failed, JobState::Canceled]).await
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(io) = self.io.take() {
            io.shutdown_background();
        }
    }
}

/// Fails a test that hangs instead of letting it hang for ever. Far from what the longest needs on a busy machine.
pub async fn bounded<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_mins(5), test).await.expect("the test hangs")
}

pub fn project() -> ProjectId {
    ProjectId::from_uuid(Uuid::from_u128(1))
}

pub fn directory(path: &str) -> StorageConfig {
    StorageConfig::Local(LocalStorage { path: path.to_owned() })
}

pub fn new_cluster(name: &str, repository_id: RepositoryId) -> NewCluster {
    NewCluster {
        project_id: project(),
        name: name.to_owned(),
        endpoint: MilvusEndpoint {
            uri: "http://milvus:19530".to_owned(),
            auth: MilvusAuth::None,
            ca_pem: None,
            server_name: None,
        },
        storage: directory("/milvus"),
        repository_id,
        cu_size: Some(1),
        max_bytes_per_second: None,
    }
}

pub fn request(cluster_id: ClusterId) -> BackupRequest {
    BackupRequest {
        cluster_id,
        scope: BackupScope::Cluster,
        name: None,
        description: None,
        retention_days: None,
        idempotency_key: None,
        creation_method: CreationMethod::Manual,
        created_by: "tester".to_owned(),
    }
}
