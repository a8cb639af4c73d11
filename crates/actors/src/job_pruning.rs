//! Forgetting old jobs. The timer of retention looks now and then.

use crate::core::Core;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::ports::PortResult;
use std::time::Duration;

/// Jobs removed by one transaction.
const BATCH_MAX: u32 = 200;
/// Batches of one look. What is left over is removed at the next.
const BATCHES_MAX: u32 = 50;
/// Shortest time between two looks: the making of backups that still exist is passed over each time.
const PAUSE: TimeDelta = TimeDelta::hours(1);

/// Remembers when the last look was.
#[derive(Debug, Default)]
pub(crate) struct PruningPace {
    last_look: Option<DateTime<Utc>>,
}

impl PruningPace {
    /// Whether it is time for a look, which then counts as done. A clock that was set back makes it time.
    pub(crate) fn take(&mut self, now: DateTime<Utc>) -> bool {
        let is_time = self.last_look.is_none_or(|last| now < last || PAUSE <= now - last);
        if is_time {
            self.last_look = Some(now);
        }
        is_time
    }
}

/// Removes jobs that ended longer ago than jobs are kept, in bounded batches. Returns how many.
pub(crate) async fn prune_jobs(core: &Core) -> PortResult<u64> {
    let now = core.deps.clock.now();
    let Some(ended_before) = before(now, core.settings.jobs_kept) else { return Ok(0) };
    let mut pruned_count = 0;
    for _ in 0..BATCHES_MAX {
        let pruned = core.deps.catalog.prune_jobs(ended_before, now, BATCH_MAX).await?;
        pruned_count += u64::from(pruned);
        if pruned < BATCH_MAX {
            break;
        }
    }
    if pruned_count > 0 {
        tracing::info!(pruned_count, "old jobs were removed");
    }
    Ok(pruned_count)
}

fn before(now: DateTime<Utc>, kept: Duration) -> Option<DateTime<Utc>> {
    now.checked_sub_signed(TimeDelta::from_std(kept).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_is_taken_once_an_hour_whatever_the_clock_does() {
        let mut pace = PruningPace::default();
        let at = |minutes| DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
        let looks: Vec<bool> =
            [0, 1, 59, 60, 61, 30, 31, 90].map(at).into_iter().map(|now| pace.take(now)).collect();
        assert_eq!(looks, [true, false, false, true, false, true, false, true]);
    }
}
