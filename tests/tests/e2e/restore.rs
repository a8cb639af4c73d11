//! Rows are given back exactly as they were at the cut, and everything around them.

mod adopt;
mod attach;
mod conflicts;
mod crash;
mod moving;
mod names;
mod outage;
mod replace;
mod rights;
mod rows;
mod stores;
mod whole;

use crate::support::{Api, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, RowDifferences, Rows};
use milvault_tests::servers::Milvus;
use serde_json::{Value, json};

/// Fails with the differing keys when a loaded collection has other rows than these.
async fn check_rows(database: &MilvusClient, collection: &str, expected: &Rows) -> Result<()> {
    let found = database.rows(collection).await?;
    let differences = RowDifferences::between(expected, &found);
    assert_eq!(differences, RowDifferences::default(), "{}.{collection}", database.database());
    Ok(())
}

/// What became of a collection in a restore, by its source's name.
fn outcome<'a>(job: &'a Value, collection: &str) -> &'a Value {
    let collections = job["restore"]["collections"]["nodes"].as_array();
    collections
        .and_then(|all| all.iter().find(|entry| entry["source"]["collection"] == collection))
        .unwrap_or(&Value::Null)
}

/// No working name of a restore is left in a database.
async fn check_clean(database: &MilvusClient) -> Result<()> {
    let names = database.collection_names().await?;
    let left: Vec<&String> = names.iter().filter(|name| name.contains("milvault_")).collect();
    assert_eq!(left, Vec::<&String>::new(), "in database {}", database.database());
    Ok(())
}

/// No staged file of a restore is left in the storage of a Milvus that keeps its files on this machine.
fn check_no_staging(server: &Milvus, job: &Value) -> Result<()> {
    let storage = server.storage_dir().context("a local Milvus has a directory")?;
    let staging = storage.join("milvault_restore").join(text(&job["id"]));
    ensure!(!staging.exists(), "{} is left", staging.display());
    Ok(())
}

/// All that a backup shows of its databases and collections.
async fn contents(api: &Api, backup: &Value) -> Result<Value> {
    let document = "query($id: ID!) { backup(id: $id) { databases(first: 10) { nodes { name properties { key value }
        collections(first: 10) { nodes { name description shardCount dynamicField loadState replicaCount aliases
            consistencyLevel properties { key value } partitions { name }
            indexes { name fieldName params { key value } }
            fields { id name dataType elementType primaryKey autoId partitionKey typeParams { key value } }
        } } } } } }";
    let mut answer = api.request(document, json!({ "id": backup["id"] })).await?;
    Ok(answer["backup"]["databases"].take())
}
