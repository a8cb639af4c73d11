//! `/audit.jsonl`: the audit log as JSON lines, oldest first.

use super::Gateway;
use super::browser::Purpose;
use super::envelope::RequestId;
use super::operation::{failure, remote_address, status_of};
use crate::auth::{Caller, authenticate};
use crate::error::GatewayError;
use crate::graphql::readable_audit;
use axum::body::{Body, Bytes};
use axum::extract::{Extension, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, Utc};
use futures::stream;
use milvault_domain::audit::{AuditEntry, AuditResult};
use milvault_domain::error::PortResult;
use milvault_domain::ports::{AuditFilter, AuditPage, AuditPosition};
use serde::Deserialize;
use std::io;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// Name of this action in the log itself.
const EXPORT: &str = "exportAuditLog";

/// Entries that are read at once.
const PAGE: u32 = 200;

/// Which entries to export.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

/// Streams the entries that the caller may read. What comes in after the beginning is left out, so that it ends.
pub(super) async fn export(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    match begin(&gateway, &parts, &request_id).await {
        Ok(export) => {
            let body = Body::from_stream(stream::try_unfold(export, Export::next));
            let kind = HeaderValue::from_static("application/jsonl");
            ([(header::CONTENT_TYPE, kind)], body).into_response()
        }
        Err(error) => failure(status_of(&error), error, &request_id),
    }
}

async fn begin(
    gateway: &Arc<Gateway>,
    parts: &Parts,
    request_id: &RequestId,
) -> Result<Export, GatewayError> {
    super::origin::check(&parts.headers, &gateway.allowed_origins)?;
    let presented = gateway.presented(&parts.headers, Purpose::Read)?;
    let rules = gateway.session_rules();
    let caller = authenticate(gateway.catalog.as_ref(), gateway.clock.as_ref(), rules, presented)
        .await
        .inspect_err(|error| gateway.refused.note(remote_address(&parts.extensions).0, error))?;
    let mut record = gateway.trail.intent(Some(&caller), EXPORT);
    record.remote_address = remote_address(&parts.extensions).0.map(|address| address.to_string());
    record.request_id = Some(request_id.0.clone());
    let readable = readable_audit(&caller);
    record.result = Some(if readable.is_ok() { AuditResult::Ok } else { AuditResult::Refused });
    record.code = readable.as_ref().err().map(|error| error.code().to_owned());
    gateway.trail.record(&record).await?;
    let readable = readable?;
    let Query(range) = Query::<Range>::try_from_uri(&parts.uri).map_err(|_| {
        GatewayError::bad_request(
            "`from` and `to` must be times such as `2026-01-31T00:00:00Z`; nothing else can be asked for",
        )
    })?;
    let place = Arc::clone(&gateway.exports).try_acquire_owned().map_err(|_| GatewayError::Busy {
        message: String::from("other exports of the audit log are under way; try again when they have ended"),
    })?;
    let now = gateway.clock.now();
    let filter =
        AuditFilter { from: range.from, to: Some(range.to.map_or(now, |to| to.min(now))), ..readable };
    Ok(Export { gateway: Arc::clone(gateway), caller, filter, after: None, has_more: true, _place: place })
}

/// An export under way. It reads a page when the client has taken the one before.
struct Export {
    gateway: Arc<Gateway>,
    caller: Caller,
    filter: AuditFilter,
    after: Option<AuditPosition>,
    has_more: bool,
    _place: OwnedSemaphorePermit,
}

impl Export {
    /// The next lines; an error breaks the answer off, which the client sees.
    async fn next(mut self) -> io::Result<Option<(Bytes, Self)>> {
        if !self.has_more {
            return Ok(None);
        }
        let (catalog, clock) = (self.gateway.catalog.as_ref(), self.gateway.clock.as_ref());
        let is_current = self.caller.is_current(catalog, clock).await.map_err(io::Error::other)?;
        if !is_current {
            return Err(io::Error::other(self.caller.ending()));
        }
        let page = AuditPage { limit: PAGE, after: self.after, newest_first: false };
        let found = catalog.audit_entries(&self.filter, page).await.map_err(io::Error::other)?;
        let mut lines = Vec::new();
        for entry in &found.items {
            write_line(&mut lines, entry).map_err(io::Error::other)?;
            self.after = Some(AuditPosition { at: entry.record.at, sequence: entry.sequence });
        }
        self.has_more = found.has_more;
        Ok(Some((Bytes::from(lines), self)))
    }
}

/// One line: the content that the hash is about, word for word, and the chain.
fn write_line(lines: &mut Vec<u8>, entry: &AuditEntry) -> PortResult<()> {
    let previous_hash = hex::encode(entry.previous_hash);
    let hash = hex::encode(entry.hash);
    let content = entry.content()?;
    lines.extend_from_slice(
        format!("{{\"entry\":{content},\"previousHash\":\"{previous_hash}\",\"hash\":\"{hash}\"}}\n")
            .as_bytes(),
    );
    Ok(())
}
