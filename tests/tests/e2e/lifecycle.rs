//! Backups are held, deleted and swept; what others need stays, also when the server is killed inside a sweep.

use crate::support::{Installation, PATIENCE, number, plain_collection, text};
use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use milvault_tests::graphql_client::GraphqlError;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// No time of grace, and no sweep that nobody asked for.
const SETTINGS: [(&str, &str); 2] =
    [("MILVAULT_JOBS__SWEEP_GRACE_SECONDS", "0"), ("MILVAULT_JOBS__RETENTION_INTERVAL_SECONDS", "86400")];
/// About 160 MiB, three packs.
const ROWS: u64 = 40_000;
const DIMENSION: usize = 1024;

#[tokio::test(flavor = "multi_thread")]
async fn deleted_backups_are_swept_and_what_others_need_stays() -> Result<()> {
    let mut installation = Installation::start_with("lifecycle", &SETTINGS).await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    plain_collection(&milvus.create_database("lifecycle_a").await?, "rows", ROWS, DIMENSION).await?;
    plain_collection(&milvus.create_database("lifecycle_b").await?, "rows", 1_000, DIMENSION).await?;
    let repository = installation.repository_dir();
    let api = &installation.api;
    let (first, _) = api.back_up(&cluster_id, &["lifecycle_a"]).await?;
    let only_a = data_files(&repository)?;
    let (second, _) = api.back_up(&cluster_id, &["lifecycle_a", "lifecycle_b"]).await?;
    let (third, _) = api.back_up(&cluster_id, &["lifecycle_b"]).await?;
    let both = data_files(&repository)?;
    ensure!(only_a.0 >= 3 && both.0 > only_a.0, "{only_a:?} {both:?}");

    // Held, it stays.
    let hold = "mutation($input: HoldBackupInput!) { holdBackup(input: $input) { hold { id active } } }";
    let input = json!({ "input": { "backupId": first["id"], "reason": "audit of 2026" } });
    let answer = api.request(hold, input).await?;
    assert_eq!(answer["holdBackup"]["hold"]["active"], true);
    match delete(&installation, &first).await {
        Err(GraphqlError::Answer { code, message, .. }) if code == "CONFLICT" => {
            ensure!(message.contains("audit of 2026"), "{message}");
        }
        other => bail!("CONFLICT was expected, not {other:?}"),
    }
    let release = "mutation($input: ReleaseHoldInput!) { releaseHold(input: $input) { hold { active } } }";
    api.request(release, json!({ "input": { "holdId": answer["holdBackup"]["hold"]["id"] } })).await?;

    // Its files are those of the second, too: only its manifest goes.
    let deletion = delete(&installation, &first).await?;
    assert_eq!(api.await_end(&deletion).await?["state"], "SUCCESSFUL");
    assert_eq!(delete(&installation, &first).await?, deletion);
    ensure!(backup_files(&repository, &first)?.contains(&String::from("deleted.json")));
    let sweep = sweep(&installation, &cluster_id).await?;
    assert_eq!(api.await_end(&sweep).await?["state"], "SUCCESSFUL");
    assert_eq!(data_files(&repository)?, both);
    assert_eq!(backup_files(&repository, &first)?, Vec::<String>::new());
    api.verify_ok(text(&second["id"])).await?;

    // What only the second needs goes, whatever happens to the server meanwhile.
    let deletion = delete(&installation, &second).await?;
    assert_eq!(api.await_end(&deletion).await?["state"], "SUCCESSFUL");
    let preview = preview(&installation, &cluster_id).await?;
    assert_eq!((number(&preview["files"]), number(&preview["bytes"])), only_a);
    let job_id = self::sweep(&installation, &cluster_id).await?;
    let mut events = api.watch(&job_id).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job = event.context("the events ended before the job did")??["jobUpdated"].take();
        if job["state"] != "PENDING" {
            break;
        }
    }
    drop(events);
    installation = installation.crash().await?;
    let api = &installation.api;
    let ended = api.await_end(&job_id).await?;
    assert_eq!(ended["state"], "SUCCESSFUL", "{ended}");
    let left = data_files(&repository)?;
    assert_eq!(left, (both.0 - only_a.0, both.1 - only_a.1));
    assert_eq!(backup_files(&repository, &second)?, Vec::<String>::new());
    api.verify_ok(text(&third["id"])).await?;
    let storage =
        "query($id: ID!) { backup(id: $id) { storage { storedBytes sharedBytes freedIfDeletedBytes } } }";
    let storage = api.request(storage, json!({ "id": third["id"] })).await?["backup"]["storage"].take();
    assert_eq!(storage, json!({ "storedBytes": left.1, "sharedBytes": 0, "freedIfDeletedBytes": left.1 }));
    let preview = self::preview(&installation, &cluster_id).await?;
    assert_eq!((number(&preview["files"]), &preview["backupIds"]), (0, &json!([])));
    installation.finish().await
}

async fn delete(installation: &Installation, backup: &Value) -> Result<String, GraphqlError> {
    let document = "mutation($input: DeleteBackupInput!) {
        deleteBackup(input: $input) { backup { status } job { id } } }";
    let answer = installation.api.request(document, json!({ "input": { "backupId": backup["id"] } })).await?;
    assert_eq!(answer["deleteBackup"]["backup"]["status"], "DELETED");
    Ok(text(&answer["deleteBackup"]["job"]["id"]).to_owned())
}

async fn sweep(installation: &Installation, cluster_id: &str) -> Result<String> {
    let document = "mutation($input: SweepClusterInput!) { sweepCluster(input: $input) { job { id } } }";
    let answer = installation.api.request(document, json!({ "input": { "clusterId": cluster_id } })).await?;
    Ok(text(&answer["sweepCluster"]["job"]["id"]).to_owned())
}

async fn preview(installation: &Installation, cluster_id: &str) -> Result<Value> {
    let document =
        "query($id: ID!) { previewSweep(clusterId: $id) { backupIds waiting files bytes unreadable } }";
    Ok(installation.api.request(document, json!({ "id": cluster_id })).await?["previewSweep"].take())
}

/// Number and bytes of all packs and objects.
fn data_files(repository: &Path) -> Result<(u64, u64)> {
    let mut found = (0, 0);
    for directory in ["packs", "objects"] {
        add_files(&repository.join(directory), &mut found)?;
    }
    Ok(found)
}

fn add_files(directory: &Path, found: &mut (u64, u64)) -> Result<()> {
    if !directory.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            add_files(&entry.path(), found)?;
        } else {
            *found = (found.0 + 1, found.1 + entry.metadata()?.len());
        }
    }
    Ok(())
}

/// Names of the files in a backup's directory.
fn backup_files(repository: &Path, backup: &Value) -> Result<Vec<String>> {
    let directory = repository.join("backups").join(text(&backup["id"]));
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}
