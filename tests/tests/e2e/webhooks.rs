//! Webhooks: a backup that really fails is told to a receiver that is down at first, and signed so that it can check it.

use crate::support::{Installation, PATIENCE, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::sign;
use milvault_tests::http_receiver::HttpReceiver;
use serde_json::{Value, json};
use std::time::Duration;

const DATABASE: &str = "webhooks";
const ROWS: u64 = 2_000;
const DIMENSION: usize = 64;

const CREATE: &str =
    "mutation($input: CreateWebhookInput!) { createWebhook(input: $input) { secret webhook { id } } }";
const LOG: &str = "query($id: ID!) { webhook(id: $id) { failingSince deliveries { nodes { id event state
    attempts { httpStatus error } } } } }";

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_that_fails_is_told_with_a_signature_until_the_receiver_takes_it() -> Result<()> {
    let allowed =
        [("MILVAULT_WEBHOOKS__ALLOW_PRIVATE_ADDRESSES", "true"), ("MILVAULT_WEBHOOKS__ALLOW_HTTP", "true")];
    let installation = Installation::start_with("webhooks", &allowed).await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", ROWS, DIMENSION).await?;
    let api = &installation.api;
    let receiver = HttpReceiver::start(&[500, 500, 200]).await?;
    let input = json!({ "name": "pager", "url": receiver.url(), "events": ["BACKUP_FAILED"] });
    let made = api.request(CREATE, json!({ "input": input })).await?["createWebhook"].take();
    let secret = SecretValue::new(text(&made["secret"]).to_owned());

    // Milvus goes out of reach: the address is one that nobody answers at.
    api.update_cluster(&cluster_id, json!({ "uri": "http://127.0.0.1:1" })).await?;
    let started = api.create_backup(&cluster_id, json!({})).await?;
    let job = api.await_end(&started.job_id).await?;
    assert_eq!(job["state"], "FAILED", "{job}");

    let requests =
        tokio::time::timeout(PATIENCE, receiver.requests(3)).await.context("the receiver got too little")?;
    assert_eq!(requests.len(), 3);
    let id = requests[0].header("webhook-id").to_owned();
    for request in &requests {
        assert_eq!(request.header("webhook-id"), id);
        assert_eq!(request.body, requests[0].body);
        let timestamp = request.header("webhook-timestamp").parse()?;
        let expected = sign(std::slice::from_ref(&secret), &id, timestamp, &request.body)?;
        assert_eq!(request.header("webhook-signature"), expected);
    }
    let told: Value = serde_json::from_str(&requests[0].body)?;
    assert_eq!(told["type"], "BACKUP_FAILED", "{told}");
    let data = &told["data"];
    assert_eq!(data["jobId"], started.job_id.as_str(), "{told}");
    assert_eq!(data["backupId"], started.backup_id.as_str(), "{told}");
    assert_eq!((&data["clusterId"], &data["clusterName"]), (&json!(cluster_id), &json!("cluster")), "{told}");
    assert_eq!(data["reason"], job["failure"], "{told}");

    let shown = loop {
        let shown = api.request(LOG, json!({ "id": made["webhook"]["id"] })).await?["webhook"].take();
        if shown["deliveries"]["nodes"][0]["state"] != "PENDING" {
            // A webhook is read before its deliveries: this one may be from before the last attempt.
            break api.request(LOG, json!({ "id": made["webhook"]["id"] })).await?["webhook"].take();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let deliveries = shown["deliveries"]["nodes"].as_array().context("there is no list")?;
    ensure!(deliveries.len() == 1, "it was told more than once: {shown}");
    assert_eq!((&deliveries[0]["id"], &deliveries[0]["state"]), (&json!(id), &json!("DELIVERED")), "{shown}");
    let statuses: Vec<_> = deliveries[0]["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|attempt| &attempt["httpStatus"])
        .collect();
    assert_eq!(statuses, [500, 500, 200], "{shown}");
    ensure!(shown["failingSince"].is_null(), "{shown}");
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_told_otherwise_speaks_to_public_addresses_only() -> Result<()> {
    let installation = Installation::start("webhooks_refused").await?;
    let receiver = HttpReceiver::start(&[200]).await?;
    for url in [
        receiver.url().to_owned(),
        receiver.url().replace("http://", "https://"),
        String::from("https://localhost/"),
    ] {
        let input = json!({ "name": "inside", "url": url, "events": ["BACKUP_FAILED"] });
        let refused = installation.api.request(CREATE, json!({ "input": input })).await;
        let error = refused.err().context("an address of this machine was accepted")?;
        ensure!(error.to_string().starts_with("BAD_USER_INPUT"), "{url}: {error}");
    }
    ensure!(receiver.received().is_empty(), "the receiver was spoken to");
    installation.finish().await
}
