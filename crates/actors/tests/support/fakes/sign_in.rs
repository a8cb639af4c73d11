//! Nobody signs in here: that is tested on the real catalog.

use super::catalog::MemoryCatalog;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{SessionId, UserId};
use milvault_domain::ports::{PortResult, SignInCatalog};
use milvault_domain::sign_in::{Session, SessionAccess, SignIn, SignInAttempt, SignInRefusal, SignedIn};

macro_rules! without_sign_in {
    ($($name:ident($($kind:ty),*) -> $answer:ty;)*) => {
        #[async_trait]
        impl SignInCatalog for MemoryCatalog {
            $(async fn $name(&self, $(_: $kind),*) -> PortResult<$answer> {
                unreachable!("nobody signs in to this catalog")
            })*
        }
    };
}

without_sign_in! {
    insert_sign_in_attempt(&SignInAttempt) -> ();
    claim_sign_in_attempt(&[u8; 32], &[u8; 32], DateTime<Utc>) -> Option<SignInAttempt>;
    sign_in(&SignIn) -> Result<SignedIn, SignInRefusal>;
    find_session(&[u8; 32]) -> Option<SessionAccess>;
    session(SessionId) -> Option<Session>;
    open_sessions(UserId) -> Vec<Session>;
    end_session(SessionId, DateTime<Utc>) -> Session;
    end_sessions(UserId, bool, DateTime<Utc>) -> u64;
    note_session_uses(&[(SessionId, DateTime<Utc>)]) -> ();
}
