//! Making, changing and trying webhooks.

use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::webhooks::{Webhook, WebhookDelivery, WebhookEvent};
use crate::graphql::scalar::{parse_id, print_id};
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::NewWebhook;
use milvault_domain::access::Action;
use milvault_domain::ids::DeliveryId;
use milvault_domain::webhook::{WebhookChange, new_secret};

/// Mutations of webhooks.
#[derive(Default)]
pub(crate) struct WebhookMutation;

/// A webhook to be made.
#[derive(InputObject)]
pub(crate) struct CreateWebhookInput {
    /// The project whose events it is told; absent for the only one in which the caller may manage webhooks.
    project_id: Option<ID>,
    /// Name, 1 to 64 characters, unique in the project.
    name: String,
    /// Where to send, `https://...`, at most 2,048 bytes, without user name, password and fragment. Every address that it
    /// leads to must be public.
    url: String,
    /// What it is told; at least one event, and not `PING`.
    events: Vec<WebhookEvent>,
}

/// A webhook that was made.
#[derive(SimpleObject)]
pub(crate) struct CreateWebhookPayload {
    /// The webhook.
    webhook: Webhook,
    /// What its deliveries are signed with. It is shown only here.
    secret: String,
}

/// Changes of a webhook. What is absent stays as it is.
#[derive(InputObject)]
pub(crate) struct UpdateWebhookInput {
    /// Which webhook.
    webhook_id: ID,
    /// New name.
    name: Option<String>,
    /// New URL, also for what waits.
    url: Option<String>,
    /// What it is told from now on.
    events: Option<Vec<WebhookEvent>>,
    /// Whether it is told anything. Disabling it fails what waits; it is enabled again by hand only.
    enabled: Option<bool>,
}

/// A webhook that was changed.
#[derive(SimpleObject)]
pub(crate) struct UpdateWebhookPayload {
    /// The webhook.
    webhook: Webhook,
}

/// A webhook to be deleted.
#[derive(InputObject)]
pub(crate) struct DeleteWebhookInput {
    /// Which webhook.
    webhook_id: ID,
}

/// A webhook that was deleted.
#[derive(SimpleObject)]
pub(crate) struct DeleteWebhookPayload {
    /// Its identity.
    webhook_id: ID,
}

/// A webhook whose secret is to be replaced.
#[derive(InputObject)]
pub(crate) struct RotateWebhookSecretInput {
    /// Which webhook.
    webhook_id: ID,
}

/// A webhook whose secret was replaced.
#[derive(SimpleObject)]
pub(crate) struct RotateWebhookSecretPayload {
    /// The webhook.
    webhook: Webhook,
    /// The new secret. It is shown only here.
    secret: String,
}

/// A webhook to be tried.
#[derive(InputObject)]
pub(crate) struct TestWebhookInput {
    /// Which webhook; it must be in use.
    webhook_id: ID,
}

/// A webhook that is being tried.
#[derive(SimpleObject)]
pub(crate) struct TestWebhookPayload {
    /// The `PING` on its way to it.
    delivery: WebhookDelivery,
}

/// A delivery to be tried anew.
#[derive(InputObject)]
pub(crate) struct RedeliverInput {
    /// Which delivery.
    delivery_id: ID,
}

/// A delivery that is being tried anew.
#[derive(SimpleObject)]
pub(crate) struct RedeliverPayload {
    /// The delivery.
    delivery: WebhookDelivery,
}

#[Object]
impl WebhookMutation {
    /// Makes a webhook. For owners of the project. A name that is taken, or a project that has 20 webhooks, is a
    /// `CONFLICT`.
    async fn create_webhook(
        &self,
        context: &Context<'_>,
        input: CreateWebhookInput,
    ) -> Result<CreateWebhookPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = input.project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        let secret = new_secret(rand::random());
        let new = NewWebhook {
            project_id: caller.project_for(Action::ManageClusters, wanted)?,
            name: input.name,
            url: input.url,
            events: input.events.into_iter().map(Into::into).collect(),
            secret: secret.clone(),
            created_by: caller.principal.name.clone(),
        };
        let made = backend.service.create_webhook(new).await?;
        context.note_target(made.id);
        Ok(CreateWebhookPayload { webhook: made.into(), secret: secret.expose().to_owned() })
    }

    /// Changes a webhook. For owners of the project.
    async fn update_webhook(
        &self,
        context: &Context<'_>,
        input: UpdateWebhookInput,
    ) -> Result<UpdateWebhookPayload, GatewayError> {
        let backend = context.backend()?;
        let webhook_id = parse_id("webhookId", &input.webhook_id)?;
        access::webhook(context, Action::ManageClusters, webhook_id).await?;
        let change = WebhookChange {
            name: input.name,
            url: input.url,
            events: input.events.map(|events| events.into_iter().map(Into::into).collect()),
            enabled: input.enabled,
        };
        let webhook = backend.service.update_webhook(webhook_id, change).await?;
        Ok(UpdateWebhookPayload { webhook: webhook.into() })
    }

    /// Deletes a webhook with what is on its way to it. For owners of the project.
    async fn delete_webhook(
        &self,
        context: &Context<'_>,
        input: DeleteWebhookInput,
    ) -> Result<DeleteWebhookPayload, GatewayError> {
        let backend = context.backend()?;
        let webhook_id = parse_id("webhookId", &input.webhook_id)?;
        access::webhook(context, Action::ManageClusters, webhook_id).await?;
        backend.service.delete_webhook(webhook_id).await?;
        Ok(DeleteWebhookPayload { webhook_id: print_id(webhook_id) })
    }

    /// Gives a webhook another secret. For 24 hours deliveries are signed with the former one, too. For owners of the
    /// project.
    async fn rotate_webhook_secret(
        &self,
        context: &Context<'_>,
        input: RotateWebhookSecretInput,
    ) -> Result<RotateWebhookSecretPayload, GatewayError> {
        let backend = context.backend()?;
        let webhook_id = parse_id("webhookId", &input.webhook_id)?;
        access::webhook(context, Action::ManageClusters, webhook_id).await?;
        let secret = new_secret(rand::random());
        let webhook = backend.service.rotate_webhook_secret(webhook_id, &secret).await?;
        Ok(RotateWebhookSecretPayload { webhook: webhook.into(), secret: secret.expose().to_owned() })
    }

    /// Sends a `PING` to a webhook, which goes out shortly. A webhook that is disabled is a `CONFLICT`. For owners of the
    /// project.
    async fn test_webhook(
        &self,
        context: &Context<'_>,
        input: TestWebhookInput,
    ) -> Result<TestWebhookPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let webhook_id = parse_id("webhookId", &input.webhook_id)?;
        access::webhook(context, Action::ManageClusters, webhook_id).await?;
        let delivery = backend.service.test_webhook(webhook_id, caller.principal.name.clone()).await?;
        context.note("deliveryId", delivery.id);
        Ok(TestWebhookPayload { delivery: delivery.into() })
    }

    /// Tries a delivery that has ended anew, with the same id and body. One that is being tried stays as it is. For owners
    /// of the project.
    async fn redeliver(
        &self,
        context: &Context<'_>,
        input: RedeliverInput,
    ) -> Result<RedeliverPayload, GatewayError> {
        let backend = context.backend()?;
        let delivery_id: DeliveryId = parse_id("deliveryId", &input.delivery_id)?;
        access::webhook_of_delivery(context, Action::ManageClusters, delivery_id).await?;
        let delivery = backend.service.redeliver(delivery_id).await?;
        Ok(RedeliverPayload { delivery: delivery.into() })
    }
}
