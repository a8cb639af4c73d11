//! Making API keys and taking them back.

use crate::auth::{hash_api_key, new_api_key_text};
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::identity::{ApiKey, RoleGrantInput};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_actors::NewApiKey;
use milvault_domain::ids::UserId;

/// Mutations of API keys.
#[derive(Default)]
pub(crate) struct ApiKeyMutation;

/// An API key to be made: a service key when `grants` are given, else a personal one.
#[derive(InputObject)]
pub(crate) struct CreateApiKeyInput {
    /// Name, 1 to 64 characters; that of a service key stands in `createdBy`.
    name: String,
    /// The user of a personal key; absent for the caller himself. It carries the roles that he has when it is used.
    user_id: Option<ID>,
    /// Roles of a service key.
    grants: Option<Vec<RoleGrantInput>>,
    /// When it ends by itself; absent for never.
    expires_at: Option<DateTime<Utc>>,
}

/// An API key that was made.
#[derive(SimpleObject)]
pub(crate) struct CreateApiKeyPayload {
    /// Its record.
    api_key: ApiKey,
    /// Its text. It is shown only here and kept nowhere.
    text: String,
}

/// An API key to be taken back.
#[derive(InputObject)]
pub(crate) struct RevokeApiKeyInput {
    /// Which key.
    api_key_id: ID,
}

/// An API key that was taken back.
#[derive(SimpleObject)]
pub(crate) struct RevokeApiKeyPayload {
    /// Its record.
    api_key: ApiKey,
}

#[Object]
impl ApiKeyMutation {
    /// Makes an API key. Everybody may make personal keys for himself; owners of the organization may make them for
    /// other users, and service keys.
    async fn create_api_key(
        &self,
        context: &Context<'_>,
        input: CreateApiKeyInput,
    ) -> Result<CreateApiKeyPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let user_id: Option<UserId> = input.user_id.map(|id| parse_id("userId", &id)).transpose()?;
        let (user_id, grants) = match (user_id, input.grants) {
            (None, Some(grants)) => {
                caller.permit_managing_organization()?;
                (None, grants)
            }
            (Some(_), Some(_)) => {
                return Err(GatewayError::bad_field(
                    "grants",
                    "a personal key carries the roles of its user; leave out `grants` or `userId`",
                ));
            }
            (None, None) => {
                let own = caller.principal.user_id.ok_or_else(|| {
                    GatewayError::bad_field("userId", "a service key is nobody's; give `userId` or `grants`")
                })?;
                (Some(own), Vec::new())
            }
            (Some(user_id), None) => {
                if caller.principal.user_id != Some(user_id) {
                    // Users are not shown to anybody but owners of the organization.
                    if !caller.manages_organization() {
                        return Err(GatewayError::not_found("user", user_id));
                    }
                    access::identity::user(context, user_id).await?;
                }
                (Some(user_id), Vec::new())
            }
        };
        if let Some(user_id) = user_id {
            context.note("userId", user_id);
        }
        let text = new_api_key_text(rand::random());
        let new = NewApiKey {
            organization_id: caller.principal.organization_id,
            name: input.name,
            user_id,
            assignments: grants.into_iter().map(RoleGrantInput::check).collect::<Result<_, _>>()?,
            expires_at: input.expires_at,
            secret_hash: hash_api_key(text.expose()),
        };
        let made = backend.service.create_api_key(new).await?;
        context.note_target(made.id);
        Ok(CreateApiKeyPayload { api_key: made.into(), text: text.expose().to_owned() })
    }

    /// Takes an API key back: at once for requests, within seconds for open subscriptions. Doing it again changes
    /// nothing. Everybody may for his personal keys, owners of the organization for all but the last one with which an
    /// owner can come in (`CONFLICT`).
    async fn revoke_api_key(
        &self,
        context: &Context<'_>,
        input: RevokeApiKeyInput,
    ) -> Result<RevokeApiKeyPayload, GatewayError> {
        let backend = context.backend()?;
        let key = access::identity::api_key(context, parse_id("apiKeyId", &input.api_key_id)?).await?;
        let revoked = backend.service.revoke_api_key(key.id).await?;
        Ok(RevokeApiKeyPayload { api_key: revoked.into() })
    }
}
