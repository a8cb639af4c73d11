//! Webhooks, as a client makes, changes and tries them.

use crate::support::Api;
use milvault_domain::access::Role;
use serde_json::{Value, json};
use std::time::Duration;

const CREATE: &str = "mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { secret
    webhook { id projectId name url events enabled disabledAt disabledReason failingSince droppedEvents createdBy } } }";
const UPDATE: &str = "mutation($input: UpdateWebhookInput!) { updateWebhook(input: $input) {
    webhook { name url events enabled disabledReason } } }";
const TEST: &str = "mutation($input: TestWebhookInput!) { testWebhook(input: $input) {
    delivery { id event state nextAttemptAt attempts { at } } } }";
const REDELIVER: &str =
    "mutation($input: RedeliverInput!) { redeliver(input: $input) { delivery { id state endedAt } } }";
const DELIVERIES: &str = "query($id: ID!, $state: WebhookDeliveryState, $first: Int, $after: String) { webhook(id: $id) {
    failingSince deliveries(state: $state, first: $first, after: $after) { pageInfo { hasNextPage endCursor } nodes {
    id webhookId event state createdAt endedAt nextAttemptAt attempts { at httpStatus durationMs error } } } } }";

fn input(name: &str, url: &str) -> Value {
    json!({"name": name, "url": url, "events": ["VERIFY_FAILED", "BACKUP_FAILED"]})
}

async fn create(api: &Api, name: &str, url: &str) -> Value {
    api.ask(CREATE, json!({"input": input(name, url)})).await.data()["createWebhook"].take()
}

fn id(made: &Value) -> Value {
    made["webhook"]["id"].clone()
}

/// A webhook, and the delivery of a PING to it.
pub(crate) async fn make_and_try(api: &Api) -> (String, String) {
    let webhook_id = id(&create(api, "tried", "https://hooks.test/").await);
    let tried = api.ask(TEST, json!({"input": {"webhookId": webhook_id}})).await.data();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&webhook_id), text(&tried["testWebhook"]["delivery"]["id"]))
}

/// Waits until the newest delivery has had an attempt, and shows the webhook as it is then.
async fn attempted(api: &Api, webhook_id: &Value) -> Value {
    let show = async || api.ask(DELIVERIES, json!({"id": webhook_id})).await.data()["webhook"].take();
    loop {
        let webhook = show().await;
        let attempts = &webhook["deliveries"]["nodes"][0]["attempts"];
        if attempts.as_array().is_some_and(|attempts| !attempts.is_empty()) {
            // A webhook is read before its deliveries: this one may be from before the attempt.
            return show().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_made_its_secret_shown_once_and_it_is_listed() {
    let api = Api::start().await;
    let made = create(&api, "pager", "https://hooks.test/in?token=x").await;
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_"));
    let webhook = &made["webhook"];
    assert_eq!(webhook["events"], json!(["BACKUP_FAILED", "VERIFY_FAILED"]));
    assert_eq!((&webhook["enabled"], &webhook["disabledReason"]), (&json!(true), &Value::Null));
    assert_eq!((&webhook["createdBy"], &webhook["droppedEvents"]), (&json!("owner"), &json!(0)));
    assert_eq!(webhook["url"], "https://hooks.test/in?token=x");

    let second = create(&api, "phone", "https://hooks.test/2").await;
    let list = "query($first: Int, $after: String) { webhooks(first: $first, after: $after) {
        pageInfo { hasNextPage endCursor } nodes { id name } } }";
    let page = api.ask(list, json!({"first": 1})).await.data()["webhooks"].take();
    assert_eq!((&page["nodes"][0]["id"], &page["pageInfo"]["hasNextPage"]), (&id(&second), &json!(true)));
    let after = &page["pageInfo"]["endCursor"];
    let page = api.ask(list, json!({"first": 1, "after": after})).await.data()["webhooks"].take();
    assert_eq!(
        (&page["nodes"][0]["name"], &page["pageInfo"]["hasNextPage"]),
        (&json!("pager"), &json!(false))
    );

    // The secret is in no answer but the first.
    let kinds = r#"{ __type(name: "Webhook") { fields { name } } }"#;
    let fields = api.ask(kinds, json!({})).await.data()["__type"]["fields"].to_string();
    assert!(!fields.to_lowercase().contains("secret"), "{fields}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_refused_by_field() {
    let api = Api::start().await;
    for (bad, field) in [
        (input("", "https://hooks.test/"), "name"),
        (input("a", ""), "url"),
        (input("a", &format!("https://hooks.test/{}", "x".repeat(2_048))), "url"),
        (input("a", "https://refused.test/"), "url"),
        (json!({"name": "a", "url": "https://hooks.test/", "events": []}), "events"),
        (json!({"name": "a", "url": "https://hooks.test/", "events": ["PING"]}), "events"),
        (
            json!({"name": "a", "url": "https://x.test/", "events": ["COPY_FAILED"], "projectId": "x"}),
            "projectId",
        ),
    ] {
        let answer = api.ask(CREATE, json!({"input": bad})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{}", answer.body);
        assert_eq!(answer.body["errors"][0]["extensions"]["field"], field, "{}", answer.body);
    }
    let made = create(&api, "pager", "https://hooks.test/").await;
    assert_eq!(api.ask(CREATE, json!({"input": input("pager", "https://b.test/")})).await.code(), "CONFLICT");
    let refused = json!({"input": {"webhookId": id(&made), "url": "https://refused.test/"}});
    assert_eq!(api.ask(UPDATE, refused).await.code(), "BAD_USER_INPUT");
    for number in 1..20 {
        create(&api, &number.to_string(), "https://hooks.test/").await;
    }
    let answer = api.ask(CREATE, json!({"input": input("21st", "https://hooks.test/")})).await;
    assert_eq!(answer.code(), "CONFLICT", "{}", answer.body);
    assert!(answer.words().contains("20 webhooks"), "{}", answer.words());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_tried_and_its_log_shows_how_it_went() {
    let api = Api::start().await;
    let good = create(&api, "good", "https://hooks.test/").await;
    let tried = api.ask(TEST, json!({"input": {"webhookId": id(&good)}})).await.data();
    let delivery = &tried["testWebhook"]["delivery"];
    assert_eq!((&delivery["event"], &delivery["state"]), (&json!("PING"), &json!("PENDING")));
    let shown = attempted(&api, &id(&good)).await;
    let node = &shown["deliveries"]["nodes"][0];
    assert_eq!((&node["id"], &node["state"]), (&delivery["id"], &json!("DELIVERED")));
    assert_eq!((&node["webhookId"], &node["nextAttemptAt"]), (&id(&good), &Value::Null));
    assert_eq!(
        (&node["attempts"][0]["httpStatus"], &node["attempts"][0]["error"]),
        (&json!(200), &Value::Null)
    );

    let again = api.ask(REDELIVER, json!({"input": {"deliveryId": delivery["id"]}})).await.data();
    assert_eq!(again["redeliver"]["delivery"]["state"], "PENDING");
    let both = async || {
        attempted(&api, &id(&good)).await["deliveries"]["nodes"][0]["attempts"].as_array().unwrap().len()
    };
    while both().await < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    let broken = create(&api, "broken", "https://broken.test/").await;
    api.ask(TEST, json!({"input": {"webhookId": id(&broken)}})).await.data();
    let shown = attempted(&api, &id(&broken)).await;
    let node = &shown["deliveries"]["nodes"][0];
    assert_eq!((&node["state"], node["nextAttemptAt"].is_string()), (&json!("PENDING"), true));
    assert_eq!(node["attempts"][0]["httpStatus"], 500);
    assert_eq!(node["attempts"][0]["error"], "the receiver answered 500");
    assert!(shown["failingSince"].is_string(), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_changed_switched_off_and_deleted() {
    let api = Api::start().await;
    let made = create(&api, "pager", "https://hooks.test/").await;
    let (_, delivery_id) = make_and_try(&api).await;
    let change = json!({"webhookId": id(&made), "name": "phone", "events": ["DRILL_FAILED"]});
    let changed = api.ask(UPDATE, json!({"input": change})).await.data()["updateWebhook"]["webhook"].take();
    assert_eq!((&changed["name"], &changed["events"]), (&json!("phone"), &json!(["DRILL_FAILED"])));
    assert_eq!(changed["url"], "https://hooks.test/");

    let off = json!({"input": {"webhookId": id(&made), "enabled": false}});
    let disabled = api.ask(UPDATE, off).await.data()["updateWebhook"]["webhook"].take();
    assert_eq!(
        (&disabled["enabled"], &disabled["disabledReason"]),
        (&json!(false), &json!("disabled by hand"))
    );
    let answer = api.ask(TEST, json!({"input": {"webhookId": id(&made)}})).await;
    assert_eq!(answer.code(), "CONFLICT");
    assert!(answer.words().contains("enable it first"), "{}", answer.words());

    let rotate =
        "mutation($input: RotateWebhookSecretInput!) { rotateWebhookSecret(input: $input) { secret } }";
    let rotated = api.ask(rotate, json!({"input": {"webhookId": id(&made)}})).await.data();
    assert_ne!(rotated["rotateWebhookSecret"]["secret"], made["secret"]);

    let delete = "mutation($input: DeleteWebhookInput!) { deleteWebhook(input: $input) { webhookId } }";
    let deleted = api.ask(delete, json!({"input": {"webhookId": id(&made)}})).await.data();
    assert_eq!(deleted["deleteWebhook"]["webhookId"], id(&made));
    for (query, input) in [
        (delete, json!({"webhookId": id(&made)})),
        (UPDATE, json!({"webhookId": id(&made)})),
        (TEST, json!({"webhookId": id(&made)})),
        (REDELIVER, json!({"deliveryId": "dlv_00000000000000000000000000000001"})),
    ] {
        assert_eq!(api.ask(query, json!({"input": input})).await.code(), "NOT_FOUND", "{query}");
    }
    // Ids of other kinds are no ids of webhooks.
    assert_eq!(api.ask(TEST, json!({"input": {"webhookId": delivery_id}})).await.code(), "BAD_USER_INPUT");

    // What was done stands in the audit log, with the project, also when the webhook is gone.
    let log = r#"{ auditLog(filter: {action: "deleteWebhook"}) { nodes { result projectId target { kind id } } } }"#;
    let entries = api.ask(log, json!({})).await.data()["auditLog"]["nodes"].take();
    let of_it =
        entries.as_array().unwrap().iter().filter(|entry| entry["result"] == "OK").collect::<Vec<_>>();
    assert_eq!(of_it.len(), 1, "{entries}");
    assert_eq!(of_it[0]["target"], json!({"kind": "webhook", "id": id(&made)}));
    assert_eq!(of_it[0]["projectId"], api.tenancy.project_id.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_manage_the_project_see_webhooks() {
    let api = Api::start().await;
    let (webhook_id, delivery_id) = make_and_try(&api).await;
    let shown = "query($id: ID!) { webhook(id: $id) { url deliveries { nodes { id } } } }";
    let owner = api.key_with(Role::ProjectOwner);
    let data = api.ask_as(&owner, shown, json!({"id": webhook_id})).await.data();
    assert_eq!(data["webhook"]["deliveries"]["nodes"], json!([{"id": delivery_id}]));
    let made =
        api.ask_as(&owner, CREATE, json!({"input": input("of the owner", "https://hooks.test/")})).await;
    assert_eq!(made.data()["createWebhook"]["webhook"]["projectId"], api.tenancy.project_id.to_string());
    for role in
        [Role::ProjectReadOnly, Role::ProjectReadWrite, Role::CustomBackupView, Role::CustomBackupManage]
    {
        let key = api.key_with(role);
        assert_eq!(api.ask_as(&key, shown, json!({"id": webhook_id})).await.code(), "FORBIDDEN", "{role:?}");
        let answer = api.ask_as(&key, "{ webhooks { nodes { id } } }", json!({})).await;
        assert_eq!(answer.code(), "FORBIDDEN", "{role:?}");
        let answer = api.ask_as(&key, REDELIVER, json!({"input": {"deliveryId": delivery_id}})).await;
        assert_eq!(answer.code(), "FORBIDDEN", "{role:?}");
    }
    let stranger = api.foreign_key();
    let answer = api.ask_as(&stranger, REDELIVER, json!({"input": {"deliveryId": delivery_id}})).await;
    assert_eq!(answer.code(), "NOT_FOUND");
    assert!(!answer.words().contains(&webhook_id), "{}", answer.words());
    // He has no project here at all.
    assert_eq!(api.ask_as(&stranger, "{ webhooks { nodes { id } } }", json!({})).await.code(), "FORBIDDEN");
}
