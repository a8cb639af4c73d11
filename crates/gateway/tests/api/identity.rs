//! Projects, users, roles and keys: what the one who may does with them, and what it does to everybody else.

use crate::support::Api;
use crate::support::socket::SocketClient;
use axum::http::StatusCode;
use chrono::TimeDelta;
use milvault_domain::access::Role;
use milvault_domain::ports::Clock;
use milvault_gateway::GatewayLimits;
use serde_json::{Value, json};
use std::time::Duration;

/// Runs a mutation with one input and returns its payload.
async fn change(api: &Api, key: &str, field: &str, input: Value, selection: &str) -> Value {
    let mut data = attempt(api, key, field, input, selection).await.data();
    data[field].take()
}

async fn attempt(api: &Api, key: &str, field: &str, input: Value, selection: &str) -> crate::support::Answer {
    let kind = format!("{}{}Input", field[..1].to_uppercase(), &field[1..]);
    let query = format!("mutation($input: {kind}!) {{ {field}(input: $input) {{ {selection} }} }}");
    api.ask_as(key, &query, json!({"input": input})).await
}

async fn code(api: &Api, key: &str, field: &str, input: Value) -> String {
    attempt(api, key, field, input, "__typename").await.code().to_owned()
}

/// A user with a personal key: his id and the key's text.
pub(crate) async fn add_user(api: &Api, name: &str) -> (String, String) {
    let input = json!({"name": name, "email": format!("{name}@example.com")});
    let made = change(api, &api.owner, "createUser", input, "user { id roles { role projectId } }").await;
    assert_eq!(made["user"]["roles"], json!([{"role": "ORGANIZATION_MEMBER", "projectId": null}]));
    let user_id = made["user"]["id"].as_str().unwrap().to_owned();
    let input = json!({"name": "laptop", "userId": user_id});
    let made =
        change(api, &api.owner, "createApiKey", input, "text apiKey { id userId roles { role } }").await;
    assert_eq!((&made["apiKey"]["userId"], &made["apiKey"]["roles"]), (&json!(user_id), &json!([])));
    (user_id, made["text"].as_str().unwrap().to_owned())
}

pub(crate) async fn set_roles(api: &Api, user_id: &str, project_id: Option<&str>, roles: Value) {
    let input = json!({"userId": user_id, "projectId": project_id, "roles": roles});
    change(api, &api.owner, "setUserRoles", input, "__typename").await;
}

async fn add_project(api: &Api, name: &str) -> String {
    let made = change(api, &api.owner, "createProject", json!({"name": name}), "project { id }").await;
    made["project"]["id"].as_str().unwrap().to_owned()
}

async fn viewer(api: &Api, key: &str) -> Value {
    let query = "{ viewer { userId name grants { role projectId } projects { id name } } }";
    let mut data = api.ask_as(key, query, json!({})).await.data();
    data["viewer"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_what_his_roles_make_him_at_the_moment() {
    let api = Api::start().await;
    let here = api.tenancy.project_id.to_string();
    let cluster = api.furnish().await;
    let (ada, key) = add_user(&api, "ada").await;
    let seen = viewer(&api, &key).await;
    assert_eq!((&seen["userId"], &seen["name"], &seen["projects"]), (&json!(ada), &json!("ada"), &json!([])));
    let backup = json!({"clusterId": cluster});
    assert_eq!(code(&api, &key, "createBackup", backup.clone()).await, "NOT_FOUND");
    set_roles(&api, &ada, Some(&here), json!([{"role": "PROJECT_READ_ONLY"}])).await;
    assert_eq!(viewer(&api, &key).await["projects"], json!([{"id": here, "name": "default"}]));
    assert_eq!(code(&api, &key, "createBackup", backup.clone()).await, "FORBIDDEN");

    let input = json!({"name": "operators", "privileges": ["BACKUP_MANAGE"]});
    let made = change(&api, &api.owner, "createCustomRole", input, "customRole { id privileges }").await;
    let custom_role = made["customRole"]["id"].as_str().unwrap();
    set_roles(&api, &ada, Some(&here), json!([{"customRoleId": custom_role}])).await;
    let made = attempt(&api, &key, "createBackup", backup.clone(), "backup { createdBy }").await.data();
    assert_eq!(made["createBackup"]["backup"]["createdBy"], "ada");
    let listed = api.ask("{ customRoles { id name privileges } }", json!({})).await.data();
    let expected = json!([{"id": custom_role, "name": "operators", "privileges": ["BACKUP_MANAGE"]}]);
    assert_eq!(listed["customRoles"], expected);
    change(&api, &api.owner, "deleteCustomRole", json!({"customRoleId": custom_role}), "customRoleId").await;
    assert_eq!(code(&api, &key, "createBackup", backup).await, "NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_a_disabled_user_are_dead_until_he_is_let_in_again() {
    let api = Api::start().await;
    let (ada, key) = add_user(&api, "ada").await;
    let disable = |disabled: bool| json!({"userId": ada, "disabled": disabled});
    let shut_out = change(&api, &api.owner, "updateUser", disable(true), "user { disabledAt }").await;
    assert!(shut_out["user"]["disabledAt"].is_string());
    let answer = api.ask_as(&key, "{ viewer { name } }", json!({})).await;
    assert_eq!((answer.status, answer.code()), (StatusCode::UNAUTHORIZED, "UNAUTHENTICATED"));
    change(&api, &api.owner, "updateUser", disable(false), "__typename").await;
    assert_eq!(viewer(&api, &key).await["name"], "ada");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_user_or_role_ends_subscriptions() {
    let limits = GatewayLimits { key_check_interval: Duration::from_millis(20), ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    let address = api.listen().await;
    let here = api.tenancy.project_id.to_string();
    let custom_role = async || {
        let name = viewer(&api, &api.owner).await["name"].as_str().unwrap().to_owned();
        let input = json!({"name": name, "privileges": ["BACKUP_VIEW"]});
        let made = change(&api, &api.owner, "createCustomRole", input, "customRole { id }").await;
        made["customRole"]["id"].as_str().unwrap().to_owned()
    };
    for (name, ending) in [("ada", "disabled"), ("grace", "demoted"), ("edith", "revoked"), ("mary", "role")]
    {
        let (user, key) = add_user(&api, name).await;
        let role = if ending == "role" {
            json!({"customRoleId": custom_role().await})
        } else {
            json!({"role": "PROJECT_READ_ONLY"})
        };
        set_roles(&api, &user, Some(&here), json!([role])).await;
        let mut client = SocketClient::admitted(address, &key).await;
        client.subscribe("long", "subscription { jobUpdates { id } }", json!({})).await;
        client.subscribe("probe", "{ viewer { apiKeyId } }", json!({})).await;
        let probe = client.message().await.unwrap();
        assert_eq!(probe["id"], "probe");
        assert_eq!(client.message().await.unwrap()["type"], "complete");
        match ending {
            "disabled" => {
                let input = json!({"userId": user, "disabled": true});
                change(&api, &api.owner, "updateUser", input, "__typename").await;
            }
            "demoted" => set_roles(&api, &user, Some(&here), json!([])).await,
            "revoked" => {
                let input = json!({"apiKeyId": probe["payload"]["data"]["viewer"]["apiKeyId"]});
                change(&api, &key, "revokeApiKey", input, "__typename").await;
            }
            _ => {
                let input = json!({"customRoleId": role["customRoleId"]});
                change(&api, &api.owner, "deleteCustomRole", input, "__typename").await;
            }
        }
        let last = client.message().await.unwrap();
        assert_eq!(last["id"], "long", "{ending}");
        assert_eq!(last["payload"]["errors"][0]["extensions"]["code"], "UNAUTHENTICATED", "{ending}");
        assert_eq!(client.message().await.unwrap()["type"], "complete");
        assert_eq!(client.message().await.unwrap_err().code, 4401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_owner_cannot_be_removed() {
    let api = Api::start().await;
    let keys = api.ask("{ apiKeys { nodes { id name roles { role } } } }", json!({})).await.data();
    let nodes = &keys["apiKeys"]["nodes"];
    assert_eq!((&nodes[0]["name"], nodes.as_array().unwrap().len()), (&json!("owner"), 1));
    let revoke = json!({"apiKeyId": nodes[0]["id"]});
    assert_eq!(code(&api, &api.owner, "revokeApiKey", revoke.clone()).await, "CONFLICT");
    let (ada, key) = add_user(&api, "ada").await;
    assert_eq!(code(&api, &api.owner, "revokeApiKey", revoke.clone()).await, "CONFLICT");
    set_roles(&api, &ada, None, json!([{"role": "ORGANIZATION_OWNER"}])).await;
    change(&api, &key, "revokeApiKey", revoke, "__typename").await;
    let answer = api.ask("{ viewer { name } }", json!({})).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let demote = json!({"userId": ada, "roles": []});
    assert_eq!(code(&api, &key, "setUserRoles", demote).await, "CONFLICT");
    assert_eq!(code(&api, &key, "updateUser", json!({"userId": ada, "disabled": true})).await, "CONFLICT");
    assert_eq!(viewer(&api, &key).await["grants"][0]["role"], "ORGANIZATION_OWNER");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_of_a_project_gives_roles_there_and_nowhere_else() {
    let api = Api::start().await;
    let here = api.tenancy.project_id.to_string();
    let there = add_project(&api, "other").await;
    let (ada, owner) = add_user(&api, "ada").await;
    set_roles(&api, &ada, Some(&here), json!([{"role": "PROJECT_OWNER"}])).await;
    let (grace, grace_key) = add_user(&api, "grace").await;
    set_roles(&api, &grace, Some(&there), json!([{"role": "PROJECT_READ_ONLY"}])).await;
    let reads = json!([{"role": "PROJECT_READ_ONLY"}]);

    // He does not see whoever has no role here, but may take in whose address he knows.
    let by_id = json!({"userId": grace, "projectId": here, "roles": reads});
    assert_eq!(code(&api, &owner, "setUserRoles", by_id.clone()).await, "NOT_FOUND");
    let by_email = json!({"email": "GRACE@example.com", "projectId": here, "roles": reads});
    let made = change(&api, &owner, "setUserRoles", by_email, "user { id roles { role projectId } }").await;
    let only_here = json!([{"role": "PROJECT_READ_ONLY", "projectId": here}]);
    assert_eq!(made["user"], json!({"id": grace, "roles": only_here}));
    assert_eq!(code(&api, &owner, "setUserRoles", by_id).await, "none");
    let listed = format!(
        r#"{{ users(filter: {{projectId: "{here}"}}) {{ nodes {{ name roles {{ projectId }} }} }} }}"#
    );
    let users = api.ask_as(&owner, &listed, json!({})).await.data();
    let place = json!([{"projectId": here}]);
    assert_eq!(
        users["users"]["nodes"],
        json!([{"name": "grace", "roles": place}, {"name": "ada", "roles": place}])
    );
    assert_eq!(viewer(&api, &grace_key).await["projects"].as_array().unwrap().len(), 2);

    for (project, roles, expected) in [
        (Some(&there), json!([{"role": "PROJECT_READ_ONLY"}]), "NOT_FOUND"),
        (None, json!([{"role": "ORGANIZATION_OWNER"}]), "FORBIDDEN"),
        (None, json!([]), "FORBIDDEN"),
        (Some(&here), json!([{"role": "ORGANIZATION_OWNER"}]), "BAD_USER_INPUT"),
        (Some(&here), json!([{"role": "CUSTOM_BACKUP_MANAGE"}]), "BAD_USER_INPUT"),
        (Some(&here), json!([{"role": "PROJECT_OWNER"}, {"role": "PROJECT_OWNER"}]), "BAD_USER_INPUT"),
        (Some(&here), json!([{}]), "BAD_USER_INPUT"),
        (Some(&here), json!([{"customRoleId": "rol_00000000000000000000000000000001"}]), "NOT_FOUND"),
    ] {
        let input = json!({"userId": ada, "projectId": project, "roles": roles});
        assert_eq!(code(&api, &owner, "setUserRoles", input.clone()).await, expected, "{input}");
    }
    let grants = json!([{"role": "PROJECT_READ_ONLY", "projectId": here}]);
    let service_key = json!({"name": "ci", "grants": grants});
    assert_eq!(code(&api, &owner, "createApiKey", service_key).await, "FORBIDDEN");
    let unknown = json!({"email": "nobody@example.com", "projectId": here, "roles": reads});
    assert_eq!(code(&api, &owner, "setUserRoles", unknown).await, "NOT_FOUND");
    assert_eq!(api.ask_as(&owner, "{ users { nodes { id } } }", json!({})).await.code(), "FORBIDDEN");
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_manages_his_own_keys_and_sees_no_others() {
    let api = Api::start().await;
    let (_, ada) = add_user(&api, "ada").await;
    let (grace_id, grace) = add_user(&api, "grace").await;
    let expires_at = (api.clock.0.lock().unwrap().to_owned() + TimeDelta::days(1)).to_rfc3339();
    let input = json!({"name": "script", "expiresAt": expires_at});
    let made = change(&api, &ada, "createApiKey", input, "text apiKey { id }").await;
    let (text, id) = (made["text"].as_str().unwrap(), made["apiKey"]["id"].as_str().unwrap());
    assert_eq!(viewer(&api, text).await["name"], "ada");
    let list = "{ apiKeys { nodes { id name userId expiresAt revokedAt } } }";
    let keys = api.ask_as(&ada, list, json!({})).await;
    assert!(!keys.body.to_string().contains(&text[4..]), "the text is shown once");
    let names: Vec<_> = keys.data()["apiKeys"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["script", "laptop"]);
    let all = api.ask(list, json!({})).await.data();
    assert_eq!(all["apiKeys"]["nodes"].as_array().unwrap().len(), 4);
    let of_grace = format!(r#"{{ apiKeys(filter: {{userId: "{grace_id}"}}) {{ nodes {{ id }} }} }}"#);
    assert_eq!(api.ask_as(&ada, &of_grace, json!({})).await.data()["apiKeys"]["nodes"], json!([]));
    let for_grace = json!({"name": "x", "userId": grace_id});
    assert_eq!(code(&api, &ada, "createApiKey", for_grace).await, "NOT_FOUND");
    assert_eq!(code(&api, &grace, "revokeApiKey", json!({"apiKeyId": id})).await, "NOT_FOUND");
    let past = json!({"name": "x", "expiresAt": "2001-01-01T00:00:00Z"});
    assert_eq!(code(&api, &ada, "createApiKey", past).await, "BAD_USER_INPUT");

    api.clock.advance(TimeDelta::days(2));
    assert_eq!(api.ask_as(text, "{ viewer { name } }", json!({})).await.status, StatusCode::UNAUTHORIZED);
    let revoked = change(&api, &ada, "revokeApiKey", json!({"apiKeyId": id}), "apiKey { revokedAt }").await;
    assert!(revoked["apiKey"]["revokedAt"].is_string());
    // A service key is nobody's, so it has no personal keys.
    assert_eq!(code(&api, &api.owner, "createApiKey", json!({"name": "x"})).await, "BAD_USER_INPUT");
    let reader = api.key_with(Role::ProjectReadOnly);
    assert_eq!(api.ask_as(&reader, list, json!({})).await.data()["apiKeys"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_key_has_the_roles_that_it_was_given() {
    let api = Api::start().await;
    let here = api.tenancy.project_id.to_string();
    let service_key = |grants: Value| json!({"name": "ci", "grants": grants});
    let grants = json!([{"role": "PROJECT_READ_WRITE", "projectId": here}]);
    let made = change(&api, &api.owner, "createApiKey", service_key(grants.clone()), "text").await;
    let seen = viewer(&api, made["text"].as_str().unwrap()).await;
    assert_eq!((&seen["name"], &seen["grants"], &seen["userId"]), (&json!("ci"), &grants, &Value::Null));
    let nowhere = "prj_00000000000000000000000000000009";
    for (grants, expected) in [
        (json!([]), "BAD_USER_INPUT"),
        (json!([{"role": "PROJECT_OWNER"}]), "BAD_USER_INPUT"),
        (json!([{"role": "ORGANIZATION_OWNER", "projectId": here}]), "BAD_USER_INPUT"),
        (json!([{"role": "PROJECT_OWNER", "projectId": nowhere}]), "NOT_FOUND"),
    ] {
        assert_eq!(
            code(&api, &api.owner, "createApiKey", service_key(grants.clone())).await,
            expected,
            "{grants}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_separate_and_listed_together() {
    let api = Api::start().await;
    let here = api.tenancy.project_id.to_string();
    api.furnish().await;
    let there = add_project(&api, "analytics").await;
    assert_eq!(code(&api, &api.owner, "createProject", json!({"name": "analytics"})).await, "CONFLICT");
    let storage = json!({"local": {"path": "/second"}});
    // Who may in several projects has to say in which.
    let register = json!({"name": "second", "storage": storage});
    assert_eq!(code(&api, &api.owner, "registerRepository", register).await, "BAD_USER_INPUT");
    let register = json!({"name": "main", "projectId": there, "storage": storage});
    change(&api, &api.owner, "registerRepository", register, "__typename").await;
    let list = async |key: &str, arguments: &str| {
        let query = format!("{{ repositories{arguments} {{ nodes {{ projectId }} }} }}");
        let data = api.ask_as(key, &query, json!({})).await.data();
        data["repositories"]["nodes"].as_array().unwrap().len()
    };
    assert_eq!(list(&api.owner, "").await, 2);
    assert_eq!(list(&api.owner, &format!(r#"(filter: {{projectId: "{there}"}})"#)).await, 1);
    let (ada, key) = add_user(&api, "ada").await;
    set_roles(&api, &ada, Some(&there), json!([{"role": "PROJECT_OWNER"}])).await;
    assert_eq!(list(&key, "").await, 1);
    assert_eq!(list(&key, &format!(r#"(filter: {{projectId: "{here}"}})"#)).await, 0);
    let rename = |project: &str| json!({"projectId": project, "name": "search"});
    assert_eq!(code(&api, &key, "renameProject", rename(&here)).await, "NOT_FOUND");
    change(&api, &key, "renameProject", rename(&there), "__typename").await;
    let query = "{ projects { name } viewer { projects { name } } }";
    let data = api.ask(query, json!({})).await.data();
    let names = json!([{"name": "default"}, {"name": "search"}]);
    assert_eq!((&data["projects"], &data["viewer"]["projects"]), (&names, &names));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_noted_once_a_minute() {
    let limits = GatewayLimits { key_use_delay: Duration::from_millis(5), ..GatewayLimits::default() };
    let api = Api::start_with(limits).await;
    let query = "{ apiKeys { nodes { lastUsedAt } } }";
    let noted = async |unlike: &Value| loop {
        let mut data = api.ask(query, json!({})).await.data();
        let last = data["apiKeys"]["nodes"][0]["lastUsedAt"].take();
        if last != *unlike {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    let first = noted(&Value::Null).await;
    for _ in 0..5 {
        let again = api.ask(query, json!({})).await.data();
        assert_eq!(again["apiKeys"]["nodes"][0]["lastUsedAt"], first);
    }
    assert_eq!(api.catalog.key_use_batches.load(std::sync::atomic::Ordering::Relaxed), 1);
    api.clock.advance(TimeDelta::seconds(61));
    noted(&first).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_billing_admin_sees_what_projects_take_up_and_nothing_else() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let address = api.listen().await;
    let (_, job_id) = api.create_backup(&cluster_id).await;
    api.outside.open_gate();
    assert_eq!(api.await_job(address, &job_id).await["state"], "SUCCESSFUL");
    add_project(&api, "empty").await;

    let (user_id, key) = add_user(&api, "bill").await;
    let query = "{ usage { projectName backups logicalBytes storedBytes } }";
    assert_eq!(api.ask_as(&key, query, json!({})).await.code(), "FORBIDDEN");
    set_roles(&api, &user_id, None, json!([{"role": "BILLING_ADMIN"}])).await;
    let seen = api.ask_as(&key, query, json!({})).await.data();
    assert_eq!(seen, api.ask(query, json!({})).await.data());
    let usage = seen["usage"].as_array().unwrap();
    assert_eq!(usage.iter().map(|one| one["backups"].to_string()).collect::<Vec<_>>().len(), 2, "{seen}");
    let of = |name: &str| usage.iter().find(|one| one["projectName"] == name).unwrap();
    assert_ne!(of("default")["logicalBytes"], of("empty")["logicalBytes"], "{seen}");
    let backups = api.ask_as(&key, "{ backups { nodes { id } } }", json!({})).await.data();
    assert_eq!(backups["backups"]["nodes"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_twenty_keys_at_most_and_those_that_are_over_do_not_count() {
    let api = Api::start().await;
    let (_, key) = add_user(&api, "ada").await;
    let soon = (api.clock.now() + TimeDelta::minutes(1)).to_rfc3339();
    let make = async |input: Value| code(&api, &key, "createApiKey", input).await;
    assert_eq!(make(json!({"name": "short", "expiresAt": soon})).await, "none");
    for number in 0..18 {
        assert_eq!(make(json!({"name": format!("k{number}")})).await, "none");
    }
    let over = attempt(&api, &key, "createApiKey", json!({"name": "more"}), "__typename").await;
    assert_eq!(over.code(), "CONFLICT");
    assert!(over.words().contains("20 valid API keys of this user"), "{}", over.words());
    *api.clock.0.lock().unwrap() += TimeDelta::minutes(2);
    assert_eq!(make(json!({"name": "more"})).await, "none");
    assert_eq!(make(json!({"name": "schedule"})).await, "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_project_goes_where_its_repository_is() {
    let api = Api::start().await;
    let elsewhere = add_project(&api, "elsewhere").await;
    let storage = json!({"local": {"path": "/elsewhere"}});
    let input = json!({"name": "r", "projectId": elsewhere, "storage": storage});
    let made = change(&api, &api.owner, "registerRepository", input, "repository { id }").await;
    let repository_id = &made["repository"]["id"];
    let register = async |more: Value| {
        let mut input =
            json!({"name": "c", "uri": "http://m:1", "repositoryId": repository_id, "storage": storage});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        attempt(&api, &api.owner, "registerCluster", input, "cluster { projectId }").await
    };
    let long = register(json!({"uri": format!("http://{}", "m".repeat(2_048))})).await;
    assert_eq!(long.body["errors"][0]["extensions"]["field"], "uri", "{}", long.body);
    let data = register(json!({})).await.data();
    assert_eq!(data["registerCluster"]["cluster"]["projectId"], elsewhere);
}
