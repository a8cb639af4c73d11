//! Secrets go in and do not come out.

use crate::restore;
use crate::support::Api;
use serde_json::{Value, json};

const CANARY: &str = "canary-7f3a";

#[tokio::test(flavor = "multi_thread")]
async fn no_answer_contains_a_secret() {
    let api = Api::start().await;
    let repository = "mutation($input: RegisterRepositoryInput!) { registerRepository(input: $input) { repository { id
        storage { kind url endpoint region addressing accessKeyId secret { source reference } sessionToken { source reference } } } } }";
    let storage = json!({"s3": {
        "bucket": "backups", "prefix": "milvault/", "endpoint": "http://s3:9000", "addressing": "VIRTUAL_HOST",
        "accessKeyId": "AKIA", "secretAccessKey": {"value": CANARY}, "sessionToken": {"file": "session.token"},
    }});
    let made = api.ask(repository, json!({"input": {"name": "s3", "storage": storage}})).await.data();
    let view = &made["registerRepository"]["repository"]["storage"];
    assert_eq!(view["kind"], "S3");
    assert_eq!(view["url"], "s3://backups/milvault");
    assert_eq!(view["secret"], json!({"source": "VALUE", "reference": null}));
    assert_eq!(view["sessionToken"], json!({"source": "FILE", "reference": "session.token"}));
    assert!(!made.to_string().contains(CANARY));

    let cluster =
        "mutation($input: RegisterClusterInput!) { registerCluster(input: $input) { cluster { id uri
        authentication { kind user secret { source reference } } storage { secret { source } } } } }";
    let repository_id = &made["registerRepository"]["repository"]["id"];
    let input = |extra: Value| {
        let mut input = json!({
            "name": "prod", "uri": "http://m:1", "repositoryId": repository_id,
            "storage": {"gcs": {"bucket": "b", "serviceAccountKey": {"value": CANARY}}},
        });
        input.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        json!({"input": input})
    };
    let made = api.ask(cluster, input(json!({"token": {"value": CANARY}}))).await.data();
    assert_eq!(made["registerCluster"]["cluster"]["authentication"]["kind"], "TOKEN");
    assert!(!made.to_string().contains(CANARY));

    for wrong in [
        json!({"token": {"value": CANARY}, "user": "root"}),
        json!({"token": {"file": format!("../{CANARY}")}}),
        json!({"token": {"environment": CANARY}}),
        json!({"token": {"value": CANARY.repeat(5000)}}),
        json!({"uri": format!("http://root:{CANARY}@m:1")}),
        json!({"token": CANARY}),
        json!({"token": [CANARY]}),
        json!({"token": {"file": {"x": CANARY}}}),
        json!({"token": {"value": CANARY, "file": "x"}}),
        json!({"storage": CANARY}),
        json!({"storage": {"s3": CANARY}}),
        json!({"cuSize": CANARY}),
    ] {
        let answer = api.ask(cluster, input(wrong)).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT");
        assert!(!answer.body.to_string().contains(CANARY), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_wrong_shape_is_not_repeated() {
    let api = Api::start().await;
    for shape in [
        r#"token: "canary-7f3a""#,
        r#"token: ["canary-7f3a"]"#,
        r#"token: {value: {x: "canary-7f3a"}}"#,
        r#"token: {value: ["canary-7f3a"]}"#,
        r#"token: {secret: "canary-7f3a"}"#,
        r#"secret: "canary-7f3a""#,
    ] {
        let query = format!(
            r#"mutation {{ registerCluster(input: {{name: "x", uri: "http://m:1", repositoryId: "x",
            storage: {{local: {{path: "/x"}}}}, {shape}}}) {{ cluster {{ id }} }} }}"#
        );
        let answer = api.ask(&query, json!({})).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT");
        assert!(!answer.words().is_empty());
        assert!(!answer.body.to_string().contains(CANARY), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_has_no_way_to_read_a_secret() {
    let api = Api::start().await;
    let data = api.ask("{ __type(name: \"Secret\") { fields { name } } }", json!({})).await.data();
    assert_eq!(data["__type"]["fields"], json!([{"name": "source"}, {"name": "reference"}]));
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_of_restored_users_are_not_repeated() {
    let scene = restore::Scene::set().await;
    let access = |password: Value| json!({"newCluster": true, "accessControl": {"passwords": [{"user": "ada", "password": password}]}});
    let restore = "mutation($input: RestoreBackupInput!) { restoreBackup(input: $input) { job { id description restore {
        accessControl { users } plan { accessControl { users usersWithoutPassword } } warnings } } } }";
    let plan =
        "query($input: RestoreBackupInput!) { planRestore(input: $input) { warnings conflicts { reason }
        accessControl { users usersWithoutPassword roles grantCount } } }";
    for wrong in [
        json!({"value": CANARY.repeat(5000)}),
        json!({"file": format!("../{CANARY}")}),
        json!({"environment": CANARY}),
        json!({"value": CANARY, "file": "x"}),
        json!(CANARY),
    ] {
        let answer = scene.api.ask(plan, scene.input(&access(wrong))).await;
        assert_eq!(answer.code(), "BAD_USER_INPUT");
        assert!(!answer.body.to_string().contains(CANARY), "{}", answer.body);
    }
    let input = scene.input(&access(json!({"value": CANARY})));
    let planned = scene.api.ask(plan, input.clone()).await.data();
    let made = scene.api.ask(restore, input).await.data();
    let job = &made["restoreBackup"]["job"];
    assert_eq!(job["restore"]["accessControl"], json!({"users": ["ada"]}));
    scene.await_job(job["id"].as_str().unwrap()).await;
    let query =
        "query($id: ID!) { job(id: $id) { state failure description history { reason } restore { warnings
        accessControl { users } collections { nodes { failure warnings } } } } }";
    let ended = scene.api.ask(query, json!({"id": job["id"]})).await.data();
    assert_eq!(ended["job"]["state"], "SUCCESSFUL", "{ended}");
    for answer in [planned, made.clone(), ended] {
        assert!(!answer.to_string().contains(CANARY), "{answer}");
    }
}
