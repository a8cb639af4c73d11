//! Every mutation that starts work: repeating it with the same idempotency key gives the same job, and another request
//! with that key is refused.

use super::scene::{Place, Scene, ask};
use super::schema::Schema;
use super::table::Table;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Mutations that answer with a job and need no key: asking again for the same gives the same job, or starts nothing.
const WITHOUT_KEY: [&str; 6] =
    ["cancelJob", "deleteBackup", "sweepCluster", "setBackupPolicy", "setVerifyPolicy", "setDrillPolicy"];

fn with_key(arguments: &str, key: &str) -> String {
    let input = arguments.strip_suffix('}').unwrap();
    format!(r#"{input}, idempotencyKey: "{key}"}}"#)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gives_the_same_job_and_another_one_with_its_key_is_refused() {
    let scene = Scene::set().await;
    let api = &scene.api;
    let schema = Schema::of(api).await;
    let mut keyed = BTreeSet::new();
    for line in Table::read().roots.iter().filter(|line| line.operation == "mutation") {
        let field = line.field.as_str();
        if !schema.gives_job(field) || !keyed.insert(field.to_owned()) {
            continue;
        }
        if !schema.takes_key(field) {
            assert!(WITHOUT_KEY.contains(&field), "`{field}` starts work and takes no `idempotencyKey`");
            continue;
        }
        let things = scene.things(Place::Own, &line.arguments).await;
        let arguments = things.fill(&line.arguments);
        let key = format!("key-{field}");
        let query = format!(
            "mutation {{ {field}(input: {}) {{ job {{ id clusterId }} }} }}",
            &with_key(&arguments, &key)[7..]
        );
        let first = ask(api, &query).await[field]["job"].take();
        for _ in 0..2 {
            assert_eq!(ask(api, &query).await[field]["job"], first, "{query}");
        }
        // It stays so when the job has ended.
        api.outside.open_gate();
        let job_id = first["id"].as_str().unwrap();
        api.await_job(scene.address, job_id).await;
        assert_eq!(ask(api, &query).await[field]["job"], first, "{query}");

        let other = format!(
            r#"mutation {{ createBackup(input: {{clusterId: {}, name: "another", idempotencyKey: "{key}"}}) {{ job {{ id }} }} }}"#,
            first["clusterId"]
        );
        let refused = api.ask(&other, json!({})).await;
        assert_eq!(refused.code(), "CONFLICT", "{field}: {}", refused.body);
        assert!(refused.words().contains("idempotency key"), "{}", refused.body);
        assert_eq!(refused.body["errors"][0]["extensions"]["jobId"], first["id"], "{field}");
        for wrong in ["", "a\\u0000b", &"x".repeat(256)] {
            let query = format!(
                "mutation {{ {field}(input: {}) {{ job {{ id }} }} }}",
                &with_key(&arguments, wrong)[7..]
            );
            let answer = api.ask(&query, json!({})).await;
            let field_name = &answer.body["errors"][0]["extensions"]["field"];
            assert_eq!((answer.code(), field_name), ("BAD_USER_INPUT", &json!("idempotencyKey")), "{query}");
        }
    }
    assert!(keyed.len() > 10, "{keyed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn racing_requests_with_one_key_get_one_job() {
    let scene = Scene::set().await;
    let things = scene.things(Place::Own, "$backup").await;
    let verify = r#"mutation { verifyBackup(input: {backupId: "$backup", level: EXISTENCE, idempotencyKey: "k"}) { job { id } } }"#;
    let query = things.fill(verify);
    let answers = futures::future::join_all((0..8).map(|_| ask(&scene.api, &query))).await;
    let jobs: BTreeSet<String> = answers.iter().map(|answer: &Value| answer.to_string()).collect();
    assert_eq!(jobs.len(), 1, "{jobs:?}");
}
