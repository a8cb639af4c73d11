//! Webhooks: making and changing them. Whether the caller may do it was decided before.

use super::{Service, not_found};
use crate::error::ServiceError;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{DeliveryId, ProjectId, WebhookId};
use milvault_domain::ports::{PortError, PortErrorKind};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    EventFacts, Occurrence, Webhook, WebhookChange, WebhookDelivery, WebhookEvent, check_webhook,
    normalized_events,
};

/// A webhook to be added.
#[derive(Clone)]
pub struct NewWebhook {
    /// Project whose events it is told.
    pub project_id: ProjectId,
    /// Name for people, 1 to 64 characters, unique in the project.
    pub name: String,
    /// Where it lies.
    pub url: String,
    /// What it is told; at least one, and not PING.
    pub events: Vec<WebhookEvent>,
    /// What signs.
    pub secret: SecretValue,
    /// Who asks for it.
    pub created_by: String,
}

impl Service {
    /// Makes a webhook.
    ///
    /// # Errors
    /// `InvalidInput`, also for a URL that leads to an address that must not be reached; `Conflict` when the name is taken
    /// or there are too many; `Unavailable` when the URL's name cannot be looked up now.
    pub async fn create_webhook(&self, new: NewWebhook) -> Result<Webhook, ServiceError> {
        self.admit()?;
        let texts = WebhookChange {
            name: Some(new.name),
            url: Some(new.url),
            events: Some(new.events),
            enabled: None,
        };
        check_webhook(&texts)?;
        let WebhookChange { name: Some(name), url: Some(url), events: Some(events), .. } = texts else {
            return Err(InvalidInput::new("input", "must have a name, a URL and events").into());
        };
        self.check_webhook_url(&url).await?;
        let now = self.deps().clock.now();
        let webhook = Webhook {
            id: WebhookId::from_uuid(self.deps().ids.new_uuid()),
            project_id: new.project_id,
            name,
            url,
            events: normalized_events(&events),
            disabled: None,
            failing_since: None,
            dropped_events: 0,
            created_by: new.created_by,
            created_at: now,
            updated_at: now,
        };
        self.deps().catalog.insert_webhook(&webhook, &new.secret).await?;
        Ok(webhook)
    }

    /// Changes a webhook.
    ///
    /// # Errors
    /// As for [`Self::create_webhook`]; `NotFound`.
    pub async fn update_webhook(
        &self,
        webhook_id: WebhookId,
        change: WebhookChange,
    ) -> Result<Webhook, ServiceError> {
        self.admit()?;
        check_webhook(&change)?;
        if let Some(url) = &change.url {
            self.check_webhook_url(url).await?;
        }
        let now = self.deps().clock.now();
        let updated = self.deps().catalog.update_webhook(webhook_id, &change, now).await;
        updated.map_err(|error| gone("webhook", &webhook_id, error))
    }

    /// Removes a webhook with what is on its way to it.
    ///
    /// # Errors
    /// `NotFound`, also when it was deleted before.
    pub async fn delete_webhook(&self, webhook_id: WebhookId) -> Result<(), ServiceError> {
        self.admit()?;
        let deleted = self.deps().catalog.delete_webhook(webhook_id, self.deps().clock.now()).await;
        deleted.map_err(|error| gone("webhook", &webhook_id, error))
    }

    /// Gives a webhook another secret. For a day the former one signs, too.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn rotate_webhook_secret(
        &self,
        webhook_id: WebhookId,
        secret: &SecretValue,
    ) -> Result<Webhook, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        let rotated = self.deps().catalog.rotate_webhook_secret(webhook_id, secret, now).await;
        rotated.map_err(|error| gone("webhook", &webhook_id, error))
    }

    /// Sends a PING. It goes out shortly after this returns.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is disabled or too much waits for it.
    pub async fn test_webhook(
        &self,
        webhook_id: WebhookId,
        created_by: String,
    ) -> Result<WebhookDelivery, ServiceError> {
        self.admit()?;
        let webhook = self.deps().catalog.webhook(webhook_id).await?;
        let webhook = webhook.ok_or_else(|| not_found("webhook", &webhook_id))?;
        let occurrence = Occurrence {
            event: WebhookEvent::Ping,
            project_id: webhook.project_id,
            cause: format!("ping:{}", self.deps().ids.new_uuid()),
            at: self.deps().clock.now(),
            facts: EventFacts {
                reason: Some(format!("{created_by} tests the webhook {}", webhook.name)),
                ..EventFacts::default()
            },
        };
        let told = self.deps().catalog.tell_webhook(webhook_id, &occurrence).await;
        told.map_err(|error| gone("webhook", &webhook_id, error))
    }

    /// Begins the attempts of a delivery that has ended anew; one that is being tried is left as it is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` as for [`Self::test_webhook`].
    pub async fn redeliver(&self, delivery_id: DeliveryId) -> Result<WebhookDelivery, ServiceError> {
        self.admit()?;
        let begun = self.deps().catalog.redeliver(delivery_id, self.deps().clock.now()).await;
        begun.map_err(|error| gone("webhook delivery", &delivery_id, error))
    }

    async fn check_webhook_url(&self, url: &str) -> Result<(), ServiceError> {
        self.deps().webhooks.check(url).await.map_err(|error| match error.kind() {
            PortErrorKind::InvalidInput => InvalidInput::new("url", error.to_string()).into(),
            _ => ServiceError::Unavailable { message: error.to_string(), retryable: error.is_retryable() },
        })
    }
}

fn gone(kind: &'static str, id: &impl ToString, error: PortError) -> ServiceError {
    if error.kind() == PortErrorKind::NotFound { not_found(kind, id) } else { error.into() }
}
