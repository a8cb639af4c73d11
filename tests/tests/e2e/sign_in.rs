//! People sign in by a real identity provider, through its forms.

use crate::support::{Browser, Installation, PATIENCE, run_directory, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::servers::{IdentityProvider, Person, free_port};
use serde_json::{Value, json};
use std::time::Duration;

const ADA: Person =
    Person { name: "ada", email: "ada@example.com", password: "correct horse", is_verified: Some(true) };
const GRACE: Person =
    Person { name: "grace", email: "grace@example.com", password: "battery", is_verified: Some(true) };
const BOB: Person =
    Person { name: "bob", email: "bob@example.com", password: "staple", is_verified: Some(true) };
const UNVERIFIED: Person =
    Person { name: "mallory", email: "mallory@example.com", password: "admin1", is_verified: Some(false) };
const SILENT: Person =
    Person { name: "sam", email: "sam@example.com", password: "silent1", is_verified: None };
const PEOPLE: [Person; 5] = [ADA, GRACE, BOB, UNVERIFIED, SILENT];

const VIEWER: &str = "{ viewer { name signedInBy apiKeyId sessionId } }";

/// A server whose people sign in by a provider.
struct Scene {
    installation: Installation,
    provider: IdentityProvider,
    /// Where browsers see the server.
    server: String,
}

impl Scene {
    async fn start(test: &str, more: &[(&str, &str)]) -> Result<Self> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let server = format!("http://{address}");
        let directory = run_directory()?.join(format!("{test}-provider"));
        let provider = IdentityProvider::start(&directory, &server, &PEOPLE).await?;
        let (client_id, client_secret) = provider.client();
        let issuer = provider.issuer();
        let mut environment = vec![
            ("MILVAULT_OIDC__ISSUER", issuer.as_str()),
            ("MILVAULT_OIDC__CLIENT_ID", client_id),
            ("MILVAULT_OIDC__CLIENT_SECRET_ENV", "MILVAULT_SECRET_OIDC"),
            ("MILVAULT_SECRET_OIDC", client_secret),
            ("MILVAULT_OIDC__PUBLIC_URL", &server),
        ];
        environment.extend_from_slice(more);
        let installation = Installation::start_at(test, Some(address), &environment).await?;
        Ok(Self { installation, provider, server })
    }

    /// Makes somebody a user with a role in the first project; his id.
    async fn invite(&self, person: &Person, role: &str) -> Result<String> {
        let api = &self.installation.api;
        let create = "mutation($input: CreateUserInput!) { createUser(input: $input) { user { id } } }";
        let input = json!({ "name": person.name, "email": person.email.to_uppercase() });
        let made = api.request(create, json!({ "input": input })).await?;
        let user_id = text(&made["createUser"]["user"]["id"]).to_owned();
        let projects = api.request("{ projects { id } }", json!({})).await?;
        let give = "mutation($input: SetUserRolesInput!) { setUserRoles(input: $input) { __typename } }";
        let input = json!({ "userId": user_id, "projectId": projects["projects"][0]["id"], "roles": [{ "role": role }] });
        api.request(give, json!({ "input": input })).await?;
        Ok(user_id)
    }

    async fn finish(mut self) -> Result<()> {
        self.provider.stop().await?;
        self.installation.finish().await
    }
}

fn code(answer: &Value) -> &str {
    text(&answer["errors"][0]["extensions"]["code"])
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_and_may_what_their_roles_say() -> Result<()> {
    let scene = Scene::start("sign_in", &[]).await?;
    let server = scene.server.as_str();
    scene.invite(&ADA, "PROJECT_OWNER").await?;
    scene.invite(&GRACE, "PROJECT_READ_ONLY").await?;
    let (cluster_id, _) = scene.installation.with_local_cluster(json!({})).await?;

    let (mut ada, mut grace) = (Browser::new()?, Browser::new()?);
    let status = ada.get(&format!("{server}/auth/status")).await?.json()?;
    assert_eq!(status, json!({ "login": "/auth/login", "signedIn": false }));
    ada.sign_in(server, &ADA).await?;
    grace.sign_in(server, &GRACE).await?;
    let status = ada.get(&format!("{server}/auth/status")).await?.json()?;
    assert_eq!((&status["signedIn"], &status["name"]), (&json!(true), &json!("ada")));
    let page = ada.get(&format!("{server}/graphql")).await?;
    ensure!(page.status == 200 && page.text.contains("GraphiQL"), "{page:?}");
    let viewer = ada.ask(server, VIEWER, json!({})).await?;
    assert_eq!(viewer["data"]["viewer"]["signedInBy"], "SESSION");

    let create = "mutation($id: ID!) { createBackup(input: { clusterId: $id, scope: { databases: [\"default\"] } }) { job { id createdBy } } }";
    assert_eq!(code(&grace.ask(server, create, json!({ "id": cluster_id })).await?), "FORBIDDEN");
    let made = ada.ask(server, create, json!({ "id": cluster_id })).await?;
    let job = &made["data"]["createBackup"]["job"];
    assert_eq!(job["createdBy"], "ada", "{made}");
    scene.installation.api.await_end(text(&job["id"])).await?;

    // Other sites cannot use the session, nor can forms.
    let endpoint = format!("{server}/graphql");
    let body = json!({ "query": VIEWER });
    for origin in [None, Some("null"), Some("https://evil.example")] {
        assert_eq!(ada.post(&endpoint, origin, &body).await?.status, 403, "{origin:?}");
    }

    // Whoever signs out is out, and only he.
    assert_eq!(
        ada.post(&format!("{server}/auth/logout"), Some("https://evil.example"), &json!({})).await?.status,
        403
    );
    let session = ada.cookie("milvault_session").context("a session")?.to_owned();
    assert_eq!(ada.post(&format!("{server}/auth/logout"), Some(server), &json!({})).await?.status, 204);
    assert_eq!(ada.cookie("milvault_session"), None);
    let kept = reqwest::Client::builder().no_proxy().build()?;
    let request =
        kept.post(&endpoint).header("origin", server).header("cookie", format!("milvault_session={session}"));
    assert_eq!(request.json(&body).send().await?.status(), 401);
    assert_eq!(grace.ask(server, VIEWER, json!({})).await?["data"]["viewer"]["name"], "grace");
    scene.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_comes_in() -> Result<()> {
    let scene = Scene::start("sign_in_refusals", &[]).await?;
    let server = scene.server.as_str();
    for person in [&ADA, &UNVERIFIED, &SILENT] {
        scene.invite(person, "PROJECT_OWNER").await?;
    }
    // The wrong state, another browser, and a second time.
    let (mut ada, mut other) = (Browser::new()?, Browser::new()?);
    let callback = ada.prove(server, "/graphql", &ADA).await?;
    let (before, _) = callback.split_once("state=").context("a state")?;
    for (browser, url) in [(&mut ada, format!("{before}state=wrong")), (&mut other, callback.clone())] {
        let page = browser.get(&url).await?;
        assert_eq!((page.status, code(&page.json()?)), (401, "UNAUTHENTICATED"));
        assert_eq!(browser.cookie("milvault_session"), None);
    }
    // They did not spoil it.
    let sign_in_cookie = ada.cookie("milvault_sign_in").context("a sign-in")?.to_owned();
    assert_eq!(ada.get(&callback).await?.status, 303);
    let replay = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build()?;
    let replayed =
        replay.get(&callback).header("cookie", format!("milvault_sign_in={sign_in_cookie}")).send().await?;
    assert_eq!(replayed.status(), 401);
    let (_, state) = callback.split_once("state=").context("a state")?;

    // Whom the provider vouches for, but who is nobody here, or whose address is not verified.
    for (person, words) in [(&BOB, "invited"), (&UNVERIFIED, "verified"), (&SILENT, "verified")] {
        let mut browser = Browser::new()?;
        let callback = browser.prove(server, "/graphql", person).await?;
        let page = browser.get(&callback).await?;
        assert_eq!((page.status, code(&page.json()?)), (403, "FORBIDDEN"), "{}", person.name);
        ensure!(page.text.contains(words), "{}", page.text);
        assert_eq!(browser.cookie("milvault_session"), None);
    }
    let log = "{ auditLog(filter: { action: \"signIn\" }, first: 10) { nodes { result code } } }";
    let log = scene.installation.api.request(log, json!({})).await?;
    let entry = |result, code| json!({ "result": result, "code": code });
    let expected = json!([
        entry("REFUSED", json!("EMAIL_NOT_VERIFIED")),
        entry("REFUSED", json!("EMAIL_NOT_VERIFIED")),
        entry("REFUSED", json!("USER_UNKNOWN")),
        entry("OK", Value::Null),
    ]);
    assert_eq!(log["auditLog"]["nodes"], expected);

    // No secret of it all is in the log.
    let log = std::fs::read_to_string(scene.installation.milvault.log_file())?;
    for secret in [scene.provider.client().1, state, ada.cookie("milvault_session").context("a session")?] {
        ensure!(!log.contains(secret), "the log has {secret}");
    }
    scene.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_end_by_hand_by_time_and_with_their_user() -> Result<()> {
    let more = [("MILVAULT_OIDC__PROVISION", "members"), ("MILVAULT_OIDC__TRUST_UNMARKED_EMAIL", "true")];
    let scene = Scene::start("sign_in_sessions", &more).await?;
    let server = scene.server.as_str();
    let api = &scene.installation.api;
    let mut sam = Browser::new()?;
    sam.sign_in(server, &SILENT).await?;
    let users = api.request("{ users { nodes { id name email roles { role } } } }", json!({})).await?;
    let user = &users["users"]["nodes"][0];
    assert_eq!((&user["name"], &user["email"]), (&json!("Sam"), &json!("sam@example.com")));
    assert_eq!(user["roles"], json!([{ "role": "ORGANIZATION_MEMBER" }]));

    // A session that is ended takes its subscription along.
    let sessions = sam.ask(server, "{ sessions { id isCurrent } }", json!({})).await?;
    let session_id = sessions["data"]["sessions"][0]["id"].clone();
    let revoke = "mutation($id: ID!) { revokeSession(input: { sessionId: $id }) { session { endedAt } } }";
    let end = || async { Ok(api.request(revoke, json!({ "id": session_id })).await.map(|_| ())?) };
    let watching = sam.watch(server, "subscription { jobUpdates { id } }", end);
    let (events, closed) =
        tokio::time::timeout(PATIENCE, watching).await.context("the subscription goes on")??;
    ensure!(closed == 4401, "closed with {closed}");
    let last = events.iter().find(|event| event["type"] == "next").context("no last word")?;
    assert_eq!(code(&last["payload"]), "UNAUTHENTICATED");
    assert_eq!(code(&sam.ask(server, VIEWER, json!({})).await?), "UNAUTHENTICATED");

    // A server that comes back knows the sessions that it gave.
    sam.sign_in(server, &SILENT).await?;
    let user_id = user["id"].clone();
    let Scene { installation, provider, server } = scene;
    let installation = installation.crash().await?;
    assert_eq!(sam.ask(&server, VIEWER, json!({})).await?["data"]["viewer"]["name"], "Sam");
    let disable = "mutation($id: ID!) { updateUser(input: { userId: $id, disabled: true }) { __typename } }";
    installation.api.request(disable, json!({ "id": user_id })).await?;
    assert_eq!(code(&sam.ask(&server, VIEWER, json!({})).await?), "UNAUTHENTICATED");
    let callback = sam.prove(&server, "/graphql", &SILENT).await?;
    let page = sam.get(&callback).await?;
    ensure!(page.status == 403 && page.text.contains("disabled"), "{page:?}");
    Scene { installation, provider, server }.finish().await?;

    // One that lasts for seconds.
    let scene = Scene::start("sign_in_short", &[("MILVAULT_OIDC__SESSION_SECONDS", "8"), more[0]]).await?;
    let mut ada = Browser::new()?;
    ada.sign_in(&scene.server, &ADA).await?;
    let ended = async {
        while code(&ada.ask(&scene.server, VIEWER, json!({})).await?) != "UNAUTHENTICATED" {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, ended).await.context("the session does not end")??;
    scene.finish().await
}
