//! Repositories and sources on a real S3 server: `--features s3-tests`, with `MILVAULT_TEST_S3_ENDPOINT`,
//! `MILVAULT_TEST_S3_ACCESS_KEY` and `MILVAULT_TEST_S3_SECRET_KEY` naming it. The tests share two new buckets (stores
//! do not like many) and have prefixes of their own.

#![allow(clippy::unwrap_used)]

mod support;

use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use milvault_domain::error::PortErrorKind;
use milvault_domain::job::VerifyLevel;
use milvault_domain::plan::{CopyRoute, ObjectIndex, plan_copy};
use milvault_domain::ports::Stores;
use milvault_domain::progress::ProgressCounters;
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{S3Addressing, S3Credentials, S3Storage, SourceLayout, StorageConfig};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::client::{HttpConnector, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::path::Path;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use support::{
    COLLECTION, Lab, LocalTestSource, SEGMENTS, TestSource, backup_id, cluster_id, contract, copies, header,
    insert_key, local, repository_id, staging, stores,
};
use tokio::sync::OnceCell;

/// A prefix that nobody else has, with all that has to be escaped somewhere on its way.
fn new_prefix() -> String {
    format!("files of {:016x}/1+1=\u{e9}%20&", rand::random::<u64>())
}

/// The buckets of sources and of repositories.
struct Buckets {
    source: String,
    repository: String,
}

async fn buckets() -> &'static Buckets {
    static BUCKETS: OnceCell<Buckets> = OnceCell::const_new();
    BUCKETS.get_or_init(async || Buckets { source: new_bucket().await, repository: new_bucket().await }).await
}

fn server(name: &str) -> String {
    let name = format!("MILVAULT_TEST_S3_{name}");
    std::env::var(&name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: `cargo xtask test` starts an S3 server and sets it, or name one of your own"
        )
    })
}

fn config(bucket: &str, prefix: &str) -> S3Storage {
    S3Storage {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: Some(server("ENDPOINT")),
        region: None,
        addressing: S3Addressing::Path,
        credentials: credentials(&server("SECRET_KEY")),
        ca_pem: None,
    }
}

fn credentials(secret: &str) -> S3Credentials {
    S3Credentials::Static {
        access_key_id: server("ACCESS_KEY"),
        secret_access_key: Secret::Value(SecretValue::new(secret.to_owned())),
        session_token: None,
    }
}

fn client(bucket: &str) -> AmazonS3 {
    AmazonS3Builder::new()
        .with_endpoint(server("ENDPOINT"))
        .with_region("us-east-1")
        .with_bucket_name(bucket)
        .with_access_key_id(server("ACCESS_KEY"))
        .with_secret_access_key(server("SECRET_KEY"))
        .with_allow_http(true)
        .build()
        .unwrap()
}

/// A new bucket. The library makes none, but signs the request that does.
async fn new_bucket() -> String {
    let bucket = format!("milvault-{:016x}", rand::random::<u64>());
    let url =
        client(&bucket).signed_url(http::Method::PUT, &Path::ROOT, Duration::from_mins(1)).await.unwrap();
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = http::Method::PUT;
    *request.uri_mut() = url.as_str().parse().unwrap();
    request.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from_static("0"));
    let options = ClientOptions::new().with_allow_http(true);
    let answer = ReqwestConnector::default().connect(&options).unwrap().execute(request).await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    bucket
}

struct S3TestSource {
    config: S3Storage,
    client: AmazonS3,
}

impl S3TestSource {
    async fn new() -> Self {
        let bucket = &buckets().await.source;
        Self { client: client(bucket), config: config(bucket, &new_prefix()) }
    }

    fn key(&self, key: &str) -> Path {
        Path::parse(format!("{}/{key}", self.config.prefix)).unwrap()
    }
}

#[async_trait]
impl TestSource for S3TestSource {
    fn config(&self) -> StorageConfig {
        StorageConfig::S3(self.config.clone())
    }

    async fn put(&self, key: &str, content: &[u8]) {
        self.client.put(&self.key(key), PutPayload::from(content.to_vec())).await.unwrap();
    }

    async fn remove(&self, key: &str) {
        self.client.delete(&self.key(key)).await.unwrap();
    }

    async fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let prefix = Path::parse(&self.config.prefix).unwrap();
        let listed: Vec<_> = self.client.list(Some(&prefix)).try_collect().await.unwrap();
        let mut files = BTreeMap::new();
        for meta in listed {
            let content = self.client.get(&meta.location).await.unwrap().bytes().await.unwrap();
            let name = meta.location.as_ref()[self.config.prefix.len() + 1..].to_owned();
            files.insert(name, content.to_vec());
        }
        files
    }
}

/// A new repository, opened with what the store was found to do, or less.
async fn s3_lab(source: Box<dyn TestSource>, limit: impl Fn(&mut StoreCapabilities)) -> Lab {
    let stores = stores();
    let config = StorageConfig::S3(config(&buckets().await.repository, &new_prefix()));
    let mut capabilities = stores.create_repository(repository_id(1), &config).await.unwrap();
    limit(&mut capabilities);
    let repository = stores.open_repository(repository_id(1), &config, capabilities).await.unwrap();
    Lab { stores, source, repository, directory: None, root: None }
}

async fn inside_one_store() -> Lab {
    s3_lab(Box::new(S3TestSource::new().await), |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn server_side_copies_keep_the_contract() {
    contract::run(inside_one_store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_s3_through_this_server_to_s3_keeps_the_contract() {
    contract::run(async || {
        let source = Box::new(S3TestSource::new().await);
        s3_lab(source, |capabilities| *capabilities = StoreCapabilities::default()).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_disk_to_s3_keeps_the_contract() {
    contract::run(async || s3_lab(Box::new(LocalTestSource::new()), |_| {}).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_s3_to_a_disk_keeps_the_contract() {
    contract::run(async || Lab { source: Box::new(S3TestSource::new().await), ..support::local_lab().await })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_stay_inside_the_store() {
    let lab = inside_one_store().await;
    lab.fill().await;
    assert_eq!(lab.copier().await.route(), CopyRoute::ServerSide);
    let made = lab.back_up(backup_id(1), &[]).await;
    assert_eq!(made.progress.bytes_through_server, 0);
    assert_eq!(made.progress.percent(), 100);
    assert!(made.objects.iter().all(|object| object.hash.is_none() && object.store_tag.is_some()));
    let first = lab.verify(backup_id(1), VerifyLevel::Content).await;
    assert_eq!((first.failures.as_slice(), first.hashes_recorded), ([].as_slice(), 17));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_above_a_gibibyte_is_copied_in_parts() {
    const PIECES: usize = 17;
    let lab = inside_one_store().await;
    let source = S3TestSource::new().await;
    let key = source.key(&insert_key(SEGMENTS[0], 100, 1).to_string());
    let mut upload =
        WriteMultipart::new_with_chunk_size(source.client.put_multipart(&key).await.unwrap(), 64 << 20);
    for piece in 0..PIECES {
        upload.wait_for_capacity(2).await.unwrap();
        upload.put(Bytes::from(support::content(i64::try_from(piece).unwrap(), 64 << 20)));
    }
    upload.finish().await.unwrap();

    let lab = Lab { source: Box::new(source), ..lab };
    let opened = lab.stores.open_source(&lab.source.config(), &SourceLayout::Milvus).await.unwrap();
    let listed = opened.list_binlogs(COLLECTION, &HashSet::from([SEGMENTS[0]])).await.unwrap();
    assert_eq!(listed[0].size_bytes, (PIECES as u64) << 26);
    let plan = plan_copy(cluster_id(), listed, &ObjectIndex::new(), CopyRoute::ServerSide);
    let progress = ProgressCounters::default();
    let objects = lab.copier().await.copy(&plan.units[0], &progress).await.unwrap();
    assert_eq!(progress.snapshot().bytes_through_server, 0);
    let mut expected = blake3::Hasher::new();
    (0..PIECES).for_each(|piece| {
        expected.update(&support::content(i64::try_from(piece).unwrap(), 64 << 20));
    });
    let mut objects_with_hash = objects.clone();
    objects_with_hash[0].hash =
        Some(milvault_domain::object::ContentHash::from_bytes(*expected.finalize().as_bytes()));
    lab.repository.seal(&header(backup_id(1)), objects_with_hash).await.unwrap();
    assert_eq!(lab.verify(backup_id(1), VerifyLevel::Content).await.failures, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_can_do_is_found_out() {
    let config = StorageConfig::S3(config(&new_bucket().await, ""));
    let found = stores().create_repository(repository_id(1), &config).await.unwrap();
    let all = StoreCapabilities { conditional_put: true, server_side_copy: true, multipart_copy: true };
    assert_eq!(found, all);
    let again = stores().create_repository(repository_id(2), &config).await.unwrap_err();
    assert_eq!(again.kind(), PortErrorKind::Conflict, "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_and_a_missing_bucket_are_told_apart() {
    let bucket = &buckets().await.repository;
    let wrong = S3Storage { credentials: credentials("not-the-secret"), ..config(bucket, &new_prefix()) };
    let error =
        stores().create_repository(repository_id(1), &StorageConfig::S3(wrong.clone())).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::PermissionDenied, "{error}");
    assert!(!format!("{error:?}").contains("not-the-secret"));
    let findings =
        stores().open_source(&StorageConfig::S3(wrong), &SourceLayout::Milvus).await.unwrap().check().await;
    assert!(!findings[0].ok && findings[0].message.contains("credentials"), "{findings:?}");

    let missing = StorageConfig::S3(config("milvault-no-such-bucket", ""));
    let error = stores().create_repository(repository_id(1), &missing).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    assert!(error.to_string().contains("bucket"), "{error}");
    let findings = stores().open_source(&missing, &SourceLayout::Milvus).await.unwrap().check().await;
    assert!(!findings[0].ok && findings[0].message.contains("bucket"), "{findings:?}");
    let opened = stores().open_repository(repository_id(1), &missing, StoreCapabilities::default()).await;
    assert!(opened.err().unwrap().to_string().contains("bucket"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_does_not_answer_is_unavailable() {
    let silent = S3Storage { endpoint: Some(String::from("http://127.0.0.1:9")), ..config("bucket", "") };
    let source = stores().open_source(&StorageConfig::S3(silent), &SourceLayout::Milvus).await.unwrap();
    let error = source.list_binlogs(COLLECTION, &HashSet::from([SEGMENTS[0]])).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Unavailable, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_the_repository_cannot_read_goes_through_this_server() {
    let lab = inside_one_store().await;
    let missing = StorageConfig::S3(config("milvault-no-such-bucket", ""));
    let copier = lab
        .stores
        .open_copier(&missing, &SourceLayout::Milvus, Arc::clone(&lab.repository), None)
        .await
        .unwrap();
    assert_eq!(copier.route(), CopyRoute::Packs);
    let elsewhere = local(std::path::Path::new("/"));
    let copier = lab
        .stores
        .open_copier(&elsewhere, &SourceLayout::Milvus, Arc::clone(&lab.repository), None)
        .await
        .unwrap();
    assert_eq!(copier.route(), CopyRoute::Packs);
}

async fn s3_target() -> Box<dyn TestSource> {
    Box::new(S3TestSource::new().await)
}

async fn local_target() -> Box<dyn TestSource> {
    Box::new(LocalTestSource::new())
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_inside_one_store_keeps_the_contract() {
    staging::run(inside_one_store, s3_target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_from_packs_in_s3_to_s3_keeps_the_contract() {
    staging::run(async || s3_lab(Box::new(LocalTestSource::new()), |_| {}).await, s3_target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_from_s3_to_a_disk_keeps_the_contract() {
    staging::run(inside_one_store, local_target).await;
    staging::run(async || s3_lab(Box::new(LocalTestSource::new()), |_| {}).await, local_target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staging_from_a_disk_to_s3_keeps_the_contract() {
    staging::run(support::local_lab, s3_target).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn staged_bytes_stay_inside_the_store() {
    let lab = inside_one_store().await;
    lab.fill().await;
    lab.back_up(backup_id(1), &[]).await;
    let target = S3TestSource::new().await;
    let stager = lab.stores.open_stager(Arc::clone(&lab.repository), &target.config(), None).await.unwrap();
    assert_eq!(stager.route(), CopyRoute::ServerSide);
    let objects = lab.repository.read_objects(backup_id(1), None).await.unwrap();
    let progress = ProgressCounters::default();
    let directory = staging::directory();
    stager.stage(&objects, &directory, &progress).await.unwrap();
    let progress = progress.snapshot();
    assert_eq!((progress.objects_done, progress.bytes_through_server), (17, 0));
    assert_eq!(progress.bytes_done, objects.iter().map(|object| object.stored_bytes).sum::<u64>());
    let expected = format!("{}/{directory}/insert_log/1/2/", target.config.prefix);
    assert_eq!(stager.import_path(&format!("{directory}/insert_log/1/2/")), expected);

    let missing = StorageConfig::S3(config("milvault-no-such-bucket", "x"));
    let stager = lab.stores.open_stager(Arc::clone(&lab.repository), &missing, None).await.unwrap();
    let error = stager.stage(&objects, &directory, &ProgressCounters::default()).await.unwrap_err();
    assert!(error.to_string().contains("bucket"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_s3_is_found_again_without_its_catalog() {
    let place = StorageConfig::S3(config(&buckets().await.repository, &new_prefix()));
    let none = stores().attach_repository(&place).await.unwrap_err();
    assert_eq!(none.kind(), PortErrorKind::NotFound, "{none}");
    let capabilities = stores().create_repository(repository_id(7), &place).await.unwrap();
    let found = stores().attach_repository(&place).await.unwrap();
    assert_eq!((found.repository_id, found.capabilities), (repository_id(7), capabilities));
}

#[tokio::test(flavor = "multi_thread")]
async fn milvus_backups_in_s3_are_found_and_read() {
    support::foreign::a_directory_is_listed_read_and_copied(&inside_one_store().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_files_than_one_request_deletes_are_removed() {
    const FILES: i64 = 1100;
    let target = S3TestSource::new().await;
    let directory = staging::directory();
    for number in 0..FILES {
        target.put(&format!("{directory}/0/0/insert_log/1/2/3/100/{number}"), b"x").await;
    }
    let lab = support::local_lab().await;
    let stager = lab.stores.open_stager(Arc::clone(&lab.repository), &target.config(), None).await.unwrap();
    assert_eq!(stager.remove(&directory).await.unwrap(), u64::try_from(FILES).unwrap());
    assert!(target.files().await.is_empty());
}

/// Another repository in the store, opened with what the store was found to do, or less.
async fn s3_copy_target(limit: impl Fn(&mut StoreCapabilities)) -> copies::Target {
    let config = StorageConfig::S3(config(&buckets().await.source, &new_prefix()));
    let mut capabilities = stores().create_repository(repository_id(2), &config).await.unwrap();
    limit(&mut capabilities);
    let repository = stores().open_repository(repository_id(2), &config, capabilities).await.unwrap();
    copies::Target { repository, directory: None }
}

async fn packs_in_s3() -> Lab {
    s3_lab(Box::new(LocalTestSource::new()), |_| {}).await
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_inside_one_store_keep_the_contract() {
    copies::run(inside_one_store, async || s3_copy_target(|_| {}).await).await;
    copies::run(packs_in_s3, async || s3_copy_target(|_| {}).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_between_stores_keep_the_contract() {
    let cannot = |capabilities: &mut StoreCapabilities| *capabilities = StoreCapabilities::default();
    copies::run(support::local_lab, async || s3_copy_target(|_| {}).await).await;
    copies::run(inside_one_store, copies::local_target).await;
    copies::run(packs_in_s3, copies::local_target).await;
    copies::run(inside_one_store, async || s3_copy_target(cannot).await).await;
}

/// Finds a file of a bucket. Other tests write there too, and a listing in pages can miss one while they do.
async fn file_named(client: &impl ObjectStore, name: &str) -> Path {
    for _ in 0..20 {
        let all: Vec<_> = client.list(None).try_collect().await.unwrap();
        if let Some(file) = all.into_iter().find(|meta| meta.location.filename() == Some(name)) {
            return file.location;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{name} is not in the bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_replaced_in_the_store_is_not_copied() {
    let lab = inside_one_store().await;
    lab.fill().await;
    let made = lab.back_up(backup_id(1), &[]).await;
    let object = made.objects.iter().find(|object| object.stored_bytes == 4096).unwrap();
    let client = client(&buckets().await.repository);
    let file = file_named(&client, &object.id.to_string()).await;
    client.put(&file, PutPayload::from(vec![7; 4096])).await.unwrap();
    let to = s3_copy_target(|_| {}).await;
    let error = lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains(&object.source.key.to_string()), "{error}");
    assert_eq!(to.repository.list_backups().await.unwrap(), []);
    let to = copies::local_target().await;
    let error = lab.copy_to(&to, backup_id(2), backup_id(1), &[]).await.err().unwrap();
    assert_eq!(error.kind(), PortErrorKind::Corrupt, "{error}");
}
