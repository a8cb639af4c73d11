//! The catalog of sign-ins: attempts, accounts at identity providers, sessions.

use crate::error::PortResult;
use crate::ids::{SessionId, UserId};
use crate::sign_in::{Session, SessionAccess, SignIn, SignInAttempt, SignInRefusal, SignedIn};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// The part of the catalog that lets people in by an identity provider. Each method is one transaction.
#[async_trait]
pub trait SignInCatalog: Send + Sync {
    /// Keeps an attempt. Expired ones are removed, and the oldest of too many.
    ///
    /// # Errors
    /// Errors of the database.
    async fn insert_sign_in_attempt(&self, attempt: &SignInAttempt) -> PortResult<()>;

    /// Takes an attempt out: once, however many ask for it, and only for the browser that began it. `None` for any
    /// other, which stays.
    ///
    /// # Errors
    /// Errors of the database.
    async fn claim_sign_in_attempt(
        &self,
        state_hash: &[u8; 32],
        browser_hash: &[u8; 32],
        now: DateTime<Utc>,
    ) -> PortResult<Option<SignInAttempt>>;

    /// Lets somebody in as [`crate::sign_in::SignInPolicy::judge`] says, with a session. The oldest sessions of too many
    /// are removed, and those that are over.
    ///
    /// # Errors
    /// `Conflict` when a user has to be made and the organization has all it may have; errors of the database.
    async fn sign_in(&self, sign_in: &SignIn) -> PortResult<Result<SignedIn, SignInRefusal>>;

    /// Finds a session by the hash of its token, ended or not, with its user and his roles as they are.
    ///
    /// # Errors
    /// Errors of the database.
    async fn find_session(&self, token_hash: &[u8; 32]) -> PortResult<Option<SessionAccess>>;

    /// Finds a session.
    ///
    /// # Errors
    /// Errors of the database.
    async fn session(&self, session_id: SessionId) -> PortResult<Option<Session>>;

    /// Sessions of a user that were not ended, newest first; at most [`crate::sign_in::SESSIONS_PER_USER_MAX`].
    ///
    /// # Errors
    /// Errors of the database.
    async fn open_sessions(&self, user_id: UserId) -> PortResult<Vec<Session>>;

    /// Ends a session; one that was ended keeps the time of that.
    ///
    /// # Errors
    /// `NotFound`; errors of the database.
    async fn end_session(&self, session_id: SessionId, now: DateTime<Utc>) -> PortResult<Session>;

    /// Ends all sessions of a user, and forgets on request which accounts are his. Returns how many were ended.
    ///
    /// # Errors
    /// Errors of the database.
    async fn end_sessions(
        &self,
        user_id: UserId,
        forget_accounts: bool,
        now: DateTime<Utc>,
    ) -> PortResult<u64>;

    /// Records when sessions were last used, all in one transaction. A time before the recorded one changes nothing,
    /// nor does a session that is not there.
    ///
    /// # Errors
    /// Errors of the database.
    async fn note_session_uses(&self, uses: &[(SessionId, DateTime<Utc>)]) -> PortResult<()>;
}
