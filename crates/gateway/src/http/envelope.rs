//! What surrounds every request: its id, its log span, and the net under panics.

use super::Gateway;
use super::operation::failure;
use crate::error::GatewayError;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tracing::Instrument;

/// Header that carries a request's id, in and out.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// Longest id that is taken over from a caller.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Id of a request: the caller's own, when it is harmless in a log, or one of ours.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) String);

/// Makes ids that differ between requests and between starts of the server.
pub(super) struct RequestIds {
    started_at_us: i64,
    next: AtomicU64,
}

impl RequestIds {
    pub(super) fn new(started_at: DateTime<Utc>) -> Self {
        Self { started_at_us: started_at.timestamp_micros(), next: AtomicU64::new(1) }
    }

    fn make(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        RequestId(format!("{:x}-{number:x}", self.started_at_us))
    }

    fn accept(&self, given: Option<&HeaderValue>) -> RequestId {
        let harmless = |text: &&str| {
            (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        };
        given
            .and_then(|value| value.to_str().ok())
            .filter(harmless)
            .map_or_else(|| self.make(), |text| RequestId(text.to_owned()))
    }
}

/// Gives a request its id and span, and turns a panic into an answer.
pub(super) async fn wrap(State(gateway): State<Arc<Gateway>>, mut request: Request, next: Next) -> Response {
    let request_id = gateway.request_ids.accept(request.headers().get(REQUEST_ID));
    request.extensions_mut().insert(request_id.clone());
    let span = tracing::info_span!(
        "http",
        request_id = request_id.0,
        method = %request.method(),
        path = request.uri().path(),
    );
    let handled = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = handled.unwrap_or_else(|_panic| {
        let error = GatewayError::internal("a handler panicked");
        failure(StatusCode::INTERNAL_SERVER_ERROR, error, &request_id)
    });
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "request answered"));
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&request_id.0) {
        headers.insert(HeaderName::from_static(REQUEST_ID), value);
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn harmless_ids_are_taken_over_and_others_replaced() {
        let ids = RequestIds::new(DateTime::UNIX_EPOCH);
        let accepted = |text: &str| ids.accept(Some(&HeaderValue::from_bytes(text.as_bytes()).unwrap())).0;
        assert_eq!(accepted("abc-1.2_3"), "abc-1.2_3");
        for given in ["", "a b", "a\u{e9}", &"x".repeat(65)] {
            assert_ne!(accepted(given), given);
        }
        assert_ne!(ids.accept(None).0, ids.accept(None).0);
    }
}
