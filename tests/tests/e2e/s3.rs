//! A Milvus on an S3 server: the store copies by itself into another bucket, and streams into a directory.

use crate::support::{
    Bucket, Installation, LAKE, compare_buckets, compare_with_directory, number, plain_collection, s3_milvus,
    s3_secret, s3_storage, text,
};
use anyhow::{Result, ensure};
use milvault_tests::milvus_client::MilvusClient;
use serde_json::json;

const DATABASE: &str = "on_s3";
/// Bucket and prefix of the repository.
const VAULT: (&str, &str) = ("vault", "milvault/production");

#[tokio::test(flavor = "multi_thread")]
async fn the_store_copies_between_its_buckets_and_a_directory_gets_the_same_bytes() -> Result<()> {
    let (store, milvus) = s3_milvus().await?;
    store.create_bucket(VAULT.0).await?;
    let secret = s3_secret(store);
    let installation = Installation::start_with("s3", &[secret]).await?;
    let api = &installation.api;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let in_bucket = api.register_repository("bucket", &storage(VAULT.0, VAULT.1)).await?;
    let cluster_id =
        api.register_cluster(&milvus.uri(), &storage(LAKE, "files"), &in_bucket, json!({})).await?;
    let check = api.check_cluster(&cluster_id).await?;
    assert_eq!(check["ok"], true, "{check}");

    let database = MilvusClient::connect(&milvus.uri()).await?.create_database(DATABASE).await?;
    plain_collection(&database, "kept", 10_000, 256).await?;
    database.delete("kept", "id in [1, 2, 3]").await?;
    // Milvus's own traffic must not count below.
    database.flush(&["kept"]).await?;
    let before = store.traffic().await?;
    let (backup, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let after = store.traffic().await?;
    let logical_bytes = number(&backup["logicalBytes"]);
    ensure!(logical_bytes > 10_000_000, "ten thousand vectors of 256 floats have {logical_bytes} bytes");
    assert_eq!(job["progress"]["bytesThroughServer"], 0, "{job}");
    let moved = after.received_bytes - before.received_bytes + after.sent_bytes - before.sent_bytes;
    ensure!(moved < logical_bytes / 4, "{moved} bytes went through clients for a backup of {logical_bytes}");
    let lake = Bucket { store: store.bucket(LAKE)?, prefix: "files" };
    let vault = Bucket { store: store.bucket(VAULT.0)?, prefix: VAULT.1 };
    let compared = compare_buckets(&vault, text(&backup["id"]), &lake).await?;
    assert_eq!(json!(compared), backup["objectCount"]);
    let verify = api.verify_ok(text(&backup["id"])).await?;
    assert_eq!(verify["verifyReport"]["bytesRead"], logical_bytes);

    let (again, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(job["progress"]["bytesReused"], again["logicalBytes"], "nothing changed: {job}");
    api.verify_ok(text(&again["id"])).await?;

    let in_directory = api.register_local_repository("directory", &installation.repository_dir()).await?;
    api.update_cluster(&cluster_id, json!({ "repositoryId": in_directory })).await?;
    let (streamed, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(job["progress"]["bytesThroughServer"], streamed["logicalBytes"], "{job}");
    assert_eq!(streamed["logicalBytes"], logical_bytes);
    let compared =
        compare_with_directory(&installation.repository_dir(), text(&streamed["id"]), &lake).await?;
    assert_eq!(json!(compared), streamed["objectCount"]);
    api.verify_ok(text(&streamed["id"])).await?;
    installation.finish().await
}
