//! Webhooks in the catalog of the tests, the real ones, and a sender that is only pretended.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, DeliveryId, HoldId, ProjectId, WebhookId};
use milvault_domain::ports::{
    Attempted, ClaimedDelivery, EndingHold, Page, PageRequest, PortError, PortErrorKind, PortResult,
    RecordOutcome, WatchedSchedule, WebhookCatalog, WebhookMessage, WebhookSender,
};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    DeliveryState, Occurrence, SendOutcome, Webhook, WebhookChange, WebhookDelivery,
};

/// Sends nothing: whoever has `refused` in his URL may not be reached, and whoever has `broken` answers 500.
pub(crate) struct PretendedSender;

#[async_trait]
impl WebhookSender for PretendedSender {
    async fn check(&self, url: &str) -> PortResult<()> {
        if url.contains("refused") {
            return Err(PortError::new(PortErrorKind::InvalidInput, "must lead to a public address"));
        }
        Ok(())
    }

    async fn send(&self, message: &WebhookMessage) -> SendOutcome {
        SendOutcome::Answered(if message.url.contains("broken") { 500 } else { 200 })
    }
}

#[async_trait]
impl WebhookCatalog for TestCatalog {
    async fn insert_webhook(&self, webhook: &Webhook, secret: &SecretValue) -> PortResult<()> {
        self.counted("insert_webhook").insert_webhook(webhook, secret).await
    }

    async fn update_webhook(
        &self,
        webhook_id: WebhookId,
        change: &WebhookChange,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook> {
        self.counted("update_webhook").update_webhook(webhook_id, change, now).await
    }

    async fn rotate_webhook_secret(
        &self,
        webhook_id: WebhookId,
        secret: &SecretValue,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook> {
        self.counted("rotate_webhook_secret").rotate_webhook_secret(webhook_id, secret, now).await
    }

    async fn delete_webhook(&self, webhook_id: WebhookId, now: DateTime<Utc>) -> PortResult<()> {
        self.counted("delete_webhook").delete_webhook(webhook_id, now).await
    }

    async fn webhook(&self, webhook_id: WebhookId) -> PortResult<Option<Webhook>> {
        self.counted("webhook").webhook(webhook_id).await
    }

    async fn webhooks(&self, project_id: ProjectId, page: PageRequest) -> PortResult<Page<Webhook>> {
        self.counted("webhooks").webhooks(project_id, page).await
    }

    async fn webhook_delivery(&self, delivery_id: DeliveryId) -> PortResult<Option<WebhookDelivery>> {
        self.counted("webhook_delivery").webhook_delivery(delivery_id).await
    }

    async fn webhook_deliveries(
        &self,
        webhook_id: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> PortResult<Page<WebhookDelivery>> {
        self.counted("webhook_deliveries").webhook_deliveries(webhook_id, state, page).await
    }

    async fn raise_event(&self, occurrence: &Occurrence) -> PortResult<u32> {
        self.counted("raise_event").raise_event(occurrence).await
    }

    async fn tell_webhook(
        &self,
        webhook_id: WebhookId,
        occurrence: &Occurrence,
    ) -> PortResult<WebhookDelivery> {
        self.counted("tell_webhook").tell_webhook(webhook_id, occurrence).await
    }

    async fn redeliver(&self, delivery_id: DeliveryId, now: DateTime<Utc>) -> PortResult<WebhookDelivery> {
        self.counted("redeliver").redeliver(delivery_id, now).await
    }

    async fn claim_deliveries(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClaimedDelivery>> {
        self.counted("claim_deliveries").claim_deliveries(now, limit).await
    }

    async fn record_attempt(&self, attempted: &Attempted) -> PortResult<RecordOutcome> {
        self.counted("record_attempt").record_attempt(attempted).await
    }

    async fn prune_deliveries(&self, ended_before: DateTime<Utc>, limit: u32) -> PortResult<u32> {
        self.counted("prune_deliveries").prune_deliveries(ended_before, limit).await
    }

    async fn watched_schedules(
        &self,
        after: Option<ClusterId>,
        limit: u32,
    ) -> PortResult<Vec<WatchedSchedule>> {
        self.counted("watched_schedules").watched_schedules(after, limit).await
    }

    async fn ending_holds(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<(DateTime<Utc>, HoldId)>,
        limit: u32,
    ) -> PortResult<Vec<EndingHold>> {
        self.counted("ending_holds").ending_holds(now, until, after, limit).await
    }
}
