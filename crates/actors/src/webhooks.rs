//! `NotifyActor`: tells webhooks what happened, and notices what nobody else does: backups that are late, and holds that
//! end soon. What jobs raise by failing is in the catalog already when this looks.

mod notices;

use crate::core::Core;
use crate::telemetry;
use actix::prelude::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use milvault_domain::ports::{Attempted, ClaimedDelivery, PortResult, RecordOutcome, WebhookMessage};
use milvault_domain::webhook::{DELIVERIES_KEPT, DeliveryAttempt, SendOutcome, Verdict, sign, verdict};
use notices::raise_notices;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Deliveries that are tried at the same time, each to another webhook.
const BATCH_MAX: u32 = 16;
/// Batches of one run. What is left over is tried by the next.
const BATCHES_MAX: u32 = 64;
/// Longest time for one attempt; the sender has a shorter limit of its own. Well below the lapse of a claim.
const SEND_TIME_MAX: Duration = Duration::from_secs(30);
/// Old deliveries removed by one look.
const PRUNED_MAX: u32 = 500;

/// What the runs so far have done.
#[derive(Debug, Default)]
pub(crate) struct NotifyTally {
    pub(crate) runs: AtomicU64,
    pub(crate) attempts: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// A timer around [`deliver_due`] and [`notice`]. The timer is armed again after a run has ended, so runs never overlap
/// nor pile up, and no result of a run ends the actor.
pub(crate) struct NotifyActor {
    core: Arc<Core>,
    tally: Arc<NotifyTally>,
    last_notice: DateTime<Utc>,
}

impl NotifyActor {
    /// The first look for what is late is one interval away: what waited for this server is taken up before.
    pub(crate) fn new(core: Arc<Core>, tally: Arc<NotifyTally>) -> Self {
        let last_notice = core.deps.clock.now();
        Self { core, tally, last_notice }
    }

    fn arm(&self, context: &mut Context<Self>) {
        context.run_later(self.core.settings.notify_interval, Self::run);
    }

    /// Whether it is time for notices, which then count as given. A clock that was set back makes it time.
    fn take_notice(&mut self) -> bool {
        let now = self.core.deps.clock.now();
        let interval = TimeDelta::from_std(self.core.settings.notice_interval).unwrap_or(TimeDelta::MAX);
        let is_time = now < self.last_notice || interval <= now - self.last_notice;
        if is_time {
            self.last_notice = now;
        }
        is_time
    }

    fn run(&mut self, context: &mut Context<Self>) {
        let core = Arc::clone(&self.core);
        let looks_too = self.take_notice();
        let task = self.core.io.spawn(async move {
            // A failure in one part keeps nothing from the other.
            let noticed = if looks_too { notice(&core).await } else { Ok(()) };
            let attempts = deliver_due(&core).await;
            noticed.and(attempts)
        });
        let ended = task.into_actor(self).map(|result, actor, context| {
            let tally = &actor.tally;
            tally.runs.fetch_add(1, Ordering::Relaxed);
            match result {
                Ok(Ok(attempts)) => {
                    tally.attempts.fetch_add(attempts, Ordering::Relaxed);
                }
                Ok(Err(error)) => {
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%error, "cannot tell webhooks; tried again at the next time");
                }
                Err(error) => {
                    tally.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "telling webhooks broke off; tried again at the next time");
                }
            }
            actor.arm(context);
        });
        context.spawn(ended);
    }
}

impl Actor for NotifyActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.arm(context);
    }
}

/// Raises what is noticed by looking, and forgets old deliveries.
async fn notice(core: &Core) -> PortResult<()> {
    let raised = raise_notices(core).await;
    if let Some(ended_before) = core.deps.clock.now().checked_sub_signed(DELIVERIES_KEPT) {
        core.deps.catalog.prune_deliveries(ended_before, PRUNED_MAX).await?;
    }
    raised
}

/// Makes the attempts that are due, in bounded batches. Returns how many.
async fn deliver_due(core: &Core) -> PortResult<u64> {
    let mut attempts = 0;
    for _ in 0..BATCHES_MAX {
        let claimed = core.deps.catalog.claim_deliveries(core.deps.clock.now(), BATCH_MAX).await?;
        if claimed.is_empty() {
            break;
        }
        attempts += claimed.len() as u64;
        for recorded in join_all(claimed.into_iter().map(|delivery| deliver(core, delivery))).await {
            recorded?;
        }
    }
    Ok(attempts)
}

/// Makes one attempt and writes down what came of it. When that cannot be written, the claim lapses and the attempt is
/// made again.
async fn deliver(core: &Core, delivery: ClaimedDelivery) -> PortResult<()> {
    let began = core.deps.clock.now();
    let outcome = attempt(core, &delivery, began).await;
    let now = core.deps.clock.now();
    let verdict = verdict(&outcome, delivery.delivery_id, delivery.attempts.saturating_add(1), now);
    metrics::counter!(telemetry::WEBHOOK_ATTEMPTS, "outcome" => label(verdict)).increment(1);
    let attempt = DeliveryAttempt {
        at: began,
        http_status: outcome.http_status(),
        duration_ms: u64::try_from((now - began).num_milliseconds()).unwrap_or(0),
        error: outcome.error(),
    };
    let (delivery_id, webhook_id) = (delivery.delivery_id, delivery.webhook_id);
    tracing::debug!(%delivery_id, %webhook_id, ?verdict, error = attempt.error, "a webhook was told");
    let attempted = Attempted { delivery_id, claim: delivery.claim, attempt, verdict, now };
    if core.deps.catalog.record_attempt(&attempted).await? == RecordOutcome::Disabled {
        tracing::warn!(%webhook_id, "a webhook is disabled; `Webhook.disabledReason` says why");
    }
    Ok(())
}

async fn attempt(core: &Core, delivery: &ClaimedDelivery, now: DateTime<Utc>) -> SendOutcome {
    let (id, timestamp_seconds) = (delivery.delivery_id.to_string(), now.timestamp());
    let signature = match sign(&delivery.secrets, &id, timestamp_seconds, &delivery.payload) {
        Ok(signature) => signature,
        Err(error) => return SendOutcome::Failed(error.to_string()),
    };
    let message = WebhookMessage {
        url: delivery.url.clone(),
        id,
        timestamp_seconds,
        signature,
        body: delivery.payload.clone(),
    };
    match tokio::time::timeout(SEND_TIME_MAX, core.deps.webhooks.send(&message)).await {
        Ok(outcome) => outcome,
        Err(_) => SendOutcome::Failed(String::from("there was no answer in time")),
    }
}

const fn label(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Delivered => "DELIVERED",
        Verdict::RetryAt(_) => "RETRIED",
        Verdict::Failed | Verdict::Gone => "FAILED",
    }
}

#[cfg(test)]
mod tests;
