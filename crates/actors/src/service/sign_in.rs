//! Sign-in of people by an identity provider, and their sessions.

use super::Service;
use crate::error::ServiceError;
use chrono::TimeDelta;
use milvault_domain::ids::{OrganizationId, SessionId, UserId};
use milvault_domain::sign_in::{
    ATTEMPT_LIFE, ProvenIdentity, Session, SessionRules, SignIn, SignInAttempt, SignInPolicy, SignInRefusal,
    SignedIn, check_return_to,
};

/// Longest address or description of a browser that is kept, in characters.
const CLIENT_CHARS_MAX: usize = 200;

/// A sign-in that the provider has confirmed. The session's token stays with the caller.
#[derive(Debug, Clone)]
pub struct NewSignIn {
    /// Organization that is entered.
    pub organization_id: OrganizationId,
    /// Who enters.
    pub identity: ProvenIdentity,
    /// Who may.
    pub policy: SignInPolicy,
    /// Hash of the session's token.
    pub token_hash: [u8; 32],
    /// How long the session lasts at most.
    pub life: TimeDelta,
    /// Address of the other side.
    pub remote_address: Option<String>,
    /// What the browser says it is.
    pub user_agent: Option<String>,
}

impl Service {
    /// Remembers that somebody goes to the provider.
    ///
    /// # Errors
    /// `InvalidInput` when `return_to` is no path of this server.
    pub async fn begin_sign_in(
        &self,
        state_hash: [u8; 32],
        browser_hash: [u8; 32],
        return_to: String,
    ) -> Result<(), ServiceError> {
        self.admit()?;
        check_return_to(&return_to)?;
        let now = self.deps().clock.now();
        let attempt = SignInAttempt {
            state_hash,
            browser_hash,
            return_to,
            created_at: now,
            expires_at: now + ATTEMPT_LIFE,
        };
        Ok(self.deps().catalog.insert_sign_in_attempt(&attempt).await?)
    }

    /// Takes up what was begun, once and for the same browser; `None` for anything else.
    ///
    /// # Errors
    /// The server is not ready; errors of the catalog.
    pub async fn resume_sign_in(
        &self,
        state_hash: [u8; 32],
        browser_hash: [u8; 32],
    ) -> Result<Option<SignInAttempt>, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        Ok(self.deps().catalog.claim_sign_in_attempt(&state_hash, &browser_hash, now).await?)
    }

    /// Lets somebody in, or says why not.
    ///
    /// # Errors
    /// `Conflict` when there are too many users; the server is not ready; errors of the catalog.
    pub async fn sign_in(&self, new: NewSignIn) -> Result<Result<SignedIn, SignInRefusal>, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        let shortened = |text: String| text.chars().take(CLIENT_CHARS_MAX).collect();
        let sign_in = SignIn {
            organization_id: new.organization_id,
            identity: new.identity,
            policy: new.policy,
            new_user_id: UserId::from_uuid(self.deps().ids.new_uuid()),
            session_id: SessionId::from_uuid(self.deps().ids.new_uuid()),
            token_hash: new.token_hash,
            now,
            expires_at: now + new.life,
            remote_address: new.remote_address,
            user_agent: new.user_agent.map(shortened),
        };
        Ok(self.deps().catalog.sign_in(&sign_in).await?)
    }

    /// Sessions of a user that last, newest first.
    ///
    /// # Errors
    /// Errors of the catalog.
    pub async fn live_sessions(
        &self,
        user_id: UserId,
        rules: &SessionRules,
    ) -> Result<Vec<Session>, ServiceError> {
        let mut sessions = self.deps().catalog.open_sessions(user_id).await?;
        let now = self.deps().clock.now();
        sessions.retain(|session| session.is_live_at(now, rules));
        Ok(sessions)
    }

    /// Ends a session; doing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn end_session(&self, session_id: SessionId) -> Result<Session, ServiceError> {
        self.admit()?;
        Ok(self.deps().catalog.end_session(session_id, self.deps().clock.now()).await?)
    }

    /// Ends all sessions of a user, and forgets on request which accounts at providers are his: he is then bound anew
    /// at his next sign-in. Returns how many sessions were ended.
    ///
    /// # Errors
    /// The server is not ready; errors of the catalog.
    pub async fn end_sessions(&self, user_id: UserId, forget_accounts: bool) -> Result<u64, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        Ok(self.deps().catalog.end_sessions(user_id, forget_accounts, now).await?)
    }
}
