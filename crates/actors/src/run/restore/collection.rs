//! One collection of a restore, from wherever it is to its end.

use super::import::DeletesAlone;
use super::place::Place;
use super::{Mode, Restoring, concerns_all, drill, import, indexes, rows};
use crate::core::lock;
use crate::run::compare::{CompareCollection, ExpectedRows, compare_collection, expected_rows};
use futures::FutureExt;
use milvault_domain::milvus::{CollectionCut, Property, TIME_TO_LIVE_PROPERTY};
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{NewCollection, PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{
    CompareDepth, ComparedCollection, PartitionRows, RestoreStep, RestoredCollection,
};
use std::sync::Arc;

/// Restores a collection. What it cannot be restored for becomes its state; an error concerns the whole job.
pub(super) async fn restore_collection(
    job: &Restoring<'_>,
    position: usize,
    mut state: RestoredCollection,
) -> PortResult<RestoredCollection> {
    let place = job.place(position);
    match state.step {
        RestoreStep::Waiting | RestoreStep::Created | RestoreStep::Compared => {}
        RestoreStep::Done | RestoreStep::Skipped | RestoreStep::Failed | RestoreStep::Undone => {
            return Ok(state);
        }
    }
    match advance(job, &place, &mut state).await {
        Ok(()) => {}
        Err(error) if concerns_all(&error) => return Err(error),
        Err(error) => give_up(job, &place, &mut state, &error).await?,
    }
    job.run.core.live.publish(&job.run.job);
    Ok(state)
}

async fn advance(job: &Restoring<'_>, place: &Place<'_>, state: &mut RestoredCollection) -> PortResult<()> {
    let collection = source_of(job, place)?;
    let is_compared = state.step == RestoreStep::Compared && is_still_usable(job, place, state).await?;
    if !is_compared {
        fill(job, place, collection, state).boxed().await?;
    }
    if job.mode == Mode::Drill {
        return drill::put_away(place, state).await;
    }
    let present_name = match state.target_collection_id {
        Some(collection_id) => place.whereabouts(collection_id).await?,
        None => None,
    };
    if present_name.as_ref() != Some(&place.plan.target) {
        indexes::make_searchable(job, place, collection, state).await?;
        let (_, properties) = split_properties(collection);
        if !properties.is_empty() {
            job.target.set_properties(&place.working_name(), properties).await?;
        }
    }
    place.take(state, |id| job.aliases.get(&id).cloned().unwrap_or_default()).await?;
    state.step = RestoreStep::Done;
    place.save(state).await?;
    tracing::info!(
        database = place.plan.target.database,
        collection = place.plan.target.collection,
        "a collection is restored"
    );
    Ok(())
}

fn source_of<'a>(job: &'a Restoring<'_>, place: &Place<'_>) -> PortResult<&'a CollectionCut> {
    let source_id = place.plan.source_collection_id;
    let found = job.cut.collections().find(|(_, collection)| collection.collection_id == source_id);
    found.map(|(_, collection)| collection).ok_or_else(|| {
        let message = format!("collection {source_id} of the plan is not in the backup");
        PortError::new(PortErrorKind::Internal, message)
    })
}

/// Whether the rows that an attempt which was cut off has compared can be used. A restore whose collection somebody has
/// removed since begins anew; a drill has its result and needs the collection no longer.
async fn is_still_usable(
    job: &Restoring<'_>,
    place: &Place<'_>,
    state: &RestoredCollection,
) -> PortResult<bool> {
    match (job.mode, state.target_collection_id) {
        (Mode::Drill, _) => Ok(true),
        (Mode::Restore, None) => Ok(false),
        (Mode::Restore, Some(collection_id)) => Ok(place.whereabouts(collection_id).await?.is_some()),
    }
}

/// Creates the collection under its working name, brings the rows in, and compares them.
async fn fill(
    job: &Restoring<'_>,
    place: &Place<'_>,
    collection: &CollectionCut,
    state: &mut RestoredCollection,
) -> PortResult<()> {
    let _slot = import::acquire(&job.collection_slots).await?;
    let objects = lock(&job.objects).remove(&collection.collection_id).unwrap_or_default();
    create(job, place, collection, state).await?;
    let expect = expected_rows(
        job.run,
        &job.repository,
        collection,
        &place.plan.partitions,
        &objects,
        job.plan.cut_at_ms,
    );
    let bring_in = import::import_rows(job, place, collection, &objects);
    let (expected, deletes) = futures::try_join!(expect.boxed(), bring_in.boxed())?;
    let counts = rows::count_rows(job, place, &expected).await?;
    state.partitions.clone_from(&counts);
    // A server's figures still have the rows that segments of deletes take away, so keys are compared instead.
    let depth = match deletes {
        DeletesAlone::Imported => job.request.compare.max(CompareDepth::Keys),
        DeletesAlone::None => job.request.compare,
    };
    if job.mode == Mode::Drill {
        let compared = compare_deeply(job, place, collection, &objects, &expected, counts, depth).await?;
        drill::report(job, compared.clone()).await?;
        check_differences(&compared)?;
    } else {
        if deletes == DeletesAlone::None {
            rows::check_counts(&job.cluster, place, &counts)?;
        }
        if depth > CompareDepth::Counts {
            let compared = compare_deeply(job, place, collection, &objects, &expected, counts, depth).await?;
            check_differences(&compared)?;
            if deletes == DeletesAlone::Imported {
                state.partitions = compared.partitions;
            }
        }
    }
    state.step = RestoreStep::Compared;
    place.save(state).await
}

async fn create(
    job: &Restoring<'_>,
    place: &Place<'_>,
    collection: &CollectionCut,
    state: &mut RestoredCollection,
) -> PortResult<()> {
    let new = NewCollection {
        name: place.working_name(),
        schema_proto: collection.schema_proto.clone(),
        shard_count: place.plan.shard_count,
        consistency_level: collection.consistency_level,
        properties: split_properties(collection).0,
        partitions: collection.partitions.iter().map(|partition| partition.name.clone()).collect(),
    };
    let created = job.target.create_anew(new).await?;
    state.step = RestoreStep::Created;
    state.target_collection_id = Some(created.collection_id);
    place.save(state).await?;
    let is_there = |name: &&String| created.partitions.iter().any(|(partition, _)| partition == *name);
    match place.plan.partitions.iter().find(|name| !is_there(name)) {
        None => Ok(()),
        Some(partition) => Err(PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "the target did not make partition `{partition}`; its version of Milvus names them otherwise"
            ),
        )),
    }
}

/// Properties that a collection is created with, and those that it gets when its rows are proven: Milvus counts a row's
/// age from when it was first written, so with a time to live it might drop old rows while they are counted.
fn split_properties(collection: &CollectionCut) -> (Vec<Property>, Vec<Property>) {
    let properties = collection.properties.iter().cloned();
    properties.partition(|property| property.key != TIME_TO_LIVE_PROPERTY)
}

/// Compares both sides.
async fn compare_deeply(
    job: &Restoring<'_>,
    place: &Place<'_>,
    collection: &CollectionCut,
    objects: &[StoredObject],
    expected: &ExpectedRows,
    counts: Vec<PartitionRows>,
    depth: CompareDepth,
) -> PortResult<ComparedCollection> {
    let target_name = place.working_name();
    let wanted = CompareCollection {
        repository: &job.repository,
        source: collection,
        source_name: &place.plan.source,
        objects,
        expected,
        source_cut_at_ms: job.plan.cut_at_ms,
        target: Arc::clone(&job.target.milvus),
        target_storage: &job.cluster.storage,
        target_name: &target_name,
        depth,
        partitions: &place.plan.partitions,
    };
    let mut compared = compare_collection(job.run, wanted).boxed().await?;
    // The working name means nothing to people.
    compared.target.clone_from(&place.plan.target);
    if compared.partitions.is_empty() {
        compared.partitions = counts;
    }
    Ok(compared)
}

fn check_differences(compared: &ComparedCollection) -> PortResult<()> {
    let Some(first) = compared.differences.first() else { return Ok(()) };
    let more = match compared.differences.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let message = format!("the restored rows differ from the backup: {first}{more}");
    Err(PortError::new(PortErrorKind::Corrupt, message))
}

/// Leaves nothing of the collection at the target and says why.
async fn give_up(
    job: &Restoring<'_>,
    place: &Place<'_>,
    state: &mut RestoredCollection,
    reason: &PortError,
) -> PortResult<()> {
    tracing::error!(
        database = place.plan.target.database,
        collection = place.plan.target.collection,
        error = ?reason,
        "a collection could not be restored"
    );
    let warnings = place.take_away(state).await?;
    state.step = RestoreStep::Failed;
    state.failure = Some(reason.to_string());
    state.warnings.extend(warnings);
    place.save(state).await?;
    let directory = import::directory_of(place);
    if let Err(error) = job.remove_staged(&directory).await {
        tracing::warn!(%directory, %error, "staged files stay until the restore ends");
    }
    Ok(())
}
