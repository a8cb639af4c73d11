//! The identity provider: what it publishes about itself, where people are sent to, and what it vouches for.

use super::{BrowserSecret, CALLBACK_PATH, OidcSettings, OidcSettingsError};
use chrono::{DateTime, Utc};
use milvault_domain::sign_in::{ClaimedEmail, ProvenIdentity};
use openidconnect::core::{
    CoreClient, CoreClientAuthMethod, CoreIdToken, CoreIdTokenClaims, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreResponseType, CoreUserInfoClaims,
};
use openidconnect::{
    AccessToken, AuthType, AuthenticationFlow, AuthorizationCode, ClaimsVerificationError, ClientId,
    ClientSecret, CsrfToken, EndUserEmail, HttpRequest, HttpResponse, IssuerUrl, Nonce, OAuth2TokenResponse,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope, SignatureVerificationError,
    SubjectIdentifier, TokenResponse,
};
use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// Time for one answer of the provider.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer of the provider, in bytes.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
/// How long what the provider publishes about itself is taken to hold.
const PUBLISHED_KEPT: Duration = Duration::from_mins(10);
/// It is not asked again so soon, whether it answered or not.
const PUBLISHED_AGAIN: Duration = Duration::from_secs(5);
/// Longest subject: what the specification allows.
const SUBJECT_BYTES_MAX: usize = 255;
/// Longest address that is looked at.
const EMAIL_BYTES_MAX: usize = 254;
/// Signatures that only the provider can make. Neither `none` nor those by a shared secret are among them, whatever it
/// publishes.
const SIGNATURES: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// Why the provider is of no help. The words are for the log: they may repeat what the provider said.
#[derive(Debug)]
pub(crate) enum ProviderError {
    /// It does not answer, or not as a provider does.
    Unavailable(String),
    /// It does not vouch for anybody, or not in a way that can be believed.
    Refused(String),
}

/// A provider.
pub(crate) struct Provider {
    issuer: IssuerUrl,
    client_id: ClientId,
    client_secret: Option<ClientSecret>,
    callback: RedirectUrl,
    scopes: Vec<Scope>,
    http: reqwest::Client,
    published: Mutex<Published>,
}

/// What the provider published about itself, keys included, when it was last asked.
#[derive(Default)]
struct Published {
    metadata: Option<Arc<CoreProviderMetadata>>,
    asked_at: Option<Instant>,
}

impl Provider {
    pub(super) fn new(settings: OidcSettings, origin: &str) -> Result<Self, OidcSettingsError> {
        let unusable =
            |setting, error: &dyn Display| OidcSettingsError { setting, reason: error.to_string() };
        let mut http = reqwest::Client::builder();
        if settings.issuer.starts_with("http://") {
            // It is on this machine, which no proxy reaches.
            http = http.no_proxy();
        }
        let http = http
            .timeout(ANSWER_TIMEOUT)
            // A provider that moves says so by its published addresses.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| unusable("issuer", &error))?;
        Ok(Self {
            issuer: IssuerUrl::new(settings.issuer).map_err(|error| unusable("issuer", &error))?,
            client_id: ClientId::new(settings.client_id),
            client_secret: settings.client_secret.map(|secret| ClientSecret::new(secret.expose().to_owned())),
            callback: RedirectUrl::new(format!("{origin}{CALLBACK_PATH}"))
                .map_err(|error| unusable("public_url", &error))?,
            scopes: settings.scopes.into_iter().map(Scope::new).collect(),
            http,
            published: Mutex::default(),
        })
    }

    /// Where to send somebody who signs in.
    pub(crate) async fn authorization_url(
        &self,
        state: &str,
        secret: &BrowserSecret,
    ) -> Result<String, ProviderError> {
        let metadata = self.metadata(PUBLISHED_KEPT).await?;
        let client = CoreClient::from_provider_metadata(
            CoreProviderMetadata::clone(&metadata),
            self.client_id.clone(),
            self.client_secret.clone(),
        )
        .set_redirect_uri(self.callback.clone());
        let verifier = PkceCodeVerifier::new(secret.code_verifier());
        let (state, nonce) = (state.to_owned(), secret.nonce());
        let (url, _state, _nonce) = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .add_scopes(self.scopes.iter().cloned())
            .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
            .url();
        Ok(url.into())
    }

    /// Exchanges a code for what the provider vouches for.
    pub(crate) async fn identity(
        &self,
        code: String,
        secret: &BrowserSecret,
        now: DateTime<Utc>,
    ) -> Result<ProvenIdentity, ProviderError> {
        let metadata = self.metadata(PUBLISHED_KEPT).await?;
        let client = CoreClient::from_provider_metadata(
            CoreProviderMetadata::clone(&metadata),
            self.client_id.clone(),
            self.client_secret.clone(),
        )
        .set_auth_type(auth_type(&metadata))
        .set_redirect_uri(self.callback.clone());
        let call = |request| call(self.http.clone(), request);
        let answer = client
            .exchange_code(AuthorizationCode::new(code))
            .map_err(|error| unavailable("it publishes no token endpoint", &error))?
            .set_pkce_verifier(PkceCodeVerifier::new(secret.code_verifier()))
            .request_async(&call)
            .await
            .map_err(not_exchanged)?;
        let id_token =
            answer.id_token().ok_or_else(|| ProviderError::Refused(String::from("it gives no ID token")))?;
        let claims = self.claims(&metadata, id_token, &Nonce::new(secret.nonce()), now).await?;
        let mut identity = identity_of(&claims)?;
        let is_certain = identity.email.as_ref().is_some_and(|email| email.is_verified.is_some());
        if !is_certain && metadata.userinfo_endpoint().is_some() {
            let told = self.user_info(&metadata, answer.access_token(), claims.subject()).await?;
            identity.email = email_of(told.email(), told.email_verified()).or(identity.email);
            identity.name = identity.name.or_else(|| Some(told.name()?.get(None)?.as_str().to_owned()));
        }
        Ok(identity)
    }

    /// Checks signature, issuer, audience, nonce and times of a token. When it is signed with a key that is not known
    /// yet, the keys are fetched anew.
    async fn claims(
        &self,
        metadata: &CoreProviderMetadata,
        id_token: &CoreIdToken,
        nonce: &Nonce,
        now: DateTime<Utc>,
    ) -> Result<CoreIdTokenClaims, ProviderError> {
        let check = |metadata: &CoreProviderMetadata| {
            let client = CoreClient::from_provider_metadata(
                metadata.clone(),
                self.client_id.clone(),
                self.client_secret.clone(),
            );
            let verifier = client.id_token_verifier().set_allowed_algs(SIGNATURES).set_time_fn(move || now);
            id_token.claims(&verifier, nonce).cloned()
        };
        let checked = match check(metadata) {
            Err(ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey,
            )) => check(self.metadata(PUBLISHED_AGAIN).await?.as_ref()),
            checked => checked,
        };
        checked
            .map_err(|error| ProviderError::Refused(format!("its ID token is not good: {}", Chain(&error))))
    }

    async fn user_info(
        &self,
        metadata: &CoreProviderMetadata,
        access_token: &AccessToken,
        subject: &SubjectIdentifier,
    ) -> Result<CoreUserInfoClaims, ProviderError> {
        let client = CoreClient::from_provider_metadata(
            metadata.clone(),
            self.client_id.clone(),
            self.client_secret.clone(),
        );
        let call = |request| call(self.http.clone(), request);
        client
            .user_info(access_token.clone(), Some(subject.clone()))
            .map_err(|error| unavailable("it publishes no userinfo endpoint", &error))?
            .request_async(&call)
            .await
            .map_err(|error| {
                ProviderError::Refused(format!("it does not tell about a person: {}", Chain(&error)))
            })
    }

    /// What the provider publishes, at most so old. Callers that come at the same time wait for one answer.
    async fn metadata(&self, age_max: Duration) -> Result<Arc<CoreProviderMetadata>, ProviderError> {
        let mut published = self.published.lock().await;
        let age = published.asked_at.map(|asked_at| asked_at.elapsed());
        if let Some(metadata) = &published.metadata
            && age.is_some_and(|age| age < age_max)
        {
            return Ok(Arc::clone(metadata));
        }
        if published.metadata.is_none() && age.is_some_and(|age| age < PUBLISHED_AGAIN) {
            return Err(ProviderError::Unavailable(String::from("it did not answer a moment ago")));
        }
        let call = |request| call(self.http.clone(), request);
        let found = CoreProviderMetadata::discover_async(self.issuer.clone(), &call).await;
        published.asked_at = Some(Instant::now());
        published.metadata = None;
        let found = found.map_err(|error| unavailable("it does not publish what a provider does", &error))?;
        Ok(Arc::clone(published.metadata.insert(Arc::new(found))))
    }
}

/// How to show the client's secret: in a header as everybody has to accept it, unless the provider takes it in the body
/// only.
fn auth_type(metadata: &CoreProviderMetadata) -> AuthType {
    let Some(methods) = metadata.token_endpoint_auth_methods_supported() else { return AuthType::BasicAuth };
    let takes = |method| methods.contains(&method);
    if !takes(CoreClientAuthMethod::ClientSecretBasic) && takes(CoreClientAuthMethod::ClientSecretPost) {
        AuthType::RequestBody
    } else {
        AuthType::BasicAuth
    }
}

fn identity_of(claims: &CoreIdTokenClaims) -> Result<ProvenIdentity, ProviderError> {
    let subject = claims.subject().as_str();
    let is_sane = (1..=SUBJECT_BYTES_MAX).contains(&subject.len()) && !subject.chars().any(char::is_control);
    if !is_sane {
        return Err(ProviderError::Refused(String::from("the subject of its ID token cannot be used")));
    }
    Ok(ProvenIdentity {
        issuer: claims.issuer().as_str().to_owned(),
        subject: subject.to_owned(),
        email: email_of(claims.email(), claims.email_verified()),
        name: claims.name().and_then(|name| name.get(None)).map(|name| name.as_str().to_owned()),
    })
}

/// An address, unless it cannot be one.
fn email_of(address: Option<&EndUserEmail>, is_verified: Option<bool>) -> Option<ClaimedEmail> {
    let address = address?.as_str();
    let is_sane = (1..=EMAIL_BYTES_MAX).contains(&address.len()) && !address.chars().any(char::is_control);
    is_sane.then(|| ClaimedEmail { address: address.to_owned(), is_verified })
}

fn unavailable(what: &str, error: &dyn Error) -> ProviderError {
    ProviderError::Unavailable(format!("{what}: {}", Chain(error)))
}

fn not_exchanged<RE: Error + 'static, T: openidconnect::ErrorResponse + 'static>(
    error: RequestTokenError<RE, T>,
) -> ProviderError {
    match error {
        RequestTokenError::Request(error) => unavailable("it does not exchange codes", &error),
        // Parsing errors may hold the answer, and with it tokens.
        RequestTokenError::Parse(_, _) => ProviderError::Refused(String::from("it answers with no tokens")),
        error => ProviderError::Refused(format!("it does not exchange the code: {}", Chain(&error))),
    }
}

/// An error with what it comes from.
struct Chain<'a>(&'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(formatter, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

/// Why a request to the provider brought no answer.
#[derive(Debug, thiserror::Error)]
enum CallError {
    #[error("no answer")]
    Http(#[from] reqwest::Error),
    #[error("the answer has more than {ANSWER_BYTES_MAX} bytes")]
    TooLarge,
}

/// Sends one request of the library, with limits on time and size.
async fn call(client: reqwest::Client, request: HttpRequest) -> Result<HttpResponse, CallError> {
    let (parts, body) = request.into_parts();
    let sending = client.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
    let mut answer = sending.send().await?;
    let mut response = HttpResponse::new(Vec::new());
    *response.status_mut() = answer.status();
    *response.headers_mut() = answer.headers().clone();
    while let Some(chunk) = answer.chunk().await? {
        if ANSWER_BYTES_MAX < response.body().len() + chunk.len() {
            return Err(CallError::TooLarge);
        }
        response.body_mut().extend_from_slice(&chunk);
    }
    Ok(response)
}
