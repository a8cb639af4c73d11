//! The catalog in PostgreSQL, shared by nobody and kept by a server that comes and goes.

use crate::support::{Installation, number, plain_collection, run_directory, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::servers::{Postgres, Tools};
use serde_json::json;

const DATABASE: &str = "on_postgres";

#[tokio::test(flavor = "multi_thread")]
async fn a_server_with_its_catalog_in_postgresql_goes_on_after_a_restart_and_a_crash() -> Result<()> {
    let postgres = Postgres::start(&Tools::install().await?, &run_directory()?.join("postgresql")).await?;
    let url = postgres.create_database("milvault").await?;
    let installation = Installation::start_with("postgres", &[("MILVAULT_CATALOG__URL", &url)]).await?;
    let slow = json!({ "maxBytesPerSecond": 8 << 20 });
    let (cluster_id, milvus) = installation.with_local_cluster(slow).await?;
    plain_collection(&milvus.create_database(DATABASE).await?, "rows", 20_000, 256).await?;

    // An administrator ends the server while a job is at work: it finishes first, or goes on afterwards.
    let scope = json!({ "scope": { "databases": [DATABASE] }, "idempotencyKey": "first" });
    let started = installation.api.create_backup(&cluster_id, scope.clone()).await?;
    let key = installation.milvault.api_key().to_owned();
    let installation = installation.restart().await?;
    assert_eq!(installation.milvault.api_key(), key);
    assert_eq!(installation.api.create_backup(&cluster_id, scope).await?, started);
    let (first, _) = installation.api.await_available(&started).await?;
    assert_eq!(first["rowCount"], 20_000);

    let started =
        installation.api.create_backup(&cluster_id, json!({ "scope": { "databases": [DATABASE] } })).await?;
    let installation = installation.crash().await?;
    let (second, job) = installation.api.await_available(&started).await?;
    ensure!(number(&job["progress"]["bytesReused"]) > 0, "{job}");
    for backup in [&first, &second] {
        installation.api.verify_ok(text(&backup["id"])).await?;
    }
    let document = "query($id: ID!) { backups(filter: { clusterId: $id, status: AVAILABLE }) { nodes { id } }
        jobs(filter: { clusterId: $id, types: [VERIFY] }, first: 1) { nodes { state } pageInfo { hasNextPage } } }";
    let answer = installation.api.request(document, json!({ "id": cluster_id })).await?;
    let backups = answer["backups"]["nodes"].as_array().context("backups")?;
    assert_eq!(backups.iter().map(|backup| &backup["id"]).collect::<Vec<_>>(), [&second["id"], &first["id"]]);
    assert_eq!(answer["jobs"]["nodes"], json!([{ "state": "SUCCESSFUL" }]));
    assert_eq!(answer["jobs"]["pageInfo"]["hasNextPage"], true);
    ensure!(!installation.has_embedded_catalog(), "there is a SQLite catalog beside PostgreSQL's");
    installation.finish().await
}
