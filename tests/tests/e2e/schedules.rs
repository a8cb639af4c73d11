//! Automatic backups: switching a policy on makes a first one at once, of everything.

use crate::support::{Installation, PATIENCE, is_final, number, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use serde_json::json;

const DATABASE: &str = "schedules";
/// About 160 MiB, three packs.
const ROWS: u64 = 40_000;
const DIMENSION: usize = 1024;
/// So slow that there is time to ask for another backup.
const BYTES_PER_SECOND: u64 = 32 << 20;

const SET: &str = "mutation($input: SetBackupPolicyInput!) { setBackupPolicy(input: $input) {
    backupPolicy { enabled nextRunAt lastRunAt } job { id backupId createdBy } } }";

#[tokio::test(flavor = "multi_thread")]
async fn switching_a_policy_on_makes_an_automatic_backup_and_holds_manual_ones_off() -> Result<()> {
    let installation = Installation::start("schedules").await?;
    let slow = json!({ "maxBytesPerSecond": BYTES_PER_SECOND, "cuSize": 1 });
    let (cluster_id, milvus) = installation.with_local_cluster(slow).await?;
    let api = &installation.api;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", ROWS, DIMENSION).await?;

    let input = json!({ "clusterId": cluster_id, "enabled": true, "weekdays": [1, 4], "startTime": "02:00",
        "timeZone": "Europe/Berlin", "retentionDays": 3 });
    let answer = api.request(SET, json!({ "input": input })).await?;
    let set = &answer["setBackupPolicy"];
    let policy = &set["backupPolicy"];
    ensure!(policy["nextRunAt"].is_string() && policy["lastRunAt"].is_string(), "{set}");
    assert_eq!(set["job"]["createdBy"], "schedule", "{set}");
    let job_id = text(&set["job"]["id"]);
    let backup_id = text(&set["job"]["backupId"]);

    let mut events = api.watch(job_id).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job = event.context("the events ended before the job did")??["jobUpdated"].take();
        ensure!(!is_final(&job), "it ended before a manual backup could be asked for: {job}");
        if number(&job["progress"]["objectsDone"]) > 0 {
            break;
        }
    }
    let refused = api.create_backup(&cluster_id, json!({})).await;
    let error = refused.err().context("a manual backup was accepted while an automatic one was at work")?;
    ensure!(error.to_string().starts_with("CONFLICT"), "{error}");

    let job = api.await_end(job_id).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    let backup = api.backup(backup_id).await?;
    assert_eq!((&backup["creationMethod"], &backup["type"]), (&json!("AUTO"), &json!("CLUSTER")), "{backup}");
    ensure!(number(&backup["rowCount"]) >= ROWS && backup["expiresAt"].is_string(), "{backup}");
    api.verify_ok(backup_id).await?;

    api.update_cluster(&cluster_id, json!({ "maxBytesPerSecond": null })).await?;
    let (manual, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    assert_eq!(manual["creationMethod"], "MANUAL", "{manual}");
    ensure!(number(&job["progress"]["bytesReused"]) > 0, "what was copied was not found: {job}");

    // The policy outlives the server, and one that is on makes nothing at a start.
    let installation = installation.restart().await?;
    let query = "query($id: ID!) { cluster(id: $id) { backupPolicy { enabled weekdays lastRunAt } } }";
    let shown = installation.api.request(query, json!({ "id": cluster_id })).await?;
    let kept = &shown["cluster"]["backupPolicy"];
    assert_eq!((&kept["enabled"], &kept["weekdays"]), (&json!(true), &json!([1, 4])), "{shown}");
    assert_eq!(kept["lastRunAt"], policy["lastRunAt"]);
    installation.finish().await
}
