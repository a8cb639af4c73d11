//! The plan phase: what the cut consists of, and what of it has to be copied.

use super::Run;
use super::backup::Source;
use super::completeness::check_complete;
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::backup::{Backup, BackupStatus};
use milvault_domain::milvus::{CollectionCut, Cut};
use milvault_domain::object::SourceObject;
use milvault_domain::plan::{CopyPlan, ObjectIndex, plan_copy};
use milvault_domain::ports::{BackupRepository, PortResult, SourceStore};
use std::collections::HashSet;
use std::sync::Arc;

/// Collections that are listed at once: enough to hide the latency of a store, few enough to stay below its limits.
const LISTINGS_MAX: usize = 8;
/// Earlier backups whose manifests are searched for reusable objects. Binlogs live on or are compacted away, so what
/// the newest do not have, older ones rarely have.
const INDEX_BACKUPS: u32 = 3;

/// Lists the cut's objects, checks that none is missing, and plans their copy.
pub(super) async fn make_plan(
    run: &Run,
    backup: &Backup,
    source: &Source,
    repository: &Arc<dyn BackupRepository>,
    cut: &Cut,
) -> PortResult<CopyPlan> {
    let stores = run.core.deps.stores.as_ref();
    let store = run.retry().run("open the storage", || source.open(stores)).await?;
    // The source and the repository are different places, so one need not wait for the other.
    let listing = list_objects(run, source, store.as_ref(), cut).boxed();
    let (objects, index) = futures::try_join!(listing, load_index(run, backup, repository).boxed())?;
    let open = || source.open_copier(stores, repository);
    let route = run.retry().run("open the way of the copy", open).await?.route();
    let plan = plan_copy(backup.cluster_id, objects, &index, route);
    tracing::info!(
        reused_objects = plan.reused.len(),
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
) -> PortResult<Vec<SourceObject>> {
    let mut listings = Vec::new();
    for (database, collection) in cut.collections() {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        listings.push(list_collection(run, source, store, database, collection).boxed());
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
    database: &str,
    collection: &CollectionCut,
) -> PortResult<Vec<SourceObject>> {
    if collection.segments.is_empty() {
        return Ok(Vec::new());
    }
    let segment_ids: HashSet<i64> = collection.segments.iter().map(|segment| segment.segment_id).collect();
    let list = || store.list_binlogs(collection.collection_id, &segment_ids);
    let objects = run.retry().run("list a collection", list).await.map_err(|error| {
        error.context(format!("list the files of collection {database}.{}", collection.name))
    })?;
    check_complete(collection, objects.iter().map(|object| object.key)).map_err(|error| {
        source.explain_missing(error.context(format!("collection {database}.{}", collection.name)))
    })?;
    Ok(objects)
}

/// What the repository holds of this cluster, as far as it is worth knowing.
async fn load_index(
    run: &Run,
    backup: &Backup,
    repository: &Arc<dyn BackupRepository>,
) -> PortResult<ObjectIndex> {
    let catalog = &run.core.deps.catalog;
    let (cluster_id, repository_id) = (backup.cluster_id, backup.repository_id);
    let newest = |status| {
        let find = move || catalog.newest_backups(cluster_id, repository_id, status, INDEX_BACKUPS);
        run.retry().run("find earlier backups", find)
    };
    let complete = newest(BackupStatus::Available).await?;
    let unfinished = newest(BackupStatus::Failed).await?;
    run.retry().run("load the index", || repository.load_index(cluster_id, &complete, &unfinished)).await
}
