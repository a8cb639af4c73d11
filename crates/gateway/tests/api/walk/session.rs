//! Sessions of people, as a sign-in makes them.

use crate::support::Api;
use chrono::{DateTime, TimeDelta, Utc};
use milvault_domain::ids::{SessionId, UserId};
use milvault_domain::ports::SignInCatalog;
use milvault_domain::sign_in::{ClaimedEmail, ProvenIdentity, Provisioning, SignIn, SignInPolicy};
use uuid::Uuid;

/// Lets a user in, and gives the session's id.
pub(super) async fn enter(api: &Api, email: &str, number: u64) -> String {
    let now: DateTime<Utc> = api.clock.0.lock().unwrap().to_owned();
    let session_id = SessionId::from_uuid(Uuid::from_u128(0x5e55 << 64 | u128::from(number)));
    let sign_in = SignIn {
        organization_id: api.tenancy.organization_id,
        identity: ProvenIdentity {
            issuer: String::from("https://id.example"),
            subject: email.to_owned(),
            email: Some(ClaimedEmail { address: email.to_owned(), is_verified: Some(true) }),
            name: None,
        },
        policy: SignInPolicy {
            provisioning: Provisioning::Invitation,
            allowed_email_domains: Vec::new(),
            silent_email_counts: false,
        },
        new_user_id: UserId::from_uuid(Uuid::from_u128(0x5e56 << 64 | u128::from(number))),
        session_id,
        token_hash: *blake3::hash(email.as_bytes()).as_bytes(),
        now,
        expires_at: now + TimeDelta::hours(8),
        remote_address: None,
        user_agent: None,
    };
    api.catalog.sign_in(&sign_in).await.unwrap().unwrap().session.id.to_string()
}
