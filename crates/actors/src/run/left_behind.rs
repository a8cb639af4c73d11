//! Whether the source still has what is to be copied again.

use super::Run;
use super::plan::LISTINGS_MAX;
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::ids::ClusterId;
use milvault_domain::object::SourceObject;
use milvault_domain::plan::LeftBehind;
use milvault_domain::ports::{PortResult, SourceStore};
use std::collections::HashSet;

/// Looks up the segments that nobody has listed. What is copied again is in the repository, so a source that does not
/// show it is no reason to fail: such packs stay in use.
pub(super) async fn confirm(
    run: &Run,
    store: &dyn SourceStore,
    cluster_id: ClusterId,
    left: &mut LeftBehind,
) {
    if left.is_empty() {
        return;
    }
    let chosen = left.len();
    let shown = list(run, store, left).await.unwrap_or_else(|error| {
        tracing::warn!(%error, "files that are in the repository are not copied again");
        Vec::new()
    });
    left.confirm(cluster_id, &shown);
    tracing::info!(chosen, left_behind = left.len(), "packs are mostly dead");
}

async fn list(run: &Run, store: &dyn SourceStore, left: &LeftBehind) -> PortResult<Vec<SourceObject>> {
    let mut listings = Vec::new();
    for (collection_id, segment_ids) in left.unseen_segments() {
        listings.push(list_segments(run, store, collection_id, segment_ids).boxed());
    }
    let listings = futures::stream::iter(listings).buffer_unordered(LISTINGS_MAX);
    listings
        .try_fold(Vec::new(), |mut all, mut objects| async move {
            all.append(&mut objects);
            Ok(all)
        })
        .await
}

async fn list_segments(
    run: &Run,
    store: &dyn SourceStore,
    collection_id: i64,
    segment_ids: HashSet<i64>,
) -> PortResult<Vec<SourceObject>> {
    let list = || store.list_binlogs(collection_id, &segment_ids);
    run.retry().run("list segments of packs that are mostly dead", list).await
}
