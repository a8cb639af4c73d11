//! The way of a restore through the API: dry run, restore, and what belongs to it.

use crate::support::Api;
use crate::support::pretended::{OBJECT_BYTES, OBJECTS, SEGMENT_ROWS};
use serde_json::{Value, json};
use std::net::SocketAddr;

const SOURCE: &str = "http://milvus:19530";
const TARGET: &str = "http://target:19530";

const PLAN: &str = "query($input: RestoreBackupInput!) { planRestore(input: $input) { cutAt feasible bytes objectCount
    databases { name create } collectionCount collections { source { database collection }
    target { database collection } action partitions shardCount buildIndexes replicaCount aliases objectCount bytes
    storedRowCount } conflictCount conflicts { database name reason } accessControl { users usersWithoutPassword } warnings } }";

const RESTORE: &str =
    "mutation($input: RestoreBackupInput!) { restoreBackup(input: $input) { job { id type state } } }";

const RESULT: &str = "query($id: ID!) { job(id: $id) { type state failure createdBy cluster { name } backup { name }
    restoreJob { id } restore { backupId targetClusterId newCluster items { database collection partitions }
    databaseNames { from to } collectionNames { from { database collection } to { database collection } } suffix
    conflictPolicy shardCount load indexes accessControl { users } compare continuesJobId plan { feasible collectionCount }
    steps { step collectionCount } warnings collections { nodes { source { database collection }
    target { database collection } workingName action step targetCollectionId replacedCollectionId replacedKeptAs failure
    warnings partitions { partition expected found } } pageInfo { hasNextPage endCursor } } }
    compareReport { collectionCount differingCount collections { source { collection } target { database }
    partitions { expected found } rowsComparedWhole differences } } } }";

/// A cluster with a backup, and an empty cluster.
pub(crate) struct Scene {
    pub(crate) api: Api,
    address: SocketAddr,
    pub(crate) source: String,
    pub(crate) target: String,
    pub(crate) backup: String,
}

impl Scene {
    pub(crate) async fn set() -> Self {
        let api = Api::start().await;
        let address = api.listen().await;
        let repository = api.register_repository("main").await;
        let source = api.register_cluster_at(SOURCE, "prod", &repository).await;
        let target = api.register_cluster_at(TARGET, "spare", &repository).await;
        let (backup, job) = api.create_backup(&source).await;
        assert_eq!(api.await_job(address, &job).await["state"], "SUCCESSFUL");
        Self { api, address, source, target, backup }
    }

    /// The input of a restore of the backup into the empty cluster, with more fields.
    pub(crate) fn input(&self, more: &Value) -> Value {
        let mut input = json!({"backupId": self.backup, "targetClusterId": self.target});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"input": input})
    }

    /// Where the API listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes a restore that succeeds; returns its job's id.
    pub(crate) async fn restored(&self) -> String {
        let (job_id, job) = self.restore(json!({})).await;
        assert_eq!(job["state"], "SUCCESSFUL", "{job}");
        job_id
    }

    /// Registers another empty cluster.
    pub(crate) async fn another_target(&self) -> String {
        self.api.register_cluster_at("http://target-2:19530", "empty", &self.repository().await).await
    }

    async fn repository(&self) -> String {
        let data = self.api.ask("{ repositories { nodes { id } } }", json!({})).await.data();
        data["repositories"]["nodes"][0]["id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn await_job(&self, job_id: &str) {
        self.api.await_job(self.address, job_id).await;
    }

    async fn plan(&self, more: Value) -> Value {
        self.api.ask(PLAN, self.input(&more)).await.data()["planRestore"].take()
    }

    /// Asks for a restore and waits for its end; returns the job's id and the job.
    async fn restore(&self, more: Value) -> (String, Value) {
        self.job(RESTORE, "restoreBackup", self.input(&more)).await
    }

    /// Asks for a job and waits for its end; returns the job's id and the job.
    async fn job(&self, query: &str, mutation: &str, variables: Value) -> (String, Value) {
        let data = self.api.ask(query, variables).await.data();
        let job_id = data[mutation]["job"]["id"].as_str().unwrap().to_owned();
        self.api.await_job(self.address, &job_id).await;
        let job = self.result(&job_id).await;
        (job_id, job)
    }

    /// The same for what is asked of a restore.
    async fn of_restore(&self, mutation: &str, input: Value) -> (String, Value) {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!("mutation($input: {kind}!) {{ {mutation}(input: $input) {{ job {{ id }} }} }}");
        self.job(&query, mutation, json!({"input": input})).await
    }

    async fn result(&self, job_id: &str) -> Value {
        self.api.ask(RESULT, json!({"id": job_id})).await.data()["job"].take()
    }
}

fn name(database: &str, collection: &str) -> Value {
    json!({"database": database, "collection": collection})
}

fn nodes(job: &Value) -> &Vec<Value> {
    job["restore"]["collections"]["nodes"].as_array().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_whole_backup_is_planned_and_restored_into_an_empty_cluster() {
    let scene = Scene::set().await;
    let plan = scene.plan(json!({"newCluster": true})).await;
    assert_eq!(plan["cutAt"], "2025-06-15T15:06:40+00:00");
    assert_eq!((&plan["feasible"], &plan["conflicts"]), (&json!(true), &json!([])));
    assert_eq!((&plan["objectCount"], &plan["bytes"]), (&json!(OBJECTS), &json!(OBJECTS * OBJECT_BYTES)));
    assert_eq!(
        plan["databases"],
        json!([{"name": "archive", "create": true}, {"name": "default", "create": false}])
    );
    let planned = plan["collections"].as_array().unwrap();
    assert_eq!((planned.len(), &plan["collectionCount"]), (3, &json!(3)));
    assert_eq!(planned[1]["source"], name("default", "books"));
    assert_eq!((&planned[1]["target"], &planned[1]["action"]), (&planned[1]["source"], &json!("CREATE")));
    assert_eq!(planned[1]["partitions"], json!(["_default"]));
    assert_eq!((&planned[1]["shardCount"], &planned[1]["replicaCount"]), (&json!(2), &json!(1)));
    assert_eq!(planned[1]["aliases"], json!(["books_alias"]));
    assert_eq!(planned[1]["storedRowCount"], SEGMENT_ROWS);
    assert_eq!(scene.api.outside.names(TARGET), Vec::<String>::new(), "a dry run changes nothing");
    let jobs = scene.api.ask("{ jobs(filter: {types: [RESTORE]}) { nodes { id } } }", json!({})).await.data();
    assert_eq!(jobs["jobs"]["nodes"], json!([]));

    let (_, job) = scene.restore(json!({"newCluster": true})).await;
    assert_eq!((&job["type"], &job["state"]), (&json!("RESTORE"), &json!("SUCCESSFUL")), "{job}");
    assert_eq!((&job["cluster"]["name"], &job["createdBy"]), (&json!("spare"), &json!("owner")));
    assert_eq!((&job["restoreJob"], &job["compareReport"]), (&Value::Null, &Value::Null));
    let restore = &job["restore"];
    assert_eq!((&restore["newCluster"], &restore["items"]), (&json!(true), &Value::Null));
    assert_eq!((&restore["conflictPolicy"], &restore["compare"]), (&json!("FAIL"), &json!("KEYS")));
    assert_eq!((&restore["load"], &restore["indexes"]), (&json!("AS_IN_BACKUP"), &json!("BUILD")));
    assert_eq!(restore["accessControl"], Value::Null);
    assert_eq!(restore["plan"], json!({"feasible": true, "collectionCount": 3}));
    assert_eq!(restore["steps"], json!([{"step": "DONE", "collectionCount": 3}]));
    for node in nodes(&job) {
        let rows = json!([{"partition": "_default", "expected": SEGMENT_ROWS, "found": SEGMENT_ROWS}]);
        assert_eq!((&node["step"], &node["partitions"]), (&json!("DONE"), &rows), "{node}");
        assert_ne!(node["workingName"], node["target"]["collection"]);
        assert!(node["targetCollectionId"].is_string());
    }
    assert_eq!(scene.api.outside.names(TARGET), scene.api.outside.names(SOURCE));
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_are_planned_and_fail_the_job_before_anything_is_touched() {
    let scene = Scene::set().await;
    let before = scene.api.outside.names(SOURCE);
    let here = json!({"targetClusterId": scene.source});
    let plan = scene.plan(here.clone()).await;
    assert_eq!(plan["feasible"], false);
    let conflicts = plan["conflicts"].as_array().unwrap();
    assert_eq!(plan["conflictCount"], conflicts.len());
    let of_books = |conflict: &&Value| conflict["database"] == "default" && conflict["name"] == "books";
    let reason = conflicts.iter().find(of_books).unwrap()["reason"].as_str().unwrap();
    assert!(!reason.is_empty());
    let query = PLAN.replace("conflicts {", "conflicts(first: 1, skip: 1) {");
    let part = scene.api.ask(&query, scene.input(&here)).await.data();
    assert_eq!(part["planRestore"]["conflicts"], json!([conflicts[1]]));

    let (_, job) = scene.restore(here).await;
    assert_eq!(job["state"], "FAILED");
    assert!(job["failure"].as_str().unwrap().contains("old"), "{}", job["failure"]);
    assert_eq!(scene.api.outside.names(SOURCE), before);

    let beside = json!({"targetClusterId": scene.source, "suffix": "_restored"});
    let plan = scene.plan(beside).await;
    assert_eq!(plan["collections"][1]["target"], name("default", "books_restored"));
    let skip = scene.plan(json!({"targetClusterId": scene.source, "conflictPolicy": "SKIP"})).await;
    assert_eq!(skip["collections"][1]["action"], "SKIP");
    assert_eq!(skip["bytes"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_is_restored_under_other_names() {
    let scene = Scene::set().await;
    let part = json!({
        "items": [{"database": "archive"}, {"database": "default", "collection": "books", "partitions": ["_default"]}],
        "databaseNames": [{"from": "archive", "to": "attic"}],
        "collectionNames": [{"from": {"collection": "books"}, "to": {"database": "library", "collection": "volumes"}}],
        "suffix": "_old", "shardCount": 4, "load": "NONE", "indexes": "LEAVE", "compare": "COUNTS",
    });
    let (job_id, job) = scene.restore(part.clone()).await;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    let targets: Vec<_> = nodes(&job).iter().map(|node| node["target"].clone()).collect();
    assert_eq!(targets, [name("attic", "old_old"), name("library", "volumes")]);
    let restore = &job["restore"];
    assert_eq!(
        restore["items"],
        json!([
            {"database": "archive", "collection": null, "partitions": null},
            {"database": "default", "collection": "books", "partitions": ["_default"]},
        ])
    );
    assert_eq!(restore["databaseNames"], part["databaseNames"]);
    assert_eq!(restore["collectionNames"][0]["from"], name("default", "books"));
    assert_eq!((&restore["suffix"], &restore["shardCount"]), (&json!("_old"), &json!(4)));
    assert_eq!((&restore["load"], &restore["indexes"]), (&json!("NONE"), &json!("LEAVE")));

    let page = "query($id: ID!, $after: String) { job(id: $id) { restore { collections(first: 1, after: $after, steps: [DONE]) {
        nodes { source { collection } } pageInfo { hasNextPage endCursor } } failed: collections(steps: [FAILED]) { nodes { step } } } } }";
    let ask = async |after: &Value| {
        let data = scene.api.ask(page, json!({"id": job_id, "after": after})).await.data();
        data["job"]["restore"].clone()
    };
    let first = ask(&Value::Null).await;
    assert_eq!(first["collections"]["nodes"], json!([{"source": {"collection": "old"}}]));
    assert_eq!(
        (&first["collections"]["pageInfo"]["hasNextPage"], &first["failed"]["nodes"]),
        (&json!(true), &json!([]))
    );
    let second = ask(&first["collections"]["pageInfo"]["endCursor"]).await;
    assert_eq!(second["collections"]["nodes"], json!([{"source": {"collection": "books"}}]));
    assert_eq!(second["collections"]["pageInfo"]["hasNextPage"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_collection_gives_way_only_to_a_proven_one() {
    let scene = Scene::set().await;
    let item = json!([{"database": "default", "collection": "books"}]);
    let replace = json!({"targetClusterId": scene.source, "items": item, "conflictPolicy": "REPLACE"});
    let before = scene.api.outside.names(SOURCE);
    let (_, job) = scene.restore(replace).await;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    let node = &nodes(&job)[0];
    assert_eq!((&node["action"], &node["step"]), (&json!("REPLACE"), &json!("DONE")));
    // Beyond 2^53, so a string.
    assert_eq!(node["replacedCollectionId"], "451234567890123456");
    assert_ne!(node["replacedCollectionId"], node["targetCollectionId"]);
    assert_eq!(node["replacedKeptAs"], Value::Null, "dropped in the end");
    assert_eq!(scene.api.outside.names(SOURCE), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_restore_says_so_and_is_continued_and_undone() {
    let scene = Scene::set().await;
    scene.api.outside.fail_imports(true);
    let (first_id, failed) = scene.restore(json!({})).await;
    assert_eq!(failed["state"], "FAILED");
    assert_eq!(failed["restore"]["steps"], json!([{"step": "FAILED", "collectionCount": 3}]));
    assert!(nodes(&failed)[0]["failure"].as_str().unwrap().contains("pretended refusal"), "{failed}");
    assert_eq!(scene.api.outside.names(TARGET), Vec::<String>::new());

    scene.api.outside.fail_imports(false);
    let (second_id, continued) = scene.of_restore("resumeRestore", json!({"jobId": first_id})).await;
    assert_eq!(
        (&continued["type"], &continued["state"]),
        (&json!("RESTORE"), &json!("SUCCESSFUL")),
        "{continued}"
    );
    assert_eq!(continued["restore"]["continuesJobId"], first_id.as_str());
    assert_eq!(continued["restoreJob"]["id"], first_id.as_str());
    assert_eq!(scene.api.outside.names(TARGET), scene.api.outside.names(SOURCE));

    let (_, undone) = scene.of_restore("undoRestore", json!({"jobId": second_id})).await;
    assert_eq!((&undone["type"], &undone["state"]), (&json!("UNDO"), &json!("SUCCESSFUL")), "{undone}");
    assert_eq!((&undone["restore"], &undone["restoreJob"]["id"]), (&Value::Null, &json!(second_id)));
    assert_eq!(scene.api.outside.names(TARGET), Vec::<String>::new());
    let second = scene.result(&second_id).await;
    assert_eq!(second["restore"]["steps"], json!([{"step": "UNDONE", "collectionCount": 3}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_finds_what_is_missing() {
    let scene = Scene::set().await;
    let restore_id = scene.restored().await;
    let (_, same) = scene.of_restore("verifyRestore", json!({"jobId": restore_id})).await;
    assert_eq!((&same["type"], &same["state"]), (&json!("COMPARE"), &json!("SUCCESSFUL")), "{same}");
    assert_eq!(same["restoreJob"]["id"], restore_id.as_str());
    let report = &same["compareReport"];
    assert_eq!((&report["collectionCount"], &report["differingCount"]), (&json!(3), &json!(0)));

    scene.api.outside.lose_rows(TARGET, "default", "people");
    let input = json!({"jobId": restore_id, "depth": "COUNTS"});
    let (job_id, differs) = scene.of_restore("verifyRestore", input).await;
    assert_eq!(differs["state"], "FAILED");
    assert!(differs["failure"].as_str().unwrap().contains("people"), "{}", differs["failure"]);
    let only =
        "query($id: ID!) { job(id: $id) { compareReport { differingCount collections(onlyDiffering: true) {
        source { collection } partitions { expected found } differences } } } }";
    let data = scene.api.ask(only, json!({"id": job_id})).await.data();
    let report = &data["job"]["compareReport"];
    assert_eq!((&report["differingCount"], report["collections"].as_array().unwrap().len()), (&json!(1), 1));
    let people = &report["collections"][0];
    assert_eq!(people["source"]["collection"], "people");
    assert_eq!(people["partitions"], json!([{"expected": SEGMENT_ROWS, "found": 0}]));
    assert_ne!(people["differences"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drill_proves_a_backup_and_leaves_nothing() {
    let scene = Scene::set().await;
    let before = scene.api.outside.names(SOURCE);
    let input = json!({
        "backupId": scene.backup, "targetClusterId": scene.source, "depth": "KEYS",
        "items": [{"database": "default", "collection": "people"}],
    });
    let (_, drill) = scene.of_restore("drillBackup", input).await;
    assert_eq!((&drill["type"], &drill["state"]), (&json!("DRILL"), &json!("SUCCESSFUL")), "{drill}");
    let compared = drill["compareReport"]["collections"].as_array().unwrap();
    assert_eq!((compared.len(), &compared[0]["source"]["collection"]), (1, &json!("people")));
    assert!(compared[0]["target"]["database"].as_str().unwrap().starts_with("milvault_drill_"), "{drill}");
    assert_eq!(compared[0]["differences"], json!([]));
    assert_eq!(scene.api.outside.names(SOURCE), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_with_the_same_key_gives_the_same_job() {
    let scene = Scene::set().await;
    scene.api.outside.close_gate();
    let ask = async |more: Value| scene.api.ask(RESTORE, scene.input(&more)).await;
    let first = ask(json!({"idempotencyKey": "k1"})).await.data();
    let second = ask(json!({"idempotencyKey": "k1"})).await.data();
    assert_eq!(first["restoreBackup"]["job"]["id"], second["restoreBackup"]["job"]["id"]);
    let other = ask(json!({"idempotencyKey": "k1", "suffix": "_x"})).await;
    assert_eq!(other.code(), "CONFLICT");
    assert_eq!(other.body["errors"][0]["extensions"]["jobId"], first["restoreBackup"]["job"]["id"]);

    let job_id = first["restoreBackup"]["job"]["id"].as_str().unwrap();
    let cancel = "mutation($input: CancelJobInput!) { cancelJob(input: $input) { job { id } } }";
    scene.api.ask(cancel, json!({"input": {"jobId": job_id}})).await.data();
    assert_eq!(scene.api.await_job(scene.address, job_id).await["state"], "CANCELED");
    assert_eq!(scene.api.outside.names(TARGET), Vec::<String>::new(), "nothing of it is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn restores_that_cannot_be_are_refused_with_words() {
    let scene = Scene::set().await;
    let absent = |prefix: &str| format!("{prefix}_00000000000000000000000000000099");
    for (more, code) in [
        (json!({"backupId": "x"}), "BAD_USER_INPUT"),
        (json!({"backupId": scene.source}), "BAD_USER_INPUT"),
        (json!({"targetClusterId": scene.backup}), "BAD_USER_INPUT"),
        (json!({"backupId": absent("bkp")}), "NOT_FOUND"),
        (json!({"targetClusterId": absent("clu")}), "NOT_FOUND"),
        (json!({"newCluster": true, "items": [{"database": "default"}]}), "BAD_USER_INPUT"),
        (json!({"items": []}), "BAD_USER_INPUT"),
        (json!({"items": [{"database": ""}]}), "BAD_USER_INPUT"),
        (json!({"items": [{"collection": "books"}]}), "BAD_USER_INPUT"),
        (json!({"items": [{"database": "default", "collection": "nowhere"}]}), "BAD_USER_INPUT"),
        (json!({"shardCount": 0}), "BAD_USER_INPUT"),
        (json!({"suffix": "a/b"}), "BAD_USER_INPUT"),
        (json!({"suffix": "x".repeat(300)}), "BAD_USER_INPUT"),
        (json!({"databaseNames": [{"from": "archive", "to": ""}]}), "BAD_USER_INPUT"),
        (json!({"conflictPolicy": "OVERWRITE"}), "BAD_USER_INPUT"),
        (json!({"accessControl": {"passwords": [{"user": "a"}]}}), "BAD_USER_INPUT"),
    ] {
        let answer = scene.api.ask(PLAN, scene.input(&more)).await;
        assert_eq!(answer.code(), code, "{more}: {}", answer.body);
        assert!(!answer.words().is_empty());
    }
    let unreachable =
        scene.api.register_cluster_at("http://unreachable:1", "far", &scene.repository().await).await;
    let answer = scene.api.ask(PLAN, scene.input(&json!({"targetClusterId": unreachable}))).await;
    assert_eq!(
        (answer.code(), &answer.body["errors"][0]["extensions"]["retryable"]),
        ("UNAVAILABLE", &json!(true))
    );

    let restored = scene.restored().await;
    for (mutation, input, code) in [
        ("resumeRestore", json!({"jobId": "x"}), "BAD_USER_INPUT"),
        ("resumeRestore", json!({"jobId": absent("job")}), "NOT_FOUND"),
        ("undoRestore", json!({"jobId": absent("job")}), "NOT_FOUND"),
        ("verifyRestore", json!({"jobId": absent("job")}), "NOT_FOUND"),
        // It has succeeded: nothing is left to continue.
        ("resumeRestore", json!({"jobId": restored}), "CONFLICT"),
    ] {
        let kind = format!("{}{}Input", mutation[..1].to_uppercase(), &mutation[1..]);
        let query = format!("mutation($input: {kind}!) {{ {mutation}(input: $input) {{ job {{ id }} }} }}");
        let answer = scene.api.ask(&query, json!({"input": input})).await;
        assert_eq!(answer.code(), code, "{mutation}: {}", answer.body);
    }
}
