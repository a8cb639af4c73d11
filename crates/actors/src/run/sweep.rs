//! A sweep: what only deleted and failed backups of a cluster refer to is removed.

use super::{Run, Trouble};
use crate::sweep::{self, SweepPlan, Verdicts};
use milvault_domain::ids::RepositoryId;
use milvault_domain::job::{Job, JobPhase, JobState};
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind, PortResult};
use milvault_domain::progress::Progress;
use std::sync::Arc;

/// How often a plan is made anew when backups came or were taken up while it was made.
const PLANS_MAX: usize = 3;

/// Sweeps every repository that holds backups of the cluster. Cut off anywhere, it begins anew and comes to the same
/// end: manifests go after the files that only they refer to, tombstones last.
pub(super) async fn sweep(run: &Run) -> Result<Job, Trouble> {
    let catalog = &run.core.deps.catalog;
    run.enter(JobPhase::Plan).await?;
    run.live.counters.start(Progress::default());
    let cluster_id = run.job.cluster_id;
    let repositories =
        run.retry().run("look up the repositories", || catalog.repositories_of(cluster_id)).await?;
    let mut totals = Progress::default();
    let mut unreadable = Vec::new();
    let mut failures = Vec::new();
    for repository_id in repositories {
        // A repository that is away, or gone for good, keeps none of the others from being swept.
        match sweep_repository(run, repository_id, &mut totals).await {
            Ok(found) => unreadable.extend(found),
            Err(error) if error.kind() == PortErrorKind::Canceled => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%repository_id, %error, "a repository cannot be swept");
                failures.push((repository_id, error));
            }
        }
    }
    if let Some(error) = not_swept(failures) {
        return Err(error.into());
    }
    if let Some(first) = unreadable.first() {
        let message = format!(
            "{} of the deleted backups cannot be read, so their files stay; everything else was swept; the first: {first}",
            unreadable.len()
        );
        return Err(PortError::new(PortErrorKind::Corrupt, message).into());
    }
    run.retry().run("record the progress", || run.checkpoint()).await?;
    let now = run.core.deps.clock.now();
    let end = || catalog.transition_job(run.job.id, JobState::Successful, None, now);
    Ok(run.retry().run("record the end of the sweep", end).await?)
}

/// One failure for those of all repositories, of the kind of the first.
fn not_swept(failures: Vec<(RepositoryId, PortError)>) -> Option<PortError> {
    let ids: Vec<String> = failures.iter().map(|(id, _)| id.to_string()).collect();
    let (_, first) = failures.into_iter().next()?;
    let of_first = if ids.len() == 1 { "" } else { "; the first" };
    Some(first.context(format!("not swept: {}{of_first}", ids.join(", "))))
}

async fn sweep_repository(
    run: &Run,
    repository_id: RepositoryId,
    totals: &mut Progress,
) -> PortResult<Vec<String>> {
    let core = &run.core;
    let repository = run.open_repository(repository_id).await?;
    let (verdicts, plan) = settled_plan(run, &repository).await?;
    totals.objects_total += plan.files.len() as u64;
    totals.bytes_total += plan.files.iter().map(|listed| listed.size_bytes).sum::<u64>();
    let before = run.live.counters.snapshot();
    run.live.counters.start(Progress {
        bytes_done: before.bytes_done,
        objects_done: before.objects_done,
        ..*totals
    });
    run.enter(JobPhase::Cleanup).await?;
    let (files, backups) = (plan.files.len(), plan.due.len());
    sweep::remove_files(core, repository.as_ref(), plan.files, |listed| {
        run.live.counters.add_bytes(listed.size_bytes);
        run.live.counters.add_object();
    })
    .await?;
    for backup_id in &plan.due {
        core.remove("remove a manifest", || repository.remove_backup(*backup_id)).await?;
    }
    let swept: Vec<_> = plan.due.into_iter().chain(verdicts.gone).collect();
    let now = core.deps.clock.now();
    run.retry().run("record what is swept", || core.deps.catalog.mark_swept(&swept, now)).await?;
    tracing::info!(%repository_id, files, backups, "a repository is swept");
    Ok(plan.unreadable)
}

/// A plan that still holds when it was looked at again. Whatever is deleted has its tombstone by then.
async fn settled_plan(
    run: &Run,
    repository: &Arc<dyn BackupRepository>,
) -> PortResult<(Verdicts, SweepPlan)> {
    let (core, cluster_id) = (&run.core, run.job.cluster_id);
    for _ in 0..PLANS_MAX {
        let verdicts = sweep::judge(core, repository.as_ref(), cluster_id).await?;
        for tombstone in verdicts.unburied() {
            run.retry().run("write a tombstone", || repository.bury(&tombstone)).await?;
        }
        let plan = sweep::plan(core, repository.as_ref(), &verdicts).await?;
        if verdicts.hold_by(&sweep::judge(core, repository.as_ref(), cluster_id).await?) {
            return Ok((verdicts, plan));
        }
        tracing::info!("backups came or were taken up meanwhile; the sweep is planned anew");
    }
    let message = "backups came or were taken up every time the sweep was planned; it is tried again later";
    Err(PortError::new(PortErrorKind::Unavailable, message))
}
