//! Undoing a restore: what it made is removed, what it replaced gets its name back.

use super::restore::{
    Place, Target, cluster_in_service, missing, remember_leftovers, remove_databases, remove_staged_of, shown,
};
use super::{Run, Trouble};
use futures::{FutureExt, StreamExt};
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::job_request::JobRequest;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::progress::Progress;
use milvault_domain::restore::{AccessPlan, Restore, RestorePlan, RestoreStep, RestoredCollection};

/// Collections that are removed at once.
const WIDTH: usize = 8;

/// Removes what a restore made. Interrupted anywhere, it goes on with what is still there; a collection that cannot be
/// removed does not keep the others from it.
pub(super) async fn undo(run: &Run) -> Result<Job, Trouble> {
    run.enter(JobPhase::Cleanup).await?;
    let catalog = &run.core.deps.catalog;
    let restore_job_id = restore_of(run).await?;
    let find = || catalog.restore(restore_job_id);
    let restore = run.retry().run("look up the restore", find).await?;
    let restore = restore.ok_or_else(|| missing(format!("job {restore_job_id} is not a restore")))?;
    let mut warnings = Vec::new();
    if let Some(plan) = &restore.plan {
        let cluster = cluster_in_service(&run.core, restore.request.target_cluster_id).await?;
        let target = Target::connect(&run.core, &cluster, &run.undivided).await?;
        warnings = take_all_away(run, &target, restore_job_id, plan, &restore).await?;
        remove_databases(&run.core, &target, restore_job_id, plan).await?;
        if let Err(error) = remove_staged_of(&run.core, restore_job_id, &restore, &cluster).await {
            let failure = error.to_string();
            let remember = || remember_leftovers(&run.core, restore_job_id, cluster.id, failure.clone());
            run.retry().run("remember the staged files", remember).await?;
            warnings.push(format!(
                "staged files of the restore may be left; a timer removes them as soon as it can: {error}"
            ));
        }
        warnings.extend(plan.access_control.as_ref().and_then(access_that_stays));
    }
    let progress = run.live.counters.snapshot();
    let complete = || catalog.complete_restore(run.job.id, &warnings, progress, run.core.deps.clock.now());
    Ok(run.retry().run("record the end of the undo", complete).await?)
}

/// Users and roles have no ids by which the restore's own could be told from those that somebody else has made since
/// under the same names, so none is removed.
fn access_that_stays(access: &AccessPlan) -> Option<String> {
    let (users, roles) = (access.users.len(), access.roles.len());
    (users + roles > 0).then(|| {
        format!(
            "users, roles and grants are not undone: those that the restore made stay, and its plan names them \
             (users: {users}, roles: {roles})"
        )
    })
}

async fn restore_of(run: &Run) -> PortResult<JobId> {
    let catalog = &run.core.deps.catalog;
    let request = run.retry().run("look up the request", || catalog.job_request(run.job.id)).await?;
    let Some(JobRequest::Undo { restore_job_id }) = request else {
        let message = format!("job {} does not say which restore to undo", run.job.id);
        return Err(PortError::new(PortErrorKind::Internal, message));
    };
    let former = run.retry().run("look up the restore", || catalog.job(restore_job_id)).await?;
    let former = former.ok_or_else(|| missing(format!("job {restore_job_id} is not in the catalog")))?;
    if !former.state.is_final() {
        let message = format!("restore {restore_job_id} has not ended; wait for its end or cancel it");
        return Err(PortError::new(PortErrorKind::Conflict, message));
    }
    Ok(restore_job_id)
}

async fn take_all_away(
    run: &Run,
    target: &Target,
    job_id: JobId,
    plan: &RestorePlan,
    restore: &Restore,
) -> PortResult<Vec<String>> {
    let objects_total = plan.collections.len() as u64;
    run.live.counters.start(Progress { objects_total, ..Progress::default() });
    let mut work = Vec::new();
    for (position, (collection, state)) in plan.collections.iter().zip(&restore.collections).enumerate() {
        let place = Place { core: &run.core, target, job_id, position, plan: collection };
        let state = state.clone();
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        work.push(
            async move {
                let answer = take_one_away(&place, state).await;
                answer.map_err(|error| error.context(format!("collection {}", shown(&collection.target))))
            }
            .boxed(),
        );
    }
    let mut work = futures::stream::iter(work).buffer_unordered(WIDTH);
    let (mut warnings, mut failures) = (Vec::new(), Vec::new());
    while let Some(answer) = work.next().await {
        match answer {
            Ok(words) => warnings.extend(words),
            Err(error) if error.kind() == PortErrorKind::Unavailable => return Err(error),
            Err(error) => failures.push(error),
        }
        run.live.counters.add_object();
    }
    let count = failures.len();
    match failures.into_iter().next() {
        None => Ok(warnings),
        Some(first) => Err(first.context(format!("{count} collections could not be removed, the first"))),
    }
}

async fn take_one_away(place: &Place<'_>, mut state: RestoredCollection) -> PortResult<Vec<String>> {
    match state.step {
        RestoreStep::Skipped | RestoreStep::Failed | RestoreStep::Undone => return Ok(Vec::new()),
        RestoreStep::Done => {
            if let Some(words) = somebody_elses(place, &state).await? {
                return Ok(vec![words]);
            }
        }
        // What the clean-up after it could not remove.
        RestoreStep::Waiting | RestoreStep::Created | RestoreStep::Compared => {}
    }
    let is_waiting = state.step == RestoreStep::Waiting;
    let warnings = place.take_away(&mut state).await?;
    if !is_waiting {
        state.step = RestoreStep::Undone;
        state.warnings.extend(warnings.iter().cloned());
        place.save(&state).await?;
    }
    Ok(warnings)
}

/// A collection that has taken the name since was not made by the restore, and is left alone; so is what the restore
/// had replaced, because its name is not free.
async fn somebody_elses(place: &Place<'_>, state: &RestoredCollection) -> PortResult<Option<String>> {
    let name = &place.plan.target;
    let Some(holder) = place.target.holder(name).await? else { return Ok(None) };
    let replaced_id = state.replaced.as_ref().map(|replaced| replaced.collection_id);
    let is_known = holder.name == name.collection
        && [state.target_collection_id, replaced_id].contains(&Some(holder.collection_id));
    Ok((!is_known)
        .then(|| format!("{} is another collection or alias by now and was left alone", shown(name))))
}
