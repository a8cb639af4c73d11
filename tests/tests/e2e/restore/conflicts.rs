//! Names that are taken, choices of what and how, dry runs, drills, and requests that cannot be right.

use super::{check_rows, outcome};
use crate::support::{Installation, index_and_load, number, plain_collection, plain_rows, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::graphql_client::GraphqlError;
use milvault_tests::milvus_client::MilvusClient;
use serde_json::{Value, json};

const DATABASE: &str = "taken";
const ROWS: u64 = 2_000;
const DIMENSION: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_name_is_never_lost_whatever_the_policy() -> Result<()> {
    let installation = Installation::start("restore_conflicts").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    for name in ["a", "b"] {
        plain_collection(&database, name, ROWS, DIMENSION).await?;
        index_and_load(&database, name).await?;
    }
    database.create_alias("a", "a_alias").await?;
    let at_cut = database.rows("a").await?;
    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    database.delete("a", "id < 100").await?;
    let now = database.rows("a").await?;
    ensure!(now.len() < at_cut.len(), "rows were deleted");
    database.drop_collection("b").await?;
    let input = |policy: &str| json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "conflictPolicy": policy });

    // FAIL: said before anything is touched, in the dry run and in the job.
    let plan = api.plan_restore(input("FAIL")).await?;
    assert_eq!(plan["conflicts"][0]["name"], "a", "{plan}");
    assert_eq!(plan["collections"].as_array().context("collections")?.len(), 2);
    ensure!(number(&plan["bytes"]) > 0, "{plan}");
    match api.restore(input("FAIL")).await {
        Ok(job) => {
            assert_eq!(job["state"], "FAILED", "{job}");
            ensure!(text(&job["failure"]).contains('a'), "{}", job["failure"]);
        }
        Err(error) => ensure!(error.to_string().contains("CONFLICT"), "{error:#}"),
    }
    assert_eq!(database.collection_names().await?, ["a"]);

    // SKIP: the other one comes, this one stays.
    let job = api.restore_ok(input("SKIP")).await?;
    assert_eq!(outcome(&job, "a")["step"], "SKIPPED");
    assert_eq!(outcome(&job, "b")["step"], "DONE");
    check_rows(&database, "a", &now).await?;

    // RENAME: both are there.
    let only_a = json!([{ "database": DATABASE, "collection": "a" }]);
    let mut renamed = input("RENAME");
    renamed["items"] = only_a.clone();
    let job = api.restore_ok(renamed).await?;
    let name = text(&outcome(&job, "a")["target"]["collection"]).to_owned();
    ensure!(name != "a", "{job}");
    check_rows(&database, &name, &at_cut).await?;
    check_rows(&database, "a", &now).await?;

    // REPLACE: the new takes the place of the old, its alias included.
    let mut replaced = input("REPLACE");
    replaced["items"] = only_a;
    api.restore_ok(replaced).await?;
    check_rows(&database, "a", &at_cut).await?;
    assert_eq!(database.collection_id("a_alias").await?, database.collection_id("a").await?);
    assert_eq!(database.collection_names().await?, ["a", &*name, "b"].map(str::to_owned).to_vec());

    // A cluster that holds something is no new cluster.
    let mut new_cluster = input("FAIL");
    new_cluster["newCluster"] = json!(true);
    let plan = api.plan_restore(new_cluster).await?;
    ensure!(!plan["conflicts"].as_array().context("conflicts")?.is_empty(), "{plan}");

    drill(&installation, &milvus, &backup, &cluster_id).await?;
    installation.finish().await
}

/// A drill reports that all is well and leaves nothing.
async fn drill(
    installation: &Installation,
    milvus: &MilvusClient,
    backup: &Value,
    cluster_id: &str,
) -> Result<()> {
    let before = milvus.in_database(DATABASE).collection_names().await?;
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "depth": "ROWS" });
    let api = &installation.api;
    let id = api.start_job("drillBackup", "DrillBackupInput", input).await?;
    let job = api.await_restore(&id).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    assert_eq!(job["type"], "DRILL");
    let compared = job["compareReport"]["collections"].as_array().context("a report")?;
    assert_eq!(compared.len(), 2, "{job}");
    for collection in compared {
        assert_eq!(collection["differences"], json!([]), "{collection}");
        assert_eq!(collection["rowsComparedWhole"], ROWS, "{collection}");
    }
    assert_eq!(milvus.in_database(DATABASE).collection_names().await?, before);
    let databases = milvus.database_names().await?;
    ensure!(!databases.iter().any(|name| name.contains("drill")), "{databases:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_can_be_chosen_and_nonsense_is_refused_in_words() -> Result<()> {
    let installation = Installation::start("restore_choice").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database("choice").await?;
    plain_collection(&database, "parts", 100, DIMENSION).await?;
    for (number, partition) in ["x", "y"].into_iter().enumerate() {
        database.create_partition("parts", partition).await?;
        database.insert("parts", partition, &plain_rows(1_000 * (number as u64 + 1), 500, DIMENSION)).await?;
    }
    index_and_load(&database, "parts").await?;
    let in_x = database.rows_in("parts", &["x"]).await?;
    assert_eq!(in_x.len(), 500);
    let (backup, _) = api.back_up(&cluster_id, &["choice"]).await?;

    let items = json!([{ "database": "choice", "collection": "parts", "partitions": ["x"] }]);
    let to = json!([{ "from": { "database": "choice", "collection": "parts" },
        "to": { "database": "default", "collection": "only_x" } }]);
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "items": items, "collectionNames": to });
    api.restore_ok(input).await?;
    check_rows(&milvus, "only_x", &in_x).await?;
    milvus.drop_collection("only_x").await?;

    let refused = async |more: Value| -> Result<(String, String)> {
        let mut input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id });
        if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        match api.plan_restore(input).await {
            Err(GraphqlError::Answer { code, message, .. }) => Ok((code, message)),
            other => anyhow::bail!("a refusal was expected, not {other:?}"),
        }
    };
    let (code, message) =
        refused(json!({ "items": [{ "database": "choice", "collection": "prats" }] })).await?;
    assert_eq!(code, "BAD_USER_INPUT");
    ensure!(message.contains("prats"), "{message}");
    let (code, _) = refused(json!({ "shardCount": 0 })).await?;
    assert_eq!(code, "BAD_USER_INPUT");
    let (code, _) = refused(json!({ "suffix": "-bad name" })).await?;
    assert_eq!(code, "BAD_USER_INPUT");
    let nobody = "018f0000-0000-7000-8000-000000000000";
    let (code, _) = refused(json!({ "backupId": nobody })).await?;
    ensure!(["NOT_FOUND", "BAD_USER_INPUT"].contains(&&*code), "{code}");
    installation.finish().await
}
