//! The page for people who try the API out.

use async_graphql::http::GraphiQLSource;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

/// The page's scripts come from unpkg.com; nothing else may be loaded, and the page may talk to this server only.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'unsafe-inline' https://unpkg.com; \
     style-src 'unsafe-inline' https://unpkg.com; font-src data: https://unpkg.com; \
     img-src 'self' data: https://graphql.org; connect-src 'self'; worker-src blob:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GraphiQL`. Put `{"Authorization": "Bearer <key>"}` into its header editor: it sends that with queries and in the
/// `connection_init` of subscriptions.
pub(super) fn page() -> Response {
    let page = GraphiQLSource::build()
        .endpoint("/graphql")
        .subscription_endpoint("/graphql")
        .title("Milvault")
        .finish();
    let mut response = Html(page).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CONTENT_SECURITY_POLICY));
    response
}
