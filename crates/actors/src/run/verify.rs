//! A verify: of one backup, or of a share of a repository.

use super::{Run, Trouble};
use crate::sweep::open;
use milvault_domain::backup::BackupStatus;
use milvault_domain::checks::Share;
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::job::{Job, JobPhase, VerifyLevel};
use milvault_domain::ports::{CheckOrder, PortError, PortErrorKind, PortResult, RecordedCheck};
use milvault_domain::progress::Progress;
use std::sync::Arc;

/// Checks files and records what was found. What is wrong with them is the report's matter; an error means that the
/// check could not be carried out.
pub(super) async fn verify(run: &Run) -> Result<Job, Trouble> {
    let deps = &run.core.deps;
    run.enter(JobPhase::Verify).await?;
    let (repository_id, mut order) = match run.job.backup_id {
        Some(backup_id) => of_backup(run, backup_id).await?,
        None => of_share(run).await?,
    };
    order.known = run.retry().run("look up known damage", || deps.catalog.damage(repository_id)).await?;
    let repository = run.retry().run("open the repository", || open(&run.core, repository_id)).await?;
    let attempt = || {
        // An attempt counts from the beginning.
        run.live.counters.start(Progress::default());
        repository.check_files(&order, Arc::clone(&run.live.counters))
    };
    let checked = run.retry().only_unavailable().run("verify", attempt).await?;
    let progress = run.live.counters.snapshot();
    let record = RecordedCheck {
        job_id: run.job.id,
        repository_id,
        level: order.level,
        found: checked.found,
        sound: checked.sound,
        backups: checked.backups,
        now: deps.clock.now(),
    };
    run.retry().run("keep what was found", || deps.catalog.record_check(&record)).await?;
    let report = checked.report;
    let complete = || deps.catalog.complete_verify(run.job.id, &report, progress, deps.clock.now());
    let job = run.retry().run("record the report", complete).await?;
    tracing::info!(
        backups = order.backups.len(),
        objects = report.objects_checked,
        failures = report.failure_count,
        hashes_recorded = report.hashes_recorded,
        "a verify ended"
    );
    Ok(job)
}

/// All files of one backup.
async fn of_backup(run: &Run, backup_id: BackupId) -> PortResult<(RepositoryId, CheckOrder)> {
    let catalog = &run.core.deps.catalog;
    let backup = run.retry().run("look up the backup", || catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
    let order = CheckOrder {
        backups: vec![backup_id],
        share: Share::ALL,
        all_backups: false,
        level: run.job.verify_level.unwrap_or(VerifyLevel::Content),
        known: Vec::new(),
        max_bytes_per_second: None,
    };
    Ok((backup.repository_id, order))
}

/// The files of all backups that lie in a share of the repository.
async fn of_share(run: &Run) -> PortResult<(RepositoryId, CheckOrder)> {
    let catalog = &run.core.deps.catalog;
    let find = || catalog.verify_schedule_of_job(run.job.id);
    let schedule = run.retry().run("look up the share", find).await?;
    let share = schedule.and_then(|schedule| Some((schedule.repository_id, schedule.share?)));
    let (repository_id, share) =
        share.ok_or_else(|| missing(String::from("the share of this job is read by a later one by now")))?;
    let standings = run.retry().run("look up the backups", || catalog.standings(repository_id)).await?;
    let available = standings.iter().filter(|standing| standing.status == BackupStatus::Available);
    let order = CheckOrder {
        backups: available.map(|standing| standing.backup_id).collect(),
        share: share.share,
        all_backups: true,
        level: share.level,
        known: Vec::new(),
        max_bytes_per_second: share.max_bytes_per_second,
    };
    Ok((repository_id, order))
}

fn missing(message: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, message)
}
