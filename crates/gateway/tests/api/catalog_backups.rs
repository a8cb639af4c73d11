//! Backups of the catalog, as the owners of the organization see them.

use crate::support::Api;
use chrono::TimeDelta;
use milvault_domain::access::Role;
use milvault_domain::ports::{Catalog, CatalogBackupClaim, Clock, RecoveryCatalog};
use serde_json::{Value, json};
use std::time::Duration;

const LIST: &str = "{ catalogBackups { name automatic state sizeBytes error endedAt repository { name } } }";
const ASK: &str = "mutation($input: CreateCatalogBackupInput!) { createCatalogBackup(input: $input) {
    catalogBackup { name automatic state repositoryId } } }";

async fn listed(api: &Api) -> Vec<Value> {
    api.ask(LIST, json!({})).await.data()["catalogBackups"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_of_the_organization_ask_for_backups_of_the_catalog() {
    let api = Api::start().await;
    assert_eq!(api.ask(ASK, json!({"input": {}})).await.code(), "CONFLICT", "there is no repository");
    api.furnish().await;
    let begun =
        api.ask(ASK, json!({"input": {}})).await.data()["createCatalogBackup"]["catalogBackup"].take();
    assert_eq!((&begun["automatic"], &begun["state"]), (&json!(false), &json!("IN_PROGRESS")));
    let made = loop {
        let found = listed(&api).await.into_iter().find(|backup| backup["name"] == begun["name"]).unwrap();
        if found["state"] != "IN_PROGRESS" {
            break found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!((&made["state"], &made["error"]), (&json!("MADE"), &Value::Null), "{made}");
    assert!(0 < made["sizeBytes"].as_u64().unwrap() && made["endedAt"].is_string(), "{made}");
    assert!(made["repository"]["name"].is_string(), "{made}");

    let unknown = json!({"input": {"repositoryId": "rep_00000000000000000000000000000009"}});
    assert_eq!(api.ask(ASK, unknown).await.code(), "NOT_FOUND");
    assert_eq!(api.ask(ASK, json!({"input": {"repositoryId": "x"}})).await.code(), "BAD_USER_INPUT");
    for first in [0, 201] {
        let query = format!("{{ catalogBackups(first: {first}) {{ name }} }}");
        assert_eq!(api.ask(&query, json!({})).await.code(), "BAD_USER_INPUT");
    }
    for key in [api.key_with(Role::ProjectOwner), api.key_with(Role::ProjectReadOnly), api.foreign_key()] {
        assert_eq!(api.ask_as(&key, LIST, json!({})).await.code(), "FORBIDDEN");
        assert_eq!(api.ask_as(&key, ASK, json!({"input": {}})).await.code(), "FORBIDDEN");
    }
    let log = "{ auditLog(filter: {action: \"createCatalogBackup\", result: REFUSED}, first: 50) { nodes { code } } }";
    let log = api.ask(log, json!({})).await.data();
    assert!(log["auditLog"]["nodes"].as_array().unwrap().iter().any(|entry| entry["code"] == "FORBIDDEN"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_to_nothing_is_told() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await.parse().unwrap();
    let repository_id = api.catalog.cluster(cluster_id).await.unwrap().unwrap().repository_id;
    for (name, hours, outcome) in [("gone", 3, None), ("failed", 5, Some("the disk is full"))] {
        let now = api.clock.now() - TimeDelta::hours(hours);
        let (name, stale_before) = (name.to_owned(), now);
        let claim = CatalogBackupClaim { name, repository_id, day: Some(hours), now, stale_before };
        assert!(api.catalog.claim_catalog_backup(&claim).await.unwrap());
        if let Some(failure) = outcome {
            let failure = Err(failure.to_owned());
            api.catalog.end_catalog_backup(&claim.name, failure, now).await.unwrap();
        }
    }
    let seen = listed(&api).await;
    let of = |name: &str| seen.iter().find(|backup| backup["name"] == name).unwrap();
    assert_eq!((&of("gone")["state"], &of("gone")["automatic"]), (&json!("FAILED"), &json!(true)));
    assert!(of("gone")["error"].as_str().unwrap().contains("went away"));
    assert_eq!(of("failed")["error"], "the disk is full");
}
