//! The audit log.

use crate::auth::Caller;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::audit::{AuditEntry, AuditResult};
use crate::graphql::page;
use crate::graphql::scalar::parse_id;
use async_graphql::connection::{Connection, CursorType, Edge, OpaqueCursor};
use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{AuditFilter, AuditPage, AuditPosition};
use serde::{Deserialize, Serialize};

/// Longest text of a filter, in bytes.
const FILTER_BYTES_MAX: usize = 256;

/// Queries about the audit log.
#[derive(Default)]
pub(crate) struct AuditQuery;

/// Which entries to list. Conditions that are absent leave nothing out.
#[derive(InputObject, Default)]
#[graphql(name = "AuditFilter")]
pub(crate) struct AuditFilterInput {
    /// Only of this project.
    project_id: Option<ID>,
    /// Only by the actor with this id: of a user, or of a service key.
    actor: Option<ID>,
    /// Only of this action.
    action: Option<String>,
    /// Only about the target with this id.
    target: Option<ID>,
    /// Only at this time or later.
    from: Option<DateTime<Utc>>,
    /// Only before this time.
    to: Option<DateTime<Utc>>,
    /// Only with this result; intents have none.
    result: Option<AuditResult>,
}

/// Where an entry stands in the order of time.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct EntryPosition {
    #[serde(rename = "t")]
    at_us: i64,
    #[serde(rename = "s")]
    sequence: u64,
}

/// The entries that a caller may read: all of his organization for its owner, those of his projects for the owner of
/// projects.
///
/// # Errors
/// `Forbidden` for everybody else.
pub(crate) fn readable(caller: &Caller) -> Result<AuditFilter, GatewayError> {
    let all = AuditFilter::of(caller.principal.organization_id);
    if caller.manages_organization() {
        return Ok(all);
    }
    let owned = caller.projects(Action::ManageClusters);
    if owned.is_empty() {
        let message = String::from("this API key may not read the audit log; ask an owner of the project");
        return Err(GatewayError::Forbidden { message });
    }
    Ok(AuditFilter { project_ids: Some(owned), ..all })
}

fn short(field: &'static str, text: Option<String>) -> Result<Option<String>, GatewayError> {
    match text {
        Some(text) if text.len() > FILTER_BYTES_MAX => {
            Err(GatewayError::bad_field(field, format!("must have at most {FILTER_BYTES_MAX} bytes")))
        }
        text => Ok(text),
    }
}

impl AuditFilterInput {
    fn narrow(self, mut readable: AuditFilter) -> Result<AuditFilter, GatewayError> {
        if let Some(wanted) = &self.project_id {
            let wanted: ProjectId = parse_id("filter.projectId", wanted)?;
            let allowed = readable.project_ids.as_ref().is_none_or(|projects| projects.contains(&wanted));
            readable.project_ids = Some(if allowed { vec![wanted] } else { Vec::new() });
        }
        Ok(AuditFilter {
            actor_id: short("filter.actor", self.actor.map(|id| id.0))?,
            action: short("filter.action", self.action)?,
            target_id: short("filter.target", self.target.map(|id| id.0))?,
            result: self.result.map(Into::into),
            from: self.from,
            to: self.to,
            ..readable
        })
    }
}

#[Object]
impl AuditQuery {
    /// Who did what to what, newest first. An owner of the organization reads everything, an owner of projects what
    /// concerns them, everybody else nothing (`FORBIDDEN`). `GET /audit.jsonl` gives the same as JSON lines.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn audit_log(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which entries.")] filter: Option<AuditFilterInput>,
        #[graphql(desc = "Entries wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<Connection<OpaqueCursor<EntryPosition>, AuditEntry>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let filter = filter.unwrap_or_default().narrow(readable(caller)?)?;
        let after = after.as_deref().map(position).transpose()?;
        let page = AuditPage { limit: page::page_size(first)?, after, newest_first: true };
        let found = backend.catalog.audit_entries(&filter, page).await?;
        let mut connection = Connection::new(after.is_some(), found.has_more);
        connection.edges.extend(found.items.into_iter().map(|entry| {
            let at_us = entry.record.at.timestamp_micros();
            let position = EntryPosition { at_us, sequence: entry.sequence };
            Edge::new(OpaqueCursor(position), AuditEntry::from(entry))
        }));
        Ok(connection)
    }
}

fn position(cursor: &str) -> Result<AuditPosition, GatewayError> {
    let EntryPosition { at_us, sequence } =
        OpaqueCursor::<EntryPosition>::decode_cursor(cursor).map_err(|_| page::bad_cursor())?.0;
    let at = DateTime::from_timestamp_micros(at_us).ok_or_else(page::bad_cursor)?;
    if i64::try_from(sequence).is_err() {
        return Err(page::bad_cursor());
    }
    Ok(AuditPosition { at, sequence })
}
