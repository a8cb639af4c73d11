//! A directory in milvus-backup's format, built from a real cluster's files, is taken over and restored.

use super::check_rows;
use crate::support::{
    Installation, TypedCollection, Writer, local_storage, run_directory, text, write_milvus_backup,
};
use anyhow::{Result, ensure};
use milvault_tests::graphql_client::GraphqlError;
use serde_json::{Value, json};

const DATABASE: &str = "adopted";
/// Directories by name, with what wrote them.
const DIRECTORIES: [(&str, Writer); 2] = [("nightly_3", Writer::Recent), ("oldest", Writer::LevelFiles)];
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
    for (directory, writer) in DIRECTORIES {
        let directory = root.join(directory);
        write_milvus_backup(writer, &database, &names, local_storage().await?, &directory).await?;
    }
    std::fs::create_dir_all(root.join("unfinished/meta"))?;

    let place = json!({ "local": { "path": root } });
    let document = "query($storage: StorageInput!) { foreignBackups(storage: $storage) {
        directory milvusVersion collectionCount problem } }";
    let answer = api.request(document, json!({ "storage": place })).await?;
    let listed = answer["foreignBackups"].as_array().cloned().unwrap_or_default();
    let find =
        |name: &str| listed.iter().find(|entry| entry["directory"] == name).cloned().unwrap_or_default();
    for (directory, _) in DIRECTORIES {
        assert_eq!(find(directory)["collectionCount"], 2, "{answer}");
        assert_eq!(find(directory)["problem"], Value::Null, "{answer}");
    }

    let document =
        "mutation($input: AdoptBackupInput!) { adoptBackup(input: $input) { backup { id } job { id } } }";
    let input = |directory: &str| json!({ "input": { "clusterId": cluster_id, "storage": place, "directory": directory } });
    let mut backups = Vec::new();
    for (directory, _) in DIRECTORIES {
        let answer = api.request(document, input(directory)).await?;
        let job = api.await_end(text(&answer["adoptBackup"]["job"]["id"])).await?;
        assert_eq!(job["state"], "SUCCESSFUL", "{job}");
        assert_eq!(job["type"], "ADOPT");
        let backup = api.backup(text(&answer["adoptBackup"]["backup"]["id"])).await?;
        assert_eq!(
            (&backup["name"], &backup["status"]),
            (&json!(directory), &json!("AVAILABLE")),
            "{backup}"
        );
        api.verify_ok(text(&backup["id"])).await?;
        backups.push(backup);
    }

    // The repository needs the directories no longer.
    std::fs::remove_dir_all(&root)?;
    for (number, backup) in (1..).zip(&backups) {
        let target = format!("adopted_restored_{number}");
        let names = json!([{ "from": DATABASE, "to": target }]);
        let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "databaseNames": names, "compare": "ROWS" });
        api.restore_ok(input).await?;
        let restored = milvus.in_database(&target);
        for collection in COLLECTIONS {
            check_rows(&restored, collection.name(), &database.rows(collection.name()).await?).await?;
        }
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
