//! The examples of the documents are sent as they stand there, with real ids in place of the shortened ones.

use crate::restore::Scene;
use serde_json::json;
use std::path::Path;

/// The GraphQL examples of a document.
fn examples(document: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
    let text = std::fs::read_to_string(path).unwrap();
    text.split("```graphql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_of_the_documents_work() {
    let mut sent = 0;
    for document in ["README.md", "docs/restore.md"] {
        for example in examples(document) {
            // Each in a world of its own, so that none needs what another has left.
            let scene = Scene::set().await;
            let restore = scene.restored().await;
            let target = if example.contains("newCluster: true") {
                scene.another_target().await
            } else {
                scene.target.clone()
            };
            let query =
                example.replace("bkp_…", &scene.backup).replace("clu_…", &target).replace("job_…", &restore);
            assert!(!query.contains('…'), "{document}: an id of an unknown kind in {example}");
            let answer = scene.api.ask(&query, json!({})).await;
            let error = &answer.body["errors"][0];
            let works = error.is_null()
                // Subscriptions go over a socket; a server has its own directories; this restore has succeeded.
                || answer.words().contains("WebSocket")
                || error["extensions"]["field"] == "storage"
                || (answer.code() == "CONFLICT" && example.contains("resumeRestore"));
            assert!(works, "{document}: {example}\n{}", answer.body);
            sent += 1;
        }
    }
    assert!(sent >= 15, "only {sent} examples were found");
}
