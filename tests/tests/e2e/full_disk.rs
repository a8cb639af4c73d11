//! A repository that is full, and one that cannot be written.

use crate::support::{Installation, SmallDisk, local_milvus, local_storage, plain_collection, text};
use anyhow::{Result, ensure};
use milvault_tests::milvus_client::MilvusClient;
use serde_json::{Value, json};

const DATABASE: &str = "full_disk";
/// About 48 MiB of binlogs.
const ROWS: u64 = 12_000;
const DIMENSION: usize = 1024;
const TOO_SMALL_MEBIBYTES: u32 = 16;
const LARGE_ENOUGH_MEBIBYTES: u32 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_or_read_only_fails_the_job_in_words_and_nothing_else() -> Result<()> {
    let installation = Installation::start("full_disk").await?;
    let disk = SmallDisk::mount(installation.repository_dir(), TOO_SMALL_MEBIBYTES)?;
    let (api, milvus) = (&installation.api, local_milvus().await?);
    let repository_id = api.register_local_repository("small", &disk.path().join("repository")).await?;
    let storage = json!({ "local": { "path": local_storage().await? } });
    let cluster_id = api.register_cluster(&milvus.uri(), &storage, &repository_id, json!({})).await?;
    let database = MilvusClient::connect(&milvus.uri()).await?.create_database(DATABASE).await?;
    plain_collection(&database, "rows", ROWS, DIMENSION).await?;

    let failure = fail_to_back_up(&installation, &cluster_id).await?;
    ensure!(failure.contains("no space is left"), "{failure} does not tell that the disk is full");
    disk.resize(LARGE_ENOUGH_MEBIBYTES)?;
    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    api.verify_ok(text(&backup["id"])).await?;

    disk.make_read_only()?;
    let check = api.check_cluster(&cluster_id).await?;
    assert_eq!(check["ok"], false, "{check}");
    let failure = fail_to_back_up(&installation, &cluster_id).await?;
    ensure!(failure.contains("read-only"), "{failure} does not tell that nothing can be written");
    // What is there can still be checked.
    let verify = api.verify(text(&backup["id"])).await?;
    assert_eq!(verify["verifyReport"]["failureCount"], 0, "{verify}");
    disk.make_writable()?;
    let (again, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(again["rowCount"], ROWS);
    api.verify_ok(text(&again["id"])).await?;
    drop(disk);
    installation.finish().await
}

/// Why the job failed, in lower case.
async fn fail_to_back_up(installation: &Installation, cluster_id: &str) -> Result<String> {
    let scope = json!({ "scope": { "databases": [DATABASE] } });
    let started = installation.api.create_backup(cluster_id, scope).await?;
    let job: Value = installation.api.await_end(&started.job_id).await?;
    assert_eq!(job["state"], "FAILED", "{job}");
    assert_eq!(installation.api.backup(&started.backup_id).await?["status"], "FAILED");
    Ok(text(&job["failure"]).to_lowercase())
}
