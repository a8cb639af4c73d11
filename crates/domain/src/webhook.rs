//! Webhooks: where a project wants to be told of what went wrong, what it is told, and how often that is tried.
//!
//! An event is raised once for each cause and webhook: the delivery's id derives from both. A delivery is tried until the
//! receiver takes it or its attempts are used up. Whoever receives it may get it more than once, under the same id: a
//! server that dies between sending and writing that down sends again.

mod address;
mod delivery;
mod event;
mod overdue;
mod signature;
mod size;

pub use address::forbidden_range;
pub use delivery::{
    ATTEMPTS_MAX, CLAIM_LAPSES_AFTER, DELIVERIES_KEPT, DeliveryAttempt, DeliveryState, FAILING_MAX,
    HISTORY_MAX, NEXT_ATTEMPT_MAX, SendOutcome, Verdict, WebhookDelivery, delivery_id, next_attempt, verdict,
};
pub use event::{EventFacts, HOLD_NOTICE, Occurrence, WebhookEvent};
pub use overdue::{END_OVERDUE_AFTER, START_OVERDUE_AFTER, missed_start};
pub use signature::{InvalidSecret, new_secret, sign};
pub use size::{SIZE_FACTOR, SIZE_HISTORY_MAX, SIZE_HISTORY_MIN, SizeDeviation, size_deviation};

use crate::error::{InvalidInput, check_name};
use crate::ids::{ProjectId, WebhookId};
use crate::secret::SecretValue;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

/// Most webhooks of one project.
pub const WEBHOOKS_MAX: u32 = 20;
/// Most deliveries of one webhook that wait for the receiver. Events beyond that are dropped, and counted.
pub const PENDING_MAX: u32 = 1_000;
/// Longest URL, in bytes.
pub const URL_BYTES_MAX: usize = 2_048;
/// How long the former secret still signs, too, after a new one was made.
pub const FORMER_SECRET_KEPT: TimeDelta = TimeDelta::hours(24);

/// A webhook as the catalog knows it, without its secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Identity.
    pub id: WebhookId,
    /// Project whose events it is told.
    pub project_id: ProjectId,
    /// Name for people, unique in the project.
    pub name: String,
    /// Where it lies. It may carry a token of the receiver, so it is encrypted at rest and not in `Debug`.
    pub url: String,
    /// What it is told, in the order of the enum, each once.
    pub events: Vec<WebhookEvent>,
    /// Why it is told nothing at present; `None` while it is in use.
    pub disabled: Option<Disabled>,
    /// Since when no attempt has succeeded; `None` when the last one did, or there was none.
    pub failing_since: Option<DateTime<Utc>>,
    /// Events that it was not told because too many deliveries waited.
    pub dropped_events: u64,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed by somebody.
    pub updated_at: DateTime<Utc>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Webhook")
            .field("id", &self.id)
            .field("project_id", &self.project_id)
            .field("name", &self.name)
            .field("events", &self.events)
            .field("disabled", &self.disabled)
            .field("failing_since", &self.failing_since)
            .field("dropped_events", &self.dropped_events)
            .finish_non_exhaustive()
    }
}

/// The end of a webhook's use, until somebody enables it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disabled {
    /// When.
    pub at: DateTime<Utc>,
    /// Why, in words.
    pub reason: String,
}

/// Changes of a webhook: what is `None` stays as it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebhookChange {
    /// New name.
    pub name: Option<String>,
    /// New URL, also of what waits.
    pub url: Option<String>,
    /// What it is told from now on.
    pub events: Option<Vec<WebhookEvent>>,
    /// Whether it is in use. Disabling fails what waits.
    pub enabled: Option<bool>,
}

/// The secrets that sign: the current one, and the one before for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecrets {
    /// The current one.
    pub current: SecretValue,
    /// The one before, and until when it signs, too.
    pub former: Option<(SecretValue, DateTime<Utc>)>,
}

impl SigningSecrets {
    /// A first secret.
    #[must_use]
    pub const fn new(current: SecretValue) -> Self {
        Self { current, former: None }
    }

    /// The secrets after a new one was made. One that is replaced for the second time signs no more.
    #[must_use]
    pub fn rotated(self, new: SecretValue, now: DateTime<Utc>) -> Self {
        let until = now.checked_add_signed(FORMER_SECRET_KEPT).unwrap_or(now);
        Self { current: new, former: Some((self.current, until)) }
    }

    /// Those that sign at that moment, the current one first.
    #[must_use]
    pub fn valid_at(&self, now: DateTime<Utc>) -> Vec<SecretValue> {
        let former = self.former.iter().filter(|(_, until)| now < *until).map(|(secret, _)| secret);
        std::iter::once(&self.current).chain(former).cloned().collect()
    }
}

/// Checks what a person may give a webhook, but for what its URL means.
///
/// # Errors
/// Names the field and the rule.
pub fn check_webhook(change: &WebhookChange) -> Result<(), InvalidInput> {
    change.name.as_deref().map_or(Ok(()), |name| check_name("name", name))?;
    if let Some(url) = &change.url {
        check_url_text(url)?;
    }
    match &change.events {
        Some(events) => check_events(events),
        None => Ok(()),
    }
}

fn check_url_text(url: &str) -> Result<(), InvalidInput> {
    if url.is_empty() || url.len() > URL_BYTES_MAX {
        return Err(InvalidInput::new(
            "url",
            format!("must have 1 to {URL_BYTES_MAX} bytes, got {}", url.len()),
        ));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidInput::new("url", "must contain no white space, control or non-ASCII characters"));
    }
    Ok(())
}

fn check_events(events: &[WebhookEvent]) -> Result<(), InvalidInput> {
    if events.is_empty() {
        return Err(InvalidInput::new("events", "must name at least one event"));
    }
    if events.contains(&WebhookEvent::Ping) {
        return Err(InvalidInput::new("events", "PING comes by `testWebhook` only; leave it out"));
    }
    Ok(())
}

/// The events in the order of the enum, each once.
#[must_use]
pub fn normalized_events(events: &[WebhookEvent]) -> Vec<WebhookEvent> {
    WebhookEvent::ALL.into_iter().filter(|event| events.contains(event)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn texts_and_events_are_checked_by_field() {
        let bad = |change: WebhookChange| check_webhook(&change).unwrap_err().field;
        let url = |url: &str| WebhookChange { url: Some(url.to_owned()), ..WebhookChange::default() };
        assert_eq!(bad(WebhookChange { name: Some(String::new()), ..WebhookChange::default() }), "name");
        for text in [String::new(), String::from("https://a b"), String::from("https://ä"), "x".repeat(2_049)]
        {
            assert_eq!(bad(url(&text)), "url", "{text}");
        }
        assert!(check_webhook(&url(&format!("https://{}", "x".repeat(2_040)))).is_ok());
        for events in [vec![], vec![WebhookEvent::Ping], vec![WebhookEvent::BackupFailed, WebhookEvent::Ping]]
        {
            assert_eq!(bad(WebhookChange { events: Some(events), ..WebhookChange::default() }), "events");
        }
        let twice = [WebhookEvent::CopyFailed, WebhookEvent::BackupFailed, WebhookEvent::CopyFailed];
        assert_eq!(normalized_events(&twice), [WebhookEvent::BackupFailed, WebhookEvent::CopyFailed]);
    }

    #[test]
    fn a_former_secret_signs_for_a_day_and_one_before_that_no_more() {
        let now = DateTime::UNIX_EPOCH;
        let secret = |text: &str| SecretValue::new(text.to_owned());
        let once = SigningSecrets::new(secret("a")).rotated(secret("b"), now);
        assert_eq!(once.valid_at(now), [secret("b"), secret("a")]);
        assert_eq!(once.valid_at(now + FORMER_SECRET_KEPT), [secret("b")]);
        let twice = once.rotated(secret("c"), now);
        assert_eq!(twice.valid_at(now), [secret("c"), secret("b")]);
        assert!(!format!("{twice:?}").contains('"'), "{twice:?}");
    }
}
