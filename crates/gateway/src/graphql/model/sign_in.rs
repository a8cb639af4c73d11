//! Sessions of people who signed in by the identity provider.

use crate::auth::Caller;
use crate::graphql::scalar::print_id;
use async_graphql::{ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::sign_in as domain;

/// A session of somebody who signed in by the identity provider. Its token is never shown.
#[derive(SimpleObject)]
pub(crate) struct Session {
    /// Identity.
    id: ID,
    /// Whose it is.
    user_id: ID,
    /// When he signed in.
    created_at: DateTime<Utc>,
    /// When it was last used, to the minute or so.
    last_used_at: DateTime<Utc>,
    /// When it ends unless it is used before; at the end of its life it ends all the same.
    expires_at: DateTime<Utc>,
    /// When it was ended; null for a session that lasts.
    ended_at: Option<DateTime<Utc>>,
    /// Address that he signed in from; behind a proxy that is the proxy's.
    remote_address: Option<String>,
    /// What his browser said it was.
    user_agent: Option<String>,
    /// Whether it is the session of this very request.
    is_current: bool,
}

impl Session {
    pub(crate) fn new(
        session: domain::Session,
        rules: Option<&domain::SessionRules>,
        caller: &Caller,
    ) -> Self {
        Self {
            id: print_id(session.id),
            user_id: print_id(session.user_id),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: rules.map_or(session.expires_at, |rules| session.ends_at(rules)),
            ended_at: session.ended_at,
            is_current: caller.principal.credential.session_id() == Some(session.id),
            remote_address: session.remote_address,
            user_agent: session.user_agent,
        }
    }
}
