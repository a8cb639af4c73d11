//! `/graphql`: operations over POST; over GET the way to a WebSocket or to the page for people.

use super::browser::Purpose;
use super::envelope::RequestId;
use super::{Gateway, graphiql, origin, socket};
use crate::audit::RemoteAddress;
use crate::auth::authenticate;
use crate::error::GatewayError;
use crate::graphql::{complete_errors, error_response};
use async_graphql_axum::GraphQLResponse;
use axum::RequestExt;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, Extension, FromRequestParts, Request, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;

/// A refusal with its HTTP status.
type Refusal = (StatusCode, GatewayError);

/// Executes a query or mutation.
pub(super) async fn answer(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    match execute(&gateway, &request_id, request).await {
        Ok(answer) => render(StatusCode::OK, answer),
        Err((status, error)) => failure(status, error, &request_id),
    }
}

/// Opens a WebSocket, or shows the page where that is enabled.
pub(super) async fn open(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (mut parts, _body) = request.into_parts();
    match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => match origin::check(&parts.headers, &gateway.allowed_origins) {
            Ok(()) => socket::open(gateway, upgrade, parts, request_id).await,
            Err(error) => failure(StatusCode::FORBIDDEN, error, &request_id),
        },
        Err(_) if gateway.graphiql => graphiql::page(),
        Err(_) => failure(
            StatusCode::METHOD_NOT_ALLOWED,
            GatewayError::bad_request("send operations with POST; subscriptions need a WebSocket upgrade"),
            &request_id,
        ),
    }
}

async fn execute(
    gateway: &Gateway,
    request_id: &RequestId,
    request: Request,
) -> Result<async_graphql::Response, Refusal> {
    let headers = request.headers();
    origin::check(headers, &gateway.allowed_origins).map_err(|error| (StatusCode::FORBIDDEN, error))?;
    check_content_type(headers)?;
    let remote = remote_address(request.extensions());
    let presented =
        gateway.presented(headers, Purpose::Act).map_err(|error| (StatusCode::FORBIDDEN, error))?;
    let rules = gateway.session_rules();
    let caller = authenticate(gateway.catalog.as_ref(), gateway.clock.as_ref(), rules, presented)
        .await
        .inspect_err(|error| gateway.refused.note(remote.0, error))
        .map_err(|error| (status_of(&error), error))?;
    gateway.key_uses.note(caller.principal.credential, gateway.clock.now());
    let body = read_body(gateway, request).await?;
    let operation = parse_body(&body)?.data(remote);
    Ok(gateway.executor.execute(operation, caller, &request_id.0).await)
}

/// Where a request comes from: the other side of the connection, or whom a trusted proxy names (`behind_proxies`).
pub(super) fn remote_address(extensions: &Extensions) -> RemoteAddress {
    RemoteAddress(extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical()))
}

/// A page of another site can make a browser send other types without asking this server first.
fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let error = GatewayError::bad_request("send `Content-Type: application/json`");
    Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, error))
}

async fn read_body(gateway: &Gateway, request: Request) -> Result<Bytes, Refusal> {
    let reading = request.extract::<Bytes, _>();
    match tokio::time::timeout(gateway.limits.request_timeout, reading).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(rejection)) => Err(refused_body(gateway, &rejection)),
        Err(_elapsed) => Err((
            StatusCode::REQUEST_TIMEOUT,
            GatewayError::bad_request("the body did not arrive in time; send it faster"),
        )),
    }
}

fn refused_body(gateway: &Gateway, rejection: &BytesRejection) -> Refusal {
    let status = rejection.status();
    let message = if status == StatusCode::PAYLOAD_TOO_LARGE {
        format!("the body must have at most {} bytes", gateway.limits.body_bytes_max)
    } else {
        String::from("the body could not be read")
    };
    (status, GatewayError::bad_request(message))
}

fn parse_body(body: &[u8]) -> Result<async_graphql::Request, Refusal> {
    let refused = |message: String| (StatusCode::BAD_REQUEST, GatewayError::bad_request(message));
    if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
        return Err(refused(String::from("send one operation per request; batches are not accepted")));
    }
    serde_json::from_slice(body).map_err(|error| {
        // Positions only: the words of the parser may repeat what was sent.
        let (line, column) = (error.line(), error.column());
        refused(format!(
            "the body must be a JSON object with `query`, and with `variables` and `operationName` where needed; \
             wrong at line {line} column {column}"
        ))
    })
}

/// Status of a refusal before an operation is executed. Executed ones answer 200, as GraphQL clients expect.
pub(super) const fn status_of(error: &GatewayError) -> StatusCode {
    match error {
        GatewayError::BadUserInput { .. } => StatusCode::BAD_REQUEST,
        GatewayError::Unauthenticated { .. } => StatusCode::UNAUTHORIZED,
        GatewayError::Forbidden { .. } => StatusCode::FORBIDDEN,
        GatewayError::NotFound { .. } | GatewayError::Missing { .. } => StatusCode::NOT_FOUND,
        GatewayError::Conflict { .. } => StatusCode::CONFLICT,
        GatewayError::Busy { .. } | GatewayError::Unavailable { .. } => StatusCode::SERVICE_UNAVAILABLE,
        GatewayError::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal in the form of a GraphQL answer.
pub(super) fn failure(status: StatusCode, error: GatewayError, request_id: &RequestId) -> Response {
    let mut answer = error_response(error);
    complete_errors(&mut answer, &request_id.0);
    let mut response = render(status, answer);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn render(status: StatusCode, answer: async_graphql::Response) -> Response {
    let mut response = GraphQLResponse::from(answer).into_response();
    *response.status_mut() = status;
    // Every client takes this type; the newer `application/graphql-response+json` some do not.
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
