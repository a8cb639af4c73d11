//! Attempts: who makes one, and what comes of it.

use super::{lock_project, rows};
use crate::catalog::SqlCatalog;
use crate::database::{Record, Statement, Transaction};
use crate::model::{bounded, count, figure, from_json, id, spelled, time, to_json};
use chrono::{DateTime, Utc};
use milvault_domain::ids::{DeliveryId, WebhookId};
use milvault_domain::ports::{Attempted, ClaimedDelivery, PortErrorKind, PortResult, RecordOutcome};
use milvault_domain::webhook::{
    CLAIM_LAPSES_AFTER, DeliveryAttempt, Disabled, FAILING_MAX, HISTORY_MAX, NEXT_ATTEMPT_MAX, Verdict,
    Webhook, WebhookEvent,
};

/// Longest words about an attempt, in characters.
const ERROR_CHARS_MAX: usize = 256;
/// Times that one look may find what others are quicker to claim before it gives up for now.
const LOST_RACES_MAX: u32 = 32;

impl SqlCatalog {
    /// Claims one after another, each in a transaction of its own, so that no claim waits for two rows.
    pub(super) async fn claim(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClaimedDelivery>> {
        let mut claimed: Vec<ClaimedDelivery> = Vec::new();
        let mut passed_over: Vec<WebhookId> = Vec::new();
        let mut lost_races = 0;
        while claimed.len() < limit as usize && lost_races < LOST_RACES_MAX {
            let Some(mut row) = self.first_due(now, &passed_over).await? else { break };
            let candidate = Candidate::read(&mut row)?;
            if self.write(candidate.claim(now)?).await? == 0 {
                lost_races += 1;
                continue;
            }
            passed_over.push(candidate.webhook_id);
            // Deleted meanwhile, with its deliveries: there is nothing to claim any more.
            let kept = self
                .find(rows::select_webhook(candidate.webhook_id), |row| rows::read(&self.sealer, row))
                .await;
            match kept {
                Ok(Some(kept)) => claimed.push(ClaimedDelivery {
                    delivery_id: candidate.delivery_id,
                    webhook_id: candidate.webhook_id,
                    event: candidate.event,
                    secrets: kept.secrets.valid_at(now),
                    url: kept.webhook.url,
                    payload: candidate.payload,
                    attempts: candidate.attempts,
                    claim: candidate.claim.saturating_add(1),
                }),
                Ok(None) => {}
                // What was claimed before it is not lost on account of one that cannot be read.
                Err(error) if claimed.is_empty() => return Err(error),
                Err(_) => break,
            }
        }
        Ok(claimed)
    }

    async fn first_due(&self, now: DateTime<Utc>, passed_over: &[WebhookId]) -> PortResult<Option<Record>> {
        for statement in select_claimable(now, passed_over) {
            if let Some(row) = self.database.read(statement).await?.pop() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    pub(super) async fn record(
        &self,
        transaction: &mut dyn Transaction,
        attempted: &Attempted,
    ) -> PortResult<RecordOutcome> {
        let Some(webhook) = self.webhook_of(transaction, attempted.delivery_id).await? else {
            return Ok(RecordOutcome::Late);
        };
        lock_project(transaction, webhook.project_id).await?;
        let rows::Kept { webhook, secrets } = match self.load_webhook(transaction, webhook.id).await {
            Ok(kept) => kept,
            Err(error) if error.kind() == PortErrorKind::NotFound => return Ok(RecordOutcome::Late),
            Err(error) => return Err(error),
        };
        let row = transaction.query(rows::select_delivery(attempted.delivery_id)).await?.pop();
        let Some(mut row) = row else { return Ok(RecordOutcome::Late) };
        let attempts: Vec<DeliveryAttempt> = from_json(&row.text("attempts")?)?;
        if transaction.execute(end_attempt(attempted, attempts)?).await? == 0 {
            return Ok(RecordOutcome::Late);
        }
        let changed = after_attempt(&webhook, attempted);
        if changed != webhook {
            transaction.execute(rows::update(&self.sealer, &changed, &secrets)?).await?;
        }
        if changed.disabled == webhook.disabled {
            return Ok(RecordOutcome::Recorded);
        }
        fail_pending(transaction, webhook.id, attempted.now).await?;
        Ok(RecordOutcome::Disabled)
    }

    async fn webhook_of(
        &self,
        transaction: &mut dyn Transaction,
        delivery_id: DeliveryId,
    ) -> PortResult<Option<Webhook>> {
        let Some(mut row) = transaction.query(rows::select_delivery(delivery_id)).await?.pop() else {
            return Ok(None);
        };
        let webhook_id = id(&row.text("webhook_id")?)?;
        match transaction.query(rows::select_webhook(webhook_id)).await?.pop() {
            Some(mut row) => Ok(Some(rows::read(&self.sealer, &mut row)?.webhook)),
            None => Ok(None),
        }
    }
}

/// The webhook after an attempt: how long it has failed, and whether that is too long.
fn after_attempt(webhook: &Webhook, attempted: &Attempted) -> Webhook {
    let mut changed = webhook.clone();
    let now = attempted.now;
    let disabled = |reason: &str| Some(Disabled { at: now, reason: reason.to_owned() });
    match attempted.verdict {
        Verdict::Delivered => changed.failing_since = None,
        Verdict::Gone => {
            changed.failing_since.get_or_insert(now);
            changed.disabled = changed.disabled.or_else(|| disabled("the receiver answered 410: it is gone"));
        }
        Verdict::RetryAt(_) | Verdict::Failed => {
            let since = *changed.failing_since.get_or_insert(now);
            if changed.disabled.is_none() && FAILING_MAX <= now - since {
                changed.disabled = disabled("no attempt has succeeded for five days");
            }
        }
    }
    changed
}

/// A delivery that is due.
struct Candidate {
    delivery_id: DeliveryId,
    webhook_id: WebhookId,
    event: WebhookEvent,
    payload: String,
    attempts: u32,
    claim: u64,
}

impl Candidate {
    fn read(row: &mut Record) -> PortResult<Self> {
        Ok(Self {
            delivery_id: id(&row.text("id")?)?,
            webhook_id: id(&row.text("webhook_id")?)?,
            event: spelled(&row.text("event")?)?,
            payload: row.text("payload")?,
            attempts: count(row.integer("attempt_count")?)?,
            claim: count(row.integer("claim")?)?,
        })
    }

    /// Takes it, if nobody else has since it was read.
    fn claim(&self, now: DateTime<Utc>) -> PortResult<Statement> {
        let lapses_at = now.checked_add_signed(CLAIM_LAPSES_AFTER).unwrap_or(now);
        Ok(Statement::update(
            "webhook_deliveries",
            [
                ("claim", figure("claim", self.claim.saturating_add(1))?.into()),
                ("next_attempt_at_us", lapses_at.timestamp_micros().into()),
            ],
        )
        .push("state = 'PENDING' AND id = ")
        .bind(self.delivery_id.to_string())
        .push(" AND claim = ")
        .bind(figure("claim", self.claim)?))
    }
}

/// The delivery whose attempt is due first, and one whose attempt lies further ahead than any may; none of these webhooks.
pub(crate) fn select_claimable(now: DateTime<Utc>, passed_over: &[WebhookId]) -> [Statement; 2] {
    let latest = now.checked_add_signed(NEXT_ATTEMPT_MAX).unwrap_or(now);
    [(" AND next_attempt_at_us <= ", now), (" AND next_attempt_at_us > ", latest)].map(
        |(condition, bound)| {
            let mut statement = Statement::new("SELECT * FROM webhook_deliveries WHERE state = 'PENDING'")
                .push(condition)
                .bind(bound.timestamp_micros());
            for webhook_id in passed_over {
                statement = statement.push(" AND webhook_id <> ").bind(webhook_id.to_string());
            }
            statement.push(" ORDER BY next_attempt_at_us, id LIMIT 1")
        },
    )
}

/// Ends an attempt, if its claim is still the latest.
fn end_attempt(attempted: &Attempted, mut attempts: Vec<DeliveryAttempt>) -> PortResult<Statement> {
    let mut attempt = attempted.attempt.clone();
    attempt.at = time(attempt.at.timestamp_micros())?;
    attempt.error = attempt.error.map(|error| bounded(&error, ERROR_CHARS_MAX));
    attempts.push(attempt);
    attempts.drain(..attempts.len().saturating_sub(HISTORY_MAX));
    let (state, next, ended) = match attempted.verdict {
        Verdict::Delivered => ("DELIVERED", None, Some(attempted.now)),
        Verdict::RetryAt(next) => ("PENDING", Some(next), None),
        Verdict::Failed | Verdict::Gone => ("FAILED", None, Some(attempted.now)),
    };
    Ok(Statement::new("UPDATE webhook_deliveries SET attempt_count = attempt_count + 1, attempts = ")
        .bind(to_json(&attempts)?)
        .push(", state = ")
        .bind(state)
        .push(", next_attempt_at_us = ")
        .bind(next.map(|next| next.timestamp_micros()))
        .push(", ended_at_us = ")
        .bind(ended.map(|ended| ended.timestamp_micros()))
        .push(" WHERE state = 'PENDING' AND id = ")
        .bind(attempted.delivery_id.to_string())
        .push(" AND claim = ")
        .bind(figure("claim", attempted.claim)?))
}

/// Fails what waits for a webhook that is no longer in use.
pub(super) async fn fail_pending(
    transaction: &mut dyn Transaction,
    webhook_id: WebhookId,
    now: DateTime<Utc>,
) -> PortResult<()> {
    let statement = Statement::update(
        "webhook_deliveries",
        [
            ("state", "FAILED".into()),
            ("next_attempt_at_us", None::<i64>.into()),
            ("ended_at_us", now.timestamp_micros().into()),
        ],
    )
    .push("state = 'PENDING' AND webhook_id = ")
    .bind(webhook_id.to_string());
    transaction.execute(statement).await?;
    Ok(())
}

/// Begins the attempts of a delivery that has ended anew.
pub(super) fn begin_anew(delivery_id: DeliveryId, now: DateTime<Utc>) -> Statement {
    Statement::update(
        "webhook_deliveries",
        [
            ("state", "PENDING".into()),
            ("attempt_count", 0.into()),
            ("next_attempt_at_us", now.timestamp_micros().into()),
            ("ended_at_us", None::<i64>.into()),
        ],
    )
    .push("state <> 'PENDING' AND id = ")
    .bind(delivery_id.to_string())
}

pub(crate) fn select_ended(ended_before: DateTime<Utc>, limit: u32) -> Statement {
    Statement::new("SELECT id FROM webhook_deliveries WHERE ended_at_us IS NOT NULL AND ended_at_us < ")
        .bind(ended_before.timestamp_micros())
        .push(" ORDER BY ended_at_us, id LIMIT ")
        .bind(i64::from(limit))
}

pub(super) fn delete_ended(delivery_id: String, ended_before: DateTime<Utc>) -> Statement {
    Statement::new("DELETE FROM webhook_deliveries WHERE id = ")
        .bind(delivery_id)
        .push(" AND ended_at_us < ")
        .bind(ended_before.timestamp_micros())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use chrono::TimeDelta;
    use milvault_domain::ids::ProjectId;
    use uuid::Uuid;

    #[test]
    fn a_webhook_is_disabled_when_it_has_failed_for_long_and_success_forgets_that() {
        let start = DateTime::UNIX_EPOCH;
        let webhook = Webhook {
            id: WebhookId::from_uuid(Uuid::nil()),
            project_id: ProjectId::from_uuid(Uuid::nil()),
            name: String::new(),
            url: String::new(),
            events: vec![],
            disabled: None,
            failing_since: None,
            dropped_events: 0,
            created_by: String::new(),
            created_at: start,
            updated_at: start,
        };
        let after = |webhook: &Webhook, verdict, now| {
            let attempt = DeliveryAttempt { at: now, http_status: None, duration_ms: 0, error: None };
            let delivery_id = DeliveryId::from_uuid(Uuid::nil());
            after_attempt(webhook, &Attempted { delivery_id, claim: 1, attempt, verdict, now })
        };
        let failing = after(&webhook, Verdict::RetryAt(start), start);
        assert_eq!((failing.failing_since, &failing.disabled), (Some(start), &None));
        let nearly = after(&failing, Verdict::Failed, start + FAILING_MAX - TimeDelta::seconds(1));
        assert_eq!(nearly, failing);
        assert_eq!(after(&failing, Verdict::Delivered, start + FAILING_MAX), webhook);
        let disabled = after(&failing, Verdict::Failed, start + FAILING_MAX).disabled.unwrap();
        assert!(disabled.reason.contains("five days"), "{}", disabled.reason);
        assert!(after(&webhook, Verdict::Gone, start).disabled.unwrap().reason.contains("410"));
        // A clock that goes back disables nothing.
        assert_eq!(after(&failing, Verdict::Failed, start - TimeDelta::days(900)).disabled, None);
    }
}
