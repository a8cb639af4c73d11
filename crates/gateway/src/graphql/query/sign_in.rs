//! Sessions.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::sign_in::Session;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use milvault_domain::ids::UserId;

/// Queries about sessions.
#[derive(Default)]
pub(crate) struct SignInQuery;

#[Object]
impl SignInQuery {
    /// Sessions that last, newest first, 20 at most: those of the caller, or for owners of the organization those of
    /// any user. A service key has none.
    async fn sessions(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Whose; absent for the caller.")] user_id: Option<ID>,
    ) -> Result<Vec<Session>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted: Option<UserId> = user_id.map(|id| parse_id("userId", &id)).transpose()?;
        let own = caller.principal.user_id;
        let user_id = match wanted {
            Some(wanted) if own != Some(wanted) => {
                caller.permit_managing_organization()?;
                Some(access::identity::user(context, wanted).await?.id)
            }
            _ => own,
        };
        let (Some(user_id), Some(rules)) = (user_id, backend.session_rules.as_deref()) else {
            return Ok(Vec::new());
        };
        let sessions = backend.service.live_sessions(user_id, rules).await?;
        Ok(sessions.into_iter().map(|session| Session::new(session, Some(rules), caller)).collect())
    }
}
