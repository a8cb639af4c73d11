//! Webhooks in the fake catalog: none. What is told to whom is tested on a real one.

use super::catalog::MemoryCatalog;
use super::tables::error;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, DeliveryId, HoldId, ProjectId, WebhookId};
use milvault_domain::ports::{
    Attempted, ClaimedDelivery, EndingHold, Page, PageRequest, PortErrorKind, PortResult, RecordOutcome,
    WatchedSchedule, WebhookCatalog, WebhookMessage, WebhookSender,
};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    DeliveryState, Occurrence, SendOutcome, Webhook, WebhookChange, WebhookDelivery,
};
use std::collections::VecDeque;
use std::sync::Mutex;

fn none<T>() -> PortResult<T> {
    Err(error(PortErrorKind::NotFound, "this catalog has no webhooks"))
}

#[async_trait]
impl WebhookCatalog for MemoryCatalog {
    async fn insert_webhook(&self, _: &Webhook, _: &SecretValue) -> PortResult<()> {
        none()
    }

    async fn update_webhook(&self, _: WebhookId, _: &WebhookChange, _: DateTime<Utc>) -> PortResult<Webhook> {
        none()
    }

    async fn rotate_webhook_secret(
        &self,
        _: WebhookId,
        _: &SecretValue,
        _: DateTime<Utc>,
    ) -> PortResult<Webhook> {
        none()
    }

    async fn delete_webhook(&self, _: WebhookId, _: DateTime<Utc>) -> PortResult<()> {
        none()
    }

    async fn webhook(&self, _: WebhookId) -> PortResult<Option<Webhook>> {
        Ok(None)
    }

    async fn webhooks(&self, _: ProjectId, _: PageRequest) -> PortResult<Page<Webhook>> {
        Ok(Page::empty())
    }

    async fn webhook_delivery(&self, _: DeliveryId) -> PortResult<Option<WebhookDelivery>> {
        Ok(None)
    }

    async fn webhook_deliveries(
        &self,
        _: WebhookId,
        _: Option<DeliveryState>,
        _: PageRequest,
    ) -> PortResult<Page<WebhookDelivery>> {
        Ok(Page::empty())
    }

    async fn raise_event(&self, _: &Occurrence) -> PortResult<u32> {
        Ok(0)
    }

    async fn tell_webhook(&self, _: WebhookId, _: &Occurrence) -> PortResult<WebhookDelivery> {
        none()
    }

    async fn redeliver(&self, _: DeliveryId, _: DateTime<Utc>) -> PortResult<WebhookDelivery> {
        none()
    }

    async fn claim_deliveries(&self, _: DateTime<Utc>, _: u32) -> PortResult<Vec<ClaimedDelivery>> {
        self.gates.pass("claim_deliveries").await?;
        Ok(vec![])
    }

    async fn record_attempt(&self, _: &Attempted) -> PortResult<RecordOutcome> {
        Ok(RecordOutcome::Late)
    }

    async fn prune_deliveries(&self, _: DateTime<Utc>, _: u32) -> PortResult<u32> {
        Ok(0)
    }

    async fn watched_schedules(&self, _: Option<ClusterId>, _: u32) -> PortResult<Vec<WatchedSchedule>> {
        Ok(vec![])
    }

    async fn ending_holds(
        &self,
        _: DateTime<Utc>,
        _: DateTime<Utc>,
        _: Option<(DateTime<Utc>, HoldId)>,
        _: u32,
    ) -> PortResult<Vec<EndingHold>> {
        Ok(vec![])
    }
}

/// A sender that keeps what it is given, and answers as told: 200 when nothing is said.
#[derive(Default)]
pub struct FakeSender {
    pub answers: Mutex<VecDeque<SendOutcome>>,
    pub sent: Mutex<Vec<WebhookMessage>>,
    /// URLs that are refused.
    pub refused: Mutex<Vec<String>>,
}

impl FakeSender {
    pub fn answer(&self, outcomes: impl IntoIterator<Item = SendOutcome>) {
        self.answers.lock().unwrap().extend(outcomes);
    }

    pub fn sent(&self) -> Vec<WebhookMessage> {
        self.sent.lock().unwrap().clone()
    }
}

#[async_trait]
impl WebhookSender for FakeSender {
    async fn check(&self, url: &str) -> PortResult<()> {
        if self.refused.lock().unwrap().iter().any(|refused| refused == url) {
            return Err(error(PortErrorKind::InvalidInput, "must not lead there"));
        }
        Ok(())
    }

    async fn send(&self, message: &WebhookMessage) -> SendOutcome {
        self.sent.lock().unwrap().push(message.clone());
        self.answers.lock().unwrap().pop_front().unwrap_or(SendOutcome::Answered(200))
    }
}
