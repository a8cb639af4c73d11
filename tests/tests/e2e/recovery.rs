//! A catalog that is deleted is made again from the repository, and everything goes on.

use crate::support::{
    Api, Installation, PATIENCE, local_milvus, local_storage, plain_collection, run_directory, text,
};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::servers::{Postgres, Tools};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

mod on_servers;

const DATABASE: &str = "recovery";
const SEEN: &str = "{ backups(first: 50) { nodes { id name description status creationMethod cutAt createdAt expiresAt \
     milvusVersion logicalBytes newlyStoredBytes objectCount reusedObjectCount rowCount collectionCount createdBy \
     clusterId holds { id reason until createdBy createdAt active } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_catalog_is_rebuilt_from_its_repository() -> Result<()> {
    let mut installation = Installation::start("recovery").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", 2_000, 64).await?;
    let api = &installation.api;
    let (on_hold, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let (renamed, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let (deleted, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let policy = "mutation($input: SetBackupPolicyInput!) { setBackupPolicy(input: $input) { job { id } } }";
    let input = json!({ "clusterId": cluster_id, "enabled": true, "retentionDays": 7 });
    let answer = api.request(policy, json!({ "input": input })).await?;
    let job = api.await_end(text(&answer["setBackupPolicy"]["job"]["id"])).await?;
    ensure!(job["state"] == "SUCCESSFUL", "{job}");
    let hold = "mutation($input: HoldBackupInput!) { holdBackup(input: $input) { hold { id } } }";
    api.request(hold, json!({ "input": { "backupId": on_hold["id"], "reason": "audit of 2026" } })).await?;
    let rename = "mutation($input: UpdateBackupInput!) { updateBackup(input: $input) { backup { name } } }";
    let input = json!({ "backupId": renamed["id"], "name": "before the move", "description": "keep", "retentionDays": 20 });
    api.request(rename, json!({ "input": input })).await?;
    let delete = "mutation($input: DeleteBackupInput!) { deleteBackup(input: $input) { job { id } } }";
    let answer = api.request(delete, json!({ "input": { "backupId": deleted["id"] } })).await?;
    api.await_end(text(&answer["deleteBackup"]["job"]["id"])).await?;
    let before = seen(&installation).await?;
    ensure!(before.len() == 3, "{before:?}");

    // While a server runs, nothing is rebuilt.
    let repository = format!("safe=local:{}", installation.repository_dir().display());
    let in_use = rebuild(&installation, &repository, &[]).await?;
    ensure!(
        !in_use.status.success() && words(&in_use.stderr).contains("another Milvault server"),
        "{in_use:?}"
    );
    installation.milvault.kill()?;
    let data = installation.milvault.data_dir();
    for name in ["catalog.db", "catalog.db-wal", "catalog.db-shm", "master.key"] {
        remove(&data.join(name))?;
    }
    let dry = rebuild(&installation, &repository, &["--dry-run"]).await?;
    ensure!(dry.status.success() && words(&dry.stdout).contains("nothing was written"), "{dry:?}");
    ensure!(!data.join("catalog.db").exists(), "a dry run writes nothing");
    let key_file = installation.milvault.api_key_file();
    let key = key_file.to_str().context("a path in Unicode")?;
    let rebuilt = rebuild(&installation, &repository, &["--owner-key-file", key]).await?;
    ensure!(rebuilt.status.success() && words(&rebuilt.stdout).contains("needs registration"), "{rebuilt:?}");
    let again = rebuild(&installation, &repository, &[]).await?;
    ensure!(!again.status.success() && words(&again.stderr).contains("--merge"), "{again:?}");

    installation = installation.come_back().await?;
    ensure!(seen(&installation).await? == before, "{:#?} was {before:#?}", seen(&installation).await?);
    let clusters = "{ clusters(first: 5) { nodes { id name needsRegistration } } }";
    let clusters = installation.api.request(clusters, json!({})).await?["clusters"]["nodes"].take();
    assert_eq!(clusters, json!([{ "id": cluster_id, "name": "cluster", "needsRegistration": true }]));

    // The cluster is given its address; then a backup costs nothing new, and an old one gives its rows back.
    let api = &installation.api;
    let storage = json!({ "local": { "path": local_storage().await? } });
    api.update_cluster(&cluster_id, json!({ "uri": local_milvus().await?.uri(), "storage": storage }))
        .await?;
    let (next, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(next["reusedObjectCount"], next["objectCount"]);
    let restore = json!({ "backupId": on_hold["id"], "targetClusterId": cluster_id, "compare": "ROWS", "suffix": "_again" });
    // Every field of every row is compared before the collection gets its name.
    let job = api.restore_ok(restore).await?;
    let outcome = &job["restore"]["collections"]["nodes"][0];
    assert_eq!((&outcome["step"], &outcome["target"]["collection"]), (&json!("DONE"), &json!("rows_again")));
    assert_eq!(outcome["partitions"][0]["found"], 2_000, "{outcome}");
    installation.finish().await
}

/// What a person sees of the backups.
async fn seen(installation: &Installation) -> Result<Vec<Value>> {
    let answer = installation.api.request(SEEN, json!({})).await?;
    answer["backups"]["nodes"].as_array().cloned().context("a list of backups")
}

async fn rebuild(installation: &Installation, repository: &str, more: &[&str]) -> Result<Output> {
    let mut arguments = vec!["catalog", "rebuild", "--repository", repository];
    arguments.extend(more);
    installation.milvault.run_command(&arguments).await
}

/// The newest of the catalog's backups that is wanted, as soon as there is one that has ended.
async fn ended_catalog_backup(api: &Api, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
    let look = "{ catalogBackups(first: 5) { name state sizeBytes error repository { name } } }";
    let ended = async {
        loop {
            let mut listed = api.request(look, json!({})).await?;
            let listed = listed["catalogBackups"].as_array_mut().context("a list")?;
            let has_ended = |backup: &&mut Value| wanted(backup) && backup["state"] != "IN_PROGRESS";
            if let Some(ended) = listed.iter_mut().find(has_ended) {
                return Ok(ended.take());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.context("no backup of the catalog was made")?
}

fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

const FAST: [(&str, &str); 1] = [("MILVAULT_CATALOG__BACKUP_HOUR", "0")];

#[tokio::test(flavor = "multi_thread")]
async fn a_catalog_is_restored_from_its_daily_backup_into_another_database() -> Result<()> {
    let mut installation = Installation::start_with("recovery_daily", &FAST).await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    plain_collection(&milvus.create_database("recovery_daily").await?, "rows", 500, 16).await?;
    let (before, _) = installation.api.back_up(&cluster_id, &["recovery_daily"]).await?;
    // The first look comes half a minute after the start.
    let made = ended_catalog_backup(&installation.api, |_| true).await?;
    ensure!(made["state"] == "MADE", "{made}");
    let (since, _) = installation.api.back_up(&cluster_id, &["recovery_daily"]).await?;
    let seen_before = seen(&installation).await?;
    installation.milvault.kill()?;

    // Into PostgreSQL: what was in SQLite.
    let postgres =
        Postgres::start(&Tools::install().await?, &run_directory()?.join("recovery_postgresql")).await?;
    let url = postgres.create_database("milvault").await?;
    let repository = format!("local=local:{}", installation.repository_dir().display());
    installation.milvault.set_environment("MILVAULT_CATALOG__URL", &url);
    let arguments = ["catalog", "restore", "--repository", &repository];
    let restored = installation.milvault.run_command(&arguments).await?;
    ensure!(restored.status.success(), "{restored:?}");
    let again = installation.milvault.run_command(&arguments).await?;
    ensure!(!again.status.success() && words(&again.stderr).contains("not empty"), "{again:?}");
    installation = installation.come_back().await?;
    ensure!(seen(&installation).await? == seen_before, "other backups: {:#?}", seen(&installation).await?);
    for backup in [&before, &since] {
        installation.api.verify_ok(text(&backup["id"])).await?;
    }
    // Cluster and credentials are there, so it goes on at once, and costs nothing new.
    let (next, _) = installation.api.back_up(&cluster_id, &["recovery_daily"]).await?;
    assert_eq!(next["reusedObjectCount"], next["objectCount"]);
    installation.finish().await
}
