//! Every type of row, into the same cluster beside the old and after the old is gone.

use super::{check_rows, contents, outcome};
use crate::support::{Installation, TypedCollection, local_storage, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, Rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATABASE: &str = "typed";
const ROWS: u64 = 600;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_of_every_type_comes_back_beside_the_old_and_after_the_old_is_gone() -> Result<()> {
    let installation = Installation::start("restore_rows").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({ "cuSize": 8 })).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    TypedCollection::create_all(&database, ROWS).await?;
    let mut expected: BTreeMap<&str, Rows> = BTreeMap::new();
    for collection in TypedCollection::ALL {
        let rows = database.rows(collection.name()).await?;
        assert_eq!(rows.len() as u64, collection.row_count(ROWS), "{}", collection.name());
        expected.insert(collection.name(), rows);
    }

    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    disturb(&database).await?;

    // Beside the old: other names in the same database.
    let input = |more: Value| {
        let mut input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "compare": "ROWS" });
        if let (Some(input), Value::Object(more)) = (input.as_object_mut(), more) {
            input.extend(more);
        }
        input
    };
    let job = api.restore_ok(input(json!({ "suffix": "_again" }))).await?;
    for collection in TypedCollection::ALL {
        let name = collection.name();
        check_rows(&database, &format!("{name}_again"), &expected[name]).await?;
        let outcome = outcome(&job, name);
        assert_eq!(outcome["step"], "DONE", "{outcome}");
        for partition in outcome["partitions"].as_array().context("partitions")? {
            assert_eq!(partition["expected"], partition["found"], "{partition}");
        }
    }
    assert_eq!(job["progress"]["percent"], 100, "{job}");

    // After the old is gone, in another database that is made for it, with more shards.
    for collection in TypedCollection::ALL {
        database.drop_collection(&format!("{}_again", collection.name())).await?;
    }
    let names = json!([{ "from": DATABASE, "to": "typed_restored" }]);
    api.restore_ok(input(json!({ "databaseNames": names, "shardCount": 4 }))).await?;
    let restored = milvus.in_database("typed_restored");
    for collection in TypedCollection::ALL {
        check_rows(&restored, collection.name(), &expected[collection.name()]).await?;
    }
    for collection in TypedCollection::ALL {
        database.drop_collection(collection.name()).await?;
    }
    let job = api.restore_ok(input(json!({}))).await?;
    for collection in TypedCollection::ALL {
        check_rows(&database, collection.name(), &expected[collection.name()]).await?;
    }
    check_surroundings(&installation, &cluster_id, &backup).await?;

    // What was restored can be compared again at any time, and a change shows.
    let compare = |depth: &str| json!({ "jobId": job["id"], "depth": depth });
    for depth in ["KEYS", "SAMPLE", "ROWS"] {
        let id = api.start_job("verifyRestore", "VerifyRestoreInput", compare(depth)).await?;
        let report = api.await_restore(&id).await?;
        assert_eq!(report["state"], "SUCCESSFUL", "{depth}: {report}");
    }
    TypedCollection::Bits.delete(&database, 0..1).await?;
    let id = api.start_job("verifyRestore", "VerifyRestoreInput", compare("KEYS")).await?;
    let report = api.await_restore(&id).await?;
    assert_eq!(report["state"], "FAILED", "{report}");
    ensure!(text(&report["failure"]).contains("bits"), "{}", report["failure"]);

    undo(&installation, &database, text(&job["id"])).await?;
    let staging = local_storage().await?.join("milvault_restore").join(text(&job["id"]));
    ensure!(!staging.exists(), "{} is left", staging.display());
    installation.finish().await
}

/// What happens after the backup must not show in a restore.
async fn disturb(database: &MilvusClient) -> Result<()> {
    for collection in TypedCollection::ALL {
        collection.insert(database, "", 10_000..10_050).await?;
        collection.delete(database, 0..25).await?;
        database.flush(&[collection.name()]).await?;
    }
    database.compact(TypedCollection::Bits.name()).await
}

/// A backup of what was restored shows the same as the one it was restored from.
async fn check_surroundings(installation: &Installation, cluster_id: &str, original: &Value) -> Result<()> {
    let api = &installation.api;
    let (again, _) = api.back_up(cluster_id, &[DATABASE]).await?;
    assert_eq!(contents(api, &again).await?, contents(api, original).await?);
    Ok(())
}

/// Undoing a restore removes what it made and nothing else.
async fn undo(installation: &Installation, database: &MilvusClient, job_id: &str) -> Result<()> {
    let api = &installation.api;
    let id = api.start_job("undoRestore", "UndoRestoreInput", json!({ "jobId": job_id })).await?;
    let job = api.await_restore(&id).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    assert_eq!(database.collection_names().await?, Vec::<String>::new());
    Ok(())
}
