//! A stage in an object store that is stopped: the store carries out what it was asked for, and a removal must find that.

#![allow(clippy::unwrap_used)]

#[path = "support/fake_store.rs"]
mod fake_store;
mod support;

use fake_store::FakeStore;
use milvault_domain::error::PortErrorKind;
use milvault_domain::object::{Location, StoredObject};
use milvault_domain::plan::CopyRoute;
use milvault_domain::ports::{Stager, Stores};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::storage::StorageConfig;
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{
    Lab, LocalTestSource, SEGMENTS, StoredSource, TestSource, backup_id, content, insert_key, repository_id,
    staging, stores,
};

/// Files that are backed up.
const FILES: i64 = 8;
/// Size of each.
const FILE_BYTES: usize = 20_000;
/// Time after which a stage is stopped: its requests are with the store by then.
const STOPPED_AFTER: Duration = Duration::from_millis(200);

/// A backup in a store, and a cluster in the same one.
struct Staging {
    fake: FakeStore,
    lab: Lab,
    objects: Vec<StoredObject>,
    /// Prefix of the cluster's storage. All tests stage for the same job in a bucket of the same name, so it tells them
    /// apart.
    target: String,
}

impl Staging {
    async fn of(fake: FakeStore, source: Box<dyn TestSource>) -> Self {
        let stores = stores();
        let config = StorageConfig::S3(fake.config("repository"));
        let capabilities = stores.create_repository(repository_id(1), &config).await.unwrap();
        let repository = stores.open_repository(repository_id(1), &config, capabilities).await.unwrap();
        let lab = Lab { stores, source, repository, directory: None, root: None };
        lab.back_up(backup_id(1), &[]).await;
        let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
        assert_eq!(i64::try_from(objects.len()), Ok(FILES));
        Self { fake, lab, objects, target: format!("target-{:016x}", rand::random::<u64>()) }
    }

    /// Every object has a file of its own, and the store can copy it.
    async fn in_store() -> Self {
        let fake = FakeStore::start();
        for number in 0..FILES {
            let key = format!("milvus/{}", insert_key(SEGMENTS[0], 100, number));
            fake.state().objects.insert(key, content(number, FILE_BYTES));
        }
        let source = Box::new(StoredSource(StorageConfig::S3(fake.config("milvus"))));
        let staging = Self::of(fake, source).await;
        assert!(staging.objects.iter().all(|object| object.location == Location::Object));
        staging
    }

    /// The objects are in packs, so their bytes go through this server.
    async fn from_packs() -> Self {
        let source = Box::new(LocalTestSource::new());
        for number in 0..FILES {
            let key = insert_key(SEGMENTS[0], 100, number).to_string();
            source.put(&key, &content(number, FILE_BYTES)).await;
        }
        Self::of(FakeStore::start(), source).await
    }

    async fn stager(&self, max_bytes_per_second: Option<u64>) -> Arc<dyn Stager> {
        let target = StorageConfig::S3(self.fake.config(&self.target));
        let repository = Arc::clone(&self.lab.repository);
        self.lab.stores.open_stager(repository, &target, max_bytes_per_second).await.unwrap()
    }

    /// Stages for a while, and then not any more.
    async fn stage_for(&self, time: Duration, max_bytes_per_second: Option<u64>) {
        let stager = self.stager(max_bytes_per_second).await;
        let (directory, progress) = (staging::directory(), ProgressCounters::default());
        let stage = stager.stage(&self.objects, &directory, &progress);
        if let Ok(staged) = tokio::time::timeout(time, stage).await {
            staged.unwrap();
        }
    }

    fn staged(&self) -> usize {
        self.fake.state().objects.keys().filter(|key| key.starts_with(&self.target)).count()
    }
}

/// Another stager removes, as after a cancel.
#[tokio::test(flavor = "multi_thread")]
async fn copies_that_the_store_goes_on_with_are_removed_too() {
    let staging = Staging::in_store().await;
    assert_eq!(staging.stager(None).await.route(), CopyRoute::ServerSide);
    staging.fake.state().copy_pause = Duration::from_secs(1);
    staging.stage_for(STOPPED_AFTER, None).await;
    assert_eq!(staging.staged(), 0, "the store is at it");
    let removed = staging.stager(None).await.remove(&staging::directory()).await.unwrap();
    assert_eq!(i64::try_from(removed), Ok(FILES));
    assert_eq!(staging.staged(), 0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(staging.staged(), 0, "a copy came after the removal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_takes_too_long_is_told_and_removed_later() {
    let staging = Staging::in_store().await;
    staging.fake.state().copy_pause = Duration::from_secs(8);
    staging.stage_for(STOPPED_AFTER, None).await;
    let stager = staging.stager(None).await;
    let early = stager.remove(&staging::directory()).await.unwrap_err();
    assert_eq!(early.kind(), PortErrorKind::Busy, "{early}");
    assert!(early.to_string().contains("still writing"), "{early}");
    // Another restore has nothing to wait for.
    let other = staging::directory().replace("/0/12", "/0/1");
    assert_eq!(stager.remove(&other).await.unwrap(), 0);
    let removed = stager.remove(&staging::directory()).await.unwrap();
    assert_eq!(i64::try_from(removed), Ok(FILES));
    assert_eq!(staging.staged(), 0);
}

/// What waits for the limit has not begun.
#[tokio::test(flavor = "multi_thread")]
async fn a_limited_stage_that_is_stopped_asks_for_no_further_copies() {
    let staging = Staging::in_store().await;
    staging.stage_for(STOPPED_AFTER, Some(20 << 10)).await;
    let began_at = Instant::now();
    let removed = staging.stager(None).await.remove(&staging::directory()).await.unwrap();
    assert!(i64::try_from(removed).unwrap() < FILES, "{removed} at 20 KiB/s");
    assert!(began_at.elapsed() < Duration::from_secs(3), "{:?}", began_at.elapsed());
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(staging.staged(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_the_store_goes_on_with_are_removed_too() {
    let staging = Staging::from_packs().await;
    let remover = staging.stager(None).await;
    for step in 0..60 {
        staging.stage_for(Duration::from_micros(250 * step), None).await;
        remover.remove(&staging::directory()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(staging.staged(), 0, "stopped at step {step}");
    }
}
