//! Programs go on writing while the backup is made: what comes back is one instant of all of it.

use super::check_clean;
use crate::support::{Installation, index_and_load, plain_collection, plain_rows};
use anyhow::{Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, RowKey, Rows};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "instant";
const DIMENSION: usize = 16;
/// Rows in both collections before the writers begin.
const ROWS: u64 = 1_000;
const WRITERS: u64 = 3;
/// Keys between two writers.
const WRITER_STRIDE: u64 = 1_000_000;
/// Batches that every writer has written before the backup is asked for, and after it.
const BATCHES_AROUND: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_to_a_before_b_is_in_every_restored_state_of_both() -> Result<()> {
    let installation = Installation::start("restore_instant").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let database = milvus.create_database(DATABASE).await?;
    for name in ["a", "b"] {
        plain_collection(&database, name, ROWS, DIMENSION).await?;
        index_and_load(&database, name).await?;
    }
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let mut written = Vec::new();
    for writer in 0..WRITERS {
        let batches = Arc::new(AtomicU64::new(0));
        written.push(Arc::clone(&batches));
        tasks.spawn(write(database.clone(), writer, batches, stop.clone()));
    }
    tasks.spawn(flush_and_compact(database.clone(), stop.clone()));
    all_reach(&written, BATCHES_AROUND).await;
    let acknowledged: Vec<u64> = written.iter().map(|batches| batches.load(Ordering::SeqCst)).collect();
    let (backup, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    let later = written.iter().map(|batches| batches.load(Ordering::SeqCst)).max().unwrap_or(0);
    all_reach(&written, later + BATCHES_AROUND).await;
    stop.cancel();
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let written: Vec<u64> = written.iter().map(|batches| batches.load(Ordering::SeqCst)).collect();

    // The source is gone when its rows are given back.
    for name in ["a", "b"] {
        database.drop_collection(name).await?;
    }
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "compare": "ROWS" });
    installation.api.restore_ok(input).await?;
    let (a, b) = (database.rows("a").await?, database.rows("b").await?);
    check_instant(&a, &b, &acknowledged, &written)?;
    check_clean(&database).await?;
    installation.finish().await
}

/// Every key of B is in A; what was acknowledged before is in; nothing is torn; later batches are out.
fn check_instant(a: &Rows, b: &Rows, acknowledged: &[u64], written: &[u64]) -> Result<()> {
    for key in b.keys() {
        ensure!(a.contains_key(key), "{key:?} is in B and not in A");
    }
    for (writer, (acknowledged, written)) in (0..WRITERS).zip(acknowledged.iter().zip(written)) {
        let last_batch = |rows: &Rows| {
            (0..*written)
                .rev()
                .find(|batch| rows.contains_key(&key(writer, *batch, 0)))
                .map_or(0, |batch| batch + 1)
        };
        let (in_a, in_b) = (last_batch(a), last_batch(b));
        ensure!(
            in_b >= *acknowledged,
            "writer {writer}: B has {in_b} batches of {acknowledged} acknowledged"
        );
        ensure!(in_a == in_b || in_a == in_b + 1, "writer {writer}: A has {in_a} batches, B {in_b}");
        ensure!(in_a < *written, "writer {writer}: everything written after the cut is in");
        for (rows, batches) in [(a, in_a), (b, in_b)] {
            for batch in 0..batches {
                // Rows 0 and 2 stay; row 1 is deleted after the next batch but one, from B before A.
                ensure!(
                    rows.contains_key(&key(writer, batch, 0)),
                    "writer {writer}: batch {batch} is missing"
                );
                ensure!(rows.contains_key(&key(writer, batch, 2)), "writer {writer}: batch {batch} is torn");
                let deleted = batch + 4 <= in_b.min(in_a);
                let present = rows.contains_key(&key(writer, batch, 1));
                ensure!(!(deleted && present), "writer {writer}: a delete of batch {batch} is not applied");
                let too_early = batch + 2 >= batches && !present;
                ensure!(!too_early, "writer {writer}: a row of batch {batch} is gone without a delete");
            }
        }
    }
    Ok(())
}

const fn number(writer: u64, batch: u64, row: u64) -> u64 {
    (writer + 1) * WRITER_STRIDE + batch * 3 + row
}

const fn key(writer: u64, batch: u64, row: u64) -> RowKey {
    RowKey::Int64(number(writer, batch, row).cast_signed())
}

/// Writes batches of three rows into A, then into B; deletes the middle row of the batch before last from B, then A.
async fn write(
    database: MilvusClient,
    writer: u64,
    batches: Arc<AtomicU64>,
    stop: CancellationToken,
) -> Result<()> {
    for batch in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let rows = plain_rows(number(writer, batch, 0), 3, DIMENSION);
        database.insert("a", "", &rows).await?;
        database.insert("b", "", &rows).await?;
        if batch >= 2 {
            let expression = format!("id in [{}]", number(writer, batch - 2, 1));
            database.delete("b", &expression).await?;
            database.delete("a", &expression).await?;
        }
        batches.store(batch + 1, Ordering::SeqCst);
    }
    Ok(())
}

async fn flush_and_compact(database: MilvusClient, stop: CancellationToken) -> Result<()> {
    let endlessly = async {
        loop {
            database.flush(&["a", "b"]).await?;
            database.compact("a").await?;
            database.compact("b").await?;
        }
    };
    stop.run_until_cancelled(endlessly).await.unwrap_or(Ok(()))
}

async fn all_reach(written: &[Arc<AtomicU64>], batches: u64) {
    // Writers have no events to wait for.
    while written.iter().any(|count| count.load(Ordering::SeqCst) < batches) {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
