//! A directory in milvus-backup's format, built from a real cluster's files, is taken over and restored.

use super::check_rows;
use crate::support::{
    Installation, TypedCollection, local_storage, run_directory, text, write_milvus_backup,
};
use anyhow::{Result, ensure};
use milvault_tests::graphql_client::GraphqlError;
use serde_json::{Value, json};

const DATABASE: &str = "adopted";
/// Of the format's own index names one fits both.
const COLLECTIONS: [TypedCollection; 2] = [TypedCollection::Scalars, TypedCollection::Automatic];

#[tokio::test(flavor = "multi_thread")]
async fn backups_that_milvus_backup_made_are_taken_over_and_restored() -> Result<()> {
    let installation = Installation::start("adopt").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    TypedCollection::create_all(&database, 300).await?;
    let names = COLLECTIONS.map(TypedCollection::name);
    database.flush(&names).await?;
    let root = run_directory()?.join("milvus-backups");
    write_milvus_backup(&database, &names, local_storage().await?, &root, "nightly_3").await?;
    std::fs::create_dir_all(root.join("unfinished/meta"))?;

    let place = json!({ "local": { "path": root } });
    let document = "query($storage: StorageInput!) { foreignBackups(storage: $storage) {
        directory milvusVersion collectionCount problem } }";
    let answer = api.request(document, json!({ "storage": place })).await?;
    let listed = answer["foreignBackups"].as_array().cloned().unwrap_or_default();
    let find =
        |name: &str| listed.iter().find(|entry| entry["directory"] == name).cloned().unwrap_or_default();
    assert_eq!(find("nightly_3")["collectionCount"], 2, "{answer}");
    assert_eq!(find("nightly_3")["problem"], Value::Null, "{answer}");

    let document =
        "mutation($input: AdoptBackupInput!) { adoptBackup(input: $input) { backup { id } job { id } } }";
    let input = |directory: &str| json!({ "input": { "clusterId": cluster_id, "storage": place, "directory": directory } });
    let answer = api.request(document, input("nightly_3")).await?;
    let job = api.await_end(text(&answer["adoptBackup"]["job"]["id"])).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    assert_eq!(job["type"], "ADOPT");
    let backup = api.backup(text(&answer["adoptBackup"]["backup"]["id"])).await?;
    assert_eq!((&backup["name"], &backup["status"]), (&json!("nightly_3"), &json!("AVAILABLE")), "{backup}");
    api.verify_ok(text(&backup["id"])).await?;

    // The repository needs the directory no longer.
    std::fs::remove_dir_all(&root)?;
    let names = json!([{ "from": DATABASE, "to": "adopted_restored" }]);
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "databaseNames": names, "compare": "ROWS" });
    api.restore_ok(input).await?;
    let restored = milvus.in_database("adopted_restored");
    for collection in COLLECTIONS {
        check_rows(&restored, collection.name(), &database.rows(collection.name()).await?).await?;
    }

    for directory in ["../etc", "nothing_here"] {
        let input = json!({ "input": { "clusterId": cluster_id, "storage": place, "directory": directory } });
        match api.request(document, input).await {
            Err(GraphqlError::Answer { code, message, .. }) => {
                ensure!(["BAD_USER_INPUT", "NOT_FOUND"].contains(&&*code), "{code}: {message}");
            }
            Err(other) => return Err(other.into()),
            Ok(answer) => {
                let job = api.await_end(text(&answer["adoptBackup"]["job"]["id"])).await?;
                assert_eq!(job["state"], "FAILED", "{job}");
                ensure!(text(&job["failure"]).contains(directory), "{}", job["failure"]);
            }
        }
    }
    installation.finish().await
}
