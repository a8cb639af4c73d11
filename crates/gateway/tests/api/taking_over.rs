//! Backups that were not made here: repositories that are attached, and directories of milvus-backup.

use crate::support::Api;
use crate::support::pretended::{ATTACHED_BACKUP, OBJECTS, SEGMENT_ROWS};
use serde_json::{Value, json};

const ATTACH: &str = "mutation($input: AttachRepositoryInput!) { attachRepository(input: $input) {
    repository { id name storage { url } } found added unreadable } }";

#[tokio::test(flavor = "multi_thread")]
async fn an_attached_repository_shows_its_backups() {
    let api = Api::start().await;
    let place =
        |name: &str, path: &str| json!({"input": {"name": name, "storage": {"local": {"path": path}}}});
    let attached = api.ask(ATTACH, place("found", "/elsewhere")).await.data()["attachRepository"].take();
    assert_eq!((&attached["found"], &attached["added"]), (&json!(1), &json!(1)));
    assert_eq!(attached["unreadable"], json!([]));
    assert_eq!(attached["repository"]["name"], "found");

    let query = "query($id: ID!) { backup(id: $id) { name status clusterName createdBy rowCount milvusVersion
        cluster { id } job { id } repository { name } databases { nodes { name collectionCount } } } }";
    let data = api.ask(query, json!({"id": ATTACHED_BACKUP})).await.data();
    let backup = &data["backup"];
    assert_eq!((&backup["name"], &backup["status"]), (&json!("found"), &json!("AVAILABLE")));
    assert_eq!((&backup["clusterName"], &backup["cluster"]), (&json!("elsewhere"), &Value::Null));
    assert_eq!((&backup["job"], &backup["repository"]["name"]), (&Value::Null, &json!("found")));
    assert_eq!(backup["rowCount"], 3 * SEGMENT_ROWS);
    assert_eq!(backup["databases"]["nodes"][1], json!({"name": "default", "collectionCount": 2}));

    assert_eq!(api.ask(ATTACH, place("found", "/elsewhere")).await.code(), "CONFLICT");
    assert_eq!(api.ask(ATTACH, place("again", "/elsewhere")).await.code(), "CONFLICT");
    let nothing = api.ask(ATTACH, place("other", "/nothing")).await;
    assert_eq!(nothing.code(), "BAD_USER_INPUT", "{}", nothing.body);
    assert!(nothing.words().contains("no repository"), "{}", nothing.words());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_milvus_backup_is_listed_and_taken_over() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let place = json!({"local": {"path": "/milvus-backup"}});
    let listing =
        "query($storage: StorageInput!, $first: Int) { foreignBackups(storage: $storage, first: $first) {
        directory createdAt milvusVersion collectionCount bytes problem } }";
    let listed = api.ask(listing, json!({"storage": place})).await.data();
    let directories = listed["foreignBackups"].as_array().unwrap();
    assert_eq!(directories.len(), 2);
    assert_eq!(directories[0]["problem"], "full_meta.json is missing");
    assert_eq!(
        directories[1],
        json!({"directory": "nightly", "createdAt": "2025-06-15T15:06:40+00:00", "milvusVersion": "v2.3.5",
            "collectionCount": 3, "bytes": 9000, "problem": null})
    );
    let first = api.ask(listing, json!({"storage": place, "first": 1})).await.data();
    assert_eq!(first["foreignBackups"], json!([directories[0]]));

    let adopt = "mutation($input: AdoptBackupInput!) { adoptBackup(input: $input) { backup { id status } job { id type } } }";
    let input = |directory: &str| json!({"input": {"clusterId": cluster_id, "storage": place, "directory": directory, "name": "adopted"}});
    let adopted = api.ask(adopt, input("nightly")).await.data()["adoptBackup"].take();
    assert_eq!(
        (&adopted["backup"]["status"], &adopted["job"]["type"]),
        (&json!("CREATING"), &json!("ADOPT"))
    );
    let job_id = adopted["job"]["id"].as_str().unwrap();
    let last = api.await_job(address, job_id).await;
    assert_eq!(last["state"], "SUCCESSFUL", "{last}");
    let query = "query($id: ID!) { backup(id: $id) { name status objectCount job { id type } } }";
    let backup = api.ask(query, json!({"id": adopted["backup"]["id"]})).await.data()["backup"].take();
    assert_eq!((&backup["name"], &backup["status"]), (&json!("adopted"), &json!("AVAILABLE")));
    assert_eq!(backup["objectCount"], OBJECTS);
    assert_eq!(backup["job"], json!({"id": job_id, "type": "ADOPT"}));
}
