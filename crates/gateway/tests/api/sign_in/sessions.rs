//! What a session is good for, and how it ends.

use super::{IDLE, LIFE, ORIGIN, Scene, VIEWER};
use crate::support::socket::{Closed, PATIENCE, PROTOCOL, SocketClient};
use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use chrono::TimeDelta;
use milvault_domain::sign_in::Provisioning;
use serde_json::{Value, json};

async fn is_in(scene: &Scene, cookie: &str) -> bool {
    scene.ask_in(cookie, VIEWER, json!({})).await.status == StatusCode::OK
}

async fn give_role(scene: &Scene, user_id: &str, role: &str) {
    let query = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { __typename } }";
    let project_id = scene.api.tenancy.project_id.to_string();
    let input = json!({"userId": user_id, "projectId": project_id, "roles": [{"role": role}]});
    scene.api.ask(query, json!({"input": input})).await.data();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_for_pages_of_this_server() {
    let scene = Scene::start(Provisioning::Members).await;
    let cookie = scene.sign_in("ada").await;
    for origin in [
        None,
        Some("null"),
        Some("http://backup.example"),
        Some("https://backup.example.evil"),
        Some("https://console.example"),
    ] {
        let answer = scene.ask_from(origin, &cookie, VIEWER, json!({})).await;
        assert_eq!((answer.status, answer.code()), (StatusCode::FORBIDDEN, "FORBIDDEN"), "{origin:?}");
    }
    // A form of another site can send other types without asking.
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "text/plain")
        .header(header::ORIGIN, ORIGIN)
        .header(header::HOST, "backup.example")
        .header(header::COOKIE, &cookie);
    let answer = scene.api.call(request.body(Body::from("{}")).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert!(is_in(&scene, &cookie).await);
    // A key that comes along goes first, whatever cookie there is.
    let request = Request::post("/graphql")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::AUTHORIZATION, format!("Bearer {}", scene.api.owner))
        .header(header::COOKIE, &cookie);
    let body = json!({"query": VIEWER}).to_string();
    let viewer = scene.api.call(request.body(Body::from(body)).unwrap()).await.data();
    assert_eq!(viewer["viewer"]["signedInBy"], "API_KEY");

    // Reading by a link is allowed, but not for pages of other sites.
    let look = async |fetch_site: Option<&str>| {
        let mut request = Request::get("/auth/status").header(header::COOKIE, &cookie);
        if let Some(fetch_site) = fetch_site {
            request = request.header("sec-fetch-site", fetch_site);
        }
        scene.api.call(request.body(Body::empty()).unwrap()).await
    };
    for fetch_site in [None, Some("none"), Some("same-origin")] {
        let answer = look(fetch_site).await;
        assert_eq!((&answer.body["signedIn"], &answer.body["name"]), (&json!(true), &json!("ada")));
    }
    assert_eq!(look(Some("cross-site")).await.status, StatusCode::FORBIDDEN);
    assert!(scene.api.get("/auth/status").await.body["signedIn"] == json!(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_may_what_its_user_may() {
    let scene = Scene::start(Provisioning::Invitation).await;
    let (ada, grace) = (scene.invite("ada").await, scene.invite("grace").await);
    let cluster = scene.api.furnish().await;
    give_role(&scene, &ada, "PROJECT_OWNER").await;
    give_role(&scene, &grace, "PROJECT_READ_ONLY").await;
    let (ada, grace) = (scene.sign_in("ada").await, scene.sign_in("grace").await);
    let create = "mutation($id: ID!) { createBackup(input: {clusterId: $id}) { backup { createdBy } } }";
    let refused = scene.ask_in(&grace, create, json!({"id": cluster})).await;
    assert_eq!(refused.code(), "FORBIDDEN", "{}", refused.body);
    let made = scene.ask_in(&ada, create, json!({"id": cluster})).await.data();
    assert_eq!(made["createBackup"]["backup"]["createdBy"], "ada");
    let export = async |cookie: &str| {
        let request = Request::get("/audit.jsonl").header(header::COOKIE, cookie);
        scene.api.call(request.body(Body::empty()).unwrap()).await.status
    };
    assert_eq!((export(&grace).await, export(&ada).await), (StatusCode::FORBIDDEN, StatusCode::OK));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_by_time_and_by_disuse() {
    let scene = Scene::start(Provisioning::Members).await;
    let (used, unused) = (scene.sign_in("ada").await, scene.sign_in("grace").await);
    for _ in 0..(LIFE.num_minutes() / 90 - 1) {
        scene.api.clock.advance(TimeDelta::minutes(90));
        assert!(is_in(&scene, &used).await);
        // The use is written a moment later.
        let noted = async {
            while scene.ask_in(&used, "{ sessions { lastUsedAt expiresAt } }", json!({})).await.data()["sessions"][0]
                ["lastUsedAt"]
                .as_str()
                .is_none_or(|at| chrono::DateTime::parse_from_rfc3339(at).unwrap() < *scene.api.clock.0.lock().unwrap() - TimeDelta::minutes(1))
            {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, noted).await.unwrap();
    }
    assert!(IDLE < TimeDelta::minutes(180) && !is_in(&scene, &unused).await);
    scene.api.clock.advance(TimeDelta::minutes(91));
    let ended = scene.ask_in(&used, VIEWER, json!({})).await;
    assert_eq!(
        (ended.status, ended.words()),
        (StatusCode::UNAUTHORIZED, "the session is not valid; sign in again")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_out_ends_the_session() {
    let scene = Scene::start(Provisioning::Members).await;
    let cookie = scene.sign_in("ada").await;
    let other = scene.sign_in("ada").await;
    let leave = async |cookie: &str, origin: Option<&str>| {
        let mut request = Request::post("/auth/logout").header(header::COOKIE, cookie);
        if let Some(origin) = origin {
            request = request.header(header::ORIGIN, origin);
        }
        scene.api.call(request.body(Body::empty()).unwrap()).await
    };
    for origin in [None, Some("https://evil.example")] {
        assert_eq!(leave(&cookie, origin).await.status, StatusCode::FORBIDDEN);
    }
    assert!(is_in(&scene, &cookie).await);
    for _ in 0..2 {
        let left = leave(&cookie, Some(ORIGIN)).await;
        assert_eq!(left.status, StatusCode::NO_CONTENT);
        let forgets = left.headers[header::SET_COOKIE].to_str().unwrap();
        assert!(
            forgets.starts_with("__Host-milvault_session=;") && forgets.contains("Max-Age=0"),
            "{forgets}"
        );
    }
    assert!(!is_in(&scene, &cookie).await && is_in(&scene, &other).await);
    let log = scene
        .api
        .ask(
            "{ auditLog(filter: {action: \"signOut\"}) { nodes { result actor { name } target { kind } } } }",
            json!({}),
        )
        .await
        .data();
    let expected = json!([{"result": "OK", "actor": {"name": "ada"}, "target": {"kind": "session"}}]);
    assert_eq!(log["auditLog"]["nodes"], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_seen_and_ended_by_their_user_and_by_owners() {
    let scene = Scene::start(Provisioning::Invitation).await;
    let (ada_id, _) = (scene.invite("ada").await, scene.invite("grace").await);
    let (ada, ada_too) = (scene.sign_in("ada").await, scene.sign_in("ada").await);
    let grace = scene.sign_in("grace").await;
    let list = "query($id: ID) { sessions(userId: $id) { id userId isCurrent endedAt userAgent } }";
    let sessions = scene.ask_in(&ada, list, json!({})).await.data()["sessions"].take();
    let current: Vec<&Value> =
        sessions.as_array().unwrap().iter().map(|session| &session["isCurrent"]).collect();
    assert_eq!(current, [&json!(false), &json!(true)]);
    let (other, own) = (&sessions[0]["id"], &sessions[1]["id"]);

    // Grace sees and ends nothing of Ada's; the owner's service key has no sessions of its own.
    assert_eq!(scene.ask_in(&grace, list, json!({"id": ada_id})).await.code(), "FORBIDDEN");
    let revoke = "mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { session { endedAt } } }";
    assert_eq!(scene.ask_in(&grace, revoke, json!({"id": other})).await.code(), "NOT_FOUND");
    let end_all = "mutation($id: ID!, $forget: Boolean!) { endUserSessions(input: {userId: $id, forgetAccounts: $forget}) { ended } }";
    assert_eq!(
        scene.ask_in(&grace, end_all, json!({"id": ada_id, "forget": false})).await.code(),
        "FORBIDDEN"
    );
    assert_eq!(scene.ask_in(&ada, end_all, json!({"id": ada_id, "forget": true})).await.code(), "FORBIDDEN");
    assert_eq!(scene.api.ask(list, json!({})).await.data()["sessions"], json!([]));
    assert_eq!(
        scene.api.ask(list, json!({"id": ada_id})).await.data()["sessions"].as_array().unwrap().len(),
        2
    );
    let stranger = scene.api.ask(revoke, json!({"id": "ses_00000000000000000000000000000001"})).await;
    assert_eq!(stranger.code(), "NOT_FOUND");

    let ended = scene.ask_in(&ada, revoke, json!({"id": other})).await.data();
    assert_eq!(scene.ask_in(&ada, revoke, json!({"id": other})).await.data(), ended);
    assert!(!is_in(&scene, &ada_too).await && is_in(&scene, &ada).await);
    scene.api.ask(revoke, json!({"id": own})).await.data();
    assert!(!is_in(&scene, &ada).await);

    let (ada, ada_too) = (scene.sign_in("ada").await, scene.sign_in("ada").await);
    let ended = scene.api.ask(end_all, json!({"id": ada_id, "forget": true})).await.data();
    assert_eq!(ended["endUserSessions"]["ended"], 2);
    assert!(!is_in(&scene, &ada).await && !is_in(&scene, &ada_too).await && is_in(&scene, &grace).await);
    let log = scene
        .api
        .ask(
            "{ auditLog(filter: {action: \"revokeSession\", result: OK}) { nodes { target { kind id } } } }",
            json!({}),
        )
        .await
        .data();
    assert_eq!(log["auditLog"]["nodes"][0]["target"], json!({"kind": "session", "id": own}));
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_end_with_their_session() {
    let scene = Scene::start(Provisioning::Invitation).await;
    let address = scene.api.listen().await;
    let ada_id = scene.invite("ada").await;
    let revoke = "mutation($id: ID!) { revokeSession(input: {sessionId: $id}) { __typename } }";
    let disable = "mutation($id: ID!) { updateUser(input: {userId: $id, disabled: true}) { __typename } }";
    for (end, by_user) in [(revoke, false), (disable, true)] {
        let cookie = scene.sign_in("ada").await;
        let mut client = open(address, &cookie, ORIGIN).await.unwrap();
        client.send(&json!({"type": "connection_init"})).await;
        assert_eq!(client.message().await.unwrap()["type"], "connection_ack");
        client.subscribe("1", "subscription { jobUpdates { id } }", json!({})).await;
        client.subscribe("2", "{ viewer { sessionId } }", json!({})).await;
        let answer = client.event().await.unwrap();
        let session_id = answer["data"]["viewer"]["sessionId"].clone();
        assert_eq!(client.event().await, None);
        let id = if by_user { json!(ada_id) } else { session_id };
        scene.api.ask(end, json!({"id": id})).await.data();
        let last = client.event().await.unwrap();
        assert_eq!(last["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{last}");
        let closed = loop {
            if let Err(closed) = client.message().await {
                break closed;
            }
        };
        assert_eq!(closed.code, 4401, "{closed:?}");
        assert!(closed.reason.contains("session has ended"), "{closed:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_takes_a_session_from_pages_of_this_server_only() {
    let scene = Scene::start(Provisioning::Members).await;
    let address = scene.api.listen().await;
    let cookie = scene.sign_in("ada").await;
    // Of other hosts, the upgrade itself is refused.
    assert!(open(address, &cookie, "https://evil.example").await.is_none());
    // An origin that may use the API with a key may not use the session.
    let mut client = open(address, &cookie, "https://console.example").await.unwrap();
    client.send(&json!({"type": "connection_init"})).await;
    let closed = client.message().await.unwrap_err();
    assert_eq!(closed.code, 4403, "{closed:?}");
    let mut client =
        open(address, &format!("__Host-milvault_session=mvs_{}", "0".repeat(64)), ORIGIN).await.unwrap();
    client.send(&json!({"type": "connection_init"})).await;
    let Closed { code, .. } = client.message().await.unwrap_err();
    assert_eq!(code, 4401);
}

/// A WebSocket as a browser opens it; `None` when the server refuses.
async fn open(address: std::net::SocketAddr, cookie: &str, origin: &str) -> Option<SocketClient> {
    let headers = [PROTOCOL, ("cookie", cookie), ("origin", origin), ("host", "backup.example")];
    SocketClient::connect_with(address, &headers).await.ok()
}
