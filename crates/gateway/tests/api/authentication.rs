//! Keys over HTTP. Those of sockets are in `socket`.

use crate::support::Api;
use chrono::TimeDelta;
use milvault_domain::access::Role;
use milvault_domain::ports::Clock;
use serde_json::json;

const VIEWER: &str = "{ viewer { name apiKeyId organizationId projectIds grants { role projectId } } }";

#[tokio::test(flavor = "multi_thread")]
async fn the_owner_key_holds() {
    let api = Api::start().await;
    let viewer = api.ask(VIEWER, json!({})).await.data()["viewer"].take();
    assert_eq!(viewer["name"], "owner");
    assert_eq!(viewer["organizationId"], api.tenancy.organization_id.to_string());
    assert_eq!(viewer["projectIds"], json!([api.tenancy.project_id.to_string()]));
    assert_eq!(viewer["grants"], json!([{"role": "ORGANIZATION_OWNER", "projectId": null}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_end_by_time_and_by_revocation() {
    let api = Api::start().await;
    let key = api.key_with(Role::ProjectReadOnly);
    let end = api.clock.now() + TimeDelta::hours(1);
    api.change_key(&key, |key| key.expires_at = Some(end));
    api.ask_as(&key, VIEWER, json!({})).await.data();
    api.clock.advance(TimeDelta::hours(1));
    let ended = api.ask_as(&key, VIEWER, json!({})).await;
    assert_eq!((ended.code(), ended.status.as_u16()), ("UNAUTHENTICATED", 401));
    assert_eq!(ended.headers["www-authenticate"], "Bearer");

    let key = api.key_with(Role::ProjectReadOnly);
    api.ask_as(&key, VIEWER, json!({})).await.data();
    let now = api.clock.now();
    api.change_key(&key, |key| key.revoked_at = Some(now));
    let revoked = api.ask_as(&key, VIEWER, json!({})).await;
    // The same words for keys that ended and keys that never were.
    let unknown = api.ask_as(&format!("mvk_{}", "0".repeat(64)), VIEWER, json!({})).await;
    assert_eq!((revoked.code(), revoked.words()), (unknown.code(), unknown.words()));
    assert_eq!(unknown.code(), "UNAUTHENTICATED");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_asked_for_before_the_body_is_looked_at() {
    let api = Api::start().await;
    for body in ["", "{", "[]", r#"{"query": "{ nonsense }"}"#] {
        assert_eq!(api.post(None, body.to_owned()).await.code(), "UNAUTHENTICATED", "{body}");
    }
}
