//! The burial of a backup that was deleted by hand.

use super::{Run, Trouble};
use milvault_domain::job::{Job, JobPhase, JobState};
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::ports::{PortError, PortErrorKind};
use milvault_domain::progress::Progress;

/// Writes the tombstone, so that the backup is deleted for whoever has the repository alone. The catalog marked it when
/// the job was accepted; its files go with a later sweep.
pub(super) async fn delete(run: &Run) -> Result<Job, Trouble> {
    let catalog = &run.core.deps.catalog;
    let backup_id = run.backup_id()?;
    run.live.counters.start(Progress { objects_total: 1, ..Progress::default() });
    run.enter(JobPhase::Cleanup).await?;
    let backup = run.retry().run("look up the backup", || catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| {
        PortError::new(PortErrorKind::NotFound, format!("backup {backup_id} is not in the catalog"))
    })?;
    let repository = run.open_repository(backup.repository_id).await?;
    let nothing_left = match run.retry().run("look for the manifest", || repository.owner(backup_id)).await {
        Ok(owner) => owner.is_none(),
        // Damaged, but there.
        Err(error) if matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported) => false,
        Err(error) => return Err(error.into()),
    };
    if !nothing_left {
        let tombstone =
            Tombstone { backup_id, cluster_id: backup.cluster_id, deleted_at: run.job.created_at };
        run.retry().run("write the tombstone", || repository.bury(&tombstone)).await?;
    }
    run.live.counters.add_object();
    run.retry().run("record the progress", || run.checkpoint()).await?;
    let now = run.core.deps.clock.now();
    let end = || catalog.transition_job(run.job.id, JobState::Successful, None, now);
    Ok(run.retry().run("record the end of the deletion", end).await?)
}
