//! Indexes and load state of a collection whose rows are there.

use super::Restoring;
use super::place::Place;
use super::poll::Polls;
use milvault_domain::milvus::{CollectionCut, LoadState};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{RestoreAction, RestoredCollection};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for the indexes of a collection. Large ones take hours; what is not built by then goes on building.
const INDEX_TIME_MAX: Duration = Duration::from_hours(12);
/// Longest wait for a collection to be in memory.
const LOAD_TIME_MAX: Duration = Duration::from_hours(1);

/// Defines and builds the indexes and loads the collection, as planned. Where nothing is replaced, what the server
/// refuses becomes a warning: the rows are there. A collection that is in use keeps its place until the restored one
/// can serve in full.
pub(super) async fn make_searchable(
    job: &Restoring<'_>,
    place: &Place<'_>,
    collection: &CollectionCut,
    state: &mut RestoredCollection,
) -> PortResult<()> {
    let mut indexed = Ok(());
    if place.plan.build_indexes {
        indexed = build_indexes(job, place, collection).await;
    }
    let searchable = match indexed {
        Ok(()) if place.plan.replica_count > 0 => load(job, place).await,
        other => other,
    };
    match searchable {
        Err(error) if place.plan.action == RestoreAction::Create && is_about_this_collection(&error) => {
            let warning = error.to_string();
            if !state.warnings.contains(&warning) {
                state.warnings.push(warning);
            }
            Ok(())
        }
        other => other,
    }
}

/// `Unavailable` is what a server with too little memory says; one that cannot be reached fails the next step.
fn is_about_this_collection(error: &PortError) -> bool {
    matches!(
        error.kind(),
        PortErrorKind::InvalidInput | PortErrorKind::Unsupported | PortErrorKind::Unavailable
    )
}

async fn build_indexes(job: &Restoring<'_>, place: &Place<'_>, collection: &CollectionCut) -> PortResult<()> {
    let (target, name) = (&job.target, place.working_name());
    for index in &collection.indexes {
        let create = || target.milvus.create_index(&name, index);
        target.repeat("define an index", create).await.map_err(|error| {
            error.context(format!("index `{}` of field `{}`", index.name, index.field_name))
        })?;
    }
    if collection.indexes.is_empty() {
        return Ok(());
    }
    let built = || target.milvus.indexes_built(&name);
    let began_at = Instant::now();
    let mut polls = Polls::new(&job.run.core.settings);
    while !target.repeat("look at the indexes", built).await? {
        if began_at.elapsed() >= INDEX_TIME_MAX {
            return Err(too_long("its indexes are not built", INDEX_TIME_MAX));
        }
        polls.pause().await;
    }
    Ok(())
}

async fn load(job: &Restoring<'_>, place: &Place<'_>) -> PortResult<()> {
    let (target, name) = (&job.target, place.working_name());
    let replica_count = place.plan.replica_count;
    let load = || target.milvus.load(&name, replica_count);
    target
        .repeat("load the restored collection", load)
        .await
        .map_err(|error| error.context(format!("load with {replica_count} replicas")))?;
    let began_at = Instant::now();
    let mut polls = Polls::new(&job.run.core.settings);
    let look = || target.milvus.load_state(&name);
    while target.repeat("look at the load state", look).await? != LoadState::Loaded {
        if began_at.elapsed() >= LOAD_TIME_MAX {
            return Err(too_long("it is not loaded", LOAD_TIME_MAX));
        }
        polls.pause().await;
    }
    Ok(())
}

fn too_long(what: &str, limit: Duration) -> PortError {
    let message = format!("{what} after {} minutes; the server goes on with it", limit.as_secs() / 60);
    PortError::new(PortErrorKind::Unavailable, message)
}
