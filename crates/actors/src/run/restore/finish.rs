//! What comes when every collection has ended: users and roles, what was replaced, and staged files.

use super::databases::remove_databases;
use super::leftovers::remember_leftovers;
use super::place::{kept_until, shown};
use super::{Mode, Restoring, drill};
use milvault_domain::job::JobPhase;
use milvault_domain::ports::{PortErrorKind, PortResult};
use milvault_domain::restore::{RestoreStep, RestoredCollection, staging_directory};

/// Brings a restore to its end and returns what could not be done besides, in words.
pub(super) async fn finish(
    job: &Restoring<'_>,
    states: &mut [RestoredCollection],
) -> PortResult<Vec<String>> {
    job.run.enter(JobPhase::Finish).await?;
    let mut warnings = Vec::new();
    match job.mode {
        Mode::Restore => {
            restore_access(job, &mut warnings).await?;
            settle_replaced(job, states, &mut warnings).await?;
        }
        Mode::Drill => drill::keep_report(job).await?,
    }
    job.run.enter(JobPhase::Cleanup).await?;
    if job.mode == Mode::Drill {
        remove_databases(&job.run.core, &job.target, job.run.job.id, &job.plan).await?;
    }
    remove_staged(job, &mut warnings).await?;
    Ok(warnings)
}

async fn restore_access(job: &Restoring<'_>, warnings: &mut Vec<String>) -> PortResult<()> {
    let (Some(wanted), Some(planned), Some(access)) =
        (&job.request.access_control, &job.plan.access_control, &job.cut.access_control)
    else {
        return Ok(());
    };
    // What the target has of its own stays as it is. The plan knows what that is: an attempt that was cut off has made
    // some of the others.
    let access = planned.part_to_make(access);
    let target = &job.target;
    let make = || target.milvus.restore_access(&access, &wanted.passwords);
    match target.repeat("restore users and roles", make).await {
        Ok(not_made) => warnings.extend(not_made),
        Err(error) if error.is_retryable() => return Err(error),
        Err(error) => {
            tracing::error!(?error, "users and roles could not be restored");
            warnings.push(format!("users, roles and grants are not complete: {error}"));
        }
    }
    Ok(())
}

/// Drops what was replaced, if the restore has succeeded as a whole and its rows are in place; else says where it is
/// kept.
async fn settle_replaced(
    job: &Restoring<'_>,
    states: &mut [RestoredCollection],
    warnings: &mut Vec<String>,
) -> PortResult<()> {
    let succeeded = states.iter().all(|state| matches!(state.step, RestoreStep::Done | RestoreStep::Skipped));
    for (position, state) in states.iter_mut().enumerate() {
        let Some(kept_as) = state.replaced.as_ref().and_then(|replaced| replaced.kept_as.clone()) else {
            continue;
        };
        let place = job.place(position);
        let name = shown(&place.plan.target);
        if !succeeded {
            warnings.push(kept_until(&place.plan.target, &kept_as));
            continue;
        }
        match place.drop_replaced(state).await {
            Err(error) if error.is_retryable() => return Err(error),
            Err(error) => {
                tracing::error!(?error, "a replaced collection could not be dropped");
                warnings.push(format!(
                    "the collection that {name} replaced is still there as `{kept_as}`: {error}"
                ));
            }
            Ok(true) => {}
            Ok(false) => warnings.push(format!(
                "the collection that {name} replaced is kept as `{kept_as}`, because the restored one no longer has \
                 that name: drop it, or undo the restore, which gives it its name back if that is free"
            )),
        }
    }
    Ok(())
}

async fn remove_staged(job: &Restoring<'_>, warnings: &mut Vec<String>) -> PortResult<()> {
    let directory = staging_directory(job.run.job.id);
    let removed = job.run.core.remove("remove staged files", || job.stager.remove(&directory)).await;
    match removed {
        Err(error) if error.kind() == PortErrorKind::Canceled => Err(error),
        // Every collection is done: files that nobody needs do not hold up the end.
        Err(error) => {
            tracing::error!(?error, "staged files could not be removed");
            let root = job.cluster.storage.display_url();
            warnings.push(format!(
                "staged files are left below {root}/{directory}; a timer removes them as soon as it can: {error}"
            ));
            let (run, failure) = (job.run, error.to_string());
            let remember = || remember_leftovers(&run.core, run.job.id, job.cluster.id, failure.clone());
            run.retry().run("remember the staged files", remember).await
        }
        Ok(_) => Ok(()),
    }
}
