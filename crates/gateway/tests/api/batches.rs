//! Reads of the catalog follow the shape of a document, not the number of entries that its lists have.

use crate::support::Api;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const BACKUPS: usize = 50;
/// Most calls of one method for a page, whatever its size: the places of the document that lead to the same kind of record
/// are few, and timers of the server call the catalog as well.
const CALLS_OF_ONE_METHOD_MAX: u32 = 8;
/// Most reads of many records for a page of everything.
const BATCHES_MAX: u32 = 30;

/// Everything that a backup leads to.
const EVERYTHING: &str = "query($first: Int) { backups(first: $first) { nodes { id createdBy
    cluster { ...Cluster }
    repository { ...Repository }
    job { ...Job cluster { ...Cluster } backup { id cluster { id } job { id } } }
    holds { id reason active }
    copies { id repository { id } }
    copiedFrom { backup { id } }
    verification { state coveredPercent }
    lastDrill { ...Job }
    storage { logicalBytes storedBytes sharedBytes }
    databases(first: 1) { nodes { name } }
    accessControl { users } } } }
    fragment Cluster on Cluster { id backupPolicy { nextRunAt lastSkipped { job { id } } copy { repository { id } } }
        drillPolicy { nextRunAt lastJob { id } } lease { serverName } repository { ...Repository } }
    fragment Repository on Repository { id verifyPolicy { nextRunAt lastJob { id } } }
    fragment Job on Job { id history { state } verifyReport { failureCount } restore { backupId } restoreJob { id }
        leftovers { attempts } compareReport { collectionCount } }";

impl Api {
    /// Asks, and counts which methods of the catalog that takes.
    async fn counted(&self, query: &str, variables: Value) -> (Value, BTreeMap<&'static str, u32>) {
        self.catalog.calls.lock().unwrap().clear();
        let data = self.ask(query, variables).await.data();
        let calls = self.catalog.calls.lock().unwrap().clone();
        (data, calls)
    }
}

fn batches(calls: &BTreeMap<&'static str, u32>) -> u32 {
    let is_batch = |method: &str| method.ends_with("_among") || method.ends_with("_of");
    calls.iter().filter(|(method, _)| is_batch(method)).map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_backups_with_everything_takes_few_reads_whatever_its_size() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let mut expected = Vec::new();
    for _ in 0..BACKUPS {
        let (backup_id, job_id) = api.create_backup(&cluster_id).await;
        assert_eq!(api.await_job(address, &job_id).await["state"], "SUCCESSFUL");
        expected.insert(0, (backup_id, job_id));
    }
    let hold = "mutation($input: HoldBackupInput!) { holdBackup(input: $input) { hold { id } } }";
    for (index, reason) in [(3, "first"), (3, "second"), (7, "third")] {
        let input = json!({"input": {"backupId": expected[index].0, "reason": reason}});
        api.ask(hold, input).await.data();
    }

    let (short, calls_of_short) = api.counted(EVERYTHING, json!({"first": 5})).await;
    let (page, calls) = api.counted(EVERYTHING, json!({"first": BACKUPS})).await;
    for (method, count) in &calls {
        assert!(*count <= CALLS_OF_ONE_METHOD_MAX, "{method} was called {count} times: {calls:#?}");
    }
    assert!(batches(&calls) <= BATCHES_MAX, "{calls:#?}");
    // Reads of single records: nothing but the repository that the figures of storage are worked out from.
    for single in ["cluster", "backup", "job", "holds", "copies", "verification", "job_events", "restore"] {
        assert_eq!(calls.get(single), None, "{single}: {calls:#?}");
    }
    println!("{} batches for 5 backups, {} for {BACKUPS}", batches(&calls_of_short), batches(&calls));

    // Each entry got its own.
    let nodes = page["backups"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), BACKUPS);
    for (index, (node, (backup_id, job_id))) in nodes.iter().zip(&expected).enumerate() {
        assert_eq!((&node["id"], &node["job"]["id"]), (&json!(backup_id), &json!(job_id)));
        assert_eq!(node["job"]["backup"]["id"], json!(backup_id));
        assert_eq!(node["cluster"]["id"], json!(cluster_id));
        assert_eq!(node["cluster"]["repository"]["id"], node["repository"]["id"]);
        let history = node["job"]["history"].as_array().unwrap();
        assert_eq!(history[0]["state"], "PENDING", "oldest first: {history:?}");
        assert_eq!(history.last().unwrap()["state"], "SUCCESSFUL");
        let reasons: Vec<_> = node["holds"].as_array().unwrap().iter().map(|hold| &hold["reason"]).collect();
        let expected_reasons: &[&str] = match index {
            3 => &["second", "first"],
            7 => &["third"],
            _ => &[],
        };
        assert_eq!(reasons, expected_reasons);
        assert!(!node["storage"]["logicalBytes"].is_null(), "{node}");
        assert_eq!(node["databases"]["nodes"][0]["name"], "archive");
        assert!(node["verification"]["state"] == "NEVER" && node["lastDrill"].is_null(), "{node}");
    }
    assert_eq!(short["backups"]["nodes"].as_array().unwrap()[..], nodes[..5]);

    // The jobs of the same page.
    let jobs =
        "query($first: Int) { jobs(first: $first) { nodes { id cluster { id } backup { id repository { id } }
        history { state } restoreJob { id } } } }";
    let (_, calls) = api.counted(jobs, json!({"first": BACKUPS})).await;
    assert!(batches(&calls) <= 8, "{calls:#?}");

    // Limits hold as they did.
    let answer = api.ask(EVERYTHING, json!({"first": 200})).await;
    assert!(answer.words().contains("the operation costs"), "{}", answer.body);
}

/// The records of several projects come in one read; what the caller may not see of them is not there for him.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_together_is_shown_one_by_one() {
    let api = Api::start().await;
    let address = api.listen().await;
    let repository_id = api.register_repository("main").await;
    let mut clusters = Vec::new();
    for name in ["seen", "hidden"] {
        let cluster_id = api.register_cluster(name, &repository_id).await;
        let (_, job_id) = api.create_backup(&cluster_id).await;
        api.await_job(address, &job_id).await;
        clusters.push(cluster_id);
    }
    let stranger = milvault_domain::ids::ProjectId::from_uuid(uuid::Uuid::from_u128(99));
    api.catalog.elsewhere.lock().unwrap().insert(clusters[1].clone(), stranger);
    let key = api.key_with(milvault_domain::access::Role::ProjectReadOnly);
    let query = "{ backups { nodes { clusterId cluster { id } job { cluster { id } } } } }";
    let data = api.ask_as(&key, query, json!({})).await.data();
    let nodes = data["backups"]["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        let seen = node["clusterId"] == json!(clusters[0]);
        assert_eq!(node["cluster"].is_null(), !seen, "{node}");
        assert_eq!(node["job"]["cluster"].is_null(), !seen, "{node}");
    }
}
