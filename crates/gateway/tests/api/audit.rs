//! The audit log: every mutation leaves an intent and an outcome, whatever becomes of it.

use crate::support::Api;
use crate::support::socket::SocketClient;
use milvault_domain::access::Role;
use milvault_domain::audit::{AuditEntry, CHAIN_START};
use milvault_domain::ports::{AuditCatalog, AuditFilter, AuditPage};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::atomic::Ordering;

const LOG: &str =
    "query($filter: AuditFilter) { auditLog(filter: $filter, first: 200) { nodes { sequence action result
    code intent count projectId actor { kind id name apiKeyId } target { kind id } inputs { field value }
    remoteAddress requestId } } }";
const CANCEL: &str = "mutation($id: ID!) { cancelJob(input: {jobId: $id}) { job { id } } }";
const NO_JOB: &str = "job_00000000000000000000000000000000";

impl Api {
    async fn audit(&self, filter: Value) -> Vec<Value> {
        let mut data = self.ask(LOG, json!({"filter": filter})).await.data();
        data["auditLog"]["nodes"].as_array_mut().unwrap().split_off(0)
    }

    async fn audit_chain(&self) -> Vec<AuditEntry> {
        let filter = AuditFilter::of(self.tenancy.organization_id);
        let page = AuditPage { limit: AuditPage::LIMIT_MAX, after: None, newest_first: false };
        self.catalog.audit_entries(&filter, page).await.unwrap().items
    }

    /// Asks until the entries of an action are as many as wanted: some are written after the answer.
    async fn await_audit(&self, action: &str, wanted: usize) -> Vec<Value> {
        loop {
            let found = self.audit(json!({"action": action})).await;
            if wanted <= found.len() {
                return found;
            }
            tokio::task::yield_now().await;
        }
    }
}

/// A value that fits an input type, of required fields only.
fn value_of(kind: &Value, types: &HashMap<String, Value>) -> Value {
    match kind["kind"].as_str().unwrap() {
        "NON_NULL" => value_of(&kind["ofType"], types),
        "LIST" => json!([]),
        "SCALAR" => match kind["name"].as_str().unwrap() {
            "Int" | "Bytes" | "Int64" => json!(1),
            "Boolean" => json!(true),
            "DateTime" => json!("2026-01-01T00:00:00Z"),
            _ => json!("x"),
        },
        "ENUM" => types[kind["name"].as_str().unwrap()]["enumValues"][0]["name"].clone(),
        "INPUT_OBJECT" => {
            let described = &types[kind["name"].as_str().unwrap()];
            let fields = described["inputFields"].as_array().unwrap();
            let required = fields.iter().filter(|field| field["type"]["kind"] == "NON_NULL");
            let mut value: serde_json::Map<String, Value> = required
                .map(|field| (field["name"].as_str().unwrap().to_owned(), value_of(&field["type"], types)))
                .collect();
            if described["isOneOf"] == true {
                value.insert(
                    fields[0]["name"].as_str().unwrap().to_owned(),
                    value_of(&fields[0]["type"], types),
                );
            }
            Value::Object(value)
        }
        other => panic!("no value for {other}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mutation_of_the_schema_leaves_an_intent_and_an_outcome() {
    let api = Api::start().await;
    let of_type = "type { kind name ofType { kind name ofType { kind name ofType { kind name } } } }";
    let query = format!(
        "{{ __schema {{ mutationType {{ fields {{ name args {{ name {of_type} }} }} }}
        types {{ name isOneOf enumValues {{ name }} inputFields {{ name {of_type} }} }} }} }}"
    );
    let schema = api.ask(&query, json!({})).await.data();
    let types: HashMap<String, Value> = schema["__schema"]["types"]
        .as_array()
        .unwrap()
        .iter()
        .map(|described| (described["name"].as_str().unwrap().to_owned(), described.clone()))
        .collect();
    let mutations = schema["__schema"]["mutationType"]["fields"].as_array().unwrap();
    assert!(mutations.len() >= 16, "introspection found too little");
    for mutation in mutations {
        let name = mutation["name"].as_str().unwrap();
        let input = &mutation["args"][0];
        assert_eq!(input["name"], "input", "{name}");
        let input_type = input["type"]["ofType"]["name"].as_str().unwrap();
        let query = format!("mutation($input: {input_type}!) {{ {name}(input: $input) {{ __typename }} }}");
        let answer = api.ask(&query, json!({"input": value_of(&input["type"], &types)})).await;
        let entries = api.audit(json!({"action": name})).await;
        assert_eq!(entries.len(), 2, "{name}: {entries:?} {}", answer.body);
        let (outcome, intent) = (&entries[0], &entries[1]);
        assert_eq!((&intent["result"], &intent["intent"]), (&Value::Null, &Value::Null), "{name}");
        assert_eq!(outcome["intent"], intent["sequence"], "{name}");
        let expected = match answer.code() {
            "none" => ("OK", Value::Null),
            code @ ("UNAVAILABLE" | "INTERNAL") => ("FAILED", json!(code)),
            code => ("REFUSED", json!(code)),
        };
        assert_eq!((outcome["result"].as_str().unwrap(), outcome["code"].clone()), expected, "{name}");
    }
    let mut previous_hash = CHAIN_START;
    for entry in api.audit_chain().await {
        assert!(entry.follows(&previous_hash).unwrap(), "{entry:?}");
        previous_hash = entry.hash;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_says_who_did_what_to_what() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let (_, job_id) = api.create_backup(&cluster_id).await;
    let reader = api.key_with(Role::ProjectReadOnly);
    // By a variable, by a default and in the document itself.
    for (query, variables) in [
        (CANCEL, json!({"id": job_id})),
        ("mutation($id: ID! = \"JOB\") { cancelJob(input: {jobId: $id}) { job { id } } }", json!({})),
        ("mutation { a: cancelJob(input: {jobId: \"JOB\"}) { job { id } } }", json!({})),
    ] {
        let answer = api.ask_as(&reader, &query.replace("JOB", &job_id), variables).await;
        assert_eq!(answer.code(), "FORBIDDEN");
    }
    let entries = api.audit(json!({"target": job_id})).await;
    assert_eq!(entries.len(), 6);
    for entry in &entries {
        assert_eq!(entry["action"], "cancelJob");
        assert_eq!(
            (&entry["actor"]["kind"], &entry["actor"]["name"]),
            (&json!("API_KEY"), &json!("somebody"))
        );
        assert_eq!(entry["target"], json!({"kind": "job", "id": job_id}));
        assert_eq!(entry["inputs"], json!([{"field": "jobId", "value": job_id}]));
        assert_eq!(entry["projectId"], api.tenancy.project_id.to_string());
        assert!(entry["requestId"].is_string());
    }
    assert_eq!((&entries[0]["result"], &entries[0]["code"]), (&json!("REFUSED"), &json!("FORBIDDEN")));
    assert_eq!(api.audit(json!({"target": job_id, "result": "REFUSED"})).await.len(), 3);
    assert_eq!(api.audit(json!({"actor": entries[0]["actor"]["id"]})).await.len(), 6);
    // Names are kept, secrets and everything else are not.
    let chain = format!("{:?}", api.audit_chain().await);
    assert!(
        chain.contains("\"prod\"") && !chain.contains("milvus:19530") && !chain.contains("/milvus"),
        "{chain}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outcome_says_what_was_granted_and_to_whom() {
    let api = Api::start().await;
    let project_id = api.tenancy.project_id.to_string();
    let make = r#"mutation { createUser(input: {name: "Ada", email: "ada@example.com"}) { user { id } } }"#;
    let user_id = api.ask(make, json!({})).await.data()["createUser"]["user"]["id"].clone();
    let created = api.audit(json!({"target": user_id})).await;
    assert_eq!((&created[0]["action"], &created[0]["result"]), (&json!("createUser"), &json!("OK")));

    let owner = api.key_with(Role::ProjectOwner);
    let give =
        "mutation($project: ID!) { setUserRoles(input: {email: \"ada@example.com\", projectId: $project,
        roles: [{role: PROJECT_READ_ONLY}, {role: PROJECT_OWNER}]}) { __typename } }";
    api.ask_as(&owner, give, json!({"project": project_id})).await.data();
    let filter = json!({"filter": {"target": user_id}});
    let data = api.ask_as(&owner, LOG, filter).await.data();
    let outcome = &data["auditLog"]["nodes"][0];
    assert_eq!(outcome["target"], json!({"kind": "user", "id": user_id}), "{data}");
    assert_eq!(outcome["projectId"], project_id);
    let inputs: HashMap<&str, &str> = outcome["inputs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|input| (input["field"].as_str().unwrap(), input["value"].as_str().unwrap()))
        .collect();
    assert_eq!(inputs["roles"], "role=PROJECT_READ_ONLY, role=PROJECT_OWNER");
    assert_eq!((inputs["email"], inputs["userId"]), ("ada@example.com", user_id.as_str().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_and_changed_is_found_by_its_id() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let (backup_id, job_id) = api.create_backup(&cluster_id).await;
    let made = &api.audit(json!({"target": backup_id})).await[0];
    assert_eq!(made["action"], "createBackup");
    assert!(
        made["inputs"].as_array().unwrap().contains(&json!({"field": "jobId", "value": job_id})),
        "{made}"
    );
    assert_eq!(made["projectId"], api.tenancy.project_id.to_string());
    assert_eq!(
        api.audit(json!({"target": cluster_id, "result": "OK"})).await[0]["action"],
        "registerCluster"
    );

    let hold = "mutation($id: ID!) { holdBackup(input: {backupId: $id, reason: \"audit of 2026\"}) { hold { id } } }";
    let answer = api.ask(hold, json!({"id": backup_id})).await.data();
    let noted = &api.audit(json!({"target": backup_id, "action": "holdBackup"})).await[0];
    let inputs = noted["inputs"].as_array().unwrap();
    assert!(inputs.contains(&json!({"field": "reason", "value": "audit of 2026"})), "{inputs:?}");
    assert!(
        inputs.contains(&json!({"field": "holdId", "value": answer["holdBackup"]["hold"]["id"]})),
        "{inputs:?}"
    );
    // Facts of one mutation are not those of the next.
    let two = format!(
        "mutation {{ a: holdBackup(input: {{backupId: \"{backup_id}\", reason: \"x\"}}) {{ __typename }}
            b: cancelJob(input: {{jobId: \"{NO_JOB}\"}}) {{ __typename }} }}"
    );
    api.ask(&two, json!({})).await;
    let canceled = &api.audit(json!({"action": "cancelJob"})).await[0];
    assert_eq!(canceled["inputs"], json!([{"field": "jobId", "value": NO_JOB}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_down_is_not_done() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    api.catalog.audit_fails.store(true, Ordering::Relaxed);
    let remove = "mutation($id: ID!) { removeCluster(input: {clusterId: $id}) { __typename } }";
    let answer = api.ask(remove, json!({"id": cluster_id})).await;
    assert_eq!(answer.code(), "UNAVAILABLE");
    assert!(answer.words().contains("nothing was done"), "{}", answer.body);
    api.catalog.audit_fails.store(false, Ordering::Relaxed);
    let cluster = api.ask("query($id: ID!) { cluster(id: $id) { name } }", json!({"id": cluster_id})).await;
    assert_eq!(cluster.data()["cluster"]["name"], "prod");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_authentications_are_counted_not_piled_up() {
    let api = Api::start().await;
    let address = api.listen().await;
    for _ in 0..50 {
        assert_eq!(api.post(None, String::from("{}")).await.status.as_u16(), 401);
        assert_eq!(api.get("/audit.jsonl").await.status.as_u16(), 401);
    }
    let mut client = SocketClient::connect(address).await;
    client.send(&json!({"type": "connection_init", "payload": {"apiKey": "mvk_wrong"}})).await;
    let _ = client.message().await;
    let entries = api.await_audit("authenticate", 1).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0]["actor"]["kind"], "ANONYMOUS");
    assert_eq!((&entries[0]["result"], &entries[0]["code"]), (&json!("REFUSED"), &json!("UNAUTHENTICATED")));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_owners_read_it_and_each_his_part() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    api.ask(CANCEL, json!({"id": NO_JOB})).await;
    for role in [Role::ProjectReadWrite, Role::ProjectReadOnly, Role::CustomBackupManage] {
        let key = api.key_with(role);
        assert_eq!(api.ask_as(&key, LOG, json!({})).await.code(), "FORBIDDEN", "{role:?}");
    }
    let owner = api.key_with(Role::ProjectOwner);
    let data = api.ask_as(&owner, LOG, json!({})).await.data();
    let seen = data["auditLog"]["nodes"].as_array().unwrap();
    assert!(!seen.is_empty());
    assert!(seen.iter().all(|entry| entry["projectId"] == api.tenancy.project_id.to_string()));
    assert!(api.audit(json!({})).await.len() > seen.len());
    let other = json!({"projectId": "prj_00000000000000000000000000000063"});
    let elsewhere = api.ask_as(&owner, LOG, json!({"filter": other})).await.data();
    assert_eq!(elsewhere["auditLog"]["nodes"], json!([]));
    drop(cluster_id);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_names_no_project_is_in_the_log_of_the_only_one() {
    let api = Api::start().await;
    let owner = api.key_with(Role::ProjectOwner);
    for (bucket, code) in [("a", "none"), ("a", "CONFLICT"), ("", "BAD_USER_INPUT")] {
        let storage =
            format!(r#"{{s3: {{bucket: "{bucket}", accessKeyId: "k", secretAccessKey: {{value: "v"}}}}}}"#);
        let register = format!(
            r#"mutation {{ registerRepository(input: {{name: "main", storage: {storage}}}) {{ __typename }} }}"#
        );
        assert_eq!(api.ask_as(&owner, &register, json!({})).await.code(), code);
    }
    let data = api.ask_as(&owner, LOG, json!({"filter": {"action": "registerRepository"}})).await.data();
    let seen = data["auditLog"]["nodes"].as_array().unwrap();
    let results: Vec<&Value> = seen.iter().map(|entry| &entry["result"]).collect();
    let expected = [json!("REFUSED"), Value::Null, json!("REFUSED"), Value::Null, json!("OK"), Value::Null];
    assert_eq!(results, expected.iter().collect::<Vec<_>>());
    assert!(seen.iter().all(|entry| entry["projectId"] == api.tenancy.project_id.to_string()));
    // What belongs to the whole organization is for its owner only.
    api.ask(r#"mutation { createProject(input: {name: "x"}) { __typename } }"#, json!({})).await.data();
    let filter = json!({"filter": {"action": "createProject"}});
    assert_eq!(api.ask_as(&owner, LOG, filter).await.data()["auditLog"]["nodes"], json!([]));
    assert_eq!(api.audit(json!({"action": "createProject"})).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_export_has_a_verifiable_line_for_each_entry() {
    let api = Api::start().await;
    for _ in 0..150 {
        api.ask(CANCEL, json!({"id": NO_JOB})).await;
    }
    let export = |key: String, path: &'static str| {
        let request = axum::http::Request::get(path).header("authorization", format!("Bearer {key}"));
        api.call(request.body(axum::body::Body::empty()).unwrap())
    };
    let answer = export(api.owner.clone(), "/audit.jsonl").await;
    assert_eq!(answer.headers["content-type"], "application/jsonl");
    let text = answer.body.as_str().unwrap().to_owned();
    let mut previous_hash = hex(&CHAIN_START);
    for (index, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["entry"]["sequence"], index + 1);
        assert_eq!(value["previousHash"], previous_hash);
        let content = line.strip_prefix("{\"entry\":").unwrap().split(",\"previousHash\":").next().unwrap();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&unhex(&previous_hash)).update(content.as_bytes());
        previous_hash = hasher.finalize().to_hex().to_string();
        assert_eq!(value["hash"], previous_hash);
    }
    // The clock stands still here, so that the export itself is the last one in it.
    assert_eq!(text.lines().count(), 301);
    assert!(text.lines().last().unwrap().contains("\"exportAuditLog\""));
    assert_eq!(export(api.owner.clone(), "/audit.jsonl?to=2020-01-01T00:00:00Z").await.body, json!(""));
    assert_eq!(export(api.owner.clone(), "/audit.jsonl?from=yesterday").await.status.as_u16(), 400);
    let reader = api.key_with(Role::ProjectReadOnly);
    assert_eq!(export(reader, "/audit.jsonl").await.status.as_u16(), 403);
    let results: Vec<Value> = api
        .audit(json!({"action": "exportAuditLog"}))
        .await
        .iter()
        .map(|entry| entry["result"].clone())
        .collect();
    assert_eq!(results, [json!("REFUSED"), json!("OK"), json!("OK"), json!("OK")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_that_go_elsewhere_or_are_refused_are_written_down() {
    let api = Api::start().await;
    let look = r#"{ foreignBackups(storage: {local: {path: "/x"}}) { directory } }"#;
    api.ask(look, json!({})).await.data();
    let owner = api.key_with(Role::ProjectOwner);
    assert_eq!(api.ask_as(&owner, look, json!({})).await.code(), "FORBIDDEN");
    let results: Vec<Value> = api
        .audit(json!({"action": "foreignBackups"}))
        .await
        .iter()
        .map(|entry| entry["result"].clone())
        .collect();
    assert_eq!(results, [json!("REFUSED"), Value::Null, json!("OK"), Value::Null]);
    assert_eq!(api.ask_as(&owner, "{ users { nodes { id } } }", json!({})).await.code(), "FORBIDDEN");
    let refused = api.audit(json!({"action": "users"})).await;
    assert_eq!(
        (refused.len(), &refused[0]["result"], &refused[0]["code"]),
        (1, &json!("REFUSED"), &json!("FORBIDDEN"))
    );
    // What is looked up as usual leaves nothing.
    api.ask_as(&owner, "{ clusters { nodes { id } } }", json!({})).await.data();
    assert!(api.audit(json!({"action": "clusters"})).await.is_empty());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_filtered_retried_and_followed_by_project() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    api.outside.close_gate();
    let (_, job_id) = api.create_backup(&cluster_id).await;
    let retry = "mutation($id: ID!) { retryJob(input: {jobId: $id}) { job { id type description } } }";
    let early = api.ask(retry, json!({"id": job_id})).await;
    assert_eq!(early.code(), "CONFLICT");
    api.ask(CANCEL, json!({"id": job_id})).await.data();
    assert_eq!(api.await_job(address, &job_id).await["state"], "CANCELED");

    let project_id = api.tenancy.project_id.to_string();
    let mut client = SocketClient::admitted(address, &api.owner).await;
    let query = "subscription($id: ID!) { jobUpdates(projectId: $id) { id state } }";
    client.subscribe("1", query, json!({"id": project_id})).await;
    let again = api.ask(retry, json!({"id": job_id})).await.data();
    let new_id = again["retryJob"]["job"]["id"].as_str().unwrap().to_owned();
    assert_ne!(new_id, job_id);
    assert_eq!(client.event().await.unwrap()["data"]["jobUpdates"]["id"], new_id);
    let strange = "subscription { jobUpdates(projectId: \"prj_00000000000000000000000000000063\") { id } }";
    let mut stranger = SocketClient::admitted(address, &api.key_with(Role::ProjectOwner)).await;
    stranger.subscribe("1", strange, json!({})).await;
    let refused = stranger.event().await.unwrap();
    assert_eq!(refused["errors"][0]["extensions"]["code"], "NOT_FOUND");

    for (filter, count) in [
        (json!({"types": ["BACKUP", "VERIFY"]}), 2),
        (json!({"types": ["VERIFY"]}), 0),
        (json!({"createdBy": "owner"}), 2),
        (json!({"createdBy": "somebody"}), 0),
        (json!({"text": "Prod"}), 2),
        (json!({"text": "nothing like it"}), 0),
        (json!({"states": ["CANCELED"], "text": "prod"}), 1),
    ] {
        let query = "query($filter: JobFilter) { jobs(filter: $filter) { nodes { id } } }";
        let data = api.ask(query, json!({"filter": filter})).await.data();
        assert_eq!(data["jobs"]["nodes"].as_array().unwrap().len(), count, "{filter}");
    }
    let wrong = "{ jobs(filter: {types: []}) { nodes { id } } }";
    assert_eq!(api.ask(wrong, json!({})).await.code(), "BAD_USER_INPUT");
}
