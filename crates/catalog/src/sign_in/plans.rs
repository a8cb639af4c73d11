//! How SQLite answers what is asked about sign-ins: from an index, whatever the number of others.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use crate::query_plans::check;
use crate::sqlite::SqliteDatabase;
use chrono::DateTime;
use milvault_domain::ids::{SessionId, UserId};
use uuid::Uuid;

#[tokio::test]
async fn sign_ins_and_sessions_are_found_by_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    let (user, session) = (UserId::from_uuid(Uuid::nil()), SessionId::from_uuid(Uuid::nil()));
    let now = DateTime::UNIX_EPOCH;
    for (what, statement) in [
        ("expired attempts", super::delete_expired_attempts(now)),
        ("oldest attempts", super::delete_oldest_attempts(5)),
        ("attempt", super::select_attempt(&[0; 32], &[0; 32])),
        ("account", super::select_bound("a", "b")),
        ("account of a user", super::select_account(user, "a")),
        ("session with its rights", super::select_access(&[0; 32])),
        ("session", super::select(session)),
        ("sessions of a user", super::select_open(user)),
        ("sessions that are over", super::delete_over(user, now)),
        ("oldest sessions", super::delete_oldest(user, 5)),
        ("sessions to be ended", super::end_of_user(user, now)),
        ("use", super::note_use(session, now)),
    ] {
        check(&database, what, statement).await;
    }
}
