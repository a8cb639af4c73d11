//! Who gets in where: every root field of the schema, found by introspection, against callers without a key, with a
//! key of another project, and with a key that may only look.

use crate::restore;
use crate::support::Api;
use crate::support::socket::SocketClient;
use crate::webhooks;
use milvault_domain::access::{Role, RoleGrant};
use milvault_domain::ids::ProjectId;
use serde_json::{Value, json};
use std::collections::HashMap;
use uuid::Uuid;

/// Ids of things that exist in the owner's project.
struct Things {
    cluster: String,
    repository: String,
    backup: String,
    job: String,
    hold: String,
    webhook: String,
    delivery: String,
}

/// What a caller of another project gets to see of a field.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Foreign {
    /// As if it did not exist.
    NotFound,
    /// A list, but empty.
    EmptyList,
    /// Only about himself.
    Himself,
    /// What the whole organization has, for the owners of any project: here, nothing has been made.
    Organization,
    /// Nothing to give: he has no project here.
    Forbidden,
}

/// How to call each root field on a thing of the owner's, and what a stranger must get. A field that is missing here
/// fails the tests: whoever adds one says what it shows to whom.
// A table: one line for each field.
#[allow(clippy::too_many_lines, clippy::match_same_arms)]
fn call(field: &str, things: &Things) -> Option<(String, Foreign)> {
    let Things { cluster, repository, backup, job, hold, webhook, delivery } = things;
    let storage = r#"storage: {local: {path: "/x"}}"#;
    let (arguments, foreign) = match field {
        "viewer" | "projects" => (String::new(), Foreign::Himself),
        "node" | "backup" => (format!(r#"(id: "{backup}")"#), Foreign::NotFound),
        "cluster" => (format!(r#"(id: "{cluster}")"#), Foreign::NotFound),
        "repository" => (format!(r#"(id: "{repository}")"#), Foreign::NotFound),
        "job" => (format!(r#"(id: "{job}")"#), Foreign::NotFound),
        "clusters" | "repositories" | "apiKeys" => (String::new(), Foreign::EmptyList),
        "backups" | "jobs" => (format!(r#"(filter: {{clusterId: "{cluster}"}})"#), Foreign::EmptyList),
        "createBackup" | "removeCluster" | "checkCluster" | "sweepCluster" => {
            (format!(r#"(input: {{clusterId: "{cluster}"}})"#), Foreign::NotFound)
        }
        "updateCluster" => {
            (format!(r#"(input: {{clusterId: "{cluster}", name: "taken-over"}})"#), Foreign::NotFound)
        }
        "setVerifyPolicy" => {
            (format!(r#"(input: {{repositoryId: "{repository}", enabled: false}})"#), Foreign::NotFound)
        }
        "setDrillPolicy" => {
            (format!(r#"(input: {{clusterId: "{cluster}", enabled: false}})"#), Foreign::NotFound)
        }
        "setBackupPolicy" => {
            (format!(r#"(input: {{clusterId: "{cluster}", enabled: false}})"#), Foreign::NotFound)
        }
        "backupPolicyPreview" | "previewRetention" | "previewSweep" | "jobUpdates" => {
            (format!(r#"(clusterId: "{cluster}")"#), Foreign::NotFound)
        }
        "copyBackup" => {
            (format!(r#"(input: {{backupId: "{backup}", repositoryId: "{repository}"}})"#), Foreign::NotFound)
        }
        "updateBackup" | "deleteBackup" => {
            (format!(r#"(input: {{backupId: "{backup}"}})"#), Foreign::NotFound)
        }
        "holdBackup" => (format!(r#"(input: {{backupId: "{backup}", reason: "x"}})"#), Foreign::NotFound),
        "releaseHold" => (format!(r#"(input: {{holdId: "{hold}"}})"#), Foreign::NotFound),
        "verifyBackup" => {
            (format!(r#"(input: {{backupId: "{backup}", level: EXISTENCE}})"#), Foreign::NotFound)
        }
        "cancelJob" | "retryJob" | "resumeRestore" | "undoRestore" | "verifyRestore" => {
            (format!(r#"(input: {{jobId: "{job}"}})"#), Foreign::NotFound)
        }
        "planRestore" | "restoreBackup" | "drillBackup" => {
            (format!(r#"(input: {{backupId: "{backup}", targetClusterId: "{cluster}"}})"#), Foreign::NotFound)
        }
        "adoptBackup" => {
            (format!(r#"(input: {{clusterId: "{cluster}", directory: "x", {storage}}})"#), Foreign::NotFound)
        }
        "registerRepository" | "attachRepository" => {
            (format!(r#"(input: {{name: "x", {storage}}})"#), Foreign::Forbidden)
        }
        "foreignBackups" => (format!("({storage})"), Foreign::Forbidden),
        "registerCluster" => (
            format!(r#"(input: {{name: "x", uri: "http://m:1", repositoryId: "{repository}", {storage}}})"#),
            Foreign::NotFound,
        ),
        "customRoles" => (String::new(), Foreign::Organization),
        "users" | "auditLog" | "servers" | "catalogBackups" | "usage" => (String::new(), Foreign::Forbidden),
        "createCatalogBackup" => (String::from("(input: {})"), Foreign::Forbidden),
        "createProject" => (String::from(r#"(input: {name: "x"})"#), Foreign::Forbidden),
        "createUser" => (String::from(r#"(input: {name: "x", email: "x@y"})"#), Foreign::Forbidden),
        "updateUser" => {
            (String::from(r#"(input: {userId: "usr_00000000000000000000000000000001"})"#), Foreign::Forbidden)
        }
        "setUserRoles" => (String::from(r#"(input: {email: "x@y", roles: []})"#), Foreign::Forbidden),
        "createCustomRole" => (String::from(r#"(input: {name: "x", privileges: []})"#), Foreign::Forbidden),
        "deleteCustomRole" => (
            String::from(r#"(input: {customRoleId: "rol_00000000000000000000000000000001"})"#),
            Foreign::Forbidden,
        ),
        "createApiKey" => (String::from(r#"(input: {name: "x", grants: []})"#), Foreign::Forbidden),
        "renameProject" => (
            String::from(r#"(input: {projectId: "prj_00000000000000000000000000000002", name: "x"})"#),
            Foreign::NotFound,
        ),
        "sessions" => (String::new(), Foreign::Organization),
        "revokeSession" => (
            String::from(r#"(input: {sessionId: "ses_00000000000000000000000000000001"})"#),
            Foreign::NotFound,
        ),
        "endUserSessions" => {
            (String::from(r#"(input: {userId: "usr_00000000000000000000000000000001"})"#), Foreign::Forbidden)
        }
        "revokeApiKey" => (
            String::from(r#"(input: {apiKeyId: "key_000000000000000000000000000003e9"})"#),
            Foreign::NotFound,
        ),
        "webhooks" => {
            (String::from(r#"(projectId: "prj_00000000000000000000000000000002")"#), Foreign::NotFound)
        }
        "webhook" => (format!(r#"(id: "{webhook}")"#), Foreign::NotFound),
        "createWebhook" => (
            String::from(
                r#"(input: {projectId: "prj_00000000000000000000000000000002", name: "x", url: "https://x.test/", events: [COPY_FAILED]})"#,
            ),
            Foreign::NotFound,
        ),
        "updateWebhook" | "deleteWebhook" | "rotateWebhookSecret" | "testWebhook" => {
            (format!(r#"(input: {{webhookId: "{webhook}"}})"#), Foreign::NotFound)
        }
        "redeliver" => (format!(r#"(input: {{deliveryId: "{delivery}"}})"#), Foreign::NotFound),
        "jobUpdated" => (format!(r#"(jobId: "{job}")"#), Foreign::NotFound),
        _ => return None,
    };
    Some((arguments, foreign))
}

struct Scene {
    api: Api,
    things: Things,
    /// Kind of operation, field, whole operation, what a stranger gets.
    calls: Vec<(&'static str, String, String, Foreign)>,
}

async fn scene() -> Scene {
    let api = Api::start().await;
    let repository = api.register_repository("main").await;
    let cluster = api.register_cluster("prod", &repository).await;
    api.outside.close_gate();
    let (backup, job) = api.create_backup(&cluster).await;
    let document = format!(
        r#"mutation {{ holdBackup(input: {{backupId: "{backup}", reason: "x"}}) {{ hold {{ id }} }} }}"#
    );
    let made = api.ask(&document, json!({})).await.data();
    let hold = made["holdBackup"]["hold"]["id"].as_str().unwrap().to_owned();
    let (webhook, delivery) = webhooks::make_and_try(&api).await;
    let things = Things { cluster, repository, backup, job, hold, webhook, delivery };
    let query = "{ __schema { queryType { fields { name } } mutationType { fields { name } }
        subscriptionType { fields { name } } } }";
    let schema = introspect(&api, query).await;
    let mut calls = Vec::new();
    for (operation, root) in
        [("query", "queryType"), ("mutation", "mutationType"), ("subscription", "subscriptionType")]
    {
        for name in &schema[root] {
            let (arguments, foreign) =
                call(name, &things).unwrap_or_else(|| panic!("say in `call` who may see the field `{name}`"));
            let selection = match (name.as_str(), foreign) {
                // A list of plain times.
                ("backupPolicyPreview", _) => "",
                (_, Foreign::EmptyList) => "{ nodes { __typename } }",
                _ => "{ __typename }",
            };
            calls.push((
                operation,
                name.clone(),
                format!("{operation} {{ {name}{arguments} {selection} }}"),
                foreign,
            ));
        }
    }
    assert!(calls.len() >= 29, "introspection found too little");
    Scene { api, things, calls }
}

/// Names of the fields of every root type.
async fn introspect(api: &Api, query: &str) -> HashMap<&'static str, Vec<String>> {
    let data = api.ask(query, json!({})).await.data();
    ["queryType", "mutationType", "subscriptionType"]
        .into_iter()
        .map(|root| {
            let fields = data["__schema"][root]["fields"].as_array().unwrap();
            (root, fields.iter().map(|field| field["name"].as_str().unwrap().to_owned()).collect())
        })
        .collect()
}

async fn first_event(client: &mut SocketClient, query: &str) -> Value {
    client.subscribe("1", query, json!({})).await;
    client.event().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_anything_without_a_key() {
    let Scene { api, calls, .. } = scene().await;
    let introspection = String::from("{ __schema { queryType { name } } }");
    let typename = String::from("{ __typename }");
    for query in calls.iter().map(|(_, _, query, _)| query).chain([&introspection, &typename]) {
        for key in [None, Some("mvk_"), Some(&*format!("mvk_{}", "0".repeat(64)))] {
            let answer = api.post(key, json!({"query": query}).to_string()).await;
            assert_eq!((answer.code(), answer.status.as_u16()), ("UNAUTHENTICATED", 401), "{query}");
            assert_eq!(answer.body["data"], Value::Null);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_of_another_project_finds_nothing() {
    let Scene { api, calls, .. } = scene().await;
    let address = api.listen().await;
    let stranger = api.foreign_key();
    for (operation, name, query, foreign) in &calls {
        let body = if *operation == "subscription" {
            first_event(&mut SocketClient::admitted(address, &stranger).await, query).await
        } else {
            api.ask_as(&stranger, query, json!({})).await.body
        };
        let code = body["errors"][0]["extensions"]["code"].as_str();
        match foreign {
            Foreign::NotFound => assert_eq!(code, Some("NOT_FOUND"), "{name}: {body}"),
            Foreign::Forbidden => assert_eq!(code, Some("FORBIDDEN"), "{name}: {body}"),
            Foreign::EmptyList => assert_eq!(body["data"][name]["nodes"], json!([]), "{name}: {body}"),
            Foreign::Himself => assert_eq!(code, None, "{name}: {body}"),
            Foreign::Organization => assert_eq!(body["data"][name], json!([]), "{name}: {body}"),
        }
    }
    // Nothing was changed, and his own view of the whole is empty too.
    let name = api.ask("{ clusters { nodes { name } } }", json!({})).await.data();
    assert_eq!(name["clusters"]["nodes"], json!([{"name": "prod"}]));
    let tenancy = api.tenancy.project_id.to_string();
    let register = format!(
        r#"mutation {{ registerRepository(input: {{name: "x", projectId: "{tenancy}", storage: {{local: {{path: "/x"}}}}}}) {{ __typename }} }}"#
    );
    assert_eq!(api.ask_as(&stranger, &register, json!({})).await.code(), "NOT_FOUND");
    let listed = format!(r#"{{ clusters(filter: {{projectId: "{tenancy}"}}) {{ nodes {{ id }} }} }}"#);
    assert_eq!(api.ask_as(&stranger, &listed, json!({})).await.data()["clusters"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_hears_nothing_of_other_projects_jobs() {
    let Scene { api, things, .. } = scene().await;
    let address = api.listen().await;
    let mut stranger = SocketClient::admitted(address, &api.foreign_key()).await;
    stranger.subscribe("all", "subscription { jobUpdates { id } }", json!({})).await;
    // The order of answers on one connection shows that the subscription stands.
    stranger.subscribe("probe", "{ viewer { name } }", json!({})).await;
    let answer = stranger.message().await.unwrap();
    assert_eq!((&answer["type"], &answer["id"]), (&json!("next"), &json!("probe")));
    api.outside.open_gate();
    api.await_job(address, &things.job).await;
    stranger.subscribe("second", "{ viewer { name } }", json!({})).await;
    loop {
        let message = stranger.message().await.unwrap();
        assert_ne!(message["id"], "all", "{message}");
        if message["id"] == "second" && message["type"] == "next" {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_that_only_look_may_look_at_everything_and_change_nothing() {
    let Scene { api, calls, .. } = scene().await;
    let address = api.listen().await;
    for role in [Role::ProjectReadOnly, Role::ProjectReadWrite] {
        let viewer = api.key_with(role);
        for (operation, name, query, _) in &calls {
            let body = if *operation == "subscription" {
                first_event(&mut SocketClient::admitted(address, &viewer).await, query).await
            } else {
                api.ask_as(&viewer, query, json!({})).await.body
            };
            let code = body["errors"][0]["extensions"]["code"].as_str();
            // These look at other systems, or ahead, on behalf of somebody who is going to change something.
            let acts = *operation == "mutation"
                || ["planRestore", "foreignBackups", "backupPolicyPreview", "previewSweep"]
                    .contains(&name.as_str());
            // People and what they did are shown to owners only, and the keys of others are hidden from everybody else.
            let owners_only = [
                "users",
                "customRoles",
                "auditLog",
                "servers",
                "catalogBackups",
                "usage",
                "webhook",
                "webhooks",
            ]
            .contains(&name.as_str());
            let expected = match name.as_str() {
                "revokeApiKey" | "revokeSession" => Some("NOT_FOUND"),
                _ => (acts || owners_only).then_some("FORBIDDEN"),
            };
            assert_eq!(code, expected, "{role:?} {name}: {body}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_the_project_may_do_everything_in_it() {
    let Scene { api, things, .. } = scene().await;
    let owner = api.key_with(Role::ProjectOwner);
    let cancel =
        format!(r#"mutation {{ cancelJob(input: {{jobId: "{}"}}) {{ job {{ id }} }} }}"#, things.job);
    api.ask_as(&owner, &cancel, json!({})).await.data();
    let register = r#"mutation { registerRepository(input: {name: "second", storage: {s3: {bucket: "b", accessKeyId: "k", secretAccessKey: {value: "v"}}}}) { repository { projectId } } }"#;
    let made = api.ask_as(&owner, register, json!({})).await.data();
    assert_eq!(made["registerRepository"]["repository"]["projectId"], api.tenancy.project_id.to_string());
    let viewer = api
        .ask_as(&owner, "{ viewer { name grants { role projectId } projectIds } }", json!({}))
        .await
        .data();
    assert_eq!(viewer["viewer"]["grants"][0]["role"], "PROJECT_OWNER");
    assert_eq!(viewer["viewer"]["projectIds"], json!([api.tenancy.project_id.to_string()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_needs_the_right_on_both_sides() {
    let scene = restore::Scene::set().await;
    let api = &scene.api;
    let elsewhere = ProjectId::from_uuid(Uuid::from_u128(99));
    let here = RoleGrant { role: Role::ProjectOwner, project_id: Some(api.tenancy.project_id) };
    let looks = RoleGrant { role: Role::ProjectReadWrite, project_id: Some(elsewhere) };
    let owns = RoleGrant { role: Role::ProjectOwner, project_id: Some(elsewhere) };
    let (stranger, guest) = (api.key(vec![here]), api.key(vec![here, looks]));
    let owner_of_both = api.key(vec![here, owns]);
    for side in [&scene.backup, &scene.target] {
        *api.catalog.elsewhere.lock().unwrap() = HashMap::from([(side.clone(), elsewhere)]);
        for (operation, field, kind) in [
            ("query", "planRestore", "RestoreBackupInput"),
            ("mutation", "restoreBackup", "RestoreBackupInput"),
            ("mutation", "drillBackup", "DrillBackupInput"),
        ] {
            let query = format!("{operation}($input: {kind}!) {{ {field}(input: $input) {{ __typename }} }}");
            for (key, code) in [(&stranger, "NOT_FOUND"), (&guest, "FORBIDDEN")] {
                let answer = api.ask_as(key, &query, scene.input(&json!({}))).await;
                assert_eq!(answer.code(), code, "{field} {side}: {}", answer.body);
            }
        }
        // Rights are not the only thing: nothing goes from one project to another.
        let plan = "query($input: RestoreBackupInput!) { planRestore(input: $input) { feasible } }";
        let answer = api.ask_as(&owner_of_both, plan, scene.input(&json!({}))).await;
        assert_eq!(
            (answer.code(), &answer.body["errors"][0]["extensions"]["field"]),
            ("BAD_USER_INPUT", &json!("targetClusterId"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_a_project_names_nothing_that_all_projects_share() {
    let Scene { api, things, .. } = scene().await;
    let owner = api.key_with(Role::ProjectOwner);
    let ask = async |field: &str, arguments: &str| {
        let mutation = format!("mutation {{ {field}(input: {{{arguments}}}) {{ __typename }} }}");
        let answer = api.ask_as(&owner, &mutation, json!({})).await;
        (answer.code().to_owned(), answer.words().to_owned())
    };
    let reference = r#"{environment: "MILVAULT_SECRET_OF_ANOTHER"}"#;
    for storage in [
        String::from(r#"{local: {path: "/b"}}"#),
        format!(r#"{{s3: {{bucket: "b", accessKeyId: "k", secretAccessKey: {reference}}}}}"#),
        format!(
            r#"{{s3: {{bucket: "b", accessKeyId: "k", secretAccessKey: {{value: "v"}}, sessionToken: {reference}}}}}"#
        ),
        String::from(r#"{s3: {bucket: "b", defaultCredentialChain: true}}"#),
        String::from(r#"{gcs: {bucket: "b"}}"#),
        String::from(r#"{azure: {account: "a", container: "b"}}"#),
        format!(r#"{{azure: {{account: "a", container: "b", accessKey: {reference}}}}}"#),
    ] {
        let (code, words) =
            ask("registerRepository", &format!(r#"name: "second", storage: {storage}"#)).await;
        assert_eq!(code, "FORBIDDEN", "{storage}");
        assert!(words.contains("gateway.project_owners_use_server"), "{words}");
        let change = format!(r#"clusterId: "{}", storage: {storage}"#, things.cluster);
        assert_eq!(ask("updateCluster", &change).await.0, "FORBIDDEN", "{storage}");
    }
    let token = |token: &str| format!(r#"clusterId: "{}", token: {token}"#, things.cluster);
    assert_eq!(ask("updateCluster", &token(reference)).await.0, "FORBIDDEN");
    assert_eq!(ask("updateCluster", &token(r#"{value: "v"}"#)).await.0, "none");
    let restore = format!(
        r#"backupId: "{}", targetClusterId: "{}", accessControl: {{passwords: [{{user: "u", password: {reference}}}]}}"#,
        things.backup, things.cluster
    );
    assert_eq!(ask("restoreBackup", &restore).await.0, "FORBIDDEN");
    // An owner of the organization may.
    let mutation =
        format!("mutation {{ updateCluster(input: {{{}}}) {{ cluster {{ id }} }} }}", token(reference));
    api.ask(&mutation, json!({})).await.data();
}
