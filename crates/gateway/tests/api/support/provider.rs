//! An identity provider that does what it is told: a real one does not sign wrongly, nor for somebody else.

use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use openidconnect::core::{CoreEdDsaPrivateSigningKey, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKeyId, PrivateSigningKey};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

/// What the provider answers with.
pub(crate) struct Answers {
    /// To the exchange of a code.
    pub(crate) tokens: Value,
    /// About the person.
    pub(crate) user_info: Value,
    /// The seed of the key that it publishes.
    pub(crate) key: u8,
    /// Codes that were exchanged.
    pub(crate) exchanges: usize,
}

/// The provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) answers: Arc<Mutex<Answers>>,
}

impl Provider {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let answers = Answers { tokens: Value::Null, user_info: Value::Null, key: 1, exchanges: 0 };
        let answers = Arc::new(Mutex::new(answers));
        let published = json!({
            "issuer": issuer,
            "authorization_endpoint": format!("{issuer}/authorize"),
            "token_endpoint": format!("{issuer}/token"),
            "userinfo_endpoint": format!("{issuer}/userinfo"),
            "jwks_uri": format!("{issuer}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            // What it says it may sign with is not what is believed.
            "id_token_signing_alg_values_supported": ["none", "HS256", "EdDSA"],
        });
        let (of_keys, of_tokens, of_user_info) =
            (Arc::clone(&answers), Arc::clone(&answers), Arc::clone(&answers));
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(async || Json(published)))
            .route(
                "/keys",
                get(async move || {
                    let key = signing_key(of_keys.lock().unwrap().key).as_verification_key();
                    Json(json!({"keys": [key]}))
                }),
            )
            .route(
                "/token",
                post(async move || {
                    let mut answers = of_tokens.lock().unwrap();
                    answers.exchanges += 1;
                    Json(answers.tokens.clone())
                }),
            )
            .route("/userinfo", get(async move || Json(of_user_info.lock().unwrap().user_info.clone())));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { issuer, answers }
    }

    /// Answers the next exchange with this ID token.
    pub(crate) fn hand_out(&self, id_token: &str) {
        let tokens = json!({"access_token": "access", "token_type": "Bearer", "id_token": id_token});
        self.answers.lock().unwrap().tokens = tokens;
    }

    /// Answers the next exchange with a good token with these claims.
    pub(crate) fn vouch(&self, claims: &Value) {
        self.hand_out(&signed(claims, 1));
    }
}

/// A token that the key with this seed has signed.
pub(crate) fn signed(claims: &Value, key: u8) -> String {
    let header = json!({"alg": "EdDSA", "kid": format!("key-{key}")});
    let content = format!("{}.{}", part(&header), part(claims));
    let signature = signing_key(key).sign(&CoreJwsSigningAlgorithm::EdDsa, content.as_bytes()).unwrap();
    format!("{content}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A part of a token.
pub(crate) fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn signing_key(seed: u8) -> CoreEdDsaPrivateSigningKey {
    // RFC 8410: what stands before the 32 bytes of an Ed25519 key.
    let mut key = hex::decode("302e020100300506032b657004220420").unwrap();
    key.extend([seed; 32]);
    let (kind, body) = ("PRIVATE KEY", STANDARD.encode(key));
    let pem = format!("-----BEGIN {kind}-----\n{body}\n-----END {kind}-----\n");
    CoreEdDsaPrivateSigningKey::from_ed25519_pem(&pem, Some(JsonWebKeyId::new(format!("key-{seed}"))))
        .unwrap()
}
