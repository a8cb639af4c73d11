//! Entries of the audit log.

use crate::graphql::scalar::{Int64, print_id};
use async_graphql::{Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::audit as domain;

/// Who did something.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::AuditActorKind")]
pub(crate) enum AuditActorKind {
    /// A person, by a personal API key or a session.
    User,
    /// A service API key.
    ApiKey,
    /// The server by itself.
    System,
    /// Somebody who did not prove who he is.
    Anonymous,
}

/// How something went.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::AuditResult")]
pub(crate) enum AuditResult {
    /// It was done, or accepted as a job.
    Ok,
    /// It was not done: it broke a rule, or the actor had no right to it.
    Refused,
    /// Something went wrong; it may have been done in part.
    Failed,
}

/// Who did something, as he was then.
#[derive(SimpleObject)]
pub(crate) struct AuditActor {
    /// Person, key, server or nobody known.
    kind: AuditActorKind,
    /// Id of the user or of the service key.
    id: Option<ID>,
    /// Name.
    name: String,
    /// The key that was presented; null for a session.
    api_key_id: Option<ID>,
}

/// What something was done to.
#[derive(SimpleObject)]
pub(crate) struct AuditTarget {
    /// `backup`, `job`, `cluster`, `repository`, `hold`, `user`, `apiKey`, `session`, `customRole`,
    /// `webhook`, `webhookDelivery` or `project`.
    kind: String,
    /// Its id.
    id: ID,
}

/// A value of a request.
#[derive(SimpleObject)]
pub(crate) struct AuditInput {
    /// Field of the input.
    field: String,
    /// Its value.
    value: String,
}

/// An entry of the audit log. A mutation leaves two: its intent before it begins, and its outcome, which refers to the
/// intent. What the server does by itself leaves one.
#[derive(SimpleObject)]
pub(crate) struct AuditEntry {
    /// Counts from 1, without gaps.
    sequence: Int64,
    /// When, by the server's clock.
    at: DateTime<Utc>,
    /// In which project, when that is known.
    project_id: Option<ID>,
    /// Who.
    actor: AuditActor,
    /// Name of the mutation; `authenticate`; of the server itself `startScheduledBackup`, `startScheduledCopy`,
    /// `startScheduledVerify`, `startScheduledDrill`, `startSweep`, `expireBackup`, `takeBackExpiry`, `pruneJobs` or
    /// `makeOwnerKey`.
    action: String,
    /// To what, when that is known; in the outcome of something that makes a thing of its own, that thing.
    target: Option<AuditTarget>,
    /// Ids, names and changed values of the request; in an outcome also ids that it made (`madeJobId` beside the `jobId`
    /// that it was given) or found out. Never a secret.
    inputs: Vec<AuditInput>,
    /// How it went; null for an intent.
    result: Option<AuditResult>,
    /// Code of the error; `NO_ANSWER` when the caller got none.
    code: Option<String>,
    /// How many equal events the entry stands for.
    count: u32,
    /// Address of the other side of the connection.
    remote_address: Option<String>,
    /// The request's id.
    request_id: Option<String>,
    /// Sequence of the intent whose outcome this is.
    intent: Option<Int64>,
    /// BLAKE3 in hex over the hash of the entry before and the content of this one.
    hash: String,
}

impl From<domain::AuditEntry> for AuditEntry {
    fn from(entry: domain::AuditEntry) -> Self {
        let record = entry.record;
        Self {
            sequence: Int64(entry.sequence),
            at: record.at,
            project_id: record.project_id.map(print_id),
            actor: AuditActor {
                kind: record.actor.kind.into(),
                id: record.actor.id.map(ID),
                name: record.actor.name,
                api_key_id: record.actor.api_key_id.map(print_id),
            },
            action: record.action,
            target: record.target.map(|target| AuditTarget { kind: target.kind, id: ID(target.id) }),
            inputs: record.inputs.into_iter().map(|(field, value)| AuditInput { field, value }).collect(),
            result: record.result.map(Into::into),
            code: record.code,
            count: record.count,
            remote_address: record.remote_address,
            request_id: record.request_id,
            intent: record.intent.map(Int64),
            hash: hex::encode(entry.hash),
        }
    }
}
