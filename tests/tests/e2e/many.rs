//! A cluster of many small collections in several databases.

use crate::support::{Installation, index_and_load, number, plain_collection, run_directory, text};
use anyhow::{Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use milvault_tests::milvus_client::{MilvusClient, RowDifferences, Rows};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools};
use serde_json::json;
use std::collections::BTreeMap;

const DATABASES: [&str; 4] = ["many_0", "many_1", "many_2", "many_3"];
const PER_DATABASE: usize = 40;
const COUNT: u64 = (DATABASES.len() * PER_DATABASE) as u64;
/// The collection of every database that is restored: Milvus 2.3.5 takes two seconds for each.
const RESTORED: &str = "collection_000";
const ROWS: u64 = 20;
const DIMENSION: usize = 8;
/// Collections that are made at once.
const AT_ONCE: usize = 8;

#[tokio::test(flavor = "multi_thread")]
async fn many_small_collections_are_backed_up_and_some_of_them_restored_elsewhere() -> Result<()> {
    let installation = Installation::start("many").await?;
    let api = &installation.api;
    // A Milvus of its own: other tests back up all that is in the shared one.
    let tools = Tools::install().await?;
    let options = MilvusOptions::local(run_directory()?.join("milvus-of-many"));
    let mut server = Milvus::start(&tools, options).await?;
    let (cluster_id, milvus) = installation.with_cluster_of(&server, json!({})).await?;
    for database in DATABASES {
        let database = milvus.create_database(database).await?;
        let work = (0..PER_DATABASE).map(|number| make(&database, number));
        futures::stream::iter(work).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    }
    let expected =
        futures::future::try_join_all(DATABASES.map(|name| rows(milvus.in_database(name)))).await?;
    let expected: BTreeMap<&str, Rows> = DATABASES.into_iter().zip(expected).collect();

    let started = api.create_backup(&cluster_id, json!({})).await?;
    let (backup, _) = api.await_available(&started).await?;
    assert_eq!((&backup["collectionCount"], &backup["rowCount"]), (&json!(COUNT), &json!(COUNT * ROWS)));
    let verify = api.verify_ok(text(&backup["id"])).await?;
    assert_eq!(verify["verifyReport"]["objectsChecked"], backup["objectCount"]);
    let (again, _) = api.await_available(&api.create_backup(&cluster_id, json!({})).await?).await?;
    assert_eq!(again["rowCount"], COUNT * ROWS);
    assert_eq!(again["reusedObjectCount"], again["objectCount"]);
    ensure!(number(&again["newlyStoredBytes"]) < number(&backup["newlyStoredBytes"]), "{again}");

    let items = DATABASES.map(|database| json!({ "database": database, "collection": RESTORED }));
    let names = DATABASES.map(|database| json!({ "from": database, "to": elsewhere(database) }));
    let input = json!({
        "backupId": again["id"], "targetClusterId": cluster_id, "items": items, "databaseNames": names,
    });
    api.restore_ok(input).await?;
    for (database, expected) in &expected {
        let restored = milvus.in_database(&elsewhere(database));
        assert_eq!(restored.collection_names().await?, [RESTORED]);
        let differences = RowDifferences::between(expected, &restored.rows(RESTORED).await?);
        assert_eq!(differences, RowDifferences::default(), "{database}");
    }
    installation.finish().await?;
    server.stop().await
}

async fn make(database: &MilvusClient, number: usize) -> Result<()> {
    plain_collection(database, &format!("collection_{number:03}"), ROWS, DIMENSION).await
}

/// Makes the collection that will be restored readable, and reads it.
async fn rows(database: MilvusClient) -> Result<Rows> {
    index_and_load(&database, RESTORED).await?;
    database.rows(RESTORED).await
}

fn elsewhere(database: &str) -> String {
    format!("{database}_elsewhere")
}
