//! A store whose answers are lost, late or refusals: what no real one can be made to do.

#![allow(clippy::unwrap_used)]

#[path = "support/fake_store.rs"]
mod fake_store;
mod support;

use fake_store::FakeStore;
use milvault_domain::error::PortErrorKind;
use milvault_domain::job::VerifyLevel;
use milvault_domain::plan::{CopyRoute, ObjectIndex, plan_transfer};
use milvault_domain::ports::Stores;
use milvault_domain::progress::ProgressCounters;
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{
    Lab, LocalTestSource, SEGMENTS, StoredSource, backup_id, content, insert_key, repository_id, stores,
};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_whose_writing_was_not_answered_is_written() {
    let fake = FakeStore::start();
    fake.state().loses_put_of = Some("milvault.json");
    let config = StorageConfig::S3(fake.config("repository"));
    let capabilities = stores().create_repository(repository_id(1), &config).await.unwrap();
    assert!(capabilities.conditional_put);
    assert!(fake.state().loses_put_of.is_none());
    let again = stores().create_repository(repository_id(2), &config).await.unwrap_err();
    assert_eq!(again.kind(), PortErrorKind::Conflict, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_a_console_made_is_an_empty_place() {
    let fake = FakeStore::start();
    fake.state().objects.insert(String::from("repository/"), Vec::new());
    lab(&fake).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_to_copy_goes_through_this_server() {
    for (status, code) in [(403, "AccessDenied"), (501, "NotImplemented")] {
        let fake = FakeStore::start();
        let source = fake.config("milvus");
        let lab = lab(&fake).await;
        for number in 1..4 {
            let key = format!("milvus/{}", insert_key(SEGMENTS[0], 100, number));
            fake.state().objects.insert(key, content(number, 1000));
        }
        let source = Box::new(StoredSource(StorageConfig::S3(source)));
        let lab = Lab { source, ..lab };
        assert_eq!(lab.copier().await.route(), CopyRoute::ServerSide);
        fake.state().refuses_copies = Some((status, code));
        let made = lab.back_up(backup_id(1), &[]).await;
        assert_eq!((made.progress.objects_done, made.progress.bytes_done), (3, 3000), "{code}");
        assert_eq!(made.progress.bytes_through_server, 3000);
        assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
    }
}

/// The fake store copies at once, so what time there is between is the limit's.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_copies_keeps_to_the_limit() {
    const BYTES_PER_SECOND: u64 = 100 << 10;
    const TIME_MIN: Duration = Duration::from_millis(300);
    let fake = FakeStore::start();
    let source = Box::new(StoredSource(StorageConfig::S3(fake.config("milvus"))));
    let lab = Lab { source, ..lab(&fake).await };
    for number in 1..4 {
        let key = format!("milvus/{}", insert_key(SEGMENTS[0], 100, number));
        fake.state().objects.insert(key, content(number, 20_000));
    }
    let limit = Some(BYTES_PER_SECOND);
    let to = Arc::clone(&lab.repository);
    let copier =
        lab.stores.open_copier(&lab.source.config(), &SourceLayout::Milvus, to, limit).await.unwrap();
    let plan = lab.plan(&ObjectIndex::new()).await;
    let (began_at, progress) = (Instant::now(), ProgressCounters::default());
    let mut objects = Vec::new();
    for unit in &plan.units {
        objects.extend(copier.copy(unit, &progress).await.unwrap());
    }
    assert!(TIME_MIN < began_at.elapsed(), "{:?}", began_at.elapsed());

    let config = StorageConfig::S3(fake.config("second"));
    let capabilities = lab.stores.create_repository(repository_id(2), &config).await.unwrap();
    let second = lab.stores.open_repository(repository_id(2), &config, capabilities).await.unwrap();
    let from = Arc::clone(&lab.repository);
    let copier = lab.stores.open_backup_copier(from, &objects, second, limit).await.unwrap();
    let plan = plan_transfer(objects, &ObjectIndex::new(), copier.route());
    let began_at = Instant::now();
    for unit in &plan.units {
        copier.copy(unit, &progress).await.unwrap();
    }
    assert!(TIME_MIN < began_at.elapsed(), "{:?}", began_at.elapsed());
    assert_eq!(progress.snapshot().bytes_through_server, 0);
}
