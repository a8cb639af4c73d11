//! Removing what drills could not remove when they ended.

use super::super::Service;
use crate::run::restore::clean_up;
use futures::stream::{self, StreamExt};
use milvault_domain::checks::Leftovers;
use milvault_domain::ports::PortResult;
use tokio_util::task::TaskTracker;

/// Leftovers that are looked after in one run.
const BATCH_MAX: u32 = 32;
/// Leftovers that are looked after at once.
const WIDTH: usize = 4;

impl Service {
    /// Makes the attempts that are due.
    ///
    /// # Errors
    /// The catalog does not tell what is due.
    pub(crate) async fn run_due_leftovers(&self) -> PortResult<()> {
        let due = self.deps().catalog.due_leftovers(self.deps().clock.now(), BATCH_MAX).await?;
        stream::iter(due)
            .for_each_concurrent(WIDTH, |leftovers| async move {
                let job_id = leftovers.job_id;
                if let Err(error) = self.attempt(leftovers).await {
                    tracing::warn!(%job_id, %error, "leftovers of a drill are looked after later");
                }
            })
            .await;
        Ok(())
    }

    async fn attempt(&self, leftovers: Leftovers) -> PortResult<()> {
        let (core, catalog) = (self.core(), &self.deps().catalog);
        let job_id = leftovers.job_id;
        let attempted = leftovers.attempted(self.deps().clock.now());
        if !catalog.claim_leftovers(&attempted).await? {
            return Ok(());
        }
        let Some(job) = catalog.job(job_id).await? else { return catalog.forget_leftovers(job_id).await };
        let calls = TaskTracker::new();
        let limit = core.settings.cleanup_time_max;
        let cleaning = clean_up(core, &job, &calls, "not finished: the drill was stopped");
        let failure = match tokio::time::timeout(limit, cleaning).await {
            Ok(Ok(())) => {
                tracing::info!(%job_id, attempts = attempted.attempts, "the leftovers of a drill are removed");
                return catalog.forget_leftovers(job_id).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} seconds", limit.as_secs()),
        };
        if attempted.next_attempt_at.is_none() {
            tracing::error!(%job_id, failure, "the leftovers of a drill stay: they were tried often enough");
        }
        catalog.note_leftovers_failure(job_id, &failure).await
    }
}
