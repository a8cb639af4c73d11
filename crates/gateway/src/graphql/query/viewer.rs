//! The caller himself.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::viewer::Viewer;
use async_graphql::{Context, Object};

/// Queries about the caller.
#[derive(Default)]
pub(crate) struct ViewerQuery;

#[Object]
#[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
impl ViewerQuery {
    /// Who is asking: the API key and its rights.
    async fn viewer(&self, context: &Context<'_>) -> Result<Viewer, GatewayError> {
        Ok(Viewer::new(context.caller()?))
    }
}
