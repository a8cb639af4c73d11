//! The catalog is gone: a new Milvault reads the repository of the old one and gives its rows back.

use super::check_rows;
use crate::support::{Installation, TypedCollection, local_milvus, local_storage, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::graphql_client::GraphqlError;
use serde_json::json;

const DATABASE: &str = "attached";

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_outlives_its_catalog() -> Result<()> {
    let first = Installation::start("attach_first").await?;
    let (cluster_id, milvus) = first.with_local_cluster(json!({})).await?;
    let database = milvus.create_database(DATABASE).await?;
    TypedCollection::create_all(&database, 200).await?;
    let rows = database.rows("texts").await?;
    let input = json!({ "name": "the one", "scope": { "databases": [DATABASE] } });
    let started = first.api.create_backup(&cluster_id, input).await?;
    let (backup, _) = first.api.await_available(&started).await?;

    let second = Installation::start("attach_second").await?;
    let api = &second.api;
    let document = "mutation($input: AttachRepositoryInput!) { attachRepository(input: $input) {
        repository { id name } found added unreadable } }";
    let place = |name: &str, path: &std::path::Path| json!({ "input": { "name": name, "storage": { "local": { "path": path } } } });
    let answer = api.request(document, place("found", &first.repository_dir())).await?;
    let attached = &answer["attachRepository"];
    assert_eq!((&attached["found"], &attached["added"]), (&json!(1), &json!(1)), "{attached}");
    let repository_id = text(&attached["repository"]["id"]).to_owned();
    let shown = api.backup(text(&backup["id"])).await?;
    for field in ["name", "status", "cutAt", "rowCount", "objectCount", "logicalBytes", "createdBy"] {
        assert_eq!(shown[field], backup[field], "{field}");
    }
    api.verify_ok(text(&backup["id"])).await?;

    let storage = json!({ "local": { "path": local_storage().await? } });
    let milvus_uri = local_milvus().await?.uri();
    let target = api.register_cluster(&milvus_uri, &storage, &repository_id, json!({})).await?;
    let names = json!([{ "from": DATABASE, "to": "attached_restored" }]);
    let input = json!({ "backupId": backup["id"], "targetClusterId": target, "databaseNames": names });
    api.restore_ok(input).await?;
    check_rows(&milvus.in_database("attached_restored"), "texts", &rows).await?;

    // The same place twice, and a place that is none.
    for (path, code) in [(first.repository_dir(), "CONFLICT"), (std::env::temp_dir(), "BAD_USER_INPUT")] {
        match api.request(document, place("other", &path)).await {
            Err(GraphqlError::Answer { code: found, message, .. }) => {
                ensure!(found == code || found == "NOT_FOUND", "{found}: {message}");
            }
            other => anyhow::bail!("{code} was expected for {}, not {other:?}", path.display()),
        }
    }
    second.finish().await.context("the second installation")?;
    first.finish().await
}
