//! `bench copy --s3`: source and repository in two buckets of one `SeaweedFS`.

use super::child::{CopyOutcome, CopyTask, fresh_directory, run_in_child};
use super::copy::check;
use super::data_set::{DataSet, files_below};
use super::measure::rounded;
use crate::servers::{S3Traffic, SeaweedFs, SeaweedFsOptions, Tools};
use anyhow::Context as _;
use futures::{StreamExt as _, TryStreamExt as _};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{S3Addressing, S3Credentials, S3Storage, StorageConfig};
use object_store::aws::AmazonS3;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, PutPayload};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::time::Instant;

/// The cluster's bucket, and Milvus's root path in it.
const SOURCE_BUCKET: &str = "milvus";
const SOURCE_PREFIX: &str = "files";
/// The repository's bucket.
const REPOSITORY_BUCKET: &str = "backups";
/// Where the reference copies to.
const REFERENCE_BUCKET: &str = "reference";
/// Uploads at once while the data set is put in place.
const UPLOADS: usize = 16;

/// Runs the S3 part and returns its figures. The reference is one client that gets every object whole and puts it
/// again, one after the other: what a script with an S3 library does.
pub(super) async fn bench_s3(work: &Path, data_set: &DataSet) -> anyhow::Result<Map<String, Value>> {
    let tools = Tools::install().await?;
    let directory = fresh_directory(&work.join("s3"))?;
    let mut server =
        SeaweedFs::start(&tools, &directory.join("seaweedfs"), SeaweedFsOptions::default()).await?;
    for bucket in [SOURCE_BUCKET, REPOSITORY_BUCKET, REFERENCE_BUCKET] {
        server.create_bucket(bucket).await?;
    }
    eprintln!("s3: uploading the data set");
    upload(&server.bucket(SOURCE_BUCKET)?, data_set).await?;
    let task = CopyTask {
        directory: fresh_directory(&directory.join("catalog"))?,
        source: storage(&server, SOURCE_BUCKET, SOURCE_PREFIX),
        repository: storage(&server, REPOSITORY_BUCKET, "repository"),
        cut_file: data_set.cut_file.clone(),
        // One only: the server's counters cannot tell two backups apart.
        backups: 1,
    };
    let before = server.traffic().await?;
    let outcome: CopyOutcome =
        tokio::task::spawn_blocking(move || run_in_child("copy-task", &task)).await??;
    let moved = moved_between(before, server.traffic().await?);
    check(&outcome, data_set, false)?;
    for phases in &outcome.backups {
        eprintln!("s3: {:<15} {phases}", "milvault");
    }
    eprintln!("s3: {moved} bytes of bodies went through its process");
    let reference = get_and_put(&server, data_set).await?;
    eprintln!("s3: {:<15} {reference:>8.3} s", "get and put");
    server.kill()?;
    std::fs::remove_dir_all(&directory)?;
    Ok(figures(&outcome, moved, reference))
}

#[allow(clippy::cast_precision_loss, reason = "ratios of byte counts are told with four decimals")]
fn figures(outcome: &CopyOutcome, moved: u64, reference_seconds: f64) -> Map<String, Value> {
    let total = outcome.bytes_total as f64;
    let first = outcome.backups.first().map_or(f64::NAN, |phases| phases.total);
    // Two counts of different origin; the larger one is told.
    let own_bytes = moved.max(outcome.bytes_through_server);
    let mut figures = Map::new();
    let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
    put("s3_seconds", json!(rounded(first)));
    put("s3_get_and_put_seconds", json!(rounded(reference_seconds)));
    put("s3_ratio_to_get_and_put", json!(rounded(reference_seconds / first)));
    put("s3_peak_rss_mib", json!(rounded(outcome.peak_rss_mib)));
    put("own_bytes_ratio", json!(own_bytes as f64 / total));
    put("own_bytes_by_progress", json!(outcome.bytes_through_server));
    put("own_bytes_by_the_server", json!(moved));
    figures
}

/// Bodies that went in and out of the server, whoever's: nobody else talks to it.
fn moved_between(before: S3Traffic, after: S3Traffic) -> u64 {
    (after.received_bytes - before.received_bytes) + (after.sent_bytes - before.sent_bytes)
}

async fn upload(bucket: &AmazonS3, data_set: &DataSet) -> anyhow::Result<()> {
    let files = files_below(&data_set.root)?;
    futures::stream::iter(files.into_iter().map(anyhow::Ok))
        .try_for_each_concurrent(UPLOADS, |file| async move {
            let key =
                file.strip_prefix(&data_set.root)?.to_str().context("a key that is not UTF-8")?.to_owned();
            let body = tokio::fs::read(&file).await?;
            let location = ObjectPath::from(format!("{SOURCE_PREFIX}/{key}"));
            bucket.put(&location, PutPayload::from(body)).await.with_context(|| format!("upload {key}"))?;
            Ok(())
        })
        .await
}

async fn get_and_put(server: &SeaweedFs, data_set: &DataSet) -> anyhow::Result<f64> {
    let (source, target) = (server.bucket(SOURCE_BUCKET)?, server.bucket(REFERENCE_BUCKET)?);
    let mut keys: Vec<ObjectPath> = Vec::new();
    let began = Instant::now();
    let mut listing = object_store::ObjectStore::list(&source, None);
    while let Some(object) = listing.next().await {
        keys.push(object?.location);
    }
    anyhow::ensure!(keys.len() as u64 == data_set.files, "the source bucket lists {} objects", keys.len());
    for key in keys {
        let body = source.get(&key).await?.bytes().await?;
        target.put(&key, PutPayload::from(body)).await?;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn storage(server: &SeaweedFs, bucket: &str, prefix: &str) -> StorageConfig {
    StorageConfig::S3(S3Storage {
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        endpoint: Some(server.endpoint()),
        region: None,
        addressing: S3Addressing::Path,
        credentials: S3Credentials::Static {
            access_key_id: server.admin().access_key.clone(),
            secret_access_key: Secret::Value(SecretValue::new(server.admin().secret_key.clone())),
            session_token: None,
        },
        ca_pem: None,
    })
}
