//! Lists.

use crate::support::Api;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn pages_cover_a_list_once_newest_first() {
    let api = Api::start().await;
    let repository_id = api.register_repository("main").await;
    let mut expected = Vec::new();
    for number in 0..23 {
        let name = format!("cluster-{number:02}");
        api.register_cluster(&name, &repository_id).await;
        expected.insert(0, name);
    }
    let query = "query($first: Int, $after: String) { clusters(first: $first, after: $after) {
        edges { cursor node { name } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }";
    let mut seen: Vec<String> = Vec::new();
    let mut after = Value::Null;
    loop {
        let page = api.ask(query, json!({"first": 5, "after": after})).await.data()["clusters"].take();
        let edges = page["edges"].as_array().unwrap();
        seen.extend(edges.iter().map(|edge| edge["node"]["name"].as_str().unwrap().to_owned()));
        assert_eq!(page["pageInfo"]["hasPreviousPage"], !after.is_null());
        assert_eq!(page["pageInfo"]["endCursor"], edges.last().unwrap()["cursor"]);
        after = page["pageInfo"]["endCursor"].clone();
        if page["pageInfo"]["hasNextPage"] == false {
            break;
        }
        assert_eq!(edges.len(), 5);
    }
    assert_eq!(seen, expected);
    let by_name = r#"{ clusters(filter: {nameContains: "R-1"}) { nodes { name } } }"#;
    assert_eq!(api.ask(by_name, json!({})).await.data()["clusters"]["nodes"].as_array().unwrap().len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_sizes_and_cursors_are_checked() {
    let api = Api::start().await;
    let query = "query($first: Int, $after: String) { jobs(first: $first, after: $after) { nodes { id } } }";
    for (variables, field) in [
        (json!({"first": 0}), "first"),
        (json!({"first": -1}), "first"),
        (json!({"first": 201}), "first"),
        (json!({"after": "nonsense"}), "after"),
        (json!({"after": ""}), "after"),
    ] {
        let answer = api.ask(query, variables.clone()).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{variables}");
        assert_eq!(answer.body["errors"][0]["extensions"]["field"], field);
    }
    api.ask(query, json!({"first": 200})).await.data();
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_choose() {
    let api = Api::start().await;
    let address = api.listen().await;
    let repository_id = api.register_repository("main").await;
    let first = api.register_cluster("first", &repository_id).await;
    let second = api.register_cluster("second", &repository_id).await;
    let (backup_id, job_id) = api.create_backup(&first).await;
    api.await_job(address, &job_id).await;
    let verify = "mutation($input: VerifyBackupInput!) { verifyBackup(input: $input) { job { id } } }";
    let input = json!({"input": {"backupId": backup_id, "level": "EXISTENCE"}});
    let verify_id = api.ask(verify, input).await.data()["verifyBackup"]["job"]["id"].take();
    api.await_job(address, verify_id.as_str().unwrap()).await;
    let (other_backup_id, other_job_id) = api.create_backup(&second).await;
    api.await_job(address, &other_job_id).await;

    let jobs = async |filter: Value| {
        let query = "query($filter: JobFilter) { jobs(filter: $filter) { nodes { id } } }";
        let data = api.ask(query, json!({"filter": filter})).await.data();
        let nodes = data["jobs"]["nodes"].as_array().unwrap().iter();
        nodes.map(|node| node["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let verify_id = verify_id.as_str().unwrap().to_owned();
    assert_eq!(jobs(json!(null)).await, [other_job_id.clone(), verify_id.clone(), job_id.clone()]);
    assert_eq!(jobs(json!({"clusterId": first})).await, [verify_id.clone(), job_id.clone()]);
    assert_eq!(jobs(json!({"types": ["VERIFY"]})).await, std::slice::from_ref(&verify_id));
    assert_eq!(jobs(json!({"backupId": backup_id})).await, [verify_id, job_id.clone()]);
    assert_eq!(jobs(json!({"backupId": other_backup_id})).await, [other_job_id]);
    assert!(jobs(json!({"states": ["PENDING", "IN_PROGRESS"]})).await.is_empty());
    assert!(jobs(json!({"createdBefore": "2020-01-01T00:00:00Z"})).await.is_empty());

    let backups = async |filter: Value| {
        let query = "query($filter: BackupFilter) { backups(filter: $filter) { nodes { id job { id } } } }";
        let data = api.ask(query, json!({"filter": filter})).await.data();
        data["backups"]["nodes"].clone()
    };
    assert_eq!(backups(json!({"clusterId": first})).await, json!([{"id": backup_id, "job": {"id": job_id}}]));
    assert_eq!(backups(json!({"status": "FAILED"})).await, json!([]));
    assert_eq!(
        backups(json!({"type": "CLUSTER", "creationMethod": "MANUAL"})).await.as_array().unwrap().len(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_of_a_backup_are_paged_too() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let (backup_id, job_id) = api.create_backup(&cluster_id).await;
    api.await_job(address, &job_id).await;
    let query = "query($id: ID!, $after: String) { backup(id: $id) { databases(first: 1, after: $after) {
        nodes { name collections(first: 1) { nodes { name } pageInfo { hasNextPage } } } pageInfo { hasNextPage endCursor } } } }";
    let page = api.ask(query, json!({"id": backup_id})).await.data()["backup"]["databases"].take();
    assert_eq!(page["nodes"][0]["name"], "archive");
    assert_eq!(page["pageInfo"]["hasNextPage"], true);
    let after = &page["pageInfo"]["endCursor"];
    let page =
        api.ask(query, json!({"id": backup_id, "after": after})).await.data()["backup"]["databases"].take();
    assert_eq!(page["nodes"][0]["name"], "default");
    assert_eq!(page["nodes"][0]["collections"]["nodes"], json!([{"name": "books"}]));
    assert_eq!(page["nodes"][0]["collections"]["pageInfo"]["hasNextPage"], true);
    assert_eq!(page["pageInfo"]["hasNextPage"], false);
}
