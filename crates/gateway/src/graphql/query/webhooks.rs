//! Webhooks. Their URLs may carry tokens of the receivers, so only those see them who manage the project.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::webhooks::Webhook;
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use milvault_domain::access::Action;
use milvault_domain::ports::SortKey;
use milvault_domain::webhook as domain;

/// Queries about webhooks.
#[derive(Default)]
pub(crate) struct WebhookQuery;

#[Object]
impl WebhookQuery {
    /// A webhook. For owners of the project.
    async fn webhook(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the webhook.")] id: ID,
    ) -> Result<Option<Webhook>, GatewayError> {
        context.caller()?;
        let webhook = access::webhook(context, Action::ManageClusters, parse_id("id", &id)?).await?;
        Ok(Some(webhook.into()))
    }

    /// The webhooks of a project, newest first. For owners of the project.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn webhooks(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The project; absent for the only one in which the caller may manage webhooks.")]
        project_id: Option<ID>,
        #[graphql(desc = "Webhooks wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<Webhook>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        let project_id = caller.project_for(Action::ManageClusters, wanted)?;
        let request = page::page_request(first, after.as_deref())?;
        let found = backend.catalog.webhooks(project_id, request).await?;
        let sort_key =
            |record: &domain::Webhook| SortKey { created_at: record.created_at, id: record.id.as_uuid() };
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }
}
