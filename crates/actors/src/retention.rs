//! `RetentionActor`: ends backups whose time is over. It only marks them; nothing is deleted here.

use crate::core::Core;
use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use milvault_domain::ports::PortResult;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Backups marked by one statement: a bound for the transaction.
const BATCH_MAX: u32 = 200;
/// Batches of one run. What is left over is marked by the next.
const BATCHES_MAX: u32 = 50;

/// What the runs so far have done.
#[derive(Debug, Default)]
pub(crate) struct RetentionTally {
    pub(crate) runs: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// A timer around [`expire`]. The timer is armed again after a run has ended, so runs never overlap nor pile up,
/// and no result of a run ends the actor.
pub(crate) struct RetentionActor {
    core: Arc<Core>,
    tally: Arc<RetentionTally>,
}

impl RetentionActor {
    pub(crate) fn new(core: Arc<Core>, tally: Arc<RetentionTally>) -> Self {
        Self { core, tally }
    }

    fn arm(&self, context: &mut Context<Self>) {
        context.run_later(self.core.settings.retention_interval, |actor, context| actor.run(context));
    }

    fn run(&self, context: &mut Context<Self>) {
        let core = Arc::clone(&self.core);
        let task = self.core.io.spawn(async move { expire(&core).await });
        let ended = task.into_actor(self).map(|result, actor, context| {
            actor.tally.runs.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(Ok(expired)) => {
                    actor.tally.expired.fetch_add(expired, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    actor.tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "retention failed; tried again at its next time");
                }
                Err(error) => {
                    actor.tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "retention broke off; tried again at its next time");
                }
            }
            actor.arm(context);
        });
        context.spawn(ended);
    }
}

impl Actor for RetentionActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.arm(context);
    }
}

/// Marks the backups whose time is over, in bounded batches. Returns how many.
async fn expire(core: &Core) -> PortResult<u64> {
    let mut expired_count = 0;
    for _ in 0..BATCHES_MAX {
        let expired = core.deps.catalog.expire_backups(core.deps.clock.now(), BATCH_MAX).await?;
        for backup_id in &expired {
            tracing::info!(%backup_id, "the retention of a backup is over");
        }
        expired_count += expired.len() as u64;
        if expired.len() < BATCH_MAX as usize {
            break;
        }
    }
    Ok(expired_count)
}

#[cfg(test)]
mod tests;
