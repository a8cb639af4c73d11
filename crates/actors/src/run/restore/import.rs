//! Staging and importing the rows of one collection: while one group of objects is imported, the next is staged.

use super::Restoring;
use super::groups::{DeleteSegments, ImportGroup, group_objects};
use super::meter::GroupMeter;
use super::place::{Place, shown};
use super::poll::Polls;
use crate::telemetry;
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::binlog::BinlogKind;
use milvault_domain::cluster::Cluster;
use milvault_domain::milvus::CollectionCut;
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{ImportRequest, ImportState, PortError, PortErrorKind, PortResult};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::restore::staging_directory;
use std::time::Duration;
use tokio::time::{Instant, interval};

/// Groups that are staged or imported at once, of all collections together: what a server that works on a few imports
/// at a time keeps busy with, and the limit of the space that staged files take.
pub(super) const GROUPS_MAX: usize = 32;

/// Whether segments of nothing but deletes were imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DeletesAlone {
    None,
    Imported,
}

/// A look at an import that takes longer than this has outlived a time in which the target was away.
const AWAY_TIME_MIN: Duration = Duration::from_secs(15);
/// How long imports may stand still after such a time. Milvus 2.3.5 never ends an import that it was handing to a data
/// node when it went down; beginning the collection anew is the way out.
const STILL_AFTER_AWAY_MAX: Duration = Duration::from_mins(1);

/// Brings the rows of all chosen partitions into the working collection. It must not be loaded meanwhile: Milvus refuses
/// imports of deletes into a loaded one.
pub(super) async fn import_rows(
    job: &Restoring<'_>,
    place: &Place<'_>,
    collection: &CollectionCut,
    objects: &[StoredObject],
) -> PortResult<DeletesAlone> {
    let servers = DeleteSegments {
        at_source: job.cut.server.capabilities.l0_segments,
        at_target: job.target.milvus.server().capabilities.l0_segments,
    };
    let groups = group_objects(collection, &place.plan.partitions, objects, servers)?;
    let first_of_deletes = groups.rows.len();
    import_groups(job, place, 0, groups.rows).await?;
    if groups.deletes.is_empty() {
        return Ok(DeletesAlone::None);
    }
    import_groups(job, place, first_of_deletes, groups.deletes).await?;
    Ok(DeletesAlone::Imported)
}

/// Imports groups side by side; they are numbered from `first` on.
async fn import_groups(
    job: &Restoring<'_>,
    place: &Place<'_>,
    first: usize,
    groups: Vec<ImportGroup>,
) -> PortResult<()> {
    let mut imports = Vec::with_capacity(groups.len());
    for (number, group) in (first..).zip(groups) {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        imports.push(import_group(job, place, number, group).boxed());
    }
    futures::stream::iter(imports).buffer_unordered(GROUPS_MAX).try_collect::<()>().await
}

/// Directory of a collection's staged files below the target's storage root.
pub(super) fn directory_of(place: &Place<'_>) -> String {
    format!("{}/{}", staging_directory(place.job_id), place.position)
}

async fn import_group(
    job: &Restoring<'_>,
    place: &Place<'_>,
    number: usize,
    group: ImportGroup,
) -> PortResult<()> {
    let _slot = acquire(&job.group_slots).await?;
    let directory = format!("{}/{number}", directory_of(place));
    let meter = GroupMeter::new(&job.run.live.counters, group.objects.len() as u64, group.bytes);
    stage(job, &group, &directory, &meter)
        .await
        .map_err(|error| error.context(format!("stage the files of {}", shown_partition(&group))))?;
    let request = import_request(job, place, &group, &directory);
    let import_ids = job
        .target
        .import(request)
        .await
        .map_err(|error| error.context(format!("import into {}", shown_partition(&group))))?;
    job.stall.moved();
    for import_id in import_ids {
        wait_for(job, place, &group, import_id, &meter).await?;
    }
    meter.complete();
    metrics::counter!(telemetry::RESTORED_BYTES).increment(group.bytes);
    // Their space is needed by the next group. What cannot be removed now is removed with the whole directory.
    if let Err(error) = job.remove_staged(&directory).await {
        tracing::warn!(%directory, %error, "staged files stay until the restore ends");
    }
    Ok(())
}

async fn stage(
    job: &Restoring<'_>,
    group: &ImportGroup,
    directory: &str,
    meter: &GroupMeter<'_>,
) -> PortResult<()> {
    let _slot = acquire(&job.staging_slots).await?;
    let counters = ProgressCounters::default();
    let settings = &job.run.core.settings;
    let retry = job.run.retry().only_unavailable();
    let staging = retry.run("stage objects", || job.stager.stage(&group.objects, directory, &counters));
    let watching = async {
        let mut ticks = interval(settings.progress_interval);
        loop {
            ticks.tick().await;
            meter.staged(counters.snapshot());
        }
    };
    let staged = tokio::select! {
        biased;
        staged = staging => staged,
        () = watching => Ok(()),
    };
    staged?;
    meter.staged(counters.snapshot());
    job.stall.moved();
    Ok(())
}

fn import_request(
    job: &Restoring<'_>,
    place: &Place<'_>,
    group: &ImportGroup,
    directory: &str,
) -> ImportRequest {
    let collection = place.plan.source_collection_id;
    let path_of = |kind: BinlogKind| {
        group.has(kind).then(|| {
            let below = format!("{directory}/{}/{collection}/{}", kind.directory(), group.partition_id);
            // Without the slash Milvus would take it for the beginning of a name.
            format!("{}/", job.stager.import_path(&below).trim_end_matches('/'))
        })
    };
    ImportRequest {
        name: place.working_name(),
        partition: group.partition.clone(),
        insert_path: path_of(BinlogKind::Insert).unwrap_or_default(),
        delta_path: path_of(BinlogKind::Delta),
        cut_at_ms: job.plan.cut_at_ms,
    }
}

/// What a group is imported into, for people.
fn shown_partition(group: &ImportGroup) -> String {
    match group.partition.as_str() {
        "" => String::from("all partitions"),
        partition => format!("partition `{partition}`"),
    }
}

async fn wait_for(
    job: &Restoring<'_>,
    place: &Place<'_>,
    group: &ImportGroup,
    import_id: i64,
    meter: &GroupMeter<'_>,
) -> PortResult<()> {
    let settings = &job.run.core.settings;
    let what = || {
        let name = shown(&place.plan.target);
        format!("import {import_id} into {} of {name}", shown_partition(group))
    };
    let mut polls = Polls::new(settings);
    let (mut last, mut was_away) = (None, false);
    loop {
        let asked_at = Instant::now();
        let look = || job.target.milvus.import_progress(import_id);
        let progress = job.target.repeat("look at an import", look).await.map_err(|e| e.context(what()))?;
        if asked_at.elapsed() >= AWAY_TIME_MIN {
            was_away = true;
            job.stall.moved();
        }
        match &progress.state {
            ImportState::Completed => return Ok(()),
            ImportState::Failed(reason) => {
                let message = format!(
                    "{} failed in the target's Milvus: {reason}; {}",
                    what(),
                    storage_advice(&job.cluster)
                );
                return Err(PortError::new(PortErrorKind::Internal, message));
            }
            ImportState::Running => meter.imported(progress.percent),
        }
        if last.replace((progress.percent, progress.row_count))
            != Some((progress.percent, progress.row_count))
        {
            job.stall.moved();
        }
        if was_away && job.stall.still_for() >= STILL_AFTER_AWAY_MAX {
            let message = format!("{} stands still since the target's Milvus was away", what());
            return Err(PortError::new(PortErrorKind::Unavailable, message));
        }
        if job.stall.still_for() >= settings.import_stall_max {
            let message = format!(
                "{} has made no progress for {} s; look at the data nodes of the target",
                what(),
                settings.import_stall_max.as_secs()
            );
            return Err(PortError::new(PortErrorKind::Internal, message));
        }
        polls.pause().await;
    }
}

/// What to look at when a target does not find what was staged for it. Nobody can see that a storage is another Milvus's
/// until this one looks for files in its own.
pub(super) fn storage_advice(cluster: &Cluster) -> String {
    format!(
        "the files were staged in `{}`, the storage of cluster `{}`: if Milvus did not find them there, it uses another \
         bucket or path, which `updateCluster` can be told",
        cluster.storage.display_url(),
        cluster.name,
    )
}

/// Waits for a slot.
pub(super) async fn acquire(slots: &tokio::sync::Semaphore) -> PortResult<tokio::sync::SemaphorePermit<'_>> {
    slots.acquire().await.map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "the slots of a restore are gone", error)
    })
}
