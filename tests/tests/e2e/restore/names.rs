//! Names as long as Milvus takes them, and keys that need care wherever they are written down.

use super::{check_clean, check_rows, outcome};
use crate::support::{Installation, index_and_load, text};
use anyhow::{Result, ensure};
use milvault_tests::milvus_client::{CollectionSpec, Column, ColumnValues, FieldSpec};
use serde_json::json;

const DATABASE: &str = "exotic";
/// Most bytes of a name.
const LONGEST: usize = 255;
const DIMENSION: usize = 8;
/// What follows a number in the keys, so that the first and the last of them are plain.
const ENDINGS: [&str; 12] = [
    "",
    "'",
    "\"",
    "`",
    "\\",
    "\\\"; --",
    "a' or '1' == '1",
    "tab\tbell\u{7}line\nreturn\rone\u{1}",
    "<&>\u{2028}\u{7f}",
    "größe",
    "鍵🔑e\u{301}",
    "",
];

fn rows(first: usize) -> Vec<Column> {
    let keys = (first..).zip(ENDINGS).map(|(number, ending)| format!("k{number:03}{ending}"));
    vec![
        Column::new("key", ColumnValues::VarChar(keys.collect())),
        Column::new("note", ColumnValues::VarChar(ENDINGS.map(str::to_owned).to_vec())),
        Column::new(
            "embedding",
            ColumnValues::FloatVector { dimension: DIMENSION, values: vec![0.5; ENDINGS.len() * DIMENSION] },
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_names_and_odd_keys_come_back() -> Result<()> {
    let installation = Installation::start("restore_names").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    let (collection, partition) = ("c".repeat(LONGEST), "p".repeat(LONGEST));
    let fields = vec![
        FieldSpec::varchar("key", 128).primary_key(),
        FieldSpec::varchar("note", 128),
        FieldSpec::float_vector("embedding", DIMENSION),
    ];
    let spec = CollectionSpec {
        name: collection.clone(),
        description: String::from("the longest name"),
        fields,
        dynamic_field: false,
        shard_count: 1,
        partition_key_partitions: 0,
    };
    database.create_collection(&spec).await?;
    database.create_partition(&collection, &partition).await?;
    database.insert(&collection, "", &rows(0)).await?;
    database.insert(&collection, &partition, &rows(100)).await?;
    index_and_load(&database, &collection).await?;
    // Deletes are kept as JSON, with escapes of their own.
    database.delete(&collection, r#"key in ["k001'", "k102\"", "k004\\", "k109größe", "k010鍵🔑é"]"#).await?;
    let expected = database.rows(&collection).await?;
    ensure!(expected.len() < 2 * ENDINGS.len(), "some rows were deleted");

    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    let input = |policy: &str| json!({ "backupId": backup["id"], "targetClusterId": cluster_id, "conflictPolicy": policy, "compare": "ROWS" });
    let job = api.restore_ok(input("RENAME")).await?;
    let name = text(&outcome(&job, &collection)["target"]["collection"]).to_owned();
    ensure!(name.len() == LONGEST && name.ends_with("c_restored"), "{name}");
    check_rows(&database, &name, &expected).await?;
    assert_eq!(
        database.rows_in(&name, &[&partition]).await?,
        database.rows_in(&collection, &[&partition]).await?
    );

    let old_id = database.collection_id(&collection).await?;
    api.restore_ok(input("REPLACE")).await?;
    check_rows(&database, &collection, &expected).await?;
    ensure!(database.collection_id(&collection).await? != old_id, "it was replaced");
    // In their order: `_` comes before `c`.
    assert_eq!(database.collection_names().await?, [name, collection]);
    check_clean(&database).await?;
    installation.finish().await
}
