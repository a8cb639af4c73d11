//! Ending sessions.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::sign_in::Session;
use crate::graphql::scalar::{Int64, parse_id};
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_domain::ids::{SessionId, UserId};

/// Mutations of sessions.
#[derive(Default)]
pub(crate) struct SignInMutation;

/// A session to be ended.
#[derive(InputObject)]
pub(crate) struct RevokeSessionInput {
    /// Which session.
    session_id: ID,
}

/// A session that was ended.
#[derive(SimpleObject)]
pub(crate) struct RevokeSessionPayload {
    /// Its record.
    session: Session,
}

/// A user whose sessions are to be ended.
#[derive(InputObject)]
pub(crate) struct EndUserSessionsInput {
    /// Whose.
    user_id: ID,
    /// Whether to forget which account at the identity provider is his, too: at his next sign-in he is bound anew, by
    /// his verified address. For owners of the organization.
    #[graphql(default)]
    forget_accounts: bool,
}

/// What was ended.
#[derive(SimpleObject)]
pub(crate) struct EndUserSessionsPayload {
    /// Sessions that were ended.
    ended: Int64,
}

#[Object]
impl SignInMutation {
    /// Ends a session: at once for requests, within seconds for open subscriptions. Doing it again changes nothing.
    /// Everybody may for his own, owners of the organization for all.
    async fn revoke_session(
        &self,
        context: &Context<'_>,
        input: RevokeSessionInput,
    ) -> Result<RevokeSessionPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let session_id: SessionId = parse_id("sessionId", &input.session_id)?;
        let principal = &caller.principal;
        let session = backend
            .catalog
            .session(session_id)
            .await?
            .filter(|session| session.organization_id == principal.organization_id)
            .filter(|session| caller.manages_organization() || principal.user_id == Some(session.user_id))
            .ok_or_else(|| GatewayError::not_found("session", session_id))?;
        let ended = backend.service.end_session(session.id).await?;
        let session = Session::new(ended, backend.session_rules.as_deref(), caller);
        Ok(RevokeSessionPayload { session })
    }

    /// Ends all sessions of a user. Everybody may for himself, owners of the organization for all users.
    async fn end_user_sessions(
        &self,
        context: &Context<'_>,
        input: EndUserSessionsInput,
    ) -> Result<EndUserSessionsPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let user_id: UserId = parse_id("userId", &input.user_id)?;
        if input.forget_accounts || caller.principal.user_id != Some(user_id) {
            caller.permit_managing_organization()?;
        }
        let user = access::identity::user(context, user_id).await?;
        let ended = backend.service.end_sessions(user.id, input.forget_accounts).await?;
        Ok(EndUserSessionsPayload { ended: Int64(ended) })
    }
}
