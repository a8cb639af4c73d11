//! The lists of a collection's segments.

use crate::call::Call;
use crate::client::Client;
use crate::error::CallResult;
use crate::listing::{ListedCollection, NameChase, call_by_name, current_name};
use milvus::proto::common::{SegmentLevel, SegmentState};
use milvus::proto::milvus::{
    GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse, PersistentSegmentInfo,
};
use std::time::Duration;

/// A segment as a list shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedSegment {
    pub(crate) id: i64,
    pub(crate) partition_id: i64,
    /// 0 also while the count is not known yet.
    pub(crate) row_count: u64,
    pub(crate) state: ListedState,
    /// Holds deletes only.
    pub(crate) level_zero: bool,
}

/// How far a segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ListedState {
    /// Closed, not all of it written.
    Sealed,
    /// Written, or being written.
    Flushed,
}

/// Lists the segments of a collection that are not growing; `None` when it is gone.
pub(crate) async fn list(
    client: &Client,
    collection: &ListedCollection,
) -> CallResult<Option<Vec<ListedSegment>>> {
    let chase = NameChase::new(collection);
    let mut target = collection.clone();
    loop {
        let answer = list_by_name(client, &target).await?;
        let Some((_, answer)) = answer else { return Ok(None) };
        if answer.infos.iter().all(|info| info.collection_id == collection.id) {
            return Ok(Some(answer.infos.iter().filter_map(listed_segment).collect()));
        }
        // The name was given to another collection between two calls.
        match current_name(client, collection).await? {
            Some(name) => target.name = name,
            None => return Ok(None),
        }
        chase.go_on(GetPersistentSegmentInfoRequest::METHOD)?;
    }
}

/// Times that a list is asked for again which lost one of its segments while the server made it.
const LOST_TRIES: u32 = 10;
/// Time between two of them.
const LOST_PAUSE: Duration = Duration::from_millis(100);

/// The server looks up the ids first and the segments then. One that a compaction takes away in between makes it refuse
/// the whole list, in words only (seen on 2.3.5).
async fn list_by_name(
    client: &Client,
    target: &ListedCollection,
) -> CallResult<Option<(String, GetPersistentSegmentInfoResponse)>> {
    let mut tries = 1;
    loop {
        let answer = call_by_name(client, target, |name| GetPersistentSegmentInfoRequest {
            db_name: target.database.clone(),
            collection_name: name,
            ..Default::default()
        })
        .await;
        match answer {
            Err(error) if tries < LOST_TRIES && error.message.contains("segment not found") => {
                tracing::debug!(%error, "the list of segments is asked for again");
                tries += 1;
                tokio::time::sleep(LOST_PAUSE).await;
            }
            other => return other,
        }
    }
}

fn listed_segment(info: &PersistentSegmentInfo) -> Option<ListedSegment> {
    let state = match info.state() {
        SegmentState::Sealed => ListedState::Sealed,
        SegmentState::Flushed | SegmentState::Flushing => ListedState::Flushed,
        // Growing ones hold nothing that is written, importing ones nothing that is visible.
        SegmentState::None
        | SegmentState::NotExist
        | SegmentState::Growing
        | SegmentState::Dropped
        | SegmentState::Importing => return None,
    };
    Some(ListedSegment {
        id: info.segment_id,
        partition_id: info.partition_id,
        row_count: u64::try_from(info.num_rows).unwrap_or(0),
        state,
        level_zero: info.level() == SegmentLevel::L0,
    })
}
