//! Making imported rows durable, and counting them.

use super::lookup;
use crate::call::Call;
use crate::client::Client;
use crate::error::{CallError, CallResult, Fault};
use crate::listing::CALLS_AT_ONCE;
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvus::proto::milvus::{FlushRequest, GetFlushStateRequest, GetPartitionStatisticsRequest};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for a flush.
const FLUSH_TIMEOUT: Duration = Duration::from_mins(5);
const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Flushes a collection and waits until its segments are written.
///
/// Completed imports are in flushed segments already, so mostly there is nothing to wait for. A backup's cut waits
/// besides until the channels have passed the flush's timestamp, which takes seconds; that matters to rows and
/// deletes that are under way, and into a collection that is being restored nobody else writes.
pub(crate) async fn flush(client: &Client, name: &CollectionName) -> PortResult<()> {
    let request = FlushRequest {
        db_name: name.database.clone(),
        collection_names: vec![name.collection.clone()],
        ..Default::default()
    };
    let answer = client.call(request).await?;
    let sealed = answer.coll_seg_i_ds.get(&name.collection).map(|ids| ids.data.clone()).unwrap_or_default();
    if sealed.is_empty() {
        return Ok(());
    }
    let begun_at = Instant::now();
    let mut pauses = ExponentialBuilder::default()
        .with_jitter()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(POLL_PAUSE_MAX)
        .without_max_times()
        .build();
    loop {
        let request = GetFlushStateRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            segment_i_ds: sealed.clone(),
            flush_ts: 0,
        };
        if client.call(request).await?.flushed {
            return Ok(());
        }
        if begun_at.elapsed() > FLUSH_TIMEOUT {
            let message = format!(
                "Milvus did not finish flushing {} within {} s; check its data nodes and its storage",
                lookup::full_name(name),
                FLUSH_TIMEOUT.as_secs()
            );
            return Err(PortError::new(PortErrorKind::Unavailable, message));
        }
        tokio::time::sleep(pauses.next().unwrap_or(POLL_PAUSE_MAX)).await;
    }
}

/// Rows of each partition, sorted by its name. The server counts a partition's segments in one step, while the list
/// of segments can miss some that are being compacted.
pub(crate) async fn counts(client: &Client, name: &CollectionName) -> PortResult<Vec<(String, u64)>> {
    let Some(found) = lookup::find(client, name).await? else { return Err(lookup::not_found(name)) };
    let counts = found.partitions.into_iter().map(|(partition, _)| count(client, name, partition));
    Ok(stream::iter(counts).buffered(CALLS_AT_ONCE).try_collect().await?)
}

async fn count(client: &Client, name: &CollectionName, partition: String) -> CallResult<(String, u64)> {
    let request = GetPartitionStatisticsRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        partition_name: partition.clone(),
        ..Default::default()
    };
    let answer = client.call(request).await?;
    let rows =
        answer.stats.iter().find(|pair| pair.key == "row_count").and_then(|pair| pair.value.parse().ok());
    rows.map(|rows| (partition.clone(), rows)).ok_or_else(|| {
        let message = format!("no number of rows for partition `{partition}` in the answer");
        CallError::new(Fault::Other, GetPartitionStatisticsRequest::METHOD, message)
    })
}
