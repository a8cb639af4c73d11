//! Flushing collections and waiting until it is done.

use super::evidence::Evidence;
use super::resolve::{Hazard, HazardKind};
use super::segments;
use crate::call::Call;
use crate::client::Client;
use crate::error::{CallError, CallResult, Fault};
use crate::listing::{CALLS_AT_ONCE, ListedCollection, NameChase, call_by_name};
use backon::{BackoffBuilder, ExponentialBuilder};
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvus::proto::milvus::{DescribeCollectionRequest, FlushRequest, GetFlushStateRequest};
use milvus::proto::schema::LongArray;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for the next collection to be flushed.
const STALL_TIMEOUT: Duration = Duration::from_mins(5);

/// A collection on its way through a flush.
#[derive(Debug)]
pub(crate) struct Flushing<T> {
    pub(crate) collection: ListedCollection,
    pub(crate) evidence: Evidence,
    /// What the caller keeps with it.
    pub(crate) context: T,
    timestamp: u64,
}

impl<T> Flushing<T> {
    pub(crate) fn new(collection: ListedCollection, evidence: Evidence, context: T) -> Self {
        Self { collection, evidence, context, timestamp: 0 }
    }
}

/// Flushes all collections and waits until everything is written. Those that are dropped meanwhile end as hazards.
pub(crate) async fn flush_all<T>(
    client: &Client,
    collections: Vec<Flushing<T>>,
) -> PortResult<(Vec<Flushing<T>>, Vec<Hazard>)> {
    let mut hazards = Vec::new();
    // One name per call: a batch fails as a whole when one of its collections has just been dropped, and Milvus works
    // it off one by one all the same.
    let flushes = collections.into_iter().map(|collection| flush(client, collection));
    let started: Vec<_> = stream::iter(flushes).buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
    let mut pending = Vec::with_capacity(started.len());
    for (collection, is_there) in started {
        if is_there {
            pending.push(collection);
        } else {
            hazards.push(Hazard::new(&collection.collection, HazardKind::Dropped));
        }
    }
    let done = wait(client, pending, &mut hazards).await?;
    Ok((done, hazards))
}

async fn wait<T>(
    client: &Client,
    mut pending: Vec<Flushing<T>>,
    hazards: &mut Vec<Hazard>,
) -> PortResult<Vec<Flushing<T>>> {
    let mut done = Vec::with_capacity(pending.len());
    let mut progress_at = Instant::now();
    let mut pauses = pauses();
    while !pending.is_empty() {
        let polls = std::mem::take(&mut pending).into_iter().map(|collection| poll(client, collection));
        let polled: Vec<_> = stream::iter(polls).buffer_unordered(CALLS_AT_ONCE).try_collect().await?;
        for (collection, progress) in polled {
            match progress {
                Progress::Done => done.push(collection),
                Progress::Gone => hazards.push(Hazard::new(&collection.collection, HazardKind::Dropped)),
                Progress::Pending => {
                    pending.push(collection);
                    continue;
                }
            }
            progress_at = Instant::now();
        }
        let Some(waiting) = pending.first() else { break };
        if progress_at.elapsed() > STALL_TIMEOUT {
            let message = format!(
                "Milvus did not finish flushing {} collection(s) within {} s, `{}` among them; check its data nodes \
                 and its storage",
                pending.len(),
                STALL_TIMEOUT.as_secs(),
                waiting.collection.full_name()
            );
            return Err(PortError::new(PortErrorKind::Unavailable, message));
        }
        tokio::time::sleep(pauses.next().unwrap_or(POLL_PAUSE_MAX)).await;
    }
    Ok(done)
}

const POLL_PAUSE_MAX: Duration = Duration::from_secs(1);

fn pauses() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_jitter()
        .with_factor(1.5)
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(POLL_PAUSE_MAX)
        .without_max_times()
        .build()
}

/// Flushes one collection; false when it is gone. The flush goes by name and its answer carries no collection id, so it
/// is looked up afterwards whose flush it was. If it was another's (which does no harm), ours is flushed under its new
/// name.
async fn flush<T>(client: &Client, mut flushing: Flushing<T>) -> CallResult<(Flushing<T>, bool)> {
    let chased = flushing.collection.clone();
    let chase = NameChase::new(&chased);
    loop {
        let answer = call_by_name(client, &flushing.collection, |name| FlushRequest {
            db_name: chased.database.clone(),
            collection_names: vec![name],
            ..Default::default()
        })
        .await?;
        let Some((name, answer)) = answer else { return Ok((flushing, false)) };
        let Some(timestamp) = answer.coll_flush_ts.get(&name).copied() else {
            let message = format!("no flush timestamp for `{name}` in the answer");
            return Err(CallError::new(Fault::Other, FlushRequest::METHOD, message));
        };
        let (sealed, flushed) = (ids(&answer.coll_seg_i_ds, &name), ids(&answer.flush_coll_seg_i_ds, &name));
        let is_ours = match id_behind(client, &chased.database, &name).await? {
            Some(id) => id == chased.id,
            None => owns_any(client, &chased, sealed.iter().chain(&flushed)).await?,
        };
        if is_ours {
            flushing.timestamp = timestamp;
            flushing.evidence.sealed = sealed;
            flushing.evidence.flushed = flushed;
            return Ok((flushing, true));
        }
        chase.go_on(FlushRequest::METHOD)?;
    }
}

/// Whether one of these segments is of the collection. Ids are unique in a cluster, so this tells whose they all are
/// when the name that was flushed is gone already.
async fn owns_any(
    client: &Client,
    collection: &ListedCollection,
    mut segments: impl Iterator<Item = &i64>,
) -> CallResult<bool> {
    let listed = segments::list(client, collection).await?.unwrap_or_default();
    let listed: HashSet<i64> = listed.into_iter().map(|segment| segment.id).collect();
    Ok(segments.any(|id| listed.contains(id)))
}

fn ids(of_names: &HashMap<String, LongArray>, name: &str) -> Vec<i64> {
    of_names.get(name).map(|array| array.data.clone()).unwrap_or_default()
}

async fn id_behind(client: &Client, database: &str, name: &str) -> CallResult<Option<i64>> {
    let request = DescribeCollectionRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(described) => Ok(Some(described.collection_id)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

enum Progress {
    Pending,
    Done,
    Gone,
}

async fn poll<T>(client: &Client, mut flushing: Flushing<T>) -> CallResult<(Flushing<T>, Progress)> {
    let state = call_by_name(client, &flushing.collection, |name| GetFlushStateRequest {
        db_name: flushing.collection.database.clone(),
        collection_name: name,
        segment_i_ds: flushing.evidence.sealed.clone(),
        flush_ts: flushing.timestamp,
    })
    .await?;
    let Some((_, state)) = state else { return Ok((flushing, Progress::Gone)) };
    // Also while it is under way: what is listed in between shows counts of rows, and segments that come and go.
    let Some(listed) = segments::list(client, &flushing.collection).await? else {
        return Ok((flushing, Progress::Gone));
    };
    if state.flushed {
        flushing.evidence.after = listed;
        Ok((flushing, Progress::Done))
    } else {
        flushing.evidence.saw(listed);
        Ok((flushing, Progress::Pending))
    }
}
