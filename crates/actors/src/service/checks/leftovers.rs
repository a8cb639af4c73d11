//! Removing what restores and drills could not remove when they ended.

use super::super::Service;
use crate::run::restore::remove_leftovers;
use chrono::TimeDelta;
use futures::stream::{self, StreamExt};
use milvault_domain::checks::Leftovers;
use milvault_domain::job::JobType;
use milvault_domain::ports::PortResult;

/// Leftovers that are looked after in one run.
const BATCH_MAX: u32 = 32;
/// Leftovers that are looked after at once.
const WIDTH: usize = 4;
/// Time between two attempts when the usual ones are over: nobody else removes a restore's staged files.
const LONG_DELAY: TimeDelta = TimeDelta::days(1);

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
                    tracing::warn!(%job_id, %error, "leftovers of a restore are looked after later");
                }
            })
            .await;
        Ok(())
    }

    async fn attempt(&self, leftovers: Leftovers) -> PortResult<()> {
        let (core, catalog) = (self.core(), &self.deps().catalog);
        let job_id = leftovers.job_id;
        let Some(job) = catalog.job(job_id).await? else { return catalog.forget_leftovers(job_id).await };
        let now = self.deps().clock.now();
        let mut attempted = leftovers.attempted(now);
        if attempted.next_attempt_at.is_none() && (job.job_type == JobType::Restore || !job.state.is_final())
        {
            attempted.next_attempt_at = now.checked_add_signed(LONG_DELAY);
        }
        if !catalog.claim_leftovers(&attempted).await? {
            return Ok(());
        }
        // It was cut off before its end was recorded and is at work again, so what is there is in use.
        if !job.state.is_final() {
            return Ok(());
        }
        let limit = core.settings.cleanup_time_max;
        let failure = match tokio::time::timeout(limit, remove_leftovers(core, &job)).await {
            Ok(Ok(())) => {
                tracing::info!(%job_id, attempts = attempted.attempts, "the leftovers of a restore are removed");
                return catalog.forget_leftovers(job_id).await;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not done within {} seconds", limit.as_secs()),
        };
        tracing::warn!(%job_id, attempts = attempted.attempts, failure, "leftovers could not be removed");
        if attempted.next_attempt_at.is_none() {
            tracing::error!(%job_id, failure, "the leftovers of a drill stay: they were tried often enough");
        }
        catalog.note_leftovers_failure(job_id, &failure).await
    }
}
