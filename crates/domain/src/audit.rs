//! The audit log: who did what to what, when, from where, and how it went. Entries are only ever added, and each is
//! chained to the one before it, so that a change in the middle shows.

use crate::error::{PortError, PortErrorKind, PortResult};
use crate::ids::{ApiKeyId, OrganizationId, ProjectId, UserId};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt::Display;

/// What the first entry is chained to.
pub const CHAIN_START: [u8; 32] = [0; 32];

/// Who did something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditActorKind {
    /// A person, by a personal API key or a session.
    User,
    /// A service API key.
    ApiKey,
    /// The server by itself.
    System,
    /// Somebody who did not prove who he is.
    Anonymous,
}

/// How it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuditResult {
    /// It was done, or accepted as a job.
    Ok,
    /// It was not done: it broke a rule, or the actor had no right to it.
    Refused,
    /// Something went wrong; it may have been done in part.
    Failed,
}

/// Who did something, as he was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditActor {
    /// Person, key, server or nobody known.
    pub kind: AuditActorKind,
    /// The user's or key's id; `None` for the server and for nobody known.
    pub id: Option<String>,
    /// Name for people.
    pub name: String,
    /// The key that was presented.
    #[serde(serialize_with = "printed_or_null")]
    pub api_key_id: Option<ApiKeyId>,
}

impl AuditActor {
    /// The server by itself.
    #[must_use]
    pub fn system() -> Self {
        Self { kind: AuditActorKind::System, id: None, name: String::from("system"), api_key_id: None }
    }

    /// Somebody who did not prove who he is.
    #[must_use]
    pub fn anonymous() -> Self {
        Self { kind: AuditActorKind::Anonymous, id: None, name: String::from("anonymous"), api_key_id: None }
    }

    /// A user who signed in by an identity provider.
    #[must_use]
    pub fn of_session(user_id: UserId, name: String) -> Self {
        Self { kind: AuditActorKind::User, id: Some(user_id.to_string()), name, api_key_id: None }
    }

    /// Whoever presented a key: its user, or the key itself when it is a service key.
    #[must_use]
    pub fn of_key(api_key_id: ApiKeyId, user_id: Option<UserId>, name: String) -> Self {
        let (kind, id) = match user_id {
            Some(user_id) => (AuditActorKind::User, user_id.to_string()),
            None => (AuditActorKind::ApiKey, api_key_id.to_string()),
        };
        Self { kind, id: Some(id), name, api_key_id: Some(api_key_id) }
    }
}

/// What something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditTarget {
    /// `backup`, `job`, `cluster` and so on.
    pub kind: String,
    /// Its id in the printed form.
    pub id: String,
}

/// What is written down. A request leaves two: the intent, before anything is done, and the outcome, which refers to it.
/// What the server does by itself leaves one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// When, by the server's clock.
    #[serde(serialize_with = "microseconds")]
    pub at: DateTime<Utc>,
    /// In which organization.
    #[serde(serialize_with = "printed")]
    pub organization_id: OrganizationId,
    /// In which project, when that is known.
    #[serde(serialize_with = "printed_or_null")]
    pub project_id: Option<ProjectId>,
    /// Who.
    pub actor: AuditActor,
    /// Name of the mutation; `authenticate`, or a name of something that the server does by itself.
    pub action: String,
    /// To what, when that is known.
    pub target: Option<AuditTarget>,
    /// Ids, names and changed values of the request, and in an outcome what the request made or found out: only of fields
    /// that are known to hold no secret.
    pub inputs: BTreeMap<String, String>,
    /// How it went; `None` for an intent.
    pub result: Option<AuditResult>,
    /// The error's code when it did not go well.
    pub code: Option<String>,
    /// How many equal events the entry stands for.
    pub count: u32,
    /// Address of the other side of the connection.
    pub remote_address: Option<String>,
    /// The request's id, as in the server's log.
    pub request_id: Option<String>,
    /// Sequence of the intent whose outcome this is.
    pub intent: Option<u64>,
}

impl AuditRecord {
    /// Something that the server did by itself.
    #[must_use]
    pub fn by_system(at: DateTime<Utc>, organization_id: OrganizationId, action: &str) -> Self {
        Self {
            at,
            organization_id,
            project_id: None,
            actor: AuditActor::system(),
            action: action.to_owned(),
            target: None,
            inputs: BTreeMap::new(),
            result: Some(AuditResult::Ok),
            code: None,
            count: 1,
            remote_address: None,
            request_id: None,
            intent: None,
        }
    }
}

fn microseconds<S: Serializer>(at: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.to_rfc3339_opts(SecondsFormat::Micros, true))
}

fn printed<T: Display, S: Serializer>(id: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(id)
}

#[allow(clippy::ref_option, reason = "serde calls it with a reference to the field")]
fn printed_or_null<T: Display, S: Serializer>(id: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match id {
        Some(id) => serializer.collect_str(id),
        None => serializer.serialize_none(),
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// Counts from 1, without gaps.
    pub sequence: u64,
    /// What is written down.
    pub record: AuditRecord,
    /// The hash of the entry before it; [`CHAIN_START`] for the first.
    pub previous_hash: [u8; 32],
    /// BLAKE3 of the previous hash and of [`Self::content`].
    pub hash: [u8; 32],
}

#[derive(Serialize)]
struct Content<'a> {
    sequence: u64,
    #[serde(flatten)]
    record: &'a AuditRecord,
}

impl AuditEntry {
    /// Chains a record to the entry before it.
    ///
    /// # Errors
    /// `Internal` when the record cannot be written as JSON.
    pub fn chained(sequence: u64, record: AuditRecord, previous_hash: [u8; 32]) -> PortResult<Self> {
        let mut entry = Self { sequence, record, previous_hash, hash: CHAIN_START };
        entry.hash = entry.computed_hash()?;
        Ok(entry)
    }

    /// The text that the hash is about: one line of JSON without spaces, its fields in the order of [`AuditRecord`] after
    /// the sequence.
    ///
    /// # Errors
    /// `Internal` when the record cannot be written as JSON.
    pub fn content(&self) -> PortResult<String> {
        serde_json::to_string(&Content { sequence: self.sequence, record: &self.record }).map_err(|error| {
            let message = "an audit entry cannot be written as JSON";
            PortError::with_source(PortErrorKind::Internal, message, error)
        })
    }

    /// Whether the entry is as it was written, right behind the entry with that hash.
    ///
    /// # Errors
    /// `Internal` when the record cannot be written as JSON.
    pub fn follows(&self, previous_hash: &[u8; 32]) -> PortResult<bool> {
        Ok(self.previous_hash == *previous_hash && self.hash == self.computed_hash()?)
    }

    fn computed_hash(&self) -> PortResult<[u8; 32]> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.previous_hash);
        hasher.update(self.content()?.as_bytes());
        Ok(*hasher.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use uuid::Uuid;

    fn record(action: &str) -> AuditRecord {
        let at = DateTime::from_timestamp_micros(1_760_000_000_123_456).unwrap();
        AuditRecord::by_system(at, OrganizationId::from_uuid(Uuid::nil()), action)
    }

    #[test]
    fn a_chain_shows_what_was_changed_left_out_or_moved() {
        let first = AuditEntry::chained(1, record("a"), CHAIN_START).unwrap();
        let second = AuditEntry::chained(2, record("b"), first.hash).unwrap();
        assert!(first.follows(&CHAIN_START).unwrap() && second.follows(&first.hash).unwrap());
        assert!(!second.follows(&CHAIN_START).unwrap());
        let changes: [fn(&mut AuditEntry); 6] = [
            |entry| entry.sequence = 3,
            |entry| entry.record.action = String::from("c"),
            |entry| entry.record.result = Some(AuditResult::Failed),
            |entry| entry.record.count = 2,
            |entry| entry.record.actor.name = String::from("somebody"),
            |entry| entry.hash[0] ^= 1,
        ];
        for change in changes {
            let mut entry = second.clone();
            change(&mut entry);
            assert!(!entry.follows(&first.hash).unwrap(), "{entry:?}");
        }
    }

    #[test]
    fn the_content_has_one_form() {
        let entry = AuditEntry::chained(7, record("expireBackup"), CHAIN_START).unwrap();
        assert_eq!(
            entry.content().unwrap(),
            "{\"sequence\":7,\"at\":\"2025-10-09T08:53:20.123456Z\",\
             \"organizationId\":\"org_00000000000000000000000000000000\",\"projectId\":null,\
             \"actor\":{\"kind\":\"SYSTEM\",\"id\":null,\"name\":\"system\",\"apiKeyId\":null},\
             \"action\":\"expireBackup\",\"target\":null,\"inputs\":{},\"result\":\"OK\",\"code\":null,\"count\":1,\
             \"remoteAddress\":null,\"requestId\":null,\"intent\":null}"
        );
    }
}
