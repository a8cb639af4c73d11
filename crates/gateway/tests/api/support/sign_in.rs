//! Sign-ins as the real catalog has them.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{SessionId, UserId};
use milvault_domain::ports::{PortResult, SignInCatalog};
use milvault_domain::sign_in::{Session, SessionAccess, SignIn, SignInAttempt, SignInRefusal, SignedIn};

macro_rules! delegate {
    ($($name:ident($($argument:ident: $kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl SignInCatalog for TestCatalog {
            $(async fn $name(&self, $($argument: $kind),*) -> PortResult<$answer> {
                self.counted(stringify!($name)).$name($($argument),*).await
            })*
        }
    };
}

delegate! {
    insert_sign_in_attempt(attempt: &SignInAttempt) -> ();
    claim_sign_in_attempt(state_hash: &[u8; 32], browser_hash: &[u8; 32], now: DateTime<Utc>)
        -> Option<SignInAttempt>;
    sign_in(sign_in: &SignIn) -> Result<SignedIn, SignInRefusal>;
    find_session(token_hash: &[u8; 32]) -> Option<SessionAccess>;
    session(session_id: SessionId) -> Option<Session>;
    open_sessions(user_id: UserId) -> Vec<Session>;
    end_session(session_id: SessionId, now: DateTime<Utc>) -> Session;
    end_sessions(user_id: UserId, forget_accounts: bool, now: DateTime<Utc>) -> u64;
    note_session_uses(uses: &[(SessionId, DateTime<Utc>)]) -> ();
}
