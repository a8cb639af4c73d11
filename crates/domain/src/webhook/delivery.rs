//! Telling a webhook, as often as it takes.

use super::WebhookEvent;
use crate::ids::{DeliveryId, WebhookId};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// How often a delivery is tried before it has failed.
pub const ATTEMPTS_MAX: u32 = 10;
/// Attempts of a delivery that are remembered, the latest ones: one that is asked for again and again has more.
pub const HISTORY_MAX: usize = 20;
/// After how long an attempt that nobody wrote the end of is made by somebody else. Far longer than one may take.
pub const CLAIM_LAPSES_AFTER: TimeDelta = TimeDelta::minutes(2);
/// How long no attempt to reach a webhook may have succeeded before it is disabled.
pub const FAILING_MAX: TimeDelta = TimeDelta::days(5);
/// How long deliveries that have ended are kept.
pub const DELIVERIES_KEPT: TimeDelta = TimeDelta::days(30);
/// Longest time until a next attempt. One that lies further ahead was put there by a clock that was wrong, and is made
/// at once.
pub const NEXT_ATTEMPT_MAX: TimeDelta = TimeDelta::days(1);

/// Seconds between attempts, the first of them after the first attempt: 22 to 27 hours in all with what is added.
const PAUSES_SECONDS: [i64; ATTEMPTS_MAX as usize - 1] =
    [2, 10, 60, 300, 1_200, 3_600, 10_800, 21_600, 43_200];
/// A pause grows by up to one fifth of itself, so that what failed together is not tried together.
const JITTER_PARTS: i64 = 5;

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeliveryState {
    /// It is being tried.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// Its attempts are used up, or its webhook was disabled.
    Failed,
}

/// An event on its way to a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookDelivery {
    /// Identity; the receiver gets it as `webhook-id`, the same with each attempt.
    pub id: DeliveryId,
    /// The webhook.
    pub webhook_id: WebhookId,
    /// What happened.
    pub event: WebhookEvent,
    /// How far it is.
    pub state: DeliveryState,
    /// When it was raised.
    pub created_at: DateTime<Utc>,
    /// When it was delivered or had failed.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it is tried next; `None` when it has ended.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// The latest attempts, oldest first, at most [`HISTORY_MAX`].
    pub attempts: Vec<DeliveryAttempt>,
}

/// One attempt to deliver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAttempt {
    /// When it began.
    pub at: DateTime<Utc>,
    /// HTTP status of the answer; `None` without one.
    pub http_status: Option<u16>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// What went wrong, in words; `None` when it was delivered.
    pub error: Option<String>,
}

/// What sending came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendOutcome {
    /// The receiver answered with this status.
    Answered(u16),
    /// There was no answer, or nothing was sent; in words that hold no secret.
    Failed(String),
}

impl SendOutcome {
    /// HTTP status of the answer.
    #[must_use]
    pub const fn http_status(&self) -> Option<u16> {
        match self {
            Self::Answered(status) => Some(*status),
            Self::Failed(_) => None,
        }
    }

    /// What went wrong; `None` for an answer that says well done.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        match self {
            Self::Answered(200..=299) => None,
            Self::Answered(status @ 300..=399) => {
                Some(format!("the receiver answered {status}; redirects are not followed"))
            }
            Self::Answered(status) => Some(format!("the receiver answered {status}")),
            Self::Failed(message) => Some(message.clone()),
        }
    }
}

/// What comes of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// It is tried again.
    RetryAt(DateTime<Utc>),
    /// That was the last attempt.
    Failed,
    /// The receiver wants no more (410): the webhook is disabled.
    Gone,
}

/// Decides what comes of an attempt, the so manieth of its delivery.
#[must_use]
pub fn verdict(outcome: &SendOutcome, delivery_id: DeliveryId, attempts: u32, now: DateTime<Utc>) -> Verdict {
    match outcome {
        SendOutcome::Answered(200..=299) => Verdict::Delivered,
        SendOutcome::Answered(410) => Verdict::Gone,
        SendOutcome::Answered(_) | SendOutcome::Failed(_) => {
            next_attempt(delivery_id, attempts, now).map_or(Verdict::Failed, Verdict::RetryAt)
        }
    }
}

/// When a delivery is tried again after so many attempts; `None` when they are used up.
#[must_use]
pub fn next_attempt(delivery_id: DeliveryId, attempts: u32, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
    let pause = TimeDelta::seconds(*PAUSES_SECONDS.get(index)?);
    let mut hasher = blake3::Hasher::new_derive_key("milvault 2026 webhook jitter");
    hasher.update(delivery_id.as_uuid().as_bytes()).update(&attempts.to_le_bytes());
    let share = i64::from(hasher.finalize().as_bytes()[0]);
    let jitter = TimeDelta::milliseconds(pause.num_milliseconds() / JITTER_PARTS * share / 255);
    now.checked_add_signed(pause + jitter)
}

/// The delivery of what comes of a cause to a webhook: the same, however often and by whomever it is raised.
#[must_use]
pub fn delivery_id(webhook_id: WebhookId, cause: &str) -> DeliveryId {
    let mut hasher = blake3::Hasher::new_derive_key("milvault 2026 webhook delivery id");
    hasher.update(webhook_id.as_uuid().as_bytes()).update(cause.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    DeliveryId::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    fn delivery(number: u128) -> DeliveryId {
        DeliveryId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn attempts_go_on_for_about_a_day_and_end() {
        for number in 0..200 {
            let mut now = DateTime::UNIX_EPOCH;
            let mut pauses = Vec::new();
            for attempts in 1..ATTEMPTS_MAX {
                let next = next_attempt(delivery(number), attempts, now).unwrap();
                pauses.push(next - now);
                assert!(next - now <= NEXT_ATTEMPT_MAX);
                now = next;
            }
            assert!(pauses.is_sorted(), "{pauses:?}");
            let total = now - DateTime::UNIX_EPOCH;
            assert!(TimeDelta::hours(22) <= total && total <= TimeDelta::hours(27), "{total}");
            assert_eq!(next_attempt(delivery(number), ATTEMPTS_MAX, now), None);
        }
        assert_eq!(next_attempt(delivery(1), 0, DateTime::UNIX_EPOCH), None);
    }

    #[test]
    fn pauses_of_different_deliveries_differ_and_those_of_one_repeat() {
        let now = DateTime::UNIX_EPOCH;
        let at = |number| next_attempt(delivery(number), 5, now).unwrap();
        let mut seen: Vec<_> = (0..50).map(at).collect();
        assert_eq!(at(7), at(7));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 30, "{}", seen.len());
    }

    #[test]
    fn answers_decide() {
        let now = DateTime::UNIX_EPOCH;
        let of = |outcome, attempts| verdict(&outcome, delivery(1), attempts, now);
        for status in [200, 204, 299] {
            assert_eq!(of(SendOutcome::Answered(status), 1), Verdict::Delivered);
        }
        assert_eq!(of(SendOutcome::Answered(410), 1), Verdict::Gone);
        for status in [100, 301, 400, 404, 429, 500] {
            assert!(matches!(of(SendOutcome::Answered(status), 1), Verdict::RetryAt(_)), "{status}");
            assert_eq!(of(SendOutcome::Answered(status), ATTEMPTS_MAX), Verdict::Failed);
        }
        assert!(matches!(of(SendOutcome::Failed(String::from("x")), 9), Verdict::RetryAt(_)));
    }

    #[test]
    fn a_cause_has_one_delivery_for_each_webhook() {
        let webhook = |number| WebhookId::from_uuid(Uuid::from_u128(number));
        assert_eq!(delivery_id(webhook(1), "job:1"), delivery_id(webhook(1), "job:1"));
        assert_ne!(delivery_id(webhook(1), "job:1"), delivery_id(webhook(2), "job:1"));
        assert_ne!(delivery_id(webhook(1), "job:1"), delivery_id(webhook(1), "job:2"));
    }
}
