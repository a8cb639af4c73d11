//! Copies of backups in a second repository, as a client asks for them and sees them.

use crate::support::{Answer, Api};
use milvault_domain::ids::{BackupId, ProjectId};
use serde_json::{Value, json};
use uuid::Uuid;

const COPY: &str = "mutation($input: CopyBackupInput!) { copyBackup(input: $input) {
    backup { id name description status expiresAt repositoryId creationMethod
        copiedFrom { backupId repositoryId backup { id } } }
    job { id type state description createdBy backup { id } } } }";

/// A backup, and another repository.
async fn furnished(api: &Api) -> (String, String, String) {
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let (backup_id, job_id) = api.create_backup(&cluster_id).await;
    assert_eq!(api.await_job(address, &job_id).await["state"], "SUCCESSFUL");
    let repository_id = api.register_repository("offsite").await;
    (cluster_id, backup_id, repository_id)
}

async fn ask(api: &Api, input: Value) -> Answer {
    api.ask(COPY, json!({"input": input})).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_copied_and_both_say_so() {
    let api = Api::start().await;
    let (_, backup_id, repository_id) = furnished(&api).await;
    let input = json!({"backupId": backup_id, "repositoryId": repository_id, "retentionDays": 3,
        "description": "off site", "idempotencyKey": "once"});
    let made = ask(&api, input.clone()).await.data()["copyBackup"].take();
    let (backup, job) = (&made["backup"], &made["job"]);
    assert_eq!(
        (&backup["repositoryId"], &backup["description"]),
        (&json!(repository_id), &json!("off site"))
    );
    assert_eq!(backup["copiedFrom"]["backup"]["id"], json!(backup_id));
    assert!(backup["name"].as_str().unwrap().ends_with("-copy"), "{backup}");
    assert!(backup["expiresAt"].is_string(), "{backup}");
    assert_eq!((&job["type"], &job["backup"]["id"]), (&json!("COPY"), &backup["id"]));
    assert!(job["description"].as_str().unwrap().contains("to repository \"offsite\""), "{job}");
    let again = ask(&api, input).await.data()["copyBackup"].take();
    assert_eq!(again["job"]["id"], job["id"]);

    let address = api.listen().await;
    let ended = api.await_job(address, job["id"].as_str().unwrap()).await;
    assert_eq!(ended["state"], "SUCCESSFUL", "{ended}");
    let shown =
        "query($id: ID!) { backup(id: $id) { copies { id status job { type } } copiedFrom { backupId } } }";
    let source = api.ask(shown, json!({"id": backup_id})).await.data()["backup"].take();
    let copies = json!([{"id": backup["id"], "status": "AVAILABLE", "job": {"type": "COPY"}}]);
    assert_eq!(source, json!({"copies": copies, "copiedFrom": null}));
    let jobs = "query { jobs(filter: {types: [COPY]}) { nodes { id progress { percent } } } }";
    let jobs = api.ask(jobs, json!({})).await.data()["jobs"]["nodes"].take();
    assert_eq!(jobs, json!([{"id": job["id"], "progress": {"percent": 100}}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_with_the_field() {
    let api = Api::start().await;
    let (cluster_id, backup_id, repository_id) = furnished(&api).await;
    let query = "query($id: ID!) { backup(id: $id) { repositoryId name } }";
    let source = api.ask(query, json!({"id": backup_id})).await.data()["backup"].take();
    let input = |more: Value| {
        let mut input = json!({"backupId": backup_id, "repositoryId": repository_id});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    for (more, code) in [
        (json!({"repositoryId": source["repositoryId"]}), "BAD_USER_INPUT"),
        (json!({"repositoryId": "rep_00000000000000000000000000000001"}), "NOT_FOUND"),
        (json!({"repositoryId": backup_id}), "BAD_USER_INPUT"),
        (json!({"backupId": BackupId::from_uuid(Uuid::from_u128(7)).to_string()}), "NOT_FOUND"),
        (json!({"name": source["name"]}), "CONFLICT"),
        (json!({"name": ""}), "BAD_USER_INPUT"),
        (json!({"retentionDays": 31}), "BAD_USER_INPUT"),
        (json!({"retentionDays": -1}), "BAD_USER_INPUT"),
        (json!({"idempotencyKey": ""}), "BAD_USER_INPUT"),
    ] {
        let answer = ask(&api, input(more.clone())).await;
        assert_eq!(answer.code(), code, "{more}: {}", answer.words());
    }
    let elsewhere = ProjectId::from_uuid(Uuid::from_u128(0xee));
    api.catalog.elsewhere.lock().unwrap().insert(backup_id.clone(), elsewhere);
    assert_eq!(ask(&api, input(json!({}))).await.code(), "NOT_FOUND");
    api.catalog.elsewhere.lock().unwrap().clear();

    api.outside.close_gate();
    let (creating, _) = api.create_backup(&cluster_id).await;
    let refused = ask(&api, input(json!({"backupId": creating}))).await;
    assert_eq!(refused.code(), "CONFLICT");
    assert!(refused.words().contains("is still being made"), "{}", refused.words());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_says_where_its_backups_are_copied_to() {
    let api = Api::start().await;
    let (cluster_id, _, repository_id) = furnished(&api).await;
    let set = "mutation($input: SetBackupPolicyInput!) { setBackupPolicy(input: $input) { backupPolicy {
        copy { repositoryId retentionDays repository { name } } } } }";
    let set = async |copy: Value| {
        let input = json!({"clusterId": cluster_id, "enabled": false, "retentionDays": 9, "copy": copy});
        api.ask(set, json!({"input": input})).await
    };
    let shown = "query($id: ID!) { cluster(id: $id) { backupPolicy { copy { retentionDays } } } }";
    let shown =
        async || api.ask(shown, json!({"id": cluster_id})).await.data()["cluster"]["backupPolicy"].take();
    let made = set(json!({"repositoryId": repository_id})).await.data();
    let copy = &made["setBackupPolicy"]["backupPolicy"]["copy"];
    let expected =
        json!({"repositoryId": repository_id, "retentionDays": 9, "repository": {"name": "offsite"}});
    assert_eq!(*copy, expected);
    set(json!({"repositoryId": repository_id, "retentionDays": 30})).await.data();
    let absent =
        "mutation($id: ID!) { setBackupPolicy(input: {clusterId: $id, enabled: false}) { job { id } } }";
    api.ask(absent, json!({"id": cluster_id})).await.data();
    assert_eq!(shown().await, json!({"copy": {"retentionDays": 30}}));
    for (copy, code) in [
        (json!({"repositoryId": "rep_00000000000000000000000000000001"}), "NOT_FOUND"),
        (json!({"repositoryId": repository_id, "retentionDays": 0}), "BAD_USER_INPUT"),
        (json!({"repositoryId": repository_id, "retentionDays": 31}), "BAD_USER_INPUT"),
        (json!({"repositoryId": repository_id, "retentionDays": -1}), "BAD_USER_INPUT"),
    ] {
        assert_eq!(set(copy.clone()).await.code(), code, "{copy}");
    }
    set(Value::Null).await.data();
    assert_eq!(shown().await, json!({"copy": null}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_document_work() {
    let api = Api::start().await;
    let (cluster_id, backup_id, repository_id) = furnished(&api).await;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/copies.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut sent = 0;
    for example in text.split("```graphql\n").skip(1) {
        let example = example.split("```").next().unwrap();
        let query = example
            .replace("bkp_01920000000070008000000000000001", &backup_id)
            .replace("rep_01920000000070008000000000000002", &repository_id)
            .replace("clu_01920000000070008000000000000001", &cluster_id);
        let answer = api.ask(&query, json!({})).await;
        assert!(answer.body["errors"].is_null(), "{example}\n{}", answer.body);
        sent += 1;
    }
    assert_eq!(sent, 3);
}
