//! A job is stopped by whoever asked for it.

use crate::support::{Installation, PATIENCE, is_final, number, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use serde_json::{Value, json};

const DATABASE: &str = "cancel";
/// About 160 MiB, three packs.
const ROWS: u64 = 40_000;
const DIMENSION: usize = 1024;
/// So slow that there is time to stop after the first pack.
const BYTES_PER_SECOND: u64 = 24 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_backup_is_not_there_and_what_it_copied_is_used_by_the_next() -> Result<()> {
    let installation = Installation::start("cancel").await?;
    let slow = json!({ "maxBytesPerSecond": BYTES_PER_SECOND, "cuSize": 1 });
    let (cluster_id, milvus) = installation.with_local_cluster(slow).await?;
    let api = &installation.api;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", ROWS, DIMENSION).await?;

    let started = api.create_backup(&cluster_id, json!({ "scope": { "databases": [DATABASE] } })).await?;
    let mut events = api.watch(&started.job_id).await?;
    let mut next = async || -> Result<Value> {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        Ok(event.context("the events ended before the job did")??["jobUpdated"].take())
    };
    loop {
        let job = next().await?;
        ensure!(!is_final(&job), "it ended before it could be stopped: {job}");
        if number(&job["progress"]["objectsDone"]) > 0 {
            break;
        }
    }
    let answered = api.cancel(&started.job_id).await?;
    ensure!(matches!(text(&answered["state"]), "CANCELING" | "CANCELED"), "{answered}");
    let ended = loop {
        let job = next().await?;
        if is_final(&job) {
            break job;
        }
    };
    assert_eq!(ended["state"], "CANCELED", "{ended}");
    // It stopped where it was, instead of finishing first.
    ensure!(number(&ended["progress"]["percent"]) < 100, "{ended}");
    assert_eq!(api.backup(&started.backup_id).await?["status"], "FAILED");
    let directory = installation.repository_dir().join("backups").join(&started.backup_id);
    ensure!(!directory.join("manifest").exists(), "a canceled backup has a manifest");
    let refused = api.verify(&started.backup_id).await;
    ensure!(refused.is_err_and(|error| error.to_string().starts_with("CONFLICT")));

    api.update_cluster(&cluster_id, json!({ "maxBytesPerSecond": null })).await?;
    let (backup, job) = api.back_up(&cluster_id, &[DATABASE]).await?;
    ensure!(number(&job["progress"]["bytesReused"]) > 0, "what was copied was not found: {job}");
    assert_eq!(backup["rowCount"], ROWS);
    api.verify_ok(text(&backup["id"])).await?;
    installation.finish().await
}
