//! The plan phase: what the cut consists of, and what of it has to be copied.

use super::backup::Source;
use super::completeness::check_complete;
use super::{Run, left_behind};
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, ManifestHeader};
use milvault_domain::milvus::{CollectionCut, Cut};
use milvault_domain::object::SourceObject;
use milvault_domain::plan::{CopyPlan, Holdings, LeftBehind, plan_copy};
use milvault_domain::ports::{BackupRepository, PortResult, SourceStore};
use std::collections::HashSet;
use std::sync::Arc;

/// Collections that are listed at once: enough to hide the latency of a store, few enough to stay below its limits.
pub(super) const LISTINGS_MAX: usize = 8;
/// Earlier backups whose manifests are searched for reusable objects. Binlogs live on or are compacted away, so what
/// the newest do not have, older ones rarely have.
pub(super) const INDEX_BACKUPS: u32 = 3;
/// Complete ones that are offered for a live cluster, where the repository stops by itself when it has read enough that
/// are of the same scope or a wider one.
const OFFERED_BACKUPS: u32 = 24;

/// Lists the cut's objects, checks that none is missing, and plans their copy.
pub(super) async fn make_plan(
    run: &Run,
    backup: &Backup,
    source: &Source,
    repository: &Arc<dyn BackupRepository>,
    header: &ManifestHeader,
) -> PortResult<CopyPlan> {
    let stores = run.core.deps.stores.as_ref();
    let store = run.retry().run("open the storage", || source.open(stores)).await?;
    let mut holdings = load_index(run, backup, source, repository, header).boxed().await?;
    let known = || run.core.deps.catalog.damage(backup.repository_id);
    let damage = run.retry().run("look up known damage", known).await?;
    holdings.exclude(damage.iter().collect());
    let Holdings { index, settled, settled_segments, pack_sizes } = holdings;
    let objects = list_objects(run, source, store.as_ref(), &header.cut, &settled_segments).boxed().await?;
    let open = || source.open_copier(stores, repository);
    let route = run.retry().run("open the way of the copy", open).await?.route();
    let mut plan = plan_copy(backup.cluster_id, objects, &index, route);
    plan.reuse(settled);
    // A backup of a part of the cluster does not tell what is dead.
    if source.is_live() && backup.scope == BackupScope::Cluster {
        let mut left = LeftBehind::choose(&plan, &pack_sizes, &settled_segments);
        left_behind::confirm(run, store.as_ref(), backup.cluster_id, &mut left).boxed().await;
        plan.copy_again(&left, &index, route);
    }
    tracing::info!(
        reused_objects = plan.reused.len(),
        settled_segments = settled_segments.len(),
        units = plan.units.len(),
        ?route,
        "the copy is planned"
    );
    Ok(plan)
}

async fn list_objects(
    run: &Run,
    source: &Source,
    store: &dyn SourceStore,
    cut: &Cut,
    settled: &HashSet<i64>,
) -> PortResult<Vec<SourceObject>> {
    let mut listings = Vec::new();
    for (database, collection) in cut.collections() {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        listings.push(list_collection(run, source, store, (database, collection), settled).boxed());
    }
    let listings = futures::stream::iter(listings).buffer_unordered(LISTINGS_MAX);
    listings
        .try_fold(Vec::new(), |mut all, mut objects| async move {
            all.append(&mut objects);
            Ok(all)
        })
        .await
}

async fn list_collection(
    run: &Run,
    source: &Source,
    store: &dyn SourceStore,
    (database, collection): (&str, &CollectionCut),
    settled: &HashSet<i64>,
) -> PortResult<Vec<SourceObject>> {
    let segment_ids = collection.segments.iter().map(|segment| segment.segment_id);
    let (settled_ids, other_ids): (HashSet<i64>, HashSet<i64>) =
        segment_ids.partition(|segment_id| settled.contains(segment_id));
    let collection_id = collection.collection_id;
    let list = || async {
        let mut objects = Vec::new();
        if !other_ids.is_empty() {
            objects = store.list_binlogs(collection_id, &other_ids).await?;
        }
        // Deletes are added to a segment for as long as it lives.
        if !settled_ids.is_empty() {
            objects.append(&mut store.list_delta_logs(collection_id, &settled_ids).await?);
        }
        Ok(objects)
    };
    let objects = run.retry().run("list a collection", list).await.map_err(|error| {
        error.context(format!("list the files of collection {database}.{}", collection.name))
    })?;
    check_complete(collection, settled, objects.iter().map(|object| object.key)).map_err(|error| {
        source.explain_missing(error.context(format!("collection {database}.{}", collection.name)))
    })?;
    Ok(objects)
}

/// What the repository holds of this cluster, as far as it is worth knowing.
async fn load_index(
    run: &Run,
    backup: &Backup,
    source: &Source,
    repository: &Arc<dyn BackupRepository>,
    header: &ManifestHeader,
) -> PortResult<Holdings> {
    let catalog = &run.core.deps.catalog;
    let (cluster_id, repository_id) = (backup.cluster_id, backup.repository_id);
    let newest = |status, count| {
        let find = move || catalog.newest_backups(cluster_id, repository_id, status, count);
        run.retry().run("find earlier backups", find)
    };
    let complete_count = if source.is_live() { OFFERED_BACKUPS } else { INDEX_BACKUPS };
    let (complete, unfinished) = futures::try_join!(
        newest(BackupStatus::Available, complete_count),
        newest(BackupStatus::Failed, INDEX_BACKUPS)
    )?;
    // What is taken over from elsewhere was written by another program, whose files are looked at every time.
    let current = source.is_live().then_some(header);
    let load = || repository.load_index(cluster_id, &complete, &unfinished, current);
    run.retry().run("load the index", load).await
}
