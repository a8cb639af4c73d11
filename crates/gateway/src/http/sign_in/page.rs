//! What somebody sees who is not let in.

use crate::error::GatewayError;
use crate::http::envelope::RequestId;
use crate::http::operation::{failure, status_of};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

/// The page loads nothing and sends nothing.
const CONTENT_SECURITY_POLICY: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page for people, JSON for programs.
pub(super) fn refusal(headers: &HeaderMap, error: GatewayError, request_id: &RequestId) -> Response {
    let status = status_of(&error);
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !accepted.contains("text/html") {
        return failure(status, error, request_id);
    }
    if let GatewayError::Internal { cause } = &error {
        tracing::error!(request_id = request_id.0, cause = ?cause, "sign-in failed");
    }
    let text = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Milvault</title></head>\
         <body><h1>You are not signed in</h1><p>{}</p><p><a href=\"/auth/login\">Sign in</a></p>\
         <p><small>Request {}</small></p></body></html>\n",
        escaped(&error.to_string()),
        escaped(&request_id.0),
    );
    let mut response = (status, Html(text)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
