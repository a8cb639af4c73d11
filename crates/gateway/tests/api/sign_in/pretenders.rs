//! Nobody is believed who is not vouched for in the right way, for this sign-in, in this browser.

use super::{Scene, lets_in};
use crate::support::provider::{part, signed};
use crate::support::{Answer, Api};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use milvault_domain::sign_in::Provisioning;
use serde_json::{Value, json};

fn refused(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.code()),
        (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"),
        "{}",
        answer.body
    );
    assert!(!lets_in(answer));
}

/// Spoils the claims of a token; the number is the time.
type Change = fn(&mut Value, i64);
/// Makes a token of claims that the provider never gave.
type Forge = fn(&Value) -> String;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_not_good_in_every_way_opens_nothing() {
    let scene = Scene::start(Provisioning::Members).await;
    let now = 1_750_000_000;
    let claims: [(&str, Change); 8] = [
        ("nonce of another sign-in", |claims, _| claims["nonce"] = json!("0".repeat(64))),
        ("no nonce", |claims, _| claims["nonce"] = Value::Null),
        ("another audience", |claims, _| claims["aud"] = json!("somebody-else")),
        ("besides, another audience", |claims, _| claims["aud"] = json!(["milvault", "somebody-else"])),
        ("another issuer", |claims, _| claims["iss"] = json!("https://id.evil.example")),
        ("expired", |claims, now| claims["exp"] = json!(now - 1)),
        ("no subject", |claims, _| claims["sub"] = json!("")),
        ("a subject that is too long", |claims, _| claims["sub"] = json!("x".repeat(256))),
    ];
    for (what, change) in claims {
        let begun = scene.begin().await;
        let mut claims = scene.claims(&begun, "ada");
        change(&mut claims, now);
        scene.provider.vouch(&claims);
        let answer = scene.come_back(&begun).await;
        assert!(!lets_in(&answer), "{what}");
        refused(&answer);
    }

    let forgeries: [(&str, Forge); 5] = [
        ("no signature", |claims| format!("{}.{}.", part(&json!({"alg": "none"})), part(claims))),
        ("the key of somebody else", |claims| {
            let own = signed(claims, 2);
            let (_, rest) = own.split_once('.').unwrap();
            format!("{}.{rest}", part(&json!({"alg": "EdDSA", "kid": "key-1"})))
        }),
        ("a key that is not published", |claims| signed(claims, 2)),
        ("a symmetric signature", |claims| {
            let header = json!({"alg": "HS256"});
            format!("{}.{}.{}", part(&header), part(claims), part(&json!("x")))
        }),
        ("claims that were changed", |claims| {
            let good = signed(claims, 1);
            let parts: Vec<&str> = good.split('.').collect();
            let mut changed = claims.clone();
            changed["sub"] = json!("grace");
            format!("{}.{}.{}", parts[0], part(&changed), parts[2])
        }),
    ];
    for (what, forge) in forgeries {
        let begun = scene.begin().await;
        scene.provider.hand_out(&forge(&scene.claims(&begun, "ada")));
        let answer = scene.come_back(&begun).await;
        assert!(!lets_in(&answer), "{what}");
        refused(&answer);
    }

    for tokens in
        [json!({}), json!({"access_token": "a", "token_type": "Bearer"}), json!({"error": "invalid_grant"})]
    {
        let begun = scene.begin().await;
        scene.provider.answers.lock().unwrap().tokens = tokens;
        refused(&scene.come_back(&begun).await);
    }
    let users = scene.api.ask("{ users { nodes { id } } }", json!({})).await.data();
    assert_eq!(users["users"]["nodes"], json!([]));
    // The first refusal is written down at once, those behind it are counted.
    let refusals = scene.refusals().await;
    assert_eq!(
        (&refusals[0]["action"], &refusals[0]["code"]),
        (&json!("authenticate"), &json!("UNAUTHENTICATED"))
    );

    // The same person in the right way.
    scene.sign_in("ada").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_finished_once_by_the_browser_that_began_it() {
    let scene = Scene::start(Provisioning::Members).await;
    let (begun, other) = (scene.begin().await, scene.begin().await);
    scene.provider.vouch(&scene.claims(&begun, "ada"));
    let exchanges = || scene.provider.answers.lock().unwrap().exchanges;
    let state = &begun.state;
    for (query, cookie) in [
        (format!("code=c&state={state}"), String::new()),
        (format!("code=c&state={state}"), other.cookie.clone()),
        (format!("code=c&state={}", "0".repeat(64)), begun.cookie.clone()),
        (String::from("code=c"), begun.cookie.clone()),
        (String::from("error=access_denied"), begun.cookie.clone()),
        (format!("code=c&state={state}"), String::from("__Host-milvault_sign_in=zz")),
    ] {
        refused(&scene.call_back(&query, &cookie).await);
    }
    // None of them reached the provider, nor spoiled the sign-in.
    assert_eq!(exchanges(), 0);
    let answer = scene.come_back(&begun).await;
    assert!(lets_in(&answer), "{}", answer.body);
    refused(&scene.come_back(&begun).await);
    assert_eq!(exchanges(), 1);

    // An error of the provider, an answer of another one, and no code at all end the sign-in.
    for more in ["error=access_denied", "iss=https%3A%2F%2Fid.evil.example&code=c", "x=1"] {
        let begun = scene.begin().await;
        scene.provider.vouch(&scene.claims(&begun, "ada"));
        refused(&scene.call_back(&format!("{more}&state={}", begun.state), &begun.cookie).await);
        refused(&scene.come_back(&begun).await);
    }
    assert_eq!(exchanges(), 1);

    // Too late.
    let begun = scene.begin().await;
    scene.api.clock.advance(chrono::TimeDelta::minutes(10));
    scene.provider.vouch(&scene.claims(&begun, "ada"));
    refused(&scene.come_back(&begun).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_led_to_other_sites_by_this_server() {
    let scene = Scene::start(Provisioning::Members).await;
    for path in [
        "https://evil.example",
        "//evil.example",
        "/%5Cevil.example",
        "%2F%09%2Fevil.example",
        "graphql",
        "/auth/login",
    ] {
        let answer = scene.api.get(&format!("/auth/login?return_to={path}")).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::BAD_REQUEST, "BAD_USER_INPUT"), "{path}");
        assert_eq!(answer.body["errors"][0]["extensions"]["field"], "return_to");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_get_a_page_and_programs_get_json() {
    let scene = Scene::start(Provisioning::Members).await;
    let request =
        Request::get("/auth/callback?code=canary&state=%3Cb%3E").header(header::ACCEPT, "text/html,*/*");
    let answer = scene.api.call(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let page = answer.body.as_str().unwrap();
    assert!(page.contains("begin again") && page.contains("href=\"/auth/login\""), "{page}");
    assert!(!page.contains("canary") && !page.contains("<b>"), "{page}");
    let policy = answer.headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_provider_there_are_keys_only() {
    let api = Api::start().await;
    for path in ["/auth/login", "/auth/callback?code=c&state=s"] {
        let answer = api.get(path).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::NOT_FOUND, "NOT_FOUND"), "{path}");
    }
    assert_eq!(api.get("/auth/status").await.body, json!({"login": null, "signedIn": false}));
    let cookie = format!("milvault_session=mvs_{}", "0".repeat(64));
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::COOKIE, cookie)
        .body(Body::from("{}"));
    assert_eq!(api.call(request.unwrap()).await.code(), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_away_is_said_to_be() {
    let scene = Scene::start(Provisioning::Members).await;
    let begun = scene.begin().await;
    // Not an answer of a provider, which is as good as none.
    scene.provider.answers.lock().unwrap().tokens = Value::Null;
    refused(&scene.come_back(&begun).await);

    let settings = milvault_gateway::OidcSettings {
        issuer: String::from("http://127.0.0.1:9"),
        client_id: String::from("milvault"),
        client_secret: None,
        public_url: super::ORIGIN.to_owned(),
        scopes: Vec::new(),
        policy: milvault_domain::sign_in::SignInPolicy {
            provisioning: Provisioning::Off,
            allowed_email_domains: Vec::new(),
            silent_email_counts: false,
        },
        session_idle: super::IDLE,
        session_life: super::LIFE,
    };
    let sign_in = milvault_gateway::OidcSignIn::new(settings).unwrap();
    let api = Api::start_signing_in(milvault_gateway::GatewayLimits::default(), Some(sign_in)).await;
    for _ in 0..2 {
        let answer = api.get("/auth/login").await;
        assert_eq!((answer.status, answer.code()), (StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE"));
    }
}
