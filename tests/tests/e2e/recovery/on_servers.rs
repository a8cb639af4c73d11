//! Recovery where repositories are buckets and the catalog is PostgreSQL's.

use super::{FAST, ended_catalog_backup, rebuild, remove, seen, words};
use crate::support::{
    Api, Installation, LAKE, plain_collection, run_directory, s3_argument, s3_milvus, s3_secret, s3_storage,
    text,
};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::MilvusClient;
use milvault_tests::servers::{Postgres, Tools};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_rebuilt_from_a_bucket() -> Result<()> {
    const BUCKET: &str = "recovered";
    const DATABASE: &str = "recovery_s3";
    let (store, milvus) = s3_milvus().await?;
    store.create_bucket(BUCKET).await?;
    let secret = s3_secret(store);
    let mut installation = Installation::start_with("recovery_s3", &[secret, FAST[0]]).await?;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let api = &installation.api;
    let repository_id = api.register_repository("bucket", &storage(BUCKET, "milvault/prod")).await?;
    let cluster_id =
        api.register_cluster(&milvus.uri(), &storage(LAKE, "files"), &repository_id, json!({})).await?;
    let database = MilvusClient::connect(&milvus.uri()).await?.create_database(DATABASE).await?;
    plain_collection(&database, "rows", 1_000, 32).await?;
    let (first, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let (renamed, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let rename = "mutation($input: UpdateBackupInput!) { updateBackup(input: $input) { backup { name } } }";
    api.request(rename, json!({ "input": { "backupId": renamed["id"], "name": "before the move" } })).await?;
    let set = "mutation($input: SetBackupPolicyInput!) { setBackupPolicy(input: $input) { job { id } } }";
    let input = json!({ "clusterId": cluster_id, "enabled": true, "cron": "0 3 * * *", "retentionDays": 9,
        "keep": { "lastN": 3, "weekly": 4 } });
    let answer = api.request(set, json!({ "input": input })).await?;
    let job = api.await_end(text(&answer["setBackupPolicy"]["job"]["id"])).await?;
    ensure!(job["state"] == "SUCCESSFUL", "{job}");
    let before = seen(&installation).await?;
    ensure!(before.len() == 3, "{before:?}");
    catalog_backup_made(api).await?;
    installation.milvault.kill()?;

    let place = s3_argument(store, BUCKET, "milvault/prod");
    lose(&installation)?;
    let owner_key = installation.milvault.api_key_file();
    let owner_key = owner_key.to_str().context("a path in Unicode")?;
    let rebuilt = rebuild(&installation, &place, &["--owner-key-file", owner_key]).await?;
    ensure!(rebuilt.status.success() && words(&rebuilt.stdout).contains("needs registration"), "{rebuilt:?}");
    ensure!(!words(&rebuilt.stdout).contains(secret.1), "a secret is shown");
    installation = installation.come_back().await?;
    ensure!(seen(&installation).await? == before, "{:#?} was {before:#?}", seen(&installation).await?);
    // The policy is there, switched off until the cluster has its address.
    let policy = "query($id: ID!) { cluster(id: $id) { backupPolicy { enabled cron retentionDays keep { lastN weekly } } } }";
    let policy = installation.api.request(policy, json!({ "id": cluster_id })).await?;
    let expected = json!({ "enabled": false, "cron": "0 3 * * *", "retentionDays": 9, "keep": { "lastN": 3, "weekly": 4 } });
    assert_eq!(policy["cluster"]["backupPolicy"], expected);
    let address = json!({ "uri": milvus.uri(), "storage": storage(LAKE, "files") });
    installation.api.update_cluster(&cluster_id, address).await?;
    let (next, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(next["reusedObjectCount"], next["objectCount"]);
    for backup in [&first, &next] {
        installation.api.verify_ok(text(&backup["id"])).await?;
    }
    installation.finish().await
}

/// Asks for a backup of the catalog, and waits until it is made.
async fn catalog_backup_made(api: &Api) -> Result<()> {
    let ask = "mutation { createCatalogBackup(input: {}) { catalogBackup { name } } }";
    let begun = api.request(ask, json!({})).await?;
    let name = &begun["createCatalogBackup"]["catalogBackup"]["name"];
    let made = ended_catalog_backup(api, |backup| backup["name"] == *name).await?;
    ensure!(made["state"] == "MADE" && made["repository"]["name"] == "bucket", "{made}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_restored_from_a_bucket() -> Result<()> {
    const BUCKET: &str = "restored";
    const DATABASE: &str = "restored_s3";
    let (store, milvus) = s3_milvus().await?;
    store.create_bucket(BUCKET).await?;
    let secret = s3_secret(store);
    let mut installation = Installation::start_with("restored_s3", &[secret]).await?;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let api = &installation.api;
    let repository_id = api.register_repository("bucket", &storage(BUCKET, "milvault/prod")).await?;
    let cluster_id =
        api.register_cluster(&milvus.uri(), &storage(LAKE, "files"), &repository_id, json!({})).await?;
    let database = MilvusClient::connect(&milvus.uri()).await?.create_database(DATABASE).await?;
    plain_collection(&database, "rows", 1_000, 32).await?;
    api.back_up(&cluster_id, &[DATABASE]).await?;
    catalog_backup_made(api).await?;
    // What the backup of the catalog does not know, the repository does.
    api.back_up(&cluster_id, &[DATABASE]).await?;
    let before = seen(&installation).await?;
    let key_file = installation.milvault.data_dir().join("master.key");
    let master_key = fs::read(&key_file)?;
    installation.milvault.kill()?;

    lose(&installation)?;
    fs::write(&key_file, &master_key)?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    let place = s3_argument(store, BUCKET, "milvault/prod");
    let restored = installation.milvault.run_command(&["catalog", "restore", "--repository", &place]).await?;
    ensure!(restored.status.success(), "{restored:?}");
    installation = installation.come_back().await?;
    let essence = |backups: Vec<Value>| -> Vec<Value> {
        // The record beside a manifest is written after its job has ended, so a server that is killed then may not have
        // said yet what the backup stored.
        let of = |backup: Value| {
            json!([backup["id"], backup["name"], backup["cutAt"], backup["objectCount"], backup["status"]])
        };
        backups.into_iter().map(of).collect()
    };
    assert_eq!(essence(seen(&installation).await?), essence(before));
    // Address and credentials of the cluster are there again, so it goes on at once.
    let (next, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(next["reusedObjectCount"], next["objectCount"]);
    installation.finish().await
}

/// Loses the catalog and its key.
fn lose(installation: &Installation) -> Result<()> {
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "master.key"] {
        remove(&installation.milvault.data_dir().join(name))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_that_seals_secrets_is_changed_on_postgresql() -> Result<()> {
    const DATABASE: &str = "rotation";
    let directory = run_directory()?.join("rotation_postgresql");
    let postgres = Postgres::start(&Tools::install().await?, &directory).await?;
    let url = postgres.create_database("milvault").await?;
    let mut installation = Installation::start_with("rotation", &[("MILVAULT_CATALOG__URL", &url)]).await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", 500, 16).await?;
    let (first, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    let key_file = installation.milvault.data_dir().join("master.key");
    let former = fs::read_to_string(&key_file)?;

    for command in ["check", "rotate"] {
        let refused = installation.milvault.run_command(&["secrets", command]).await?;
        ensure!(
            !refused.status.success() && words(&refused.stderr).contains("uses the catalog"),
            "{refused:?}"
        );
    }
    assert_eq!(fs::read_to_string(&key_file)?, former, "a refused rotation changes nothing");
    installation.milvault.terminate().await?;
    let rotated = installation.milvault.run_command(&["secrets", "rotate"]).await?;
    ensure!(rotated.status.success(), "{rotated:?}");
    let current = fs::read_to_string(&key_file)?;
    assert_ne!(current, former);
    let checked = installation.milvault.run_command(&["secrets", "check"]).await?;
    ensure!(checked.status.success(), "{checked:?}");
    ensure!(words(&checked.stdout).contains("clusters.endpoint_sealed"), "{checked:?}");

    // The server reads what was sealed anew, and goes on.
    installation = installation.come_back().await?;
    let (next, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(next["reusedObjectCount"], next["objectCount"]);
    installation.api.verify_ok(text(&first["id"])).await?;
    installation.milvault.terminate().await?;

    // Cut off after the new key was written: it is finished, and a wrong key is refused.
    let third = "ab".repeat(32);
    fs::write(&key_file, format!("{third}\n{current}"))?;
    let finished = installation.milvault.run_command(&["secrets", "rotate"]).await?;
    ensure!(finished.status.success(), "{finished:?}");
    assert_eq!(fs::read_to_string(&key_file)?.trim(), third);
    fs::write(&key_file, &former)?;
    let refused = installation.milvault.run_command(&["secrets", "rotate"]).await?;
    ensure!(!refused.status.success() && words(&refused.stderr).contains("put the key back"), "{refused:?}");
    fs::write(&key_file, &third)?;
    installation = installation.come_back().await?;
    let (last, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(last["reusedObjectCount"], last["objectCount"]);
    installation.finish().await
}
