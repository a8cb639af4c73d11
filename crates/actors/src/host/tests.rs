//! Actors that die.
#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::fakes::binlogs::FakeBinlogs;
use crate::fakes::catalog::MemoryCatalog;
use crate::fakes::gates::{Act, Gates};
use crate::fakes::milvus::{FakeMilvus, collection, cut};
use crate::fakes::stores::FakeStores;
use crate::fakes::webhooks::FakeSender;
use crate::fakes::{FakeClock, FakeIds};
use crate::messages::Crash;
use crate::{
    BackupRequest, Deps, NewCluster, NewRepository, Runtime, Service, ServiceError, Settings, start,
};
use milvault_domain::backup::{BackupScope, CreationMethod};
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::ids::ProjectId;
use milvault_domain::job::JobState;
use milvault_domain::ports::Catalog;
use milvault_domain::storage::{LocalStorage, StorageConfig};
use uuid::Uuid;

struct Fixture {
    gates: Arc<Gates>,
    catalog: Arc<MemoryCatalog>,
    service: Service,
    runtime: Runtime,
    cluster_id: ClusterId,
}

impl Fixture {
    async fn start(settings: Settings) -> Self {
        let gates = Arc::new(Gates::default());
        let catalog = Arc::new(MemoryCatalog::new(Arc::clone(&gates)));
        let stores = Arc::new(FakeStores { gates: Arc::clone(&gates), ..FakeStores::default() });
        let cut = cut(vec![collection(1, "cities", 2)]);
        stores.fill_source(&cut);
        let deps = Deps {
            catalog: Arc::clone(&catalog) as _,
            stores,
            milvus: Arc::new(FakeMilvus::new(cut, Arc::clone(&gates))),
            binlogs: Arc::new(FakeBinlogs::default()),
            clock: Arc::new(FakeClock::new()),
            ids: Arc::new(FakeIds::default()),
            webhooks: Arc::new(FakeSender::default()),
        };
        let (service, runtime) = start(deps, settings).await.unwrap();
        let cluster_id = register(&service).await;
        Self { gates, catalog, service, runtime, cluster_id }
    }

    fn slot<T>(&self, look: impl FnOnce(&Slot) -> T) -> T {
        look(&lock(&self.runtime.host().state).clusters[&self.cluster_id])
    }

    /// Kills the cluster's actor.
    async fn crash(&self) {
        let actor = self.slot(|slot| slot.actor.clone());
        assert!(actor.send(Crash).await.is_err());
        // The answer to the sender is dropped a moment before the mailbox is.
        while actor.connected() {
            tokio::task::yield_now().await;
        }
    }

    async fn back_up(&self) -> Result<JobId, ServiceError> {
        let request = BackupRequest {
            cluster_id: self.cluster_id,
            scope: BackupScope::Cluster,
            name: None,
            description: None,
            retention_days: None,
            idempotency_key: None,
            creation_method: CreationMethod::Manual,
            created_by: "tester".to_owned(),
        };
        Ok(self.service.request_backup(request).await?.job.id)
    }

    async fn ended(&self, job_id: JobId) -> Job {
        let ended = async {
            loop {
                let job = self.catalog.job(job_id).await.unwrap().unwrap();
                if job.state.is_final() && self.service.live(job_id).is_none() {
                    return job;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(Duration::from_mins(1), ended).await.unwrap()
    }
}

async fn register(service: &Service) -> ClusterId {
    let project_id = ProjectId::from_uuid(Uuid::nil());
    let storage = StorageConfig::Local(LocalStorage { path: "/x".to_owned() });
    let repository = NewRepository { project_id, name: "safe".to_owned(), storage: storage.clone() };
    let repository_id = service.register_repository(repository).await.unwrap().id;
    let endpoint = MilvusEndpoint {
        uri: "http://milvus:19530".to_owned(),
        auth: MilvusAuth::None,
        ca_pem: None,
        server_name: None,
    };
    let cluster = NewCluster {
        project_id,
        name: "prod".to_owned(),
        endpoint,
        storage,
        repository_id,
        cu_size: None,
        max_bytes_per_second: None,
    };
    service.register_cluster(cluster).await.unwrap().id
}

/// The watchdog looks often, or (`None`) not at all while the test runs.
fn settings(watchdog_interval: Option<Duration>) -> Settings {
    Settings {
        watchdog_interval: watchdog_interval.unwrap_or(Duration::from_hours(1)),
        step_retry_delay: Duration::from_millis(1),
        shutdown_grace: Duration::from_secs(5),
        ..Settings::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_watchdog_replaces_a_dead_actor_and_its_job_continues() {
    let fixture = Fixture::start(settings(Some(Duration::from_millis(5)))).await;
    fixture.gates.once("copy", Act::Hang);
    let job_id = fixture.back_up().await.unwrap();
    fixture.gates.reached("copy", 1).await;
    fixture.crash().await;
    let job = fixture.ended(job_id).await;
    assert_eq!((job.state, job.attempt), (JobState::Successful, 2));
    assert_eq!(fixture.slot(|slot| (slot.restarts.len(), slot.degraded)), (1, false));
    fixture.runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_meets_a_dead_actor_replaces_it_at_once() {
    let fixture = Fixture::start(settings(None)).await;
    let first = fixture.back_up().await.unwrap();
    fixture.ended(first).await;
    fixture.crash().await;
    let second = fixture.back_up().await.unwrap();
    assert_eq!(fixture.ended(second).await.state, JobState::Successful);
    assert_eq!(fixture.slot(|slot| slot.restarts.len()), 1);
    fixture.runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_that_dies_too_often_is_given_up_and_says_so() {
    let fixture = Fixture::start(Settings { restarts_max: 2, ..settings(None) }).await;
    let first = fixture.back_up().await.unwrap();
    fixture.ended(first).await;
    for _ in 0..2 {
        fixture.crash().await;
        let job_id = fixture.back_up().await.unwrap();
        fixture.ended(job_id).await;
    }
    fixture.crash().await;
    for _ in 0..2 {
        let error = fixture.back_up().await.unwrap_err();
        assert!(matches!(error, ServiceError::Unavailable { .. }), "{error:?}");
    }
    assert_eq!(fixture.service.degraded_clusters(), [fixture.cluster_id]);
    // The rows of the refused requests are ended, so they block nothing.
    assert!(fixture.catalog.open_jobs().await.unwrap().is_empty());
    fixture.runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_meets_a_dead_actor_is_carried_out_by_the_next() {
    let fixture = Fixture::start(settings(None)).await;
    fixture.gates.once("cut", Act::Hang);
    let job_id = fixture.back_up().await.unwrap();
    fixture.gates.reached("cut", 1).await;
    fixture.crash().await;
    let job = fixture.service.cancel_job(job_id).await;
    fixture.runtime.host().replace_dead_actors().await;
    assert_eq!(fixture.ended(job_id).await.state, JobState::Canceled, "{job:?}");
    fixture.runtime.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_kept_of_jobs_that_have_ended() {
    let often = Duration::from_millis(5);
    let fixture = Fixture::start(Settings { reconcile_interval: often, ..settings(None) }).await;
    let job_id = fixture.back_up().await.unwrap();
    fixture.ended(job_id).await;
    let host = fixture.runtime.host();
    let forgotten = async {
        while !lock(&host.state).offered.is_empty() {
            tokio::time::sleep(often).await;
        }
    };
    timeout(Duration::from_secs(10), forgotten).await.unwrap();
    fixture.runtime.shutdown().await;
}
