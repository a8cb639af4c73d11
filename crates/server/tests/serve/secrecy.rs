//! No secret reaches the log, whatever its level.

use crate::server_process::{ServerProcess, ask, serve};
use serde_json::Value;
use tempfile::TempDir;

const CANARY: &str = "canary-9d41c07e";

#[tokio::test]
async fn no_secret_is_logged_even_at_the_finest_level() {
    let directory = TempDir::new().unwrap();
    let mut command = serve(directory.path());
    command.args(["--log-filter", "trace", "--log-format", "json"]);
    command.env("MILVAULT_SECRET_TOKEN", format!("{CANARY}-environment"));
    let server = ServerProcess::start(&mut command);
    let key = server.printed_key().unwrap();
    let answers = use_secrets(&server.url, &key, directory.path().join("repository").to_str().unwrap()).await;
    let log = server.stop();
    assert!(log.contains("listening") && log.lines().count() > 20, "the log is that of a run");
    assert!(!log.contains(CANARY), "{log}");
    assert!(!log.contains(&key), "{log}");
    assert!(!answers.iter().any(|answer| answer.to_string().contains(CANARY)), "{answers:?}");
}

/// Registers a repository and clusters with secrets of each kind, at an address where nobody answers, and checks them.
async fn use_secrets(url: &str, key: &str, repository_path: &str) -> Vec<Value> {
    let repository = ask(
        url,
        Some(key),
        &format!(
            r#"mutation {{ registerRepository(input: {{ name: "r", storage: {{ local: {{ path: "{repository_path}" }} }} }})
               {{ repository {{ id }} }} }}"#
        ),
    )
    .await;
    let repository_id =
        repository["data"]["registerRepository"]["repository"]["id"].as_str().unwrap().to_owned();
    let mut answers = vec![repository];
    for (name, token) in [
        ("given", format!(r#"{{ value: "{CANARY}-value" }}"#)),
        ("referred", String::from(r#"{ environment: "MILVAULT_SECRET_TOKEN" }"#)),
    ] {
        let registered = ask(
            url,
            Some(key),
            &format!(
                r#"mutation {{ registerCluster(input: {{
                     name: "{name}", uri: "http://127.0.0.1:1", token: {token}, repositoryId: "{repository_id}",
                     storage: {{ s3: {{ bucket: "b", endpoint: "http://127.0.0.1:1", region: "r",
                       accessKeyId: "a", secretAccessKey: {{ value: "{CANARY}-storage" }} }} }} }})
                   {{ cluster {{ id }} }} }}"#
            ),
        )
        .await;
        let cluster_id = registered["data"]["registerCluster"]["cluster"]["id"]
            .as_str()
            .unwrap_or_else(|| panic!("{registered}"))
            .to_owned();
        answers.push(registered);
        let checked = ask(
            url,
            Some(key),
            &format!(
                r#"mutation {{ checkCluster(input: {{ clusterId: "{cluster_id}" }}) {{ ok findings {{ subject ok message }} }} }}"#
            ),
        )
        .await;
        assert_eq!(checked["data"]["checkCluster"]["ok"], false, "{checked}");
        answers.push(checked);
    }
    answers
}
