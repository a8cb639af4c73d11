//! A store whose answers are lost, late or refusals: what no real one can be made to do.

#![allow(clippy::unwrap_used)]

#[path = "support/fake_store.rs"]
mod fake_store;
mod support;

use fake_store::FakeStore;
use milvault_domain::error::PortErrorKind;
use milvault_domain::job::VerifyLevel;
use milvault_domain::plan::ObjectIndex;
use milvault_domain::ports::Stores;
use milvault_domain::progress::ProgressCounters;
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::StorageConfig;
use support::{Lab, LocalTestSource, SEGMENTS, TestSource, backup_id, content, insert_key, repository_id, stores};

/// From a disk into a repository in the store.
async fn lab(fake: &FakeStore) -> Lab {
    let stores = stores();
    let config = StorageConfig::S3(fake.config("repository"));
    let capabilities = stores.create_repository(repository_id(1), &config).await.unwrap();
    let repository = stores.open_repository(repository_id(1), &config, capabilities).await.unwrap();
    Lab { stores, source: Box::new(LocalTestSource::new()), repository, directory: None, root: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_completion_was_not_answered_is_complete() {
    let fake = FakeStore::start();
    let lab = lab(&fake).await;
    lab.source.put(&insert_key(SEGMENTS[0], 100, 1).to_string(), &content(1, 20 << 20)).await;
    fake.state().loses_completions = true;
    let made = lab.back_up(backup_id(1), &[]).await;
    assert_eq!((made.progress.objects_done, made.progress.percent()), (1, 100));
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_the_store_forgot_may_be_tried_again() {
    let fake = FakeStore::start();
    let lab = lab(&fake).await;
    lab.source.put(&insert_key(SEGMENTS[0], 100, 1).to_string(), &content(1, 20 << 20)).await;
    fake.state().forgets_uploads = true;
    let plan = lab.plan(&ObjectIndex::new()).await;
    let error = lab.copier().await.copy(&plan.units[0], &ProgressCounters::default()).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");
}
