//! The REST interface of Milvus 2.4 and later: one request at a time, and what its answer means.
//!
//! It lies at the address of the gRPC interface, where Milvus tells the two apart by the version of HTTP. A Milvus that
//! speaks TLS itself has no REST there; a proxy in front of it may pass REST on. Not verified against a live server.

use crate::client::seen_through;
use crate::error::{CallError, Fault, with_causes};
use milvault_domain::cluster::{MilvusAuth, MilvusEndpoint};
use milvault_domain::ports::SecretSource;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, ClientBuilder, RequestBuilder, StatusCode, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::error::Error;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer that is accepted: the longest one lists the imports into a collection.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const USER_AGENT: &str = concat!("milvault/", env!("CARGO_PKG_VERSION"));
/// Milvus gives up on a request after half a minute unless this header says otherwise, in seconds.
const REQUEST_TIMEOUT: &str = "Request-Timeout";

/// Sends requests to the REST interface.
#[derive(Debug, Clone)]
pub(crate) struct RestClient {
    http: reqwest::Client,
    base: Url,
    /// Host and port as they were registered.
    host: HeaderValue,
    /// Marked sensitive, so `Debug` does not show it.
    authorization: Option<HeaderValue>,
}

/// Why a request brought no data.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum RestFailure {
    /// Nothing at the address knows the request. It was not carried out.
    NotServed(String),
    /// The server said no. The request was not carried out.
    Refused(CallError),
    /// The request may have been carried out, or may be yet.
    Unanswered(CallError),
}

/// What comes back over HTTP. The body may have broken off, or be too long.
struct Answer {
    status: StatusCode,
    body: Result<Vec<u8>, String>,
}

/// Every answer of Milvus has this form.
#[derive(Deserialize)]
struct Envelope {
    code: i32,
    #[serde(default)]
    message: String,
    #[serde(default)]
    data: Value,
}

impl Envelope {
    /// Early servers of 2.4 answer with HTTP's code for success.
    fn is_success(&self) -> bool {
        matches!(self.code, 0 | 200)
    }
}

impl RestClient {
    /// A client for an endpoint, without a request yet. The error says in words why REST cannot be used there.
    pub(crate) fn new(endpoint: &MilvusEndpoint, secrets: &dyn SecretSource) -> Result<Self, String> {
        let mut base = Url::parse(&endpoint.uri).map_err(|error| error.to_string())?;
        let real_host = base.host_str().ok_or("the address names no host")?.to_owned();
        let host = base.port().map_or_else(|| real_host.clone(), |port| format!("{real_host}:{port}"));
        let mut elsewhere = None;
        if let (Some(name), "https") = (&endpoint.server_name, base.scheme()) {
            base.set_host(Some(name)).map_err(|error| format!("`serverName`: {error}"))?;
            // An address would be connected to instead of the host.
            base.domain().ok_or("`serverName` is an address")?;
            elsewhere = Some(real_host.trim_matches(['[', ']']).to_owned());
        }
        base.set_query(None);
        base.set_fragment(None);
        let credentials = base.set_username("").and_then(|()| base.set_password(None));
        credentials.map_err(|()| "the address cannot be used for HTTP")?;
        Ok(Self {
            http: http_client(endpoint, elsewhere.as_deref())?,
            base,
            host: HeaderValue::try_from(host).map_err(|error| error.to_string())?,
            authorization: authorization(&endpoint.auth, secrets)?,
        })
    }

    /// Posts a request and reads the data of its answer.
    pub(crate) async fn post(
        &self,
        path: &'static str,
        body: &impl Serialize,
        deadline: Duration,
    ) -> Result<Value, RestFailure> {
        let not_served =
            |error: &dyn Error| RestFailure::NotServed(with_causes(&error.to_string(), error.source()));
        let mut url = self.base.clone();
        url.set_path(path);
        let mut request = self
            .http
            .post(url)
            .header(HOST, self.host.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(REQUEST_TIMEOUT, deadline.as_secs())
            .body(serde_json::to_vec(body).map_err(|error| not_served(&error))?);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        match seen_through(path, deadline, exchange(request)).await {
            Ok(Ok(answer)) => read(path, &answer),
            // Without a connection nothing was sent.
            Ok(Err(error)) if error.is_connect() || error.is_builder() => {
                Err(not_served(&error.without_url()))
            }
            Ok(Err(error)) => Err(RestFailure::Unanswered(unanswered(path, in_words(error)))),
            Err(error) => Err(RestFailure::Unanswered(error)),
        }
    }
}

async fn exchange(request: RequestBuilder) -> reqwest::Result<Answer> {
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > ANSWER_BYTES_MAX => {
                let reason = format!("the answer has more than {ANSWER_BYTES_MAX} bytes");
                return Ok(Answer { status, body: Err(reason) });
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(Answer { status, body: Ok(body) }),
            Err(error) => return Ok(Answer { status, body: Err(in_words(error)) }),
        }
    }
}

fn read(path: &'static str, answer: &Answer) -> Result<Value, RestFailure> {
    let status = answer.status;
    let envelope = answer.body.as_ref().ok().and_then(|body| serde_json::from_slice::<Envelope>(body).ok());
    match envelope {
        Some(envelope) if envelope.is_success() && status.is_success() => Ok(envelope.data),
        Some(envelope) if !envelope.is_success() => Err(refusal(path, status, &envelope)),
        _ => Err(without_envelope(path, answer)),
    }
}

fn refusal(path: &'static str, status: StatusCode, envelope: &Envelope) -> RestFailure {
    let gone = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED].contains(&status);
    match envelope.code {
        // "No JSON" and "parameters are missing": an interface that takes other requests.
        1801 | 1802 => RestFailure::NotServed(envelope.message.clone()),
        // Milvus has codes of its own; a gateway repeats HTTP's.
        code if gone && code == i32::from(status.as_u16()) => RestFailure::NotServed(status.to_string()),
        code => {
            let error = CallError::from_code(path, code, 0, &envelope.message);
            match error.fault {
                Fault::Unavailable => RestFailure::Unanswered(error),
                // The server stopped waiting, which does not stop the work.
                _ if status == StatusCode::REQUEST_TIMEOUT => {
                    RestFailure::Unanswered(unanswered(path, error.message))
                }
                _ => RestFailure::Refused(error),
            }
        }
    }
}

/// What an answer means that is not of Milvus's form: whatever stands before Milvus gave it.
fn without_envelope(path: &'static str, answer: &Answer) -> RestFailure {
    let status = answer.status;
    match status {
        StatusCode::TOO_MANY_REQUESTS => {
            RestFailure::Refused(CallError::new(Fault::RateLimited, path, status.to_string()))
        }
        StatusCode::REQUEST_TIMEOUT => RestFailure::Unanswered(unanswered(path, status.to_string())),
        _ if status.is_client_error() || status.is_redirection() => {
            RestFailure::NotServed(status.to_string())
        }
        _ => {
            let reason =
                answer.body.as_ref().err().map_or("the answer is not of Milvus's form", String::as_str);
            RestFailure::Unanswered(unanswered(path, format!("{status}: {reason}")))
        }
    }
}

fn unanswered(path: &'static str, reason: String) -> CallError {
    CallError::new(Fault::Unavailable, path, reason)
}

/// The words of an error and its causes, without the address.
fn in_words(error: reqwest::Error) -> String {
    let error = error.without_url();
    with_causes(&error.to_string(), error.source())
}

/// REST wants `user:password`, or the token, as they are.
fn authorization(auth: &MilvusAuth, secrets: &dyn SecretSource) -> Result<Option<HeaderValue>, String> {
    let reveal = |secret| secrets.reveal(secret).map_err(|error| error.to_string());
    let value = match auth {
        MilvusAuth::None => return Ok(None),
        MilvusAuth::Token(token) => format!("Bearer {}", reveal(token)?.expose()),
        MilvusAuth::Password { user, password } => format!("Bearer {user}:{}", reveal(password)?.expose()),
    };
    // The error carries no part of the value.
    let value = HeaderValue::from_bytes(value.as_bytes());
    let mut value = value.map_err(|_| "the credentials have characters that do not fit into a header")?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn http_client(endpoint: &MilvusEndpoint, elsewhere: Option<&str>) -> Result<reqwest::Client, String> {
    let authorities = match &endpoint.ca_pem {
        Some(pem) => Certificate::from_pem_bundle(pem.as_bytes()).map_err(in_words)?,
        None => Vec::new(),
    };
    let merged = builder(elsewhere).tls_certs_merge(authorities.clone()).build();
    let client = merged.or_else(|error| {
        // A container may have no system certificates at all; that matters only without an own one.
        if authorities.is_empty() {
            Err(error)
        } else {
            builder(elsewhere).tls_certs_only(authorities).build()
        }
    });
    client.map_err(in_words)
}

fn builder(elsewhere: Option<&str>) -> ClientBuilder {
    let builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
        // A connection that the server closes while a request is on its way would leave it unanswered.
        .pool_max_idle_per_host(0);
    match elsewhere {
        Some(host) => builder.dns_resolver(Elsewhere { host: host.to_owned() }),
        None => builder,
    }
}

/// Leads every name to one host: the name is that of the certificate, the host that of the address.
struct Elsewhere {
    host: String,
}

impl Resolve for Elsewhere {
    fn resolve(&self, _: Name) -> Resolving {
        let host = self.host.clone();
        Box::pin(async move {
            // Port 0 is replaced by that of the URL.
            let addresses: Vec<_> = tokio::net::lookup_host((host.as_str(), 0)).await?.collect();
            let addresses: Addrs = Box::new(addresses.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::error::PortResult;
    use milvault_domain::secret::{Secret, SecretValue};

    struct Plain;

    impl SecretSource for Plain {
        fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
            match secret {
                Secret::Value(value) => Ok(value.clone()),
                other => panic!("these tests use no {other:?}"),
            }
        }
    }

    /// What an answer comes to: `data`, or the failure with the fault.
    fn meaning(status: u16, body: Result<&str, &str>) -> (&'static str, Option<Fault>) {
        let body = body.map(|body| body.as_bytes().to_vec()).map_err(str::to_owned);
        match read("/path", &Answer { status: StatusCode::from_u16(status).unwrap(), body }) {
            Ok(_) => ("data", None),
            Err(RestFailure::NotServed(_)) => ("not served", None),
            Err(RestFailure::Refused(error)) => ("refused", Some(error.fault)),
            Err(RestFailure::Unanswered(error)) => ("unanswered", Some(error.fault)),
        }
    }

    #[test]
    fn answers_are_told_apart() {
        let unanswered = ("unanswered", Some(Fault::Unavailable));
        let table = [
            (200, r#"{"code":0,"data":{"jobId":"7"}}"#, ("data", None)),
            (200, r#"{"code":200,"data":{}}"#, ("data", None)),
            (500, r#"{"code":0,"data":{}}"#, unanswered),
            (200, r#"{"code":100,"message":"collection not found"}"#, ("refused", Some(Fault::NotFound))),
            (404, r#"{"code":100,"message":"collection not found"}"#, ("refused", Some(Fault::NotFound))),
            (200, r#"{"code":8,"message":"rate limit"}"#, ("refused", Some(Fault::RateLimited))),
            (429, r#"{"code":1807,"message":"limiter"}"#, ("refused", Some(Fault::RateLimited))),
            (401, r#"{"code":1800,"message":"no"}"#, ("refused", Some(Fault::Unauthenticated))),
            (403, r#"{"code":1401,"message":"no"}"#, ("refused", Some(Fault::PermissionDenied))),
            (200, r#"{"code":9,"message":"quota exceeded"}"#, ("refused", Some(Fault::Other))),
            (500, r#"{"code":2101,"message":"the limit"}"#, ("refused", Some(Fault::Other))),
            (200, r#"{"code":1,"message":"not ready"}"#, unanswered),
            (408, r#"{"code":408,"message":"request timeout"}"#, unanswered),
            (408, r#"{"code":10001,"message":"request timeout"}"#, unanswered),
            (200, r#"{"code":1801,"message":"json"}"#, ("not served", None)),
            (404, r#"{"code":404,"message":"no route"}"#, ("not served", None)),
            (404, "404 page not found", ("not served", None)),
            (405, "", ("not served", None)),
            (302, "", ("not served", None)),
            (429, "slow down", ("refused", Some(Fault::RateLimited))),
            (408, "", unanswered),
            (502, "<html>bad gateway</html>", unanswered),
            (200, "<html>welcome</html>", unanswered),
            (200, r#"{"error":"no code"}"#, unanswered),
        ];
        for (status, body, expected) in table {
            assert_eq!(meaning(status, Ok(body)), expected, "{status} {body}");
        }
        assert_eq!(meaning(200, Err("broken off")), unanswered);
        assert_eq!(meaning(404, Err("broken off")), ("not served", None));
    }

    fn endpoint(uri: &str, server_name: Option<&str>, auth: MilvusAuth) -> MilvusEndpoint {
        let server_name = server_name.map(str::to_owned);
        MilvusEndpoint { uri: uri.to_owned(), auth, ca_pem: None, server_name }
    }

    #[test]
    fn addresses_are_taken_over() {
        // uri, server name, base, host
        let table = [
            ("http://milvus:19530", None, "http://milvus:19530/", "milvus:19530"),
            ("http://milvus", Some("a.internal"), "http://milvus/", "milvus"),
            ("https://10.0.0.1:19530", Some("a.internal"), "https://a.internal:19530/", "10.0.0.1:19530"),
            ("http://root:hunter2@[::1]:19530", None, "http://[::1]:19530/", "[::1]:19530"),
        ];
        let _ = rustls::crypto::ring::default_provider().install_default();
        for (uri, server_name, base, host) in table {
            let client = RestClient::new(&endpoint(uri, server_name, MilvusAuth::None), &Plain).unwrap();
            assert_eq!((client.base.as_str(), client.host.to_str().unwrap()), (base, host));
        }
        let address = endpoint("https://milvus:19530", Some("10.0.0.2"), MilvusAuth::None);
        assert!(RestClient::new(&address, &Plain).unwrap_err().contains("serverName"));
    }

    #[test]
    fn credentials_become_a_header_that_debug_does_not_show() {
        let secret = |text: &str| Secret::Value(SecretValue::new(text.to_owned()));
        let password = |text| MilvusAuth::Password { user: String::from("root"), password: secret(text) };
        let value = authorization(&password("Milvus"), &Plain).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer root:Milvus");
        assert_eq!(format!("{value:?}"), "Sensitive");
        let value = authorization(&MilvusAuth::Token(secret("key")), &Plain).unwrap().unwrap();
        assert_eq!(value.to_str().unwrap(), "Bearer key");
        assert_eq!(authorization(&MilvusAuth::None, &Plain), Ok(None));
        let error = authorization(&password("hunter2\n"), &Plain).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
