//! Live progress over graphql-transport-ws.

use crate::support::{Installation, PATIENCE, Started, is_final, number, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use milvault_tests::graphql_client::Subscription;
use serde_json::{Value, json};

/// So slow that the copy of [`start`] lasts for several events.
const BYTES_PER_SECOND: u64 = 6 << 20;

/// An installation with a backup of about 16 MiB that was just begun.
async fn start(test: &str) -> Result<(Installation, String, Started)> {
    let installation = Installation::start(test).await?;
    let slow = json!({ "maxBytesPerSecond": BYTES_PER_SECOND });
    let (cluster_id, milvus) = installation.with_local_cluster(slow).await?;
    plain_collection(&milvus.create_database(test).await?, "rows", 16_000, 256).await?;
    let scope = json!({ "scope": { "databases": [test] } });
    let started = installation.api.create_backup(&cluster_id, scope).await?;
    Ok((installation, cluster_id, started))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_shown_as_it_is_and_then_as_it_goes_on_until_its_end() -> Result<()> {
    let (installation, _, started) = start("watch_job").await?;
    let api = &installation.api;
    let asked = api.job(&started.job_id).await?;
    let mut events = api.watch(&started.job_id).await?;
    let mut seen = Vec::new();
    while let Some(job) = next(&mut events, "jobUpdated").await? {
        assert_eq!(job["id"], started.job_id);
        seen.push(job);
    }
    let (first, last) = seen.first().zip(seen.last()).context("no event at all")?;
    ensure!(rank(first) >= rank(&asked), "the first event {first} is older than the answer {asked}");
    ensure!(!is_final(first), "{first}");
    ensure!(seen.len() > 4, "{} events", seen.len());
    for pair in seen.windows(2) {
        let (before, after) = (&pair[0], &pair[1]);
        ensure!(rank(after) >= rank(before), "{before} came before {after}");
        let percent = |job: &Value| number(&job["progress"]["percent"]);
        ensure!(percent(after) >= percent(before), "{before} came before {after}");
        ensure!(percent(before) < 100 || text(&before["phase"]) == "SEAL", "100 percent too early: {before}");
    }
    assert_eq!(last["state"], "SUCCESSFUL");
    assert_eq!(last["progress"]["percent"], 100);
    assert_eq!(seen.iter().filter(|job| is_final(job)).count(), 1);
    let copying = seen.iter().find(|job| !job["progress"]["bytesPerSecond"].is_null());
    copying.context("no event tells a rate")?;

    // The history has every phase, in order, whatever the events left out.
    let job = api.job(&started.job_id).await?;
    let phases: Vec<&str> =
        job["history"].as_array().into_iter().flatten().filter_map(|event| event["phase"].as_str()).collect();
    let mut order = phases.clone();
    order.dedup();
    assert_eq!(order, ["CUT", "PLAN", "COPY", "SEAL"], "{}", job["history"]);

    // A job that has ended is one event.
    let mut events = api.watch(&started.job_id).await?;
    assert_eq!(next(&mut events, "jobUpdated").await?.context("the current state")?["state"], "SUCCESSFUL");
    ensure!(next(&mut events, "jobUpdated").await?.is_none(), "the subscription goes on after the end");
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobs_of_a_cluster_are_shown_from_the_open_ones_on() -> Result<()> {
    let (installation, cluster_id, started) = start("watch_cluster").await?;
    let api = &installation.api;
    let mut events = api.watch_cluster(&cluster_id).await?;
    let first = next(&mut events, "jobUpdates").await?.context("the open job")?;
    assert_eq!(first["id"], started.job_id);
    loop {
        let job = next(&mut events, "jobUpdates").await?.context("the subscription ended by itself")?;
        if job["id"] == started.job_id && is_final(&job) {
            assert_eq!(job["state"], "SUCCESSFUL");
            break;
        }
    }
    // It stays open, and shows jobs that come later.
    let verify = api.verify_ok(&started.backup_id).await?;
    loop {
        let job = next(&mut events, "jobUpdates").await?.context("the subscription ended by itself")?;
        if job["id"] == verify["id"] && is_final(&job) {
            assert_eq!(job["type"], "VERIFY");
            break;
        }
    }
    // Whoever looks at another cluster sees nothing of this.
    let unknown = api.watch_cluster("clu_0190f6f0aaaa7bbb8cccddddeeeeffff").await?;
    let refused = tokio::time::timeout(PATIENCE, { unknown }.next()).await?.context("an answer")?;
    ensure!(refused.is_err_and(|error| error.code() == Some("NOT_FOUND")));
    installation.finish().await
}

/// The next event; `None` when the subscription is complete.
async fn next(events: &mut Subscription, field: &str) -> Result<Option<Value>> {
    let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
    Ok(event.transpose()?.map(|mut data| data[field].take()))
}

/// How far a job is by its state and phase.
fn rank(job: &Value) -> usize {
    let stage = match job["state"].as_str() {
        Some("IN_PROGRESS") => text(&job["phase"]),
        other => other.unwrap_or_default(),
    };
    let stages = ["PENDING", "CUT", "PLAN", "COPY", "SEAL", "SUCCESSFUL"];
    stages.iter().position(|known| *known == stage).unwrap_or(usize::MAX)
}
