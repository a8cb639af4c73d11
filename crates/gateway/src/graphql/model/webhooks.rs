//! Webhooks and their deliveries.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::print_id;
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids;
use milvault_domain::ports::SortKey;
use milvault_domain::webhook as domain;

/// What a webhook may be told.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::WebhookEvent")]
pub(crate) enum WebhookEvent {
    /// A backup failed.
    BackupFailed,
    /// A backup of a policy has not begun an hour after its start, or has not ended after twelve.
    BackupOverdue,
    /// A backup is more than twice or less than half as large as the median of those before it.
    BackupSizeUnusual,
    /// A hold ends by itself within three days.
    HoldExpiring,
    /// A verify found damage, or could not look.
    VerifyFailed,
    /// A restore failed.
    RestoreFailed,
    /// A restore drill failed.
    DrillFailed,
    /// A copy to another repository failed.
    CopyFailed,
    /// Somebody tries the webhook.
    Ping,
}

/// How far a delivery is.
#[derive(Enum, Debug, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::DeliveryState")]
pub(crate) enum WebhookDeliveryState {
    /// It is being tried.
    Pending,
    /// The receiver has taken it.
    Delivered,
    /// Its attempts are used up, or its webhook was disabled.
    Failed,
}

/// A place that is told what happens in a project, by signed HTTP requests.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Webhook {
    /// Identity, `whk_...`.
    id: ID,
    /// Project whose events it is told.
    project_id: ID,
    /// Name, unique in the project.
    name: String,
    /// Where it lies.
    url: String,
    /// What it is told.
    events: Vec<WebhookEvent>,
    /// Whether it is told anything.
    enabled: bool,
    /// When it was disabled; null while it is in use.
    disabled_at: Option<DateTime<Utc>>,
    /// Why it was disabled.
    disabled_reason: Option<String>,
    /// Since when no attempt has succeeded; null when the last one did, or there was none. After five days it is
    /// disabled.
    failing_since: Option<DateTime<Utc>>,
    /// Events that it was not told because 1,000 deliveries waited already.
    dropped_events: u64,
    /// Who made it.
    created_by: String,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
    #[graphql(skip)]
    key: ids::WebhookId,
}

#[ComplexObject]
impl Webhook {
    /// What it was told, newest first. Deliveries are kept for 30 days after their end.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn deliveries(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only in this state.")] state: Option<WebhookDeliveryState>,
        #[graphql(desc = "Deliveries wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<WebhookDelivery>, GatewayError> {
        let found = context.records()?.load_one(self.key).await?;
        context.caller()?.permit(Action::ManageClusters, found, self.key)?;
        let request = page::page_request(first, after.as_deref())?;
        let catalog = &context.backend()?.catalog;
        let found = catalog.webhook_deliveries(self.key, state.map(Into::into), request).await?;
        let sort_key = |record: &domain::WebhookDelivery| SortKey {
            created_at: record.created_at,
            id: record.id.as_uuid(),
        };
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }
}

/// An event on its way to a webhook.
#[derive(SimpleObject)]
pub(crate) struct WebhookDelivery {
    /// Identity, `dlv_...`; the receiver gets it as `webhook-id`, the same with each attempt.
    id: ID,
    /// The webhook.
    webhook_id: ID,
    /// What happened.
    event: WebhookEvent,
    /// How far it is.
    state: WebhookDeliveryState,
    /// When it was raised.
    created_at: DateTime<Utc>,
    /// When it was delivered or had failed.
    ended_at: Option<DateTime<Utc>>,
    /// When it is tried next; while it is being tried, when it would be tried again if this server died. Null when it has
    /// ended.
    next_attempt_at: Option<DateTime<Utc>>,
    /// The latest attempts, oldest first, at most 20.
    attempts: Vec<WebhookAttempt>,
}

/// One attempt to deliver.
#[derive(SimpleObject)]
pub(crate) struct WebhookAttempt {
    /// When it began.
    at: DateTime<Utc>,
    /// HTTP status of the answer; null without one.
    http_status: Option<u32>,
    /// How long it took, in milliseconds.
    duration_ms: u64,
    /// What went wrong; null when it was delivered.
    error: Option<String>,
}

impl From<domain::Webhook> for Webhook {
    fn from(webhook: domain::Webhook) -> Self {
        let (disabled_at, disabled_reason) =
            webhook.disabled.map(|disabled| (disabled.at, disabled.reason)).unzip();
        Self {
            id: print_id(webhook.id),
            project_id: print_id(webhook.project_id),
            name: webhook.name,
            url: webhook.url,
            events: webhook.events.into_iter().map(Into::into).collect(),
            enabled: disabled_at.is_none(),
            disabled_at,
            disabled_reason,
            failing_since: webhook.failing_since,
            dropped_events: webhook.dropped_events,
            created_by: webhook.created_by,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
            key: webhook.id,
        }
    }
}

impl From<domain::WebhookDelivery> for WebhookDelivery {
    fn from(delivery: domain::WebhookDelivery) -> Self {
        Self {
            id: print_id(delivery.id),
            webhook_id: print_id(delivery.webhook_id),
            event: delivery.event.into(),
            state: delivery.state.into(),
            created_at: delivery.created_at,
            ended_at: delivery.ended_at,
            next_attempt_at: delivery.next_attempt_at,
            attempts: delivery.attempts.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<domain::DeliveryAttempt> for WebhookAttempt {
    fn from(attempt: domain::DeliveryAttempt) -> Self {
        Self {
            at: attempt.at,
            http_status: attempt.http_status.map(u32::from),
            duration_ms: attempt.duration_ms,
            error: attempt.error,
        }
    }
}
