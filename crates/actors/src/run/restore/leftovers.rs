//! Removing what a restore or drill that was stopped has left behind. Goes by the catalog and by the names and ids of
//! the target alone, so it does not matter which process began the restore or how it ended.

use super::databases::remove_databases;
use super::place::{Place, kept_until, save_state, shown};
use super::planning::{cluster_in_service, missing};
use super::target::Target;
use crate::core::Core;
use crate::retry::Retry;
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::checks::Leftovers;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::PortResult;
use milvault_domain::restore::{CollectionRestore, Restore, RestoreStep, staging_directory};
use std::sync::Arc;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

/// Part of the time for a clean-up that calls of the stopped work may take to end.
const UNDIVIDED_TIME_SHARE: u32 = 4;
/// Collections that are looked after at once.
const WIDTH: usize = 8;

/// Whether a stopped job of this type leaves something at its target.
pub(crate) const fn leaves_traces(job_type: JobType) -> bool {
    match job_type {
        JobType::Restore | JobType::Drill => true,
        JobType::Backup
        | JobType::Verify
        | JobType::Undo
        | JobType::Compare
        | JobType::Adopt
        | JobType::Copy
        | JobType::Delete
        | JobType::Sweep => false,
    }
}

/// Removes the unfinished collections and the staged files of a job that nobody works on any more. Collections that
/// are done stay. `undivided` counts calls of the stopped work that are still on their way.
pub(crate) async fn clean_up(
    core: &Core,
    job: &Job,
    undivided: &TaskTracker,
    reason: &str,
) -> PortResult<()> {
    let have_ended = wait_for_calls(core, undivided).await;
    let catalog = &core.deps.catalog;
    let find = || catalog.restore(job.id);
    let restore = Retry::of(&core.settings).run("look up the restore", find).await?;
    // Nothing was touched before there was a plan.
    let Some(restore) = restore.filter(|restore| restore.plan.is_some()) else { return Ok(()) };
    tell_what_is_kept(core, job.id, &restore).await?;
    let cluster = cluster_in_service(core, restore.request.target_cluster_id).await?;
    let at_target = async {
        let target = Target::connect(core, &cluster, &TaskTracker::new()).await?;
        take_away_unfinished(core, &target, job.id, &restore, reason, have_ended).await
    };
    // Neither has to wait for the other, nor is kept from it when the other's server is away.
    let (taken_away, removed) =
        futures::join!(at_target.boxed(), remove_staged_of(core, job.id, &restore, &cluster).boxed());
    taken_away.and(removed)
}

/// Keeps in mind, also for servers to come, that something is left at the target of a restore or drill. A timer then
/// does [`remove_leftovers`] as soon as the job has ended.
pub(crate) async fn remember_leftovers(
    core: &Core,
    job_id: JobId,
    cluster_id: ClusterId,
    failure: String,
) -> PortResult<()> {
    let leftovers = Leftovers::new(job_id, cluster_id, failure, core.deps.clock.now());
    core.deps.catalog.remember_leftovers(&leftovers).await
}

/// Removes what is left of a job that has ended: all of a drill, which nobody resumes or undoes. Of a restore, the staged
/// files, which nobody needs: one that goes on stages anew in a directory of its own. Its collections are left to whoever
/// resumes or undoes it, who may be at work on them right now.
pub(crate) async fn remove_leftovers(core: &Core, job: &Job) -> PortResult<()> {
    if job.job_type == JobType::Drill {
        return clean_up(core, job, &TaskTracker::new(), "not finished: the drill was stopped").await;
    }
    let catalog = &core.deps.catalog;
    let find = || catalog.restore(job.id);
    let restore = Retry::of(&core.settings).run("look up the restore", find).await?;
    // Nothing was touched before there was a plan.
    let Some(restore) = restore.filter(|restore| restore.plan.is_some()) else { return Ok(()) };
    let cluster = cluster_in_service(core, restore.request.target_cluster_id).await?;
    remove_staged_of(core, job.id, &restore, &cluster).await
}

/// Waits for the calls of stopped work that are still on their way: what they do must not happen behind the back of
/// whoever takes the job up next. One that never ends keeps nobody waiting for ever. Returns whether all have ended.
pub(crate) async fn wait_for_calls(core: &Core, undivided: &TaskTracker) -> bool {
    undivided.close();
    let time_max = core.settings.cleanup_time_max / UNDIVIDED_TIME_SHARE;
    let have_ended = timeout(time_max, undivided.wait()).await.is_ok();
    if !have_ended {
        tracing::warn!("a call to the target does not end; nobody waits for it any longer");
    }
    have_ended
}

/// Says of the collections that are done what is kept for them: the end of a restore, which says so otherwise, did not
/// come.
async fn tell_what_is_kept(core: &Core, job_id: JobId, restore: &Restore) -> PortResult<()> {
    let Some(plan) = &restore.plan else { return Ok(()) };
    for (position, (collection, state)) in plan.collections.iter().zip(&restore.collections).enumerate() {
        let kept_as = state.replaced.as_ref().and_then(|replaced| replaced.kept_as.as_deref());
        let (RestoreStep::Done, Some(kept_as)) = (state.step, kept_as) else { continue };
        let words = kept_until(&collection.target, kept_as);
        if state.warnings.contains(&words) {
            continue;
        }
        let mut state = state.clone();
        state.warnings.push(words);
        save_state(core, job_id, position, &state).await?;
    }
    Ok(())
}

/// Removes the collections that a restore has begun and not finished, puts back what had to give way for them, and drops
/// the databases it created if they are empty. `have_ended` says whether no call of the stopped work is still on its way:
/// where one may be a rename, what is recorded of the collection stays, so that whoever resumes or undoes looks again.
pub(crate) async fn take_away_unfinished(
    core: &Core,
    target: &Target,
    job_id: JobId,
    restore: &Restore,
    reason: &str,
    have_ended: bool,
) -> PortResult<()> {
    let Some(plan) = &restore.plan else { return Ok(()) };
    let mut work = Vec::new();
    for (position, (collection, state)) in plan.collections.iter().zip(&restore.collections).enumerate() {
        let begun = match state.step {
            RestoreStep::Created | RestoreStep::Compared => true,
            // It may have been created without a record.
            RestoreStep::Waiting => false,
            RestoreStep::Done | RestoreStep::Skipped | RestoreStep::Failed | RestoreStep::Undone => continue,
        };
        let place = Place { core, target, job_id, position, plan: collection };
        let mut state = state.clone();
        let unsettled = (!have_ended && state.replaced.is_some()).then(|| state.clone());
        work.push(
            async move {
                let warnings = place.take_away(&mut state).await?;
                if !begun {
                    return Ok(());
                }
                if let Some(before) = unsettled {
                    state = before;
                    state.warnings.push(may_be_renamed(place.plan));
                } else {
                    state.step = RestoreStep::Failed;
                }
                state.failure = Some(reason.to_owned());
                state.warnings.extend(warnings);
                place.save(&state).await
            }
            .boxed(),
        );
    }
    futures::stream::iter(work).buffer_unordered(WIDTH).try_collect::<()>().await?;
    remove_databases(core, target, job_id, plan).await
}

fn may_be_renamed(collection: &CollectionRestore) -> String {
    format!(
        "a call to the target did not end, and may still rename the collection that {} was to replace: resume or undo \
         the restore, which gives it its name back",
        shown(&collection.target)
    )
}

/// Removes the staged files of a restore.
pub(crate) async fn remove_staged_of(
    core: &Core,
    job_id: JobId,
    restore: &Restore,
    cluster: &Cluster,
) -> PortResult<()> {
    let (deps, retry) = (&core.deps, Retry::of(&core.settings));
    let backup_id = restore.request.backup_id;
    let backup = retry.run("look up the backup", || deps.catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
    let id = backup.repository_id;
    let row = retry.run("look up the repository", || deps.catalog.repository(id)).await?;
    let row = row.ok_or_else(|| missing(format!("repository {id} is not registered")))?;
    let open = || deps.stores.open_repository(row.id, &row.storage, row.capabilities);
    let repository = retry.run("open the repository", open).await?;
    let open = || deps.stores.open_stager(Arc::clone(&repository), &cluster.storage, None);
    let stager = retry.run("open the target's storage", open).await?;
    let directory = staging_directory(job_id);
    let removed = core.remove("remove staged files", || stager.remove(&directory)).await?;
    tracing::info!(removed, "the staged files of a stopped restore are removed");
    Ok(())
}
