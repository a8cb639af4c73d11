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
/// How often a collection is loaded before the server is said to have no room for it.
const LOADS_MAX: usize = 2;

/// Defines and builds the indexes and loads the collection, as planned. Where nothing is replaced, what the server
/// refuses becomes a warning: the rows are there. A collection that is in use keeps its place until the restored one
/// can serve in full; that it cannot concerns this collection only, so the others go on.
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

fn is_about_this_collection(error: &PortError) -> bool {
    matches!(error.kind(), PortErrorKind::InvalidInput | PortErrorKind::Unsupported)
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

/// Loads the collection. A server with too little memory says so in the same way as one that is away for a moment, so it
/// is asked for something else: one that answers has no room for this collection.
async fn load(job: &Restoring<'_>, place: &Place<'_>) -> PortResult<()> {
    let mut refusal = None;
    for _ in 0..LOADS_MAX {
        match load_once(job, place).await {
            Err(error) if error.kind() == PortErrorKind::Unavailable => {
                job.target.find(&place.working_name()).await?;
                refusal = Some(error);
            }
            other => return other,
        }
    }
    refusal.map_or(Ok(()), |error| Err(no_room(place.plan.action, error)))
}

async fn load_once(job: &Restoring<'_>, place: &Place<'_>) -> PortResult<()> {
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
    let mut was_loading = false;
    loop {
        match target.repeat("look at the load state", look).await? {
            LoadState::Loaded => return Ok(()),
            LoadState::NotLoaded if was_loading => {
                let message = "the server has begun to load it and has given up";
                return Err(PortError::new(PortErrorKind::Unavailable, message));
            }
            LoadState::Loading => was_loading = true,
            // It may show a moment later.
            LoadState::NotLoaded => {}
        }
        if began_at.elapsed() >= LOAD_TIME_MAX {
            return Err(too_long("it is not loaded", LOAD_TIME_MAX));
        }
        polls.pause().await;
    }
}

fn no_room(action: RestoreAction, error: PortError) -> PortError {
    let advice = match action {
        RestoreAction::Replace => {
            "the collection that was to be replaced stays; release other collections and resume the restore, or \
             restore this one with `load: NONE`"
        }
        RestoreAction::Create | RestoreAction::Skip => {
            "its rows are restored; release other collections, then load it"
        }
    };
    PortError::with_source(PortErrorKind::Unsupported, format!("{error}; {advice}"), error)
}

fn too_long(what: &str, limit: Duration) -> PortError {
    let message = format!("{what} after {} minutes; the server goes on with it", limit.as_secs() / 60);
    PortError::new(PortErrorKind::Unsupported, message)
}
