//! The way of a backup through the API, from an empty server to a verified backup.

use crate::support::Api;
use crate::support::pretended::{OBJECT_BYTES, OBJECTS, SEGMENT_ROWS};
use crate::support::socket::SocketClient;
use serde_json::{Value, json};

const CREATE: &str = "mutation($input: CreateBackupInput!) { createBackup(input: $input) {
    backup { id name description type status createdBy expiresAt cutAt scope { databases collections { database collection } } }
    job { id type state description createdBy } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_shown_and_verified() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let input = json!({"clusterId": cluster_id, "name": "first", "description": "before the upgrade", "retentionDays": 7});
    let made = api.ask(CREATE, json!({"input": input})).await.data();
    let backup = &made["createBackup"]["backup"];
    assert_eq!(backup["name"], "first");
    assert_eq!(backup["type"], "CLUSTER");
    assert_eq!(backup["status"], "CREATING");
    assert_eq!(backup["createdBy"], "owner");
    assert_eq!(backup["cutAt"], Value::Null);
    assert_eq!(made["createBackup"]["job"]["type"], "BACKUP");
    let job_id = made["createBackup"]["job"]["id"].as_str().unwrap();
    let backup_id = backup["id"].as_str().unwrap();

    let last = api.await_job(address, job_id).await;
    assert_eq!(last, json!({"state": "SUCCESSFUL", "failure": null, "progress": {"percent": 100}}));

    show_facts(&api, backup_id).await;
    show_contents(&api, backup_id).await;
    show_job(&api, job_id, backup_id).await;
    verify(&api, address, backup_id).await;
}

async fn show_facts(api: &Api, backup_id: &str) {
    let query = "query($id: ID!) { backup(id: $id) { status cutAt milvusVersion logicalBytes newlyStoredBytes
        objectCount reusedObjectCount rowCount collectionCount clusterName completedAt expiresAt createdAt
        cluster { name repository { name } } repository { capabilities { conditionalPut } } job { state } } }";
    let data = api.ask(query, json!({"id": backup_id})).await.data();
    let backup = &data["backup"];
    assert_eq!(backup["status"], "AVAILABLE");
    assert_eq!(backup["cutAt"], "2025-06-15T15:06:40+00:00");
    assert_eq!(backup["milvusVersion"], "v2.3.5");
    assert_eq!(backup["logicalBytes"], OBJECTS * OBJECT_BYTES);
    assert_eq!(backup["newlyStoredBytes"], OBJECTS * OBJECT_BYTES + 500);
    assert_eq!(backup["objectCount"], OBJECTS);
    assert_eq!(backup["reusedObjectCount"], 0);
    assert_eq!(backup["rowCount"], 3 * SEGMENT_ROWS);
    assert_eq!(backup["collectionCount"], 3);
    assert_eq!(backup["cluster"], json!({"name": "prod", "repository": {"name": "main"}}));
    assert_eq!(backup["repository"]["capabilities"]["conditionalPut"], true);
    assert_eq!(backup["job"]["state"], "SUCCESSFUL");
    assert!(backup["expiresAt"].is_string() && backup["completedAt"].is_string());
}

async fn show_contents(api: &Api, backup_id: &str) {
    let query = "query($id: ID!) { backup(id: $id) {
        databases { edges { node { name properties { key value } collectionCount collections { nodes {
            id name description shardCount consistencyLevel dynamicField properties { key value }
            partitions { id name rowCount } aliases loadState replicaCount rowCount segmentCount
            fields { id name dataType elementType primaryKey autoId typeParams { key value } }
            indexes { name fieldName params { key value } } } } } } }
        accessControl { users roles { name users } grants { role privilege objectName } } } }";
    let data = api.ask(query, json!({"id": backup_id})).await.data();
    let databases = data["backup"]["databases"]["edges"].as_array().unwrap();
    let names: Vec<_> = databases.iter().map(|edge| edge["node"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["archive", "default"]);
    let books = &databases[1]["node"]["collections"]["nodes"][0];
    // Beyond 2^53, so a string.
    assert_eq!(books["id"], "451234567890123456");
    assert_eq!(books["name"], "books");
    assert_eq!(books["consistencyLevel"], "BOUNDED");
    assert_eq!(books["loadState"], "LOADED");
    assert_eq!(books["partitions"], json!([{"id": "7", "name": "_default", "rowCount": SEGMENT_ROWS}]));
    assert_eq!(books["rowCount"], SEGMENT_ROWS);
    assert_eq!(books["segmentCount"], 1);
    assert_eq!(books["fields"][0]["dataType"], "Int64");
    assert_eq!(books["fields"][0]["primaryKey"], true);
    assert_eq!(books["fields"][0]["elementType"], Value::Null);
    assert_eq!(books["indexes"][0]["params"], json!([{"key": "index_type", "value": "HNSW"}]));
    assert_eq!(data["backup"]["accessControl"]["users"], json!(["ada", "root"]));
    assert_eq!(data["backup"]["accessControl"]["grants"][0]["privilege"], "All");
}

async fn show_job(api: &Api, job_id: &str, backup_id: &str) {
    let query = "query($id: ID!) { job(id: $id) { state phase attempt createdBy startedAt endedAt failure
        progress { percent bytesDone bytesTotal bytesReused objectsDone objectsTotal objectsReused bytesThroughServer
            bytesPerSecond remainingSeconds }
        backup { id } cluster { name } history { state phase reason } verifyReport { failureCount } } }";
    let data = api.ask(query, json!({"id": job_id})).await.data();
    let job = &data["job"];
    assert_eq!(job["state"], "SUCCESSFUL");
    assert_eq!(job["attempt"], 1);
    assert_eq!(job["backup"]["id"], backup_id);
    assert_eq!(job["cluster"]["name"], "prod");
    assert_eq!(job["verifyReport"], Value::Null);
    assert_eq!(job["progress"]["bytesTotal"], OBJECTS * OBJECT_BYTES);
    assert_eq!(job["progress"]["objectsDone"], OBJECTS);
    assert_eq!(job["progress"]["remainingSeconds"], Value::Null);
    let states: Vec<_> =
        job["history"].as_array().unwrap().iter().map(|event| event["state"].as_str().unwrap()).collect();
    assert_eq!(states.first(), Some(&"PENDING"));
    assert_eq!(states.last(), Some(&"SUCCESSFUL"));
    assert!(states.contains(&"IN_PROGRESS"));
}

async fn verify(api: &Api, address: std::net::SocketAddr, backup_id: &str) {
    let query = "mutation($input: VerifyBackupInput!) { verifyBackup(input: $input) { job { id type } } }";
    let report =
        "query($id: ID!) { job(id: $id) { state failure verifyReport { level objectsChecked failureCount
        failures { file key reason } } } }";
    for (level, state, failures) in [("STRUCTURE", "SUCCESSFUL", 0), ("CONTENT", "FAILED", 1)] {
        let input = json!({"backupId": backup_id, "level": level});
        let data = api.ask(query, json!({"input": input})).await.data();
        let job_id = data["verifyBackup"]["job"]["id"].as_str().unwrap();
        assert_eq!(data["verifyBackup"]["job"]["type"], "VERIFY");
        assert_eq!(api.await_job(address, job_id).await["state"], state);
        let job = api.ask(report, json!({"id": job_id})).await.data()["job"].take();
        assert_eq!(job["verifyReport"]["level"], level);
        assert_eq!(job["verifyReport"]["objectsChecked"], 3);
        assert_eq!(job["verifyReport"]["failureCount"], failures);
        assert_eq!(job["failure"].is_string(), failures > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_backup_is_refused_with_the_running_job_until_it_is_cancelled() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    api.outside.close_gate();
    let (backup_id, job_id) = api.create_backup(&cluster_id).await;

    let second = api.ask(CREATE, json!({"input": {"clusterId": cluster_id}})).await;
    assert_eq!(second.code(), "CONFLICT");
    assert_eq!(second.body["errors"][0]["extensions"]["jobId"], job_id.as_str());
    assert_eq!(second.body["errors"][0]["extensions"]["retryable"], false);

    let remove = "mutation($input: RemoveClusterInput!) { removeCluster(input: $input) { clusterId } }";
    let refused = api.ask(remove, json!({"input": {"clusterId": cluster_id}})).await;
    assert_eq!(refused.code(), "CONFLICT");
    assert_eq!(refused.body["errors"][0]["extensions"]["jobId"], job_id.as_str());

    let cancel = "mutation($input: CancelJobInput!) { cancelJob(input: $input) { job { id state } } }";
    let canceled = api.ask(cancel, json!({"input": {"jobId": job_id}})).await.data();
    assert_eq!(canceled["cancelJob"]["job"]["id"], job_id.as_str());
    assert_eq!(api.await_job(address, &job_id).await["state"], "CANCELED");
    // Asking again is harmless.
    api.ask(cancel, json!({"input": {"jobId": job_id}})).await.data();
    let backup =
        api.ask("query($id: ID!) { backup(id: $id) { status } }", json!({"id": backup_id})).await.data();
    assert_eq!(backup["backup"]["status"], "FAILED");

    api.outside.open_gate();
    let (_, next_job_id) = api.create_backup(&cluster_id).await;
    assert_eq!(api.await_job(address, &next_job_id).await["state"], "SUCCESSFUL");
    assert_eq!(api.ask(cancel, json!({"input": {"jobId": next_job_id}})).await.code(), "CONFLICT");
    let removed = api.ask(remove, json!({"input": {"clusterId": cluster_id}})).await.data();
    assert_eq!(removed["removeCluster"]["clusterId"], cluster_id.as_str());
    assert_eq!(
        api.ask("query($id: ID!) { cluster(id: $id) { id } }", json!({"id": cluster_id})).await.code(),
        "NOT_FOUND"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_the_same_key_gives_the_same_backup() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let input = json!({"clusterId": cluster_id, "name": "nightly", "idempotencyKey": "k1"});
    let first = api.ask(CREATE, json!({"input": input})).await.data();
    let second = api.ask(CREATE, json!({"input": input})).await.data();
    assert_eq!(first["createBackup"]["backup"]["id"], second["createBackup"]["backup"]["id"]);
    assert_eq!(first["createBackup"]["job"]["id"], second["createBackup"]["job"]["id"]);
    let other = json!({"clusterId": cluster_id, "name": "weekly", "idempotencyKey": "k1"});
    let other = api.ask(CREATE, json!({"input": other})).await;
    assert_eq!(other.code(), "CONFLICT");
    assert_eq!(other.body["errors"][0]["extensions"]["jobId"], first["createBackup"]["job"]["id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_are_databases_or_collections_and_not_both() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let create = async |scope: Value| {
        api.ask(CREATE, json!({"input": {"clusterId": cluster_id, "scope": scope}})).await
    };

    let both = create(json!({"databases": ["a"], "collections": [{"collection": "b"}]})).await;
    assert_eq!(
        (both.code(), &both.body["errors"][0]["extensions"]["field"]),
        ("BAD_USER_INPUT", &json!("scope"))
    );
    assert_eq!(create(json!({"databases": []})).await.code(), "BAD_USER_INPUT");

    let made = create(json!({"collections": [{"collection": "people"}]})).await.data();
    let backup = &made["createBackup"]["backup"];
    assert_eq!(backup["type"], "COLLECTION");
    assert_eq!(backup["scope"]["collections"], json!([{"database": "default", "collection": "people"}]));
    let job_id = made["createBackup"]["job"]["id"].as_str().unwrap();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");

    let made = create(json!({"databases": ["archive"]})).await.data();
    assert_eq!(made["createBackup"]["backup"]["type"], "DATABASE");
    let job_id = made["createBackup"]["job"]["id"].as_str().unwrap();
    assert_eq!(api.await_job(address, job_id).await["state"], "SUCCESSFUL");

    let made = create(json!({})).await.data();
    assert_eq!(made["createBackup"]["backup"]["type"], "CLUSTER");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_begins_with_the_present_and_ends_with_the_end() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    api.outside.close_gate();
    let (_, job_id) = api.create_backup(&cluster_id).await;
    let mut client = SocketClient::admitted(address, &api.owner).await;
    // Everything that changes in a job, so that no two events are alike which are about a change.
    let query = "subscription($id: ID!) { jobUpdated(jobId: $id) { id state phase attempt startedAt endedAt failure
        progress { percent bytesDone bytesTotal bytesReused objectsDone objectsTotal objectsReused bytesThroughServer
            bytesPerSecond remainingSeconds }
        backup { status } } }";
    client.subscribe("1", query, json!({"id": job_id})).await;
    let first = client.event().await.unwrap();
    assert_eq!(first["data"]["jobUpdated"]["id"], job_id.as_str());
    assert_ne!(first["data"]["jobUpdated"]["state"], "SUCCESSFUL");
    api.outside.open_gate();
    let mut last = first;
    while let Some(event) = client.event().await {
        assert_ne!(last, event, "the same state came twice");
        last = event;
    }
    assert_eq!(last["data"]["jobUpdated"]["state"], "SUCCESSFUL");
    // Fields below are as fresh as the job itself.
    assert_eq!(last["data"]["jobUpdated"]["backup"]["status"], "AVAILABLE");

    // Of a job that has ended, there is one event.
    client.subscribe("2", query, json!({"id": job_id})).await;
    assert_eq!(client.event().await.unwrap()["data"]["jobUpdated"]["state"], "SUCCESSFUL");
    assert_eq!(client.event().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_of_a_cluster_begin_with_its_open_jobs_and_show_every_end() {
    let api = Api::start().await;
    let address = api.listen().await;
    let repository_id = api.register_repository("main").await;
    let watched = api.register_cluster("watched", &repository_id).await;
    let other = api.register_cluster("other", &repository_id).await;
    api.outside.close_gate();
    let (_, open_job) = api.create_backup(&watched).await;
    let (_, other_job) = api.create_backup(&other).await;

    let mut of_cluster = SocketClient::admitted(address, &api.owner).await;
    let query = "subscription($id: ID) { jobUpdates(clusterId: $id) { id state } }";
    of_cluster.subscribe("1", query, json!({"id": watched})).await;
    assert_eq!(of_cluster.event().await.unwrap()["data"]["jobUpdates"]["id"], open_job.as_str());
    let mut of_all = SocketClient::admitted(address, &api.owner).await;
    of_all.subscribe("1", query, json!({})).await;
    let mut open = Vec::new();
    while !(open.contains(&json!(open_job)) && open.contains(&json!(other_job))) {
        open.push(of_all.event().await.unwrap()["data"]["jobUpdates"]["id"].clone());
    }

    api.outside.open_gate();
    let await_end = async |client: &mut SocketClient, wanted: &str| loop {
        let job = client.event().await.unwrap()["data"]["jobUpdates"].take();
        if job["id"] == wanted && job["state"] == "SUCCESSFUL" {
            break;
        }
    };
    loop {
        let job = of_cluster.event().await.unwrap()["data"]["jobUpdates"].take();
        assert_eq!(job["id"], open_job.as_str(), "a job of another cluster");
        if job["state"] == "SUCCESSFUL" {
            break;
        }
    }
    await_end(&mut of_all, &other_job).await;
    // A job that began later is seen too.
    let (_, later_job) = api.create_backup(&watched).await;
    await_end(&mut of_cluster, &later_job).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_changed_field_by_field_and_checked() {
    let api = Api::start().await;
    let cluster_id = api.furnish().await;
    let update = "mutation($input: UpdateClusterInput!) { updateCluster(input: $input) { cluster {
        name uri cuSize maxBytesPerSecond caPem authentication { kind user secret { source reference } } } } }";
    let change = async |fields: Value| {
        let mut input = fields;
        input["clusterId"] = json!(cluster_id);
        api.ask(update, json!({"input": input})).await
    };
    let cluster = change(json!({"cuSize": 8, "maxBytesPerSecond": 5_000_000_000_u64})).await.data();
    let cluster = &cluster["updateCluster"]["cluster"];
    assert_eq!((&cluster["cuSize"], &cluster["maxBytesPerSecond"]), (&json!(8), &json!(5_000_000_000_u64)));
    assert_eq!((&cluster["name"], &cluster["uri"]), (&json!("prod"), &json!("http://milvus:19530")));
    assert_eq!(cluster["authentication"]["kind"], "NONE");

    let password = json!({"user": "root", "password": {"environment": "MILVAULT_SECRET_MILVUS"}});
    let cluster = change(password).await.data();
    let authentication = &cluster["updateCluster"]["cluster"]["authentication"];
    assert_eq!(
        *authentication,
        json!({"kind": "PASSWORD", "user": "root", "secret": {"source": "ENVIRONMENT", "reference": "MILVAULT_SECRET_MILVUS"}})
    );
    let cluster = change(json!({"user": "backup"})).await.data();
    assert_eq!(cluster["updateCluster"]["cluster"]["authentication"]["user"], "backup");
    for elsewhere in [
        json!({"uri": "http://unreachable:1"}),
        json!({"serverName": "milvus"}),
        json!({"user": "root", "uri": "http://unreachable:1"}),
    ] {
        let answer = change(elsewhere.clone()).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT", "{elsewhere}");
        assert!(answer.words().contains("give `token` or `password` again"), "{}", answer.words());
    }
    change(json!({"uri": "http://milvus:19530", "caPem": null})).await.data();
    let elsewhere = json!({"uri": "http://milvus:1", "password": {"environment": "MILVAULT_SECRET_MILVUS"}});
    change(elsewhere).await.data();
    let cluster =
        change(json!({"token": null, "maxBytesPerSecond": null, "uri": "http://unreachable:1"})).await.data();
    assert_eq!(cluster["updateCluster"]["cluster"]["authentication"]["kind"], "NONE");
    assert_eq!(cluster["updateCluster"]["cluster"]["maxBytesPerSecond"], Value::Null);

    for wrong in [
        json!({"cuSize": 0}),
        json!({"cuSize": -1}),
        json!({"user": "root"}),
        json!({"token": {"value": "t"}, "user": "root"}),
        json!({"uri": "ftp://x"}),
        json!({"name": ""}),
        json!({"maxBytesPerSecond": 0}),
    ] {
        assert_eq!(change(wrong.clone()).await.code(), "BAD_USER_INPUT", "{wrong}");
    }

    let check = "mutation($input: CheckClusterInput!) { checkCluster(input: $input) { ok findings { subject ok message } } }";
    let found = api.ask(check, json!({"input": {"clusterId": cluster_id}})).await.data();
    assert_eq!(found["checkCluster"]["ok"], false);
    let findings = found["checkCluster"]["findings"].as_array().unwrap();
    let of = |subject: &str| findings.iter().find(|finding| finding["subject"] == subject).unwrap();
    assert_eq!(of("milvus")["ok"], false);
    assert!(of("milvus")["message"].as_str().unwrap().contains("does not answer"));
    assert_eq!((&of("storage")["ok"], &of("repository")["ok"]), (&json!(true), &json!(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_places_collide_with_words() {
    let api = Api::start().await;
    let repository_id = api.register_repository("main").await;
    api.register_cluster("prod", &repository_id).await;
    let register =
        "mutation($input: RegisterClusterInput!) { registerCluster(input: $input) { cluster { id } } }";
    let input = |name: &str, repository: &str| json!({"input": {"name": name, "uri": "http://m:1", "repositoryId": repository, "storage": {"local": {"path": "/m"}}}});
    assert_eq!(api.ask(register, input("prod", &repository_id)).await.code(), "CONFLICT");
    let absent = "rep_00000000000000000000000000000099";
    assert_eq!(api.ask(register, input("x", absent)).await.code(), "NOT_FOUND");
    let make = "mutation($input: RegisterRepositoryInput!) { registerRepository(input: $input) { repository { id } } }";
    let place =
        |name: &str, path: &str| json!({"input": {"name": name, "storage": {"local": {"path": path}}}});
    assert_eq!(api.ask(make, place("main", "/new")).await.code(), "CONFLICT");
    let occupied = api.ask(make, place("second", "/occupied")).await;
    assert_eq!(occupied.code(), "CONFLICT");
    assert!(occupied.words().contains("not empty"), "{}", occupied.words());
    assert_eq!(api.ask(make, place("second", "relative")).await.code(), "BAD_USER_INPUT");
}

#[tokio::test(flavor = "multi_thread")]
async fn anything_is_found_by_its_id_alone() {
    let api = Api::start().await;
    let address = api.listen().await;
    let cluster_id = api.furnish().await;
    let (backup_id, job_id) = api.create_backup(&cluster_id).await;
    api.await_job(address, &job_id).await;
    for (id, kind) in [(&cluster_id, "Cluster"), (&backup_id, "Backup"), (&job_id, "Job")] {
        let query = "query($id: ID!) { node(id: $id) { __typename id ... on Job { state } } }";
        let node = api.ask(query, json!({"id": id})).await.data()["node"].take();
        assert_eq!((&node["__typename"], &node["id"]), (&json!(kind), &json!(id)));
    }
    for id in
        ["", "x", "clu_1", "org_00000000000000000000000000000001", "Job_00000000000000000000000000000001"]
    {
        let answer = api.ask("query($id: ID!) { node(id: $id) { id } }", json!({"id": id})).await;
        assert_eq!(
            (answer.code(), &answer.body["errors"][0]["extensions"]["field"]),
            ("BAD_USER_INPUT", &json!("id"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_server_refuses_work_and_ends_subscriptions_but_still_answers() {
    let mut api = Api::start().await;
    let cluster_id = api.furnish().await;
    api.runtime.take().unwrap().shutdown().await;
    let refused = api.ask(CREATE, json!({"input": {"clusterId": cluster_id}})).await;
    assert_eq!(refused.code(), "UNAVAILABLE");
    assert_eq!(refused.body["errors"][0]["extensions"]["retryable"], true);
    assert_eq!(api.get("/readyz").await.status, 503);
    assert_eq!(api.get("/healthz").await.status, 200);
    api.ask("{ clusters { nodes { name } } }", json!({})).await.data();
}
