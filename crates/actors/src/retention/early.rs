//! Takes expiries back that a clock has made which was ahead. Their backups are not swept before the time of grace is
//! over, so all of them is still there, unless the clock was ahead for as long as that.

use crate::core::Core;
use crate::sweep::open;
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::ports::{PortErrorKind, PortResult};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::schedule::LOOK_AHEAD_MAX;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Expiries that are looked at in one run.
const BATCH_MAX: u32 = 50;
/// Longest time for the files of one backup. One that needs longer gets its next try in the next run.
const TIME_MAX: Duration = Duration::from_mins(1);

/// Makes available again what has expired by a clock that was ahead by more than clocks may differ, and whose time is
/// not over. That is decided once for each backup: of two servers whose clocks differ for good, the one that is ahead has
/// the last word instead of both going on for ever.
///
/// # Errors
/// The catalog does not tell which those are. What is wrong with one backup keeps no other, but a repository that is away
/// is asked once in a run.
pub(super) async fn take_back(core: &Core) -> PortResult<()> {
    let now = core.deps.clock.now();
    let mut away = HashSet::new();
    for (backup_id, repository_id) in
        core.deps.catalog.early_expiries(now, now + LOOK_AHEAD_MAX, BATCH_MAX).await?
    {
        if away.contains(&repository_id) {
            continue;
        }
        let judged = tokio::time::timeout(TIME_MAX, judge(core, backup_id, repository_id)).await;
        let words = "a backup has expired by a clock that was ahead";
        match &judged {
            Ok(Ok(true)) => tracing::warn!(%backup_id, "{words}; it is available again"),
            Ok(Ok(false)) => tracing::warn!(%backup_id,
                "{words}, and stays deleted: files of it are gone, or its name is given to another backup"),
            Ok(Err(error)) => tracing::warn!(%backup_id, %error, "{words}; it is not available again yet"),
            Err(_) => {
                tracing::warn!(%backup_id, "{words}; it is not available again yet: its repository is slow");
            }
        }
        if !matches!(judged, Ok(Ok(_))) {
            away.insert(repository_id);
        }
    }
    Ok(())
}

/// Without its tombstone a backup that is not available is merely buried again by its sweep; an available one with a
/// tombstone would be missing from lists. So the tombstone goes first.
async fn judge(core: &Core, backup_id: BackupId, repository_id: RepositoryId) -> PortResult<bool> {
    let repository = open(core, repository_id).await?;
    let progress = Arc::new(ProgressCounters::default());
    let is_whole = match repository.verify(backup_id, VerifyLevel::Existence, progress).await {
        Ok(report) => report.failure_count == 0,
        // A sweep that was cut off has removed the manifest.
        Err(error) if error.kind() == PortErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let mut tombstone = None;
    if is_whole {
        tombstone = repository.tombstone(backup_id).await?;
        repository.exhume(backup_id).await?;
    }
    let (now, catalog) = (core.deps.clock.now(), &core.deps.catalog);
    let is_available = catalog.judge_early_expiry(backup_id, is_whole, now, now + LOOK_AHEAD_MAX).await?;
    if let Some(tombstone) = tombstone.filter(|_| !is_available) {
        repository.bury(&tombstone).await?;
    }
    Ok(is_available)
}
