//! Source and target on different stores: a directory, a bucket, and both ways between them.

use super::{check_clean, check_rows};
use crate::support::{
    Api, Installation, LAKE, TypedCollection, index_and_load, local_milvus, local_storage, plain_collection,
    s3_milvus, s3_secret, s3_storage, text,
};
use anyhow::{Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, Rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATABASE: &str = "between_stores";
const ROWS: u64 = 300;
const VAULT: &str = "vault-restore";
const VAULT_ELSEWHERE: &str = "vault-elsewhere";

#[tokio::test(flavor = "multi_thread")]
async fn rows_travel_between_a_directory_and_a_bucket_both_ways() -> Result<()> {
    let (store, on_s3) = s3_milvus().await?;
    store.create_bucket(VAULT).await?;
    let secret = s3_secret(store);
    let installation = Installation::start_with("restore_stores", &[secret]).await?;
    let api = &installation.api;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let in_directory = api.register_local_repository("directory", &installation.repository_dir()).await?;
    let in_bucket = api.register_repository("bucket", &storage(VAULT, "milvault")).await?;
    let local = local_milvus().await?;
    let directory = json!({ "local": { "path": local_storage().await? } });
    let local_id =
        api.register_cluster(&local.uri(), &directory, &in_directory, json!({ "name": "local" })).await?;
    let s3_id = api
        .register_cluster(&on_s3.uri(), &storage(LAKE, "files"), &in_bucket, json!({ "name": "s3" }))
        .await?;

    let source = MilvusClient::connect(&local.uri()).await?.create_database(DATABASE).await?;
    TypedCollection::create_all(&source, ROWS).await?;
    let mut expected: BTreeMap<&str, Rows> = BTreeMap::new();
    for collection in TypedCollection::ALL {
        expected.insert(collection.name(), source.rows(collection.name()).await?);
    }
    // From the directory's repository into the bucket.
    let (backup, _) = api.back_up(&local_id, &[DATABASE]).await?;
    api.restore_ok(json!({ "backupId": backup["id"], "targetClusterId": s3_id, "compare": "ROWS" })).await?;
    let on_s3 = MilvusClient::connect(&on_s3.uri()).await?.in_database(DATABASE);
    for collection in TypedCollection::ALL {
        check_rows(&on_s3, collection.name(), &expected[collection.name()]).await?;
    }
    check_clean(&on_s3).await?;

    // Inside the store: nothing but what has to be looked at passes through the server.
    let (backup, _) = api.back_up(&s3_id, &[DATABASE]).await?;
    let names = json!([{ "from": DATABASE, "to": "between_stores_again" }]);
    let input = json!({ "backupId": backup["id"], "targetClusterId": s3_id, "databaseNames": names, "compare": "COUNTS" });
    let job = api.restore_ok(input).await?;
    assert_eq!(job["progress"]["bytesThroughServer"], 0, "{job}");
    let again = on_s3.in_database("between_stores_again");
    for collection in TypedCollection::ALL {
        check_rows(&again, collection.name(), &expected[collection.name()]).await?;
    }
    let left = list(&store.bucket(LAKE)?, "files/milvault_restore").await?;
    assert_eq!(left, Vec::<String>::new());

    // And from the bucket's repository back into the directory, where the source is gone.
    for collection in TypedCollection::ALL {
        source.drop_collection(collection.name()).await?;
    }
    api.restore_ok(json!({ "backupId": backup["id"], "targetClusterId": local_id, "compare": "ROWS" }))
        .await?;
    for collection in TypedCollection::ALL {
        check_rows(&source, collection.name(), &expected[collection.name()]).await?;
    }
    check_clean(&source).await?;
    installation.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storage_that_is_not_the_targets_own_fails_in_words_and_leaves_nothing() -> Result<()> {
    const DATABASE: &str = "not_its_own";
    let (store, on_s3) = s3_milvus().await?;
    for bucket in [VAULT_ELSEWHERE, "not-the-lake"] {
        store.create_bucket(bucket).await?;
    }
    let secret = s3_secret(store);
    let installation = Installation::start_with("restore_elsewhere", &[secret]).await?;
    let api = &installation.api;
    let storage = |bucket: &str, prefix: &str| s3_storage(store, bucket, prefix);
    let (local_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let in_bucket = api.register_repository("bucket", &storage(VAULT_ELSEWHERE, "")).await?;
    let wrong_bucket = storage("not-the-lake", "files");
    let s3_id =
        api.register_cluster(&on_s3.uri(), &wrong_bucket, &in_bucket, json!({ "name": "on s3" })).await?;
    let database = milvus.create_database(DATABASE).await?;
    plain_collection(&database, "rows", ROWS, 8).await?;
    index_and_load(&database, "rows").await?;
    let rows = database.rows("rows").await?;
    let (backup, _) = api.back_up(&local_id, &[DATABASE]).await?;

    // A Milvus looks for what it imports in its own bucket.
    let into_s3 = json!({ "backupId": backup["id"], "targetClusterId": s3_id, "suffix": "_again" });
    let (failed_id, failure) = failed_restore(api, into_s3).await?;
    ensure!(failure.contains("not-the-lake") && failure.contains("updateCluster"), "{failure}");
    assert_eq!(
        list(&store.bucket("not-the-lake")?, "files").await?,
        Vec::<String>::new(),
        "nothing stays staged"
    );
    let on_s3 = MilvusClient::connect(&on_s3.uri()).await?.in_database(DATABASE);
    assert_eq!(on_s3.collection_names().await?, Vec::<String>::new());

    // It reads any directory that it is told, but what it makes of the rows lies in its own.
    let elsewhere = installation.repository_dir().with_file_name("elsewhere");
    std::fs::create_dir_all(elsewhere.join("insert_log"))?;
    api.update_cluster(&local_id, json!({ "storage": { "local": { "path": elsewhere } } })).await?;
    let into_local = json!({ "backupId": backup["id"], "targetClusterId": local_id, "suffix": "_again" });
    let (_, failure) = failed_restore(api, into_local.clone()).await?;
    ensure!(failure.contains("the target cluster's registered storage"), "{failure}");
    assert_eq!(database.collection_names().await?, ["rows"]);
    let left: Vec<_> =
        std::fs::read_dir(&elsewhere)?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
    assert_eq!(left, ["insert_log"], "nothing stays staged");

    // What the words ask for helps.
    api.update_cluster(&s3_id, json!({ "storage": storage(LAKE, "files") })).await?;
    api.update_cluster(&local_id, json!({ "storage": { "local": { "path": local_storage().await? } } }))
        .await?;
    let resumed = api.start_job("resumeRestore", "ResumeRestoreInput", json!({ "jobId": failed_id })).await?;
    let job = api.await_restore(&resumed).await?;
    ensure!(job["state"] == "SUCCESSFUL", "{job}");
    api.restore_ok(into_local).await?;
    for database in [&on_s3, &database] {
        check_rows(database, "rows_again", &rows).await?;
    }
    installation.finish().await
}

/// The job of a restore that fails, and the reason.
async fn failed_restore(api: &Api, input: Value) -> Result<(String, String)> {
    let job = api.restore(input).await?;
    assert_eq!(job["state"], "FAILED", "{job}");
    Ok((text(&job["id"]).to_owned(), text(&job["failure"]).to_owned()))
}

async fn list(store: &object_store::aws::AmazonS3, prefix: &str) -> Result<Vec<String>> {
    use futures::TryStreamExt as _;
    use object_store::ObjectStore as _;
    let prefix = object_store::path::Path::from(prefix);
    let objects: Vec<_> = store.list(Some(&prefix)).try_collect().await?;
    Ok(objects.into_iter().map(|object| object.location.to_string()).collect())
}
