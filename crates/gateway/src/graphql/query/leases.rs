//! The servers that share the catalog.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::leases::Server;
use async_graphql::{Context, Object};

/// Queries about servers.
#[derive(Default)]
pub(crate) struct ServerQuery;

#[Object]
impl ServerQuery {
    /// All servers that were heard of within a day, in the order in which they started. For owners of the organization.
    #[graphql(complexity = "10 + 10 * child_complexity")]
    async fn servers(&self, context: &Context<'_>) -> Result<Vec<Server>, GatewayError> {
        context.caller()?.permit_managing_organization()?;
        let backend = context.backend()?;
        let answering = backend.service.server_id();
        let servers = backend.catalog.servers().await?;
        Ok(servers.into_iter().map(|server| Server::new(server, answering)).collect())
    }
}
