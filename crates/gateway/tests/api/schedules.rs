//! Policies of automatic backups, as a client sets and sees them.

use crate::support::Api;
use milvault_domain::access::Role;
use serde_json::{Value, json};

const SET: &str = "mutation($input: SetBackupPolicyInput!) { setBackupPolicy(input: $input) {
    backupPolicy { enabled weekdays startTime cron timeZone retentionDays keep { lastN daily weekly monthly }
        nextRunAt lastRunAt lastSkipped { scheduledFor reason jobId job { id state } } }
    job { id type createdBy } } }";

async fn set(api: &Api, input: Value) -> Value {
    api.ask(SET, json!({"input": input})).await.data()["setBackupPolicy"].take()
}

async fn shown(api: &Api, cluster_id: &str) -> Value {
    let query = "query($id: ID!) { cluster(id: $id) { backupPolicy { enabled weekdays startTime cron timeZone
        retentionDays nextRunAt lastRunAt lastSkipped { reason } } } }";
    api.ask(query, json!({"id": cluster_id})).await.data()["cluster"]["backupPolicy"].take()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_is_set_makes_a_backup_and_is_shown() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    assert_eq!(shown(&api, &cluster_id).await, Value::Null);

    let input = json!({"clusterId": cluster_id, "enabled": true, "weekdays": [7, 1, 3], "startTime": "02:30",
        "timeZone": "Europe/Berlin", "retentionDays": 14, "keep": {"lastN": 3, "monthly": 12}});
    let made = set(&api, input).await;
    let policy = &made["backupPolicy"];
    // Monday first, whatever the order of the input.
    assert_eq!(policy["weekdays"], json!([1, 3, 7]));
    assert_eq!((&policy["startTime"], &policy["cron"]), (&json!("02:30"), &Value::Null));
    assert_eq!(policy["keep"], json!({"lastN": 3, "daily": 0, "weekly": 0, "monthly": 12}));
    // The clock of the tests shows Sunday, 15 June 2025, 17:06 in Berlin.
    let next = policy["nextRunAt"].as_str().unwrap();
    assert!(("2025-06-16T00:30".."2025-06-16T02:30").contains(&next), "{next}");
    assert!(policy["lastRunAt"].as_str().unwrap().starts_with("2025-06-15T15:06:40"));
    assert_eq!((&made["job"]["type"], &made["job"]["createdBy"]), (&json!("BACKUP"), &json!("schedule")));

    let job_id = made["job"]["id"].as_str().unwrap();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");
    let query =
        "query($id: ID!) { job(id: $id) { backup { creationMethod type createdBy expiresAt name } } }";
    let backup = api.ask(query, json!({"id": job_id})).await.data()["job"]["backup"].take();
    assert_eq!((&backup["creationMethod"], &backup["type"]), (&json!("AUTO"), &json!("CLUSTER")));
    assert!(backup["expiresAt"].as_str().unwrap().starts_with("2025-06-29T15:06:40"), "{backup}");
    assert!(backup["name"].as_str().unwrap().starts_with("prod_backup"), "{backup}");

    // What is not named stays; off and on again makes another backup.
    let off = set(&api, json!({"clusterId": cluster_id, "enabled": false})).await;
    assert_eq!((&off["job"], &off["backupPolicy"]["nextRunAt"]), (&Value::Null, &Value::Null));
    let by_cron = json!({"clusterId": cluster_id, "enabled": true, "cron": "0 3 * * 0"});
    let on = set(&api, by_cron).await;
    assert_ne!(on["job"]["id"], made["job"]["id"]);
    let policy = shown(&api, &cluster_id).await;
    assert_eq!((&policy["cron"], &policy["weekdays"]), (&json!("0 3 * * 0"), &Value::Null));
    assert_eq!((&policy["startTime"], &policy["timeZone"]), (&Value::Null, &json!("Europe/Berlin")));
    assert_eq!((&policy["retentionDays"], &policy["enabled"]), (&json!(14), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preview_shows_what_a_policy_would_do_and_changes_nothing() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let preview = "query($id: ID, $input: SetBackupPolicyInput, $count: Int) {
        backupPolicyPreview(clusterId: $id, input: $input, count: $count) }";
    let starts = async |variables: Value| {
        let data = api.ask(preview, variables).await.data();
        let starts = data["backupPolicyPreview"].as_array().unwrap().clone();
        starts.into_iter().map(|start| start.as_str().unwrap()[..10].to_owned()).collect::<Vec<_>>()
    };
    assert!(starts(json!({"id": cluster_id})).await.is_empty());
    let fridays = json!({"clusterId": cluster_id, "enabled": true, "weekdays": [5], "startTime": "08:00"});
    let expected = ["2025-06-20", "2025-06-27", "2025-07-04"];
    assert_eq!(starts(json!({"input": fridays, "count": 3})).await, expected);
    // Zero is Sunday for cron.
    let sundays = json!({"clusterId": cluster_id, "enabled": true, "cron": "0 3 * * 0"});
    assert_eq!(starts(json!({"input": sundays, "count": 2})).await, ["2025-06-22", "2025-06-29"]);
    assert_eq!(starts(json!({"input": sundays})).await.len(), 10);
    assert_eq!(starts(json!({"input": sundays, "count": 50})).await.len(), 50);
    assert_eq!(shown(&api, &cluster_id).await, Value::Null);

    let first = set(&api, fridays).await;
    assert_eq!(starts(json!({"id": cluster_id, "count": 3})).await, expected);
    assert!(first["backupPolicy"]["nextRunAt"].as_str().unwrap().starts_with("2025-06-20"));
    set(&api, json!({"clusterId": cluster_id, "enabled": false})).await;
    assert!(starts(json!({"id": cluster_id})).await.is_empty());

    for bad in [
        json!({}),
        json!({"id": cluster_id, "input": sundays}),
        json!({"id": cluster_id, "count": 0}),
        json!({"id": cluster_id, "count": 51}),
        json!({"id": cluster_id, "count": -1}),
    ] {
        assert_eq!(api.ask(preview, bad.clone()).await.code(), "BAD_USER_INPUT", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_that_break_a_rule_are_refused_with_the_field() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    for (field, bad) in [
        ("weekdays", json!({"weekdays": [0]})),
        ("weekdays", json!({"weekdays": [8]})),
        ("weekdays", json!({"weekdays": []})),
        ("weekdays", json!({"weekdays": [2, 2]})),
        ("startTime", json!({"weekdays": [2], "startTime": "2:30"})),
        ("startTime", json!({"weekdays": [2], "startTime": "02:00-04:00"})),
        ("cron", json!({"cron": "0 2 * * *", "weekdays": [2]})),
        ("cron", json!({"cron": "*/5 * * * *"})),
        ("cron", json!({"cron": "@daily"})),
        ("timeZone", json!({"timeZone": "Mars/Olympus"})),
        ("retentionDays", json!({"retentionDays": 31})),
        ("retentionDays", json!({"retentionDays": 0})),
        ("retentionDays", json!({"retentionDays": -1})),
        ("keep", json!({"keep": {"daily": 1001}})),
    ] {
        let mut input = json!({"clusterId": cluster_id, "enabled": true});
        input.as_object_mut().unwrap().extend(bad.as_object().unwrap().clone());
        let answer = api.ask(SET, json!({"input": input})).await;
        let error = &answer.body["errors"][0]["extensions"];
        assert_eq!((answer.code(), &error["field"]), ("BAD_USER_INPUT", &json!(field)), "{}", answer.body);
    }
    assert_eq!(shown(&api, &cluster_id).await, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_backup_is_refused_while_an_automatic_one_is_at_work() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    api.outside.close_gate();
    let on = json!({"clusterId": cluster_id, "enabled": true});
    let made = set(&api, on.clone()).await;
    let job_id = made["job"]["id"].as_str().unwrap();
    let state = "query($id: ID!) { job(id: $id) { state } }";
    while api.ask(state, json!({"id": job_id})).await.data()["job"]["state"] == "PENDING" {
        tokio::task::yield_now().await;
    }
    let create = "mutation($input: CreateBackupInput!) { createBackup(input: $input) { job { id } } }";
    let refused = api.ask(create, json!({"input": {"clusterId": cluster_id}})).await;
    assert_eq!(refused.code(), "CONFLICT");
    assert_eq!(refused.body["errors"][0]["extensions"]["jobId"], job_id);

    // Nor do automatic ones pile up: the start that switching on again gives is skipped, and says why.
    set(&api, json!({"clusterId": cluster_id, "enabled": false})).await;
    let again = set(&api, on).await;
    assert_eq!(again["job"], Value::Null);
    let skipped = &again["backupPolicy"]["lastSkipped"];
    assert_eq!((&skipped["jobId"], &skipped["job"]["id"]), (&json!(job_id), &json!(job_id)));
    assert!(skipped["reason"].as_str().unwrap().contains("had not ended"), "{skipped}");

    api.outside.open_gate();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");
    let (_, manual) = api.create_backup(&cluster_id).await;
    assert_eq!(api.await_job(address, &manual).await["state"], "SUCCESSFUL");
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_only_look_see_the_policy_and_do_not_set_it() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    set(&api, json!({"clusterId": cluster_id, "enabled": true})).await;
    let viewer = api.key_with(Role::ProjectReadOnly);
    let query = "query($id: ID!) { cluster(id: $id) { backupPolicy { enabled startTime timeZone } } }";
    let seen = api.ask_as(&viewer, query, json!({"id": cluster_id})).await.data();
    let usual = json!({"enabled": true, "startTime": "08:00", "timeZone": "UTC"});
    assert_eq!(seen["cluster"]["backupPolicy"], usual);
    // Before the input is looked at.
    let bad = json!({"input": {"clusterId": cluster_id, "enabled": false, "weekdays": [9]}});
    assert_eq!(api.ask_as(&viewer, SET, bad).await.code(), "FORBIDDEN");
}
