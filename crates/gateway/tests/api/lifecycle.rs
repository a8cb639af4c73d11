//! Backups after they are made: renamed, held, deleted, swept.

use crate::support::Api;
use crate::support::pretended::{OBJECT_BYTES, OBJECTS};
use chrono::TimeDelta;
use serde_json::{Value, json};

async fn available(api: &Api, cluster_id: &str) -> String {
    let address = api.listen().await;
    let (backup_id, job_id) = api.create_backup(cluster_id).await;
    assert_eq!(api.await_job(address, &job_id).await["state"], "SUCCESSFUL");
    backup_id
}

async fn change(api: &Api, backup_id: &str, mut input: Value) -> crate::support::Answer {
    let query = "mutation($input: UpdateBackupInput!) { updateBackup(input: $input) { backup { name description expiresAt } } }";
    input["backupId"] = json!(backup_id);
    api.ask(query, json!({"input": input})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_renamed_described_and_kept_longer() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let backup_id = available(&api, &cluster_id).await;
    let changed =
        change(&api, &backup_id, json!({"name": "before the upgrade", "retentionDays": 5})).await.data();
    let backup = &changed["updateBackup"]["backup"];
    assert_eq!((&backup["name"], &backup["description"]), (&json!("before the upgrade"), &json!("")));
    assert!(backup["expiresAt"].is_string(), "{backup}");
    // What is absent stays, null keeps it for ever.
    let changed = change(&api, &backup_id, json!({"description": "for the audit"})).await.data();
    assert!(changed["updateBackup"]["backup"]["expiresAt"].is_string(), "{changed}");
    let changed = change(&api, &backup_id, json!({"retentionDays": null})).await.data();
    assert_eq!(
        changed["updateBackup"]["backup"],
        json!({"name": "before the upgrade", "description": "for the audit", "expiresAt": null})
    );
    for wrong in [
        json!({"name": ""}),
        json!({"name": "a\u{7}"}),
        json!({"retentionDays": 31}),
        json!({"retentionDays": -1}),
    ] {
        assert_eq!(change(&api, &backup_id, wrong.clone()).await.code(), "BAD_USER_INPUT", "{wrong}");
    }
    let other = available(&api, &cluster_id).await;
    assert_eq!(change(&api, &other, json!({"name": "before the upgrade"})).await.code(), "CONFLICT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_backup_stays_and_says_why() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let backup_id = available(&api, &cluster_id).await;
    let hold = "mutation($input: HoldBackupInput!) { holdBackup(input: $input) { hold { id active reason createdBy until } } }";
    let input = json!({"input": {"backupId": backup_id, "reason": "audit of 2026"}});
    let made = api.ask(hold, input).await.data()["holdBackup"]["hold"].take();
    assert_eq!((&made["active"], &made["until"]), (&json!(true), &Value::Null));
    let delete = "mutation($input: DeleteBackupInput!) { deleteBackup(input: $input) { backup { status } job { id type } } }";
    let refused = api.ask(delete, json!({"input": {"backupId": backup_id}})).await;
    assert_eq!(refused.code(), "CONFLICT");
    assert!(refused.words().contains("audit of 2026"), "{}", refused.words());
    let preview = "query($id: ID!) { previewRetention(clusterId: $id) { nodes { backupId backup { name } expires overAgeSince keptBy { kind reason } } } }";
    let verdicts =
        api.ask(preview, json!({"id": cluster_id})).await.data()["previewRetention"]["nodes"].take();
    assert_eq!(
        verdicts[0]["keptBy"],
        json!([{"kind": "FOREVER", "reason": null}, {"kind": "HELD", "reason": "audit of 2026"}])
    );

    let release =
        "mutation($input: ReleaseHoldInput!) { releaseHold(input: $input) { hold { active releasedBy } } }";
    let released = api.ask(release, json!({"input": {"holdId": made["id"]}})).await.data();
    assert_eq!(released["releaseHold"]["hold"]["active"], false);
    let holds = "query($id: ID!) { backup(id: $id) { holds { active reason } } }";
    let holds = api.ask(holds, json!({"id": backup_id})).await.data();
    assert_eq!(holds["backup"]["holds"], json!([{"active": false, "reason": "audit of 2026"}]));
    let deleted = api.ask(delete, json!({"input": {"backupId": backup_id}})).await.data();
    assert_eq!(deleted["deleteBackup"]["backup"]["status"], "DELETED");
    assert_eq!(deleted["deleteBackup"]["job"]["type"], "DELETE");
    let again = api.ask(delete, json!({"input": {"backupId": backup_id}})).await.data();
    assert_eq!(again["deleteBackup"]["job"]["id"], deleted["deleteBackup"]["job"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_preview_of_retention_comes_in_pages() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let older = available(&api, &cluster_id).await;
    api.clock.advance(TimeDelta::minutes(1));
    let newer = available(&api, &cluster_id).await;
    let query = "query($id: ID!, $first: Int, $after: String) { previewRetention(clusterId: $id, first: $first, after: $after) {
        nodes { backupId } pageInfo { hasNextPage endCursor } } }";
    let page = async |first: i32, after: Value| {
        api.ask(query, json!({"id": cluster_id, "first": first, "after": after})).await
    };
    let first = page(1, Value::Null).await.data()["previewRetention"].take();
    assert_eq!(first["nodes"], json!([{"backupId": newer}]));
    assert_eq!(first["pageInfo"]["hasNextPage"], true);
    let last = page(1, first["pageInfo"]["endCursor"].clone()).await.data()["previewRetention"].take();
    assert_eq!(last["nodes"], json!([{"backupId": older}]));
    assert_eq!(last["pageInfo"]["hasNextPage"], false);
    assert_eq!(page(201, Value::Null).await.code(), "BAD_USER_INPUT");
    assert_eq!(page(1, json!("x")).await.code(), "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_backup_is_swept_after_its_grace() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let backup_id = available(&api, &cluster_id).await;
    let address = api.listen().await;
    let storage = "query($id: ID!) { backup(id: $id) { storage { logicalBytes storedBytes sharedBytes freedIfDeletedBytes } } }";
    let used = api.ask(storage, json!({"id": backup_id})).await.data()["backup"]["storage"].take();
    assert_eq!((&used["logicalBytes"], &used["sharedBytes"]), (&json!(OBJECTS * OBJECT_BYTES), &json!(0)));
    assert_eq!(used["storedBytes"], used["freedIfDeletedBytes"]);
    let delete = "mutation($input: DeleteBackupInput!) { deleteBackup(input: $input) { job { id } } }";
    let deleted = api.ask(delete, json!({"input": {"backupId": backup_id}})).await.data();
    let job_id = deleted["deleteBackup"]["job"]["id"].as_str().unwrap();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");
    let used = api.ask(storage, json!({"id": backup_id})).await.data();
    assert_eq!(used["backup"]["storage"], Value::Null);

    let preview = "query($id: ID!) { previewSweep(clusterId: $id) { backupIds waiting } }";
    let waiting = api.ask(preview, json!({"id": cluster_id})).await.data();
    assert_eq!(waiting["previewSweep"], json!({"backupIds": [], "waiting": 1}));
    api.clock.advance(TimeDelta::hours(24));
    let due = api.ask(preview, json!({"id": cluster_id})).await.data();
    assert_eq!(due["previewSweep"], json!({"backupIds": [backup_id], "waiting": 0}));
    let sweep = "mutation($input: SweepClusterInput!) { sweepCluster(input: $input) { job { id type } } }";
    let swept = api.ask(sweep, json!({"input": {"clusterId": cluster_id}})).await.data();
    assert_eq!(swept["sweepCluster"]["job"]["type"], "SWEEP");
    let job_id = swept["sweepCluster"]["job"]["id"].as_str().unwrap();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");
    let gone = api.ask(preview, json!({"id": cluster_id})).await.data();
    assert_eq!(gone["previewSweep"], json!({"backupIds": [], "waiting": 0}));
}
