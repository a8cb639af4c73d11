//! Sign-in by OpenID Connect: what makes somebody believable, and what a session is good for. The real provider is in
//! the end-to-end tests.

mod people;
mod pretenders;
mod sessions;

use crate::support::provider::Provider;
use crate::support::{Answer, Api};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use chrono::TimeDelta;
use milvault_domain::ports::Clock;
use milvault_domain::sign_in::{Provisioning, SignInPolicy};
use milvault_gateway::{GatewayLimits, OidcSettings, OidcSignIn};
use serde_json::{Value, json};
use std::time::Duration;

/// Where browsers see the server.
const ORIGIN: &str = "https://backup.example";
const VIEWER: &str = "{ viewer { name signedInBy apiKeyId sessionId userId grants { role projectId } } }";
const IDLE: TimeDelta = TimeDelta::hours(2);
const LIFE: TimeDelta = TimeDelta::hours(12);

/// An API with a provider.
struct Scene {
    api: Api,
    provider: Provider,
}

/// What a browser has after it was sent to the provider.
struct Begun {
    /// The cookie, as it goes back.
    cookie: String,
    state: String,
    nonce: String,
}

impl Scene {
    async fn start(provisioning: Provisioning) -> Self {
        let policy =
            SignInPolicy { provisioning, allowed_email_domains: Vec::new(), silent_email_counts: false };
        Self::start_with(policy).await
    }

    async fn start_with(policy: SignInPolicy) -> Self {
        let provider = Provider::start().await;
        let settings = OidcSettings {
            issuer: provider.issuer.clone(),
            client_id: String::from("milvault"),
            client_secret: None,
            public_url: format!("{ORIGIN}/"),
            scopes: vec![String::from("email")],
            policy,
            session_idle: IDLE,
            session_life: LIFE,
        };
        let limits = GatewayLimits {
            key_check_interval: Duration::from_millis(20),
            key_use_delay: Duration::from_millis(5),
            ..GatewayLimits::default()
        };
        let sign_in = OidcSignIn::new(settings).unwrap();
        Self { api: Api::start_signing_in(limits, Some(sign_in)).await, provider }
    }

    async fn invite(&self, name: &str) -> String {
        let query = "mutation($input: CreateUserInput!) { createUser(input: $input) { user { id } } }";
        let input = json!({"name": name, "email": format!("{name}@example.com")});
        let data = self.api.ask(query, json!({"input": input})).await.data();
        data["createUser"]["user"]["id"].as_str().unwrap().to_owned()
    }

    /// Sends a browser to the provider.
    async fn begin(&self) -> Begun {
        let answer = self.api.get("/auth/login?return_to=/graphql%3Fa%3D1").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        let location = answer.headers[header::LOCATION].to_str().unwrap().to_owned();
        let parameter = |name: &str| {
            let (_, rest) = location.split_once(&format!("{name}=")).unwrap_or_else(|| panic!("{location}"));
            rest.split('&').next().unwrap().to_owned()
        };
        assert!(location.starts_with(&format!("{}/authorize?", self.provider.issuer)), "{location}");
        assert_eq!(parameter("code_challenge_method"), "S256");
        assert_eq!(parameter("redirect_uri"), "https%3A%2F%2Fbackup.example%2Fauth%2Fcallback");
        Begun {
            cookie: cookie_of(&answer, "__Host-milvault_sign_in"),
            state: parameter("state"),
            nonce: parameter("nonce"),
        }
    }

    /// Claims of a token that is good for a browser that was sent to the provider.
    fn claims(&self, begun: &Begun, subject: &str) -> Value {
        let now = self.api.clock.now().timestamp();
        json!({
            "iss": self.provider.issuer, "sub": subject, "aud": "milvault", "nonce": begun.nonce,
            "iat": now, "exp": now + 300, "email": format!("{subject}@example.com"), "email_verified": true,
        })
    }

    /// A browser comes back from the provider.
    async fn come_back(&self, begun: &Begun) -> Answer {
        self.call_back(&format!("code=c&state={}", begun.state), &begun.cookie).await
    }

    async fn call_back(&self, query: &str, cookie: &str) -> Answer {
        let request = Request::get(format!("/auth/callback?{query}")).header(header::COOKIE, cookie);
        self.api.call(request.body(Body::empty()).unwrap()).await
    }

    /// Somebody signs in whom the provider vouches for; the cookie of his session.
    async fn sign_in(&self, subject: &str) -> String {
        let begun = self.begin().await;
        self.provider.vouch(&self.claims(&begun, subject));
        let answer = self.come_back(&begun).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{}", answer.body);
        assert_eq!(answer.headers[header::LOCATION], "/graphql?a=1");
        cookie_of(&answer, "__Host-milvault_session")
    }

    /// A request of a page of this server.
    async fn ask_in(&self, cookie: &str, query: &str, variables: Value) -> Answer {
        self.ask_from(Some(ORIGIN), cookie, query, variables).await
    }

    async fn ask_from(&self, origin: Option<&str>, cookie: &str, query: &str, variables: Value) -> Answer {
        let mut request = Request::post("/graphql")
            .header(header::CONTENT_TYPE, "application/json")
            // As behind a proxy that does not pass the name on.
            .header(header::HOST, "127.0.0.1:19600")
            .header(header::COOKIE, cookie);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        let body = json!({"query": query, "variables": variables}).to_string();
        self.api.call(request.body(Body::from(body)).unwrap()).await
    }

    /// Refused and failed entries of the audit log about signing in, newest first.
    async fn refusals(&self) -> Value {
        let query = "{ auditLog(filter: {result: REFUSED}) { nodes { action code actor { kind } inputs { field value } } } }";
        self.api.ask(query, json!({})).await.data()["auditLog"]["nodes"].take()
    }
}

/// The value of a cookie that an answer sets, as a browser sends it back.
fn cookie_of(answer: &Answer, name: &str) -> String {
    let set = answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .map(|value| value.to_str().unwrap())
        .find(|value| value.starts_with(&format!("{name}=")) && !value.contains("Max-Age=0"))
        .unwrap_or_else(|| panic!("no cookie {name}: {:?}", answer.headers));
    for attribute in ["Path=/", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(set.contains(attribute), "{set}");
    }
    set.split(';').next().unwrap().to_owned()
}

/// Whether an answer makes a browser keep a session.
fn lets_in(answer: &Answer) -> bool {
    let set = answer.headers.get_all(header::SET_COOKIE).iter();
    set.filter_map(|value| value.to_str().ok())
        .any(|value| value.starts_with("__Host-milvault_session=") && !value.contains("Max-Age=0"))
}
