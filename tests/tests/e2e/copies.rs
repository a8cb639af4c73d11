//! A backup of a real Milvus is copied from a directory to an S3 server, and stands by itself there.

use crate::support::{
    Bucket, Installation, LAKE, index_and_load, number, plain_collection, s3_milvus, s3_secret, s3_storage,
    text,
};
use anyhow::{Result, ensure};
use milvault_tests::graphql_client::GraphqlError;
use milvault_tests::milvus_client::MilvusClient;
use serde_json::{Value, json};
use std::fs;

const DATABASE: &str = "copied";
const ROWS: u64 = 5_000;
/// Bucket and prefix of the second repository.
const OFFSITE: (&str, &str) = ("offsite", "milvault/second");

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_outlives_the_backup_it_was_taken_from() -> Result<()> {
    let (store, milvus) = s3_milvus().await?;
    store.create_bucket(OFFSITE.0).await?;
    let secret = s3_secret(store);
    let grace = ("MILVAULT_JOBS__SWEEP_GRACE_SECONDS", "0");
    let installation = Installation::start_with("copies", &[secret, grace]).await?;
    let api = &installation.api;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let first = api.register_local_repository("directory", &installation.repository_dir()).await?;
    let second = api.register_repository("offsite", &storage(OFFSITE.0, OFFSITE.1)).await?;
    let cluster_id = api.register_cluster(&milvus.uri(), &storage(LAKE, "files"), &first, json!({})).await?;
    let database = MilvusClient::connect(&milvus.uri()).await?.create_database(DATABASE).await?;
    plain_collection(&database, "kept", ROWS, 64).await?;
    index_and_load(&database, "kept").await?;
    database.delete("kept", "id in [1, 2, 3]").await?;
    let expected = database.rows("kept").await?;
    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;

    let copy = "mutation($input: CopyBackupInput!) { copyBackup(input: $input) {
        backup { id name copiedFrom { backupId repositoryId backup { status } } } job { id type } } }";
    let input = json!({ "backupId": backup["id"], "repositoryId": second, "name": "offsite",
        "idempotencyKey": "once" });
    let answer = api.request(copy, json!({ "input": input })).await?["copyBackup"].take();
    assert_eq!(answer["job"]["type"], "COPY");
    let origin =
        json!({ "backupId": backup["id"], "repositoryId": first, "backup": { "status": "AVAILABLE" } });
    assert_eq!(answer["backup"]["copiedFrom"], origin);
    let repeated = api.request(copy, json!({ "input": input })).await?["copyBackup"].take();
    assert_eq!(repeated["job"]["id"], answer["job"]["id"]);
    let job = api.await_end(text(&answer["job"]["id"])).await?;
    assert_eq!((&job["state"], &job["progress"]["percent"]), (&json!("SUCCESSFUL"), &json!(100)), "{job}");
    assert_eq!(job["progress"]["bytesThroughServer"], backup["logicalBytes"]);
    let copy_id = text(&answer["backup"]["id"]).to_owned();
    let copied = api.backup(&copy_id).await?;
    for field in
        ["cutAt", "milvusVersion", "logicalBytes", "objectCount", "rowCount", "scope", "creationMethod"]
    {
        assert_eq!(copied[field], backup[field], "{field}");
    }
    assert_eq!(copied["expiresAt"], Value::Null);

    // The first one goes for good: its files and its directory.
    let delete = "mutation($input: DeleteBackupInput!) { deleteBackup(input: $input) { job { id } } }";
    let answer = api.request(delete, json!({ "input": { "backupId": backup["id"] } })).await?;
    assert_eq!(api.await_end(text(&answer["deleteBackup"]["job"]["id"])).await?["state"], "SUCCESSFUL");
    let sweep =
        api.start_job("sweepCluster", "SweepClusterInput", json!({ "clusterId": cluster_id })).await?;
    assert_eq!(api.await_end(&sweep).await?["state"], "SUCCESSFUL");
    fs::remove_dir_all(installation.repository_dir())?;

    let verify = api.verify_ok(&copy_id).await?;
    assert_eq!(verify["verifyReport"]["bytesRead"], backup["logicalBytes"]);
    let vault = Bucket { store: store.bucket(OFFSITE.0)?, prefix: OFFSITE.1 };
    let lake = Bucket { store: store.bucket(LAKE)?, prefix: "files" };
    let compared = crate::support::compare_buckets(&vault, &copy_id, &lake).await?;
    assert_eq!(json!(compared), backup["objectCount"]);

    database.drop_collection("kept").await?;
    let input = json!({ "backupId": copy_id, "targetClusterId": cluster_id, "compare": "ROWS" });
    api.restore_ok(input).await?;
    let restored = database.rows("kept").await?;
    ensure!(restored == expected, "{} rows came back of {}", restored.len(), expected.len());
    assert_eq!(restored.len() as u64, ROWS - 3);

    let list = "query($id: ID!) { backup(id: $id) { copiedFrom { backup { status copies { id } } } } }";
    let shown = api.request(list, json!({ "id": copy_id })).await?["backup"].take();
    assert_eq!(shown["copiedFrom"]["backup"], json!({ "status": "DELETED", "copies": [{ "id": copy_id }] }));
    ensure!(number(&copied["newlyStoredBytes"]) >= number(&copied["logicalBytes"]), "{copied}");
    match api.request(copy, json!({ "input": { "backupId": backup["id"], "repositoryId": second } })).await {
        Err(GraphqlError::Answer { code, .. }) if code == "CONFLICT" => {}
        other => anyhow::bail!("CONFLICT was expected, not {other:?}"),
    }
    installation.finish().await
}
