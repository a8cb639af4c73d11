//! Whom the provider vouches for is let in as the policy says.

use super::{Scene, VIEWER, lets_in};
use crate::support::provider::signed;
use crate::support::socket::PATIENCE;
use axum::http::StatusCode;
use milvault_domain::sign_in::{Provisioning, SignInPolicy};
use serde_json::{Value, json};
use std::time::Duration;

/// Somebody comes back with claims that differ from good ones; what he is told, and the code in the audit log.
async fn turned_away(scene: &Scene, subject: &str, change: impl FnOnce(&mut Value)) -> (String, String) {
    let begun = scene.begin().await;
    let mut claims = scene.claims(&begun, subject);
    change(&mut claims);
    scene.provider.vouch(&claims);
    scene.provider.answers.lock().unwrap().user_info = json!({"sub": subject});
    let answer = scene.come_back(&begun).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "FORBIDDEN"), "{}", answer.body);
    assert!(!lets_in(&answer));
    let entry = scene.refusals().await[0].take();
    assert_eq!((&entry["action"], &entry["actor"]["kind"]), (&json!("signIn"), &json!("ANONYMOUS")));
    assert!(
        entry["inputs"].as_array().unwrap().contains(&json!({"field": "subject", "value": subject})),
        "{entry}"
    );
    (answer.words().to_owned(), entry["code"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_invited_comes_in_as_that_user_and_stays_him() {
    let scene = Scene::start(Provisioning::Invitation).await;
    let ada = scene.invite("ada").await;
    scene.invite("grace").await;
    let cookie = scene.sign_in("ada").await;
    let viewer = scene.ask_in(&cookie, VIEWER, json!({})).await.data()["viewer"].take();
    assert_eq!((&viewer["userId"], &viewer["name"]), (&json!(ada), &json!("ada")));
    assert_eq!((&viewer["signedInBy"], &viewer["apiKeyId"]), (&json!("SESSION"), &Value::Null));
    assert_eq!(viewer["grants"], json!([{"role": "ORGANIZATION_MEMBER", "projectId": null}]));

    // Her account has the address of another user now, and one that is not verified.
    let begun = scene.begin().await;
    let mut claims = scene.claims(&begun, "ada");
    claims["email"] = json!("grace@example.com");
    claims["email_verified"] = json!(false);
    scene.provider.vouch(&claims);
    let answer = scene.come_back(&begun).await;
    let cookie = super::cookie_of(&answer, "__Host-milvault_session");
    let viewer = scene.ask_in(&cookie, VIEWER, json!({})).await.data();
    assert_eq!(viewer["viewer"]["userId"], json!(ada));

    // Another account with her address does not become her.
    let (words, code) =
        turned_away(&scene, "mallory", |claims| claims["email"] = json!("ada@example.com")).await;
    assert!(words.contains("another account"), "{words}");
    assert_eq!(code, "USER_BOUND_ELSEWHERE");
    let signed_in = scene.api.ask("{ auditLog(filter: {action: \"signIn\", result: OK}) { nodes { actor { kind id apiKeyId } target { kind } } } }", json!({})).await.data();
    let entry = &signed_in["auditLog"]["nodes"][0];
    assert_eq!(entry["actor"], json!({"kind": "USER", "id": ada, "apiKeyId": null}));
    assert_eq!(entry["target"]["kind"], "session");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_come_in_is_told_why() {
    let scene = Scene::start(Provisioning::Invitation).await;
    let ada = scene.invite("ada").await;
    let (words, code) = turned_away(&scene, "bob", |_| {}).await;
    assert_eq!((words.contains("invited"), code.as_str()), (true, "USER_UNKNOWN"), "{words}");
    for verified in [json!(false), json!("false"), Value::Null] {
        let (words, code) = turned_away(&scene, "ada", |claims| claims["email_verified"] = verified).await;
        assert_eq!((words.contains("verified"), code.as_str()), (true, "EMAIL_NOT_VERIFIED"), "{words}");
    }
    let (_, code) = turned_away(&scene, "ada", |claims| claims["email"] = Value::Null).await;
    assert_eq!(code, "EMAIL_MISSING");

    scene.sign_in("ada").await;
    let disable = "mutation($id: ID!) { updateUser(input: {userId: $id, disabled: true}) { __typename } }";
    scene.api.ask(disable, json!({"id": ada})).await.data();
    let (words, code) = turned_away(&scene, "ada", |_| {}).await;
    assert_eq!((words.contains("disabled"), code.as_str()), (true, "USER_DISABLED"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn newcomers_become_members_where_that_is_the_policy() {
    let policy = SignInPolicy {
        provisioning: Provisioning::Members,
        allowed_email_domains: vec![String::from("example.com")],
        silent_email_counts: false,
    };
    let scene = Scene::start_with(policy).await;
    let (_, code) = turned_away(&scene, "eve", |claims| claims["email"] = json!("eve@evil.example")).await;
    assert_eq!(code, "EMAIL_DOMAIN_NOT_ALLOWED");
    let cookie = scene.sign_in("ada").await;
    let viewer = scene.ask_in(&cookie, VIEWER, json!({})).await.data();
    assert_eq!(viewer["viewer"]["grants"], json!([{"role": "ORGANIZATION_MEMBER", "projectId": null}]));
    // A member sees nothing of any project.
    let clusters = scene.ask_in(&cookie, "{ clusters { nodes { id } } }", json!({})).await.data();
    assert_eq!(clusters["clusters"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_token_does_not_say_is_asked_for() {
    let scene = Scene::start(Provisioning::Members).await;
    let begun = scene.begin().await;
    let mut claims = scene.claims(&begun, "ada");
    claims.as_object_mut().unwrap().retain(|name, _| !name.starts_with("email"));
    scene.provider.vouch(&claims);
    // Somebody else's answer is not believed.
    let told = json!({"sub": "grace", "email": "grace@example.com", "email_verified": true});
    scene.provider.answers.lock().unwrap().user_info = told;
    let answer = scene.come_back(&begun).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}", answer.body);

    let begun = scene.begin().await;
    claims["nonce"] = json!(begun.nonce);
    scene.provider.vouch(&claims);
    let told =
        json!({"sub": "ada", "email": "ada@example.com", "email_verified": "true", "name": "Ada Lovelace"});
    scene.provider.answers.lock().unwrap().user_info = told;
    let answer = scene.come_back(&begun).await;
    assert!(lets_in(&answer), "{}", answer.body);
    let users = scene.api.ask("{ users { nodes { name email } } }", json!({})).await.data();
    assert_eq!(users["users"]["nodes"], json!([{"name": "Ada Lovelace", "email": "ada@example.com"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_may_change_its_key() {
    let scene = Scene::start(Provisioning::Members).await;
    scene.sign_in("ada").await;
    scene.provider.answers.lock().unwrap().key = 3;
    // It is asked again after a moment, whatever it is said to have signed.
    let accepted = async {
        loop {
            let begun = scene.begin().await;
            scene.provider.hand_out(&signed(&scene.claims(&begun, "ada"), 3));
            if lets_in(&scene.come_back(&begun).await) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(PATIENCE, accepted).await.unwrap();
}
