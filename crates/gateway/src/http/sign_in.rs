//! `/auth/...`: sign-in of people by OpenID Connect, with a page or JSON for whoever is not let in.

mod page;

use super::Gateway;
use super::browser::{Cookie, Purpose, check_page};
use super::envelope::RequestId;
use super::operation::{failure, remote_address, status_of};
use crate::auth::{Presented, authenticate, hash_api_key, new_session_token};
use crate::error::GatewayError;
use crate::sign_in::{BrowserSecret, OidcSignIn, ProviderError};
use axum::Json;
use axum::extract::{Extension, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use milvault_actors::NewSignIn;
use milvault_domain::audit::{AuditActor, AuditRecord, AuditResult, AuditTarget};
use milvault_domain::sign_in::{
    ATTEMPT_LIFE, ProvenIdentity, SignInAttempt, SignInRefusal, SignedIn, check_return_to,
};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the audit log calls a sign-in.
const SIGN_IN: &str = "signIn";
/// How it calls the end of a session by its own user.
const SIGN_OUT: &str = "signOut";
/// Longest code or state that is looked at, in bytes.
const PARAMETER_BYTES_MAX: usize = 4_096;

/// Somebody who comes back without a sign-in that was begun in his browser.
const NOT_BEGUN: GatewayError = GatewayError::Unauthenticated {
    message: "this sign-in was not begun in this browser, was used already or took too long; begin again",
};
const NOT_CONFIRMED: GatewayError = GatewayError::Unauthenticated {
    message: "the identity provider did not confirm who you are; begin again",
};

#[derive(Deserialize)]
struct Destination {
    return_to: Option<String>,
}

/// What a provider sends people back with.
#[derive(Deserialize)]
struct Returned {
    state: Option<String>,
    code: Option<String>,
    error: Option<String>,
    iss: Option<String>,
}

/// Sends somebody to the provider.
pub(super) async fn login(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    begin(&gateway, &parts, &request_id)
        .await
        .unwrap_or_else(|error| page::refusal(&parts.headers, error, &request_id))
}

async fn begin(gateway: &Gateway, parts: &Parts, request_id: &RequestId) -> Result<Response, GatewayError> {
    let sign_in = enabled(gateway)?;
    let Query(destination) = Query::<Destination>::try_from_uri(&parts.uri)
        .map_err(|_| GatewayError::bad_request("`return_to` can be given once, and nothing else counts"))?;
    let default = if gateway.graphiql { "/graphql" } else { "/auth/status" };
    let return_to = destination.return_to.unwrap_or_else(|| default.to_owned());
    check_return_to(&return_to)?;
    let _turn = turn(sign_in)?;
    let secret = BrowserSecret(rand::random());
    let state = hex::encode(rand::random::<[u8; 32]>());
    let url = sign_in
        .provider
        .authorization_url(&state, &secret)
        .await
        .map_err(|error| not_answered(&error, request_id))?;
    gateway.service.begin_sign_in(hash_api_key(&state), secret.hash(), return_to).await?;
    let cookie = Cookie::SignIn.set(&secret.text(), ATTEMPT_LIFE.num_seconds(), sign_in.is_secure());
    redirect(&url, [cookie])
}

/// Takes somebody back from the provider.
pub(super) async fn callback(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    let refused = |error| {
        gateway.refused.note(remote_address(&parts.extensions).0, &error);
        page::refusal(&parts.headers, error, &request_id)
    };
    let begun = match resume(&gateway, &parts).await {
        Ok(begun) => begun,
        // The browser keeps what it has: somebody else may have made it come here.
        Err(error) => return refused(error),
    };
    let is_secure = begun.sign_in.is_secure();
    let mut response = finish(&gateway, &parts, &request_id, begun).await.unwrap_or_else(refused);
    if let Some(cookie) = Cookie::SignIn.set("", 0, is_secure) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A sign-in that was begun in this browser.
struct Begun<'a> {
    sign_in: &'a OidcSignIn,
    attempt: SignInAttempt,
    secret: BrowserSecret,
    returned: Returned,
}

/// Finds the sign-in that a browser comes back from, and takes it out: it can be finished once.
async fn resume<'a>(gateway: &'a Gateway, parts: &Parts) -> Result<Begun<'a>, GatewayError> {
    let sign_in = enabled(gateway)?;
    let Query(returned) = Query::<Returned>::try_from_uri(&parts.uri).map_err(|_| NOT_BEGUN)?;
    let cookie = Cookie::SignIn.find(&parts.headers, sign_in.is_secure()).and_then(BrowserSecret::parse);
    let state = returned.state.as_ref().filter(|state| state.len() <= PARAMETER_BYTES_MAX);
    let (Some(secret), Some(state)) = (cookie, state) else { return Err(NOT_BEGUN) };
    let attempt = gateway.service.resume_sign_in(hash_api_key(state), secret.hash()).await?;
    Ok(Begun { sign_in, attempt: attempt.ok_or(NOT_BEGUN)?, secret, returned })
}

async fn finish(
    gateway: &Gateway,
    parts: &Parts,
    request_id: &RequestId,
    begun: Begun<'_>,
) -> Result<Response, GatewayError> {
    let Begun { sign_in, attempt, secret, returned } = begun;
    let identity = identity(gateway, sign_in, returned, &secret, request_id).await?;
    let token = new_session_token(rand::random());
    let new = NewSignIn {
        organization_id: gateway.organization_id,
        identity: identity.clone(),
        policy: sign_in.policy.clone(),
        token_hash: hash_api_key(token.expose()),
        life: sign_in.session_life,
        remote_address: remote_address(&parts.extensions).0.map(|address| address.to_string()),
        user_agent: parts
            .headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
    };
    let outcome = match gateway.service.sign_in(new).await {
        Ok(outcome) => outcome,
        Err(error) => {
            let error = GatewayError::from(error);
            let mut record = record_of(gateway, parts, request_id, &identity);
            record.result = Some(AuditResult::Failed);
            record.code = Some(error.code().to_owned());
            gateway.trail.record(&record).await?;
            return Err(error);
        }
    };
    let mut record = record_of(gateway, parts, request_id, &identity);
    complete(&mut record, &outcome);
    match outcome {
        Err(refusal) => {
            gateway.trail.record(&record).await?;
            Err(GatewayError::Forbidden { message: refusal.to_string() })
        }
        Ok(signed_in) => {
            // Nobody is in whose coming in is not written down.
            if let Err(error) = gateway.trail.record(&record).await {
                gateway.service.end_session(signed_in.session.id).await?;
                return Err(error);
            }
            let seconds = sign_in.session_life.num_seconds();
            let cookie = Cookie::Session.set(token.expose(), seconds, sign_in.is_secure());
            redirect(&attempt.return_to, [cookie])
        }
    }
}

/// Asks the provider whom it vouches for.
async fn identity(
    gateway: &Gateway,
    sign_in: &OidcSignIn,
    returned: Returned,
    secret: &BrowserSecret,
    request_id: &RequestId,
) -> Result<ProvenIdentity, GatewayError> {
    let refused = |cause: &str| {
        tracing::warn!(
            request_id = request_id.0,
            cause,
            "a sign-in was not confirmed by the identity provider"
        );
        NOT_CONFIRMED
    };
    if returned.error.is_some() {
        return Err(refused("the provider sent an error back"));
    }
    if returned.iss.is_some_and(|issuer| issuer != sign_in.rules.issuer) {
        return Err(refused("the answer is of another provider"));
    }
    let code = returned.code.filter(|code| code.len() <= PARAMETER_BYTES_MAX);
    let code = code.ok_or_else(|| refused("there is no code"))?;
    let _turn = turn(sign_in)?;
    sign_in.provider.identity(code, secret, gateway.clock.now()).await.map_err(|error| match &error {
        ProviderError::Refused(cause) => refused(cause),
        ProviderError::Unavailable(_) => not_answered(&error, request_id),
    })
}

/// What the audit log keeps of a sign-in that the provider has confirmed.
fn record_of(
    gateway: &Gateway,
    parts: &Parts,
    request_id: &RequestId,
    identity: &ProvenIdentity,
) -> AuditRecord {
    let mut record = AuditRecord::by_system(gateway.clock.now(), gateway.organization_id, SIGN_IN);
    record.remote_address = remote_address(&parts.extensions).0.map(|address| address.to_string());
    record.request_id = Some(request_id.0.clone());
    record.inputs = BTreeMap::from([
        (String::from("issuer"), identity.issuer.clone()),
        (String::from("subject"), identity.subject.clone()),
    ]);
    record.actor = AuditActor::anonymous();
    record
}

fn complete(record: &mut AuditRecord, outcome: &Result<SignedIn, SignInRefusal>) {
    match outcome {
        Ok(signed_in) => {
            let session = &signed_in.session;
            record.actor = AuditActor::of_session(session.user_id, signed_in.user_name.clone());
            record.target = Some(session_target(&session.id));
            if signed_in.is_new_user {
                record.inputs.insert(String::from("newUser"), session.user_id.to_string());
            }
        }
        Err(refusal) => {
            record.result = Some(AuditResult::Refused);
            record.code = Some(refusal.code().to_owned());
        }
    }
}

fn session_target(session_id: &impl ToString) -> AuditTarget {
    AuditTarget { kind: String::from("session"), id: session_id.to_string() }
}

/// Ends the session of the page that asks for it. Without one there is nothing to end.
pub(super) async fn logout(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    end(&gateway, &parts, &request_id)
        .await
        .unwrap_or_else(|error| failure(status_of(&error), error, &request_id))
}

async fn end(gateway: &Gateway, parts: &Parts, request_id: &RequestId) -> Result<Response, GatewayError> {
    let sign_in = enabled(gateway)?;
    check_page(&parts.headers, sign_in, Purpose::Act)?;
    if let Some(token) = Cookie::Session.find(&parts.headers, sign_in.is_secure()) {
        let found = authenticate(
            gateway.catalog.as_ref(),
            gateway.clock.as_ref(),
            Some(&sign_in.rules),
            Presented::Session(token),
        );
        match found.await {
            Ok(caller) => {
                let mut record = gateway.trail.intent(Some(&caller), SIGN_OUT);
                record.result = Some(AuditResult::Ok);
                record.remote_address =
                    remote_address(&parts.extensions).0.map(|address| address.to_string());
                record.request_id = Some(request_id.0.clone());
                if let Some(session_id) = caller.principal.credential.session_id() {
                    record.target = Some(session_target(&session_id));
                    // Written down first: asked again, there would be no session to write of.
                    gateway.trail.record(&record).await?;
                    gateway.service.end_session(session_id).await?;
                }
            }
            Err(GatewayError::Unauthenticated { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    if let Some(cookie) = Cookie::Session.set("", 0, sign_in.is_secure()) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Tells how one signs in here, and whether the browser is signed in.
pub(super) async fn status(
    State(gateway): State<Arc<Gateway>>,
    Extension(request_id): Extension<RequestId>,
    request: Request,
) -> Response {
    let (parts, _body) = request.into_parts();
    look(&gateway, &parts).await.unwrap_or_else(|error| failure(status_of(&error), error, &request_id))
}

async fn look(gateway: &Gateway, parts: &Parts) -> Result<Response, GatewayError> {
    let login = gateway.sign_in.as_ref().map(|_| "/auth/login");
    let rules = gateway.sign_in.as_ref().map(|sign_in| &sign_in.rules);
    let presented = gateway.presented(&parts.headers, Purpose::Read)?;
    if !matches!(presented, Presented::Session(_)) {
        return Ok(Json(json!({"login": login, "signedIn": false})).into_response());
    }
    match authenticate(gateway.catalog.as_ref(), gateway.clock.as_ref(), rules, presented).await {
        Ok(caller) => {
            let principal = caller.principal;
            Ok(Json(json!({
                "login": login,
                "signedIn": true,
                "userId": principal.user_id.map(|id| id.to_string()),
                "name": principal.name,
                "sessionId": principal.credential.session_id().map(|id| id.to_string()),
            }))
            .into_response())
        }
        Err(GatewayError::Unauthenticated { .. }) => {
            Ok(Json(json!({"login": login, "signedIn": false})).into_response())
        }
        Err(error) => Err(error),
    }
}

fn enabled(gateway: &Gateway) -> Result<&OidcSignIn, GatewayError> {
    gateway.sign_in.as_ref().ok_or_else(|| GatewayError::not_found("sign-in", "OpenID Connect"))
}

fn turn(sign_in: &OidcSignIn) -> Result<tokio::sync::SemaphorePermit<'_>, GatewayError> {
    sign_in.turns.try_acquire().map_err(|_| GatewayError::Busy {
        message: String::from("too many people are signing in at once; try again in a moment"),
    })
}

fn not_answered(error: &ProviderError, request_id: &RequestId) -> GatewayError {
    let (ProviderError::Unavailable(cause) | ProviderError::Refused(cause)) = error;
    tracing::warn!(request_id = request_id.0, cause, "the identity provider is of no help");
    GatewayError::unavailable("the identity provider does not answer; try again later")
}

fn redirect<const N: usize>(url: &str, cookies: [Option<HeaderValue>; N]) -> Result<Response, GatewayError> {
    let location = HeaderValue::from_str(url)
        .map_err(|_| GatewayError::internal("an address cannot stand in a header"))?;
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, location);
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}
