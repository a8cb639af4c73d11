//! The beginning of a restore or drill: what there is, what is planned, and what earlier attempts left behind.

use super::databases::make_databases;
use super::leftovers::{remember_leftovers, take_away_unfinished};
use super::meter::StallClock;
use super::planning::{
    BackupAtHand, Former, cluster_in_service, missing, plan, refuse_conflicts, selected_collections,
};
use super::target::Target;
use super::{COLLECTIONS_MAX, Mode, Restoring, import, unless_lasting};
use crate::run::{Run, Trouble};
use milvault_domain::cluster::Cluster;
use milvault_domain::job::{JobPhase, JobType};
use milvault_domain::ports::{Inventory, PortError, PortErrorKind, PortResult, Stager};
use milvault_domain::progress::Progress;
use milvault_domain::restore::{
    Restore, RestorePlan, RestoreRequest, RestoreStep, RestoredCollection, staging_directory,
};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// What the parts of the preparation share.
struct Preparing<'a> {
    run: &'a Run,
    request: RestoreRequest,
    at_hand: BackupAtHand,
    cluster: Cluster,
    target: Target,
    stager: Arc<dyn Stager>,
}

/// Plans, or goes on with the plan that was kept. Nothing of an attempt that was cut off is left in the staging
/// directory when this returns, and the databases of the plan exist.
pub(super) async fn prepare(run: &Run) -> Result<(Restoring<'_>, Vec<RestoredCollection>), Trouble> {
    run.enter(JobPhase::Prepare).await?;
    let catalog = &run.core.deps.catalog;
    let restore = run.retry().run("look up the restore", || catalog.restore(run.job.id)).await?;
    let Restore { request, plan, collections, .. } =
        restore.ok_or_else(|| missing(format!("job {} does not say what to restore", run.job.id)))?;
    let Some(plan) = plan else {
        let preparing = open(run, request).await?;
        let (plan, states, inventory) = make_plan(&preparing).await?;
        return Ok(begin(preparing, plan, states, &inventory).await?);
    };
    refuse_conflicts(&plan)?;
    // Something may be at the target by now, so an outage is waited for.
    let preparing = open(run, request).await.map_err(unless_lasting)?;
    remove_staged(&preparing).await.map_err(unless_lasting)?;
    let inventory = take_inventory(&preparing).await.map_err(unless_lasting)?;
    begin(preparing, plan, collections, &inventory).await.map_err(unless_lasting)
}

async fn open(run: &Run, request: RestoreRequest) -> PortResult<Preparing<'_>> {
    let core = &run.core;
    let at_hand = BackupAtHand::open(core, request.backup_id).await?;
    let cluster = cluster_in_service(core, request.target_cluster_id).await?;
    let target = Target::connect(core, &cluster, &run.undivided).await?;
    if run.job.job_type == JobType::Drill && !target.milvus.server().capabilities.databases {
        let message = format!(
            "Milvus {} has no databases, and a drill needs scratch databases; choose a cluster of 2.2.9 or later",
            target.milvus.server().version
        );
        return Err(PortError::new(PortErrorKind::Unsupported, message));
    }
    let stores = &core.deps.stores;
    let open = || {
        let repository = Arc::clone(&at_hand.repository);
        stores.open_stager(repository, &cluster.storage, cluster.max_bytes_per_second)
    };
    let stager = run.retry().run("open the way of the restore", open).await?;
    Ok(Preparing { run, request, at_hand, cluster, target, stager })
}

async fn remove_staged(preparing: &Preparing<'_>) -> PortResult<()> {
    let Preparing { run, stager, .. } = preparing;
    let directory = staging_directory(run.job.id);
    match run.core.remove("remove staged files", || stager.remove(&directory)).await {
        Ok(removed) => tracing::info!(removed, "a cut-off restore continues"),
        // What an attempt before this one asked for gives the same files, which go with all the others in the end.
        Err(error) if error.kind() == PortErrorKind::Busy => {
            tracing::warn!(%error, "a cut-off restore continues beside what it asked for before");
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn take_inventory(preparing: &Preparing<'_>) -> PortResult<Inventory> {
    let target = &preparing.target;
    target.repeat("look at the target", || target.milvus.inventory()).await
}

/// Plans and keeps the plan, conflicts included, so that everybody can see it.
async fn make_plan(
    preparing: &Preparing<'_>,
) -> PortResult<(RestorePlan, Vec<RestoredCollection>, Inventory)> {
    let Preparing { run, request, at_hand, .. } = preparing;
    let former = match request.continues {
        Some(job_id) => clean_up_former(preparing, job_id).await?,
        None => None,
    };
    let wanted = selected_collections(&request.selection, &at_hand.cut);
    let objects = at_hand.objects(&run.core, &wanted).await?;
    // As late as can be, for what is planned must still be true when it is done.
    let inventory = take_inventory(preparing).await?;
    let server = preparing.target.milvus.server();
    let (plan, states) =
        plan(run.job.id, request, &at_hand.cut, &objects, &inventory, server, former.as_ref())
            .map_err(|error| PortError::with_source(PortErrorKind::InvalidInput, error.to_string(), error))?;
    let catalog = &run.core.deps.catalog;
    let save = || catalog.save_restore_plan(run.job.id, &plan, &states);
    run.retry().run("keep the plan", save).await?;
    run.core.live.publish(&run.job);
    tracing::info!(
        collections = plan.collections.len(),
        bytes = plan.bytes(),
        conflicts = plan.conflicts.len(),
        "the restore is planned"
    );
    refuse_conflicts(&plan)?;
    Ok((plan, states, inventory))
}

/// Removes what the former restore did not finish.
async fn clean_up_former(
    preparing: &Preparing<'_>,
    job_id: milvault_domain::ids::JobId,
) -> PortResult<Option<Former>> {
    let Preparing { run, target, stager, .. } = preparing;
    let catalog = &run.core.deps.catalog;
    let former = run.retry().run("look up the former restore", || catalog.restore(job_id)).await?;
    let former = former.ok_or_else(|| missing(format!("job {job_id} is not a restore")))?;
    // It ended before it had planned, hence before it had touched anything.
    let Some(plan) = former.plan.clone() else { return Ok(None) };
    let reason = format!("not finished; restored anew by job {}", run.job.id);
    take_away_unfinished(&run.core, target, job_id, &former, &reason, true).await?;
    let directory = staging_directory(job_id);
    match run.core.remove("remove staged files", || stager.remove(&directory)).await {
        Err(error) if error.kind() == PortErrorKind::Canceled => return Err(error),
        // This restore has a directory of its own, so it need not wait for what is in the other.
        Err(error) => {
            tracing::warn!(%job_id, %error, "staged files of the former restore are removed later");
            let failure = error.to_string();
            let remember = || remember_leftovers(&run.core, job_id, preparing.cluster.id, failure.clone());
            run.retry().run("remember the staged files", remember).await?;
        }
        Ok(_) => {}
    }
    Ok(Some(Former { plan, collections: former.collections }))
}

async fn begin<'a>(
    preparing: Preparing<'a>,
    mut plan: RestorePlan,
    states: Vec<RestoredCollection>,
    inventory: &Inventory,
) -> PortResult<(Restoring<'a>, Vec<RestoredCollection>)> {
    let Preparing { run, request, at_hand, cluster, target, stager } = preparing;
    start_counters(run, &plan, &states);
    make_databases(&run.core, &target, run.job.id, &mut plan).await?;
    let unfinished = plan.collections.iter().zip(&states).filter(|(_, state)| {
        matches!(state.step, RestoreStep::Waiting | RestoreStep::Created | RestoreStep::Compared)
    });
    let wanted: HashSet<i64> = unfinished.map(|(collection, _)| collection.source_collection_id).collect();
    let objects = at_hand.objects(&run.core, &wanted).await?;
    let mode = if run.job.job_type == JobType::Drill { Mode::Drill } else { Mode::Restore };
    let restoring = Restoring {
        run,
        mode,
        request,
        repository: at_hand.repository,
        cut: at_hand.cut,
        objects: Mutex::new(objects),
        aliases: aliases(inventory),
        collection_slots: Semaphore::new(COLLECTIONS_MAX),
        staging_slots: Semaphore::new(cluster.copies_in_flight()),
        group_slots: Semaphore::new(import::GROUPS_MAX),
        cluster,
        target,
        stager,
        plan,
        stall: StallClock::new(),
        report: tokio::sync::Mutex::default(),
    };
    Ok((restoring, states))
}

/// Totals are the plan's; what earlier attempts, or a former restore, have finished is done.
fn start_counters(run: &Run, plan: &RestorePlan, states: &[RestoredCollection]) {
    let finished = plan.collections.iter().zip(states).filter(|(_, state)| {
        matches!(state.step, RestoreStep::Compared | RestoreStep::Done | RestoreStep::Undone)
    });
    let (mut bytes_done, mut objects_done) = (0, 0);
    for (collection, _) in finished {
        bytes_done += collection.bytes;
        objects_done += collection.object_count;
    }
    run.live.counters.start(Progress {
        bytes_total: plan.bytes(),
        bytes_done,
        objects_total: plan.object_count(),
        objects_done,
        bytes_through_server: run.job.progress.bytes_through_server,
        ..Progress::default()
    });
}

/// Aliases of every collection of the target, by Milvus's id.
fn aliases(inventory: &Inventory) -> HashMap<i64, Vec<String>> {
    let collections = inventory.databases.iter().flat_map(|database| &database.collections);
    collections.map(|collection| (collection.collection_id, collection.aliases.clone())).collect()
}
