//! A restore, and a drill, which is a restore into scratch databases that leaves nothing behind but a report.
//!
//! Every step that cannot be taken back is recorded before the next one is taken. Whoever continues looks at what is
//! recorded and at the names and ids of the target, and does the next step, so a restore may be cut off anywhere.

mod collection;
mod databases;
mod drill;
mod finish;
mod groups;
mod import;
mod indexes;
mod leftovers;
mod meter;
mod place;
mod planning;
mod poll;
mod prepare;
mod rows;
mod target;

pub(crate) use databases::remove_databases;
pub(crate) use leftovers::{
    clean_up, leaves_traces, remember_leftovers, remove_leftovers, remove_staged_of, wait_for_calls,
};
pub(crate) use place::{Place, shown};
pub(crate) use planning::{BackupAtHand, cluster_in_service, missing, plan, selected_collections, unusable};
pub(crate) use target::Target;

use super::{Run, Trouble};
use collection::restore_collection;
use futures::{FutureExt, StreamExt};
use meter::StallClock;
use milvault_domain::cluster::Cluster;
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind, PortResult, Stager};
use milvault_domain::restore::{CompareReport, RestorePlan, RestoreRequest, RestoreStep, RestoredCollection};
use planning::ObjectsByCollection;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Semaphore;

/// Collections whose rows are brought in and compared at once: enough to keep a server's few import workers busy
/// with small collections, few enough to bound memory.
const COLLECTIONS_MAX: usize = 8;
/// Collections at work at once, those included that only wait for the server to build their indexes.
const COLLECTIONS_OPEN_MAX: usize = 64;

/// A restore or drill at work, with all that its parts share.
struct Restoring<'a> {
    run: &'a Run,
    mode: Mode,
    request: RestoreRequest,
    repository: Arc<dyn BackupRepository>,
    /// What the backup shows.
    cut: Cut,
    /// Objects of the collections that are not finished; each collection takes its own.
    objects: Mutex<ObjectsByCollection>,
    cluster: Cluster,
    target: Target,
    stager: Arc<dyn Stager>,
    plan: RestorePlan,
    /// Aliases of the target's collections before the restore, by Milvus's id.
    aliases: HashMap<i64, Vec<String>>,
    collection_slots: Semaphore,
    staging_slots: Semaphore,
    group_slots: Semaphore,
    stall: StallClock,
    /// What a drill found so far.
    report: tokio::sync::Mutex<CompareReport>,
}

/// What becomes of a collection whose rows were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It gets its name.
    Restore,
    /// It is dropped.
    Drill,
}

/// Restores, from wherever an earlier attempt was cut off. A collection that cannot be restored does not keep the others
/// from it; the job then fails and names it.
pub(super) async fn restore(run: &Run) -> Result<Job, Trouble> {
    let (restoring, states) = prepare::prepare(run).await?;
    if restoring.mode == Mode::Drill {
        drill::load_report(&restoring).await.map_err(unless_lasting)?;
    }
    run.enter(JobPhase::Import).await?;
    let mut states = restore_all(&restoring, states).await.map_err(unless_lasting)?;
    let warnings = finish::finish(&restoring, &mut states).await.map_err(unless_lasting)?;
    let catalog = &run.core.deps.catalog;
    let progress = run.live.counters.snapshot();
    let complete = || catalog.complete_restore(run.job.id, &warnings, progress, run.core.deps.clock.now());
    let job = run.retry().run("record the end of the restore", complete).await.map_err(unless_lasting)?;
    let failed = states.iter().filter(|state| state.step == RestoreStep::Failed).count();
    tracing::info!(collections = states.len(), failed, "a restore came to its end");
    Ok(job)
}

/// Restores all collections and returns what has become of them, in the order of the plan. The first error that
/// concerns all ends it; what is at work then is stopped.
async fn restore_all(
    restoring: &Restoring<'_>,
    states: Vec<RestoredCollection>,
) -> PortResult<Vec<RestoredCollection>> {
    let mut results = states.clone();
    let mut work = Vec::new();
    for (position, state) in states.into_iter().enumerate() {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        work.push(async move { (position, restore_collection(restoring, position, state).await) }.boxed());
    }
    let mut work = futures::stream::iter(work).buffer_unordered(COLLECTIONS_OPEN_MAX);
    while let Some((position, result)) = work.next().await {
        results[position] = result?;
    }
    Ok(results)
}

impl Restoring<'_> {
    fn place(&self, position: usize) -> Place<'_> {
        Place {
            core: &self.run.core,
            target: &self.target,
            job_id: self.run.job.id,
            position,
            plan: &self.plan.collections[position],
        }
    }

    /// Removes staged files whose space is wanted now; what stays is removed with all the others in the end.
    async fn remove_staged(&self, directory: &str) -> PortResult<u64> {
        self.run.core.check_lease()?;
        self.stager.remove(directory).await
    }
}

/// Whether an error would meet every other collection too.
fn concerns_all(error: &PortError) -> bool {
    match error.kind() {
        PortErrorKind::Unavailable
        | PortErrorKind::PermissionDenied
        | PortErrorKind::StorageFull
        | PortErrorKind::ReadOnly
        | PortErrorKind::Canceled => true,
        PortErrorKind::NotFound
        | PortErrorKind::InvalidInput
        | PortErrorKind::Conflict
        | PortErrorKind::Corrupt
        | PortErrorKind::Unsupported
        | PortErrorKind::Changed
        | PortErrorKind::Busy
        | PortErrorKind::Internal => false,
    }
}

/// An outage in the middle is no reason to throw away what is done: the job is taken up again where it was.
fn unless_lasting(error: PortError) -> Trouble {
    if error.kind() == PortErrorKind::Unavailable {
        Trouble::Postponed(error)
    } else {
        Trouble::Failed(error)
    }
}
