//! A verify.

use super::{Run, Trouble};
use milvault_domain::job::{Job, JobPhase, VerifyLevel};
use milvault_domain::ports::{PortError, PortErrorKind};
use milvault_domain::progress::Progress;
use std::sync::Arc;

/// Checks the backup and records the report. What is wrong with the backup is the report's matter; an error means
/// that the check could not be carried out.
pub(super) async fn verify(run: &Run) -> Result<Job, Trouble> {
    let deps = &run.core.deps;
    let backup_id = run.backup_id()?;
    run.enter(JobPhase::Verify).await?;
    let backup = run.retry().run("look up the backup", || deps.catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
    let repository = run.open_repository(backup.repository_id).await?;
    let level = run.job.verify_level.unwrap_or(VerifyLevel::Content);
    let attempt = || {
        // An attempt counts from the beginning.
        run.live.counters.start(Progress::default());
        repository.verify(backup_id, level, Arc::clone(&run.live.counters))
    };
    let report = run.retry().only_unavailable().run("verify", attempt).await?;
    let progress = run.live.counters.snapshot();
    let complete = || deps.catalog.complete_verify(run.job.id, &report, progress, deps.clock.now());
    let job = run.retry().run("record the report", complete).await?;
    tracing::info!(
        objects = report.objects_checked,
        failures = report.failure_count,
        hashes_recorded = report.hashes_recorded,
        "a verify ended"
    );
    Ok(job)
}

fn missing(message: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, message)
}
