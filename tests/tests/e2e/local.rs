//! A Milvus on a local disk into a repository on a local disk: what a backup holds, says and reuses.

use crate::support::{Installation, local_storage, number, text};
use anyhow::{Context as _, Result, ensure};
use milvault_domain::object::{Location, StoredObject};
use milvault_tests::demo::byte_check::{self, place, read_objects};
use milvault_tests::demo::data::{self, DemoCollection};
use milvault_tests::milvus_client::MilvusClient;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Rows in all four collections.
const ROWS: u64 = 12_000;
/// Rows that the second backup finds in addition.
const MORE_ROWS: u64 = 500;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_holds_every_byte_and_says_what_was_there_and_the_next_one_reuses_it() -> Result<()> {
    let installation = Installation::start("local").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({ "cuSize": 8 })).await?;
    let api = &installation.api;
    let check = api.check_cluster(&cluster_id).await?;
    assert_eq!(check["ok"], true, "{check}");

    data::fill(&milvus, ROWS, |_| ()).await?;
    let (first, first_job) = api.back_up(&cluster_id, &DemoCollection::DATABASES).await?;
    assert_eq!(first["type"], "DATABASE");
    assert_eq!(first["creationMethod"], "MANUAL");
    assert_eq!(first["createdBy"], "owner");
    assert_eq!(first["rowCount"], ROWS);
    assert_eq!(first["collectionCount"], 4);
    assert_eq!(first_job["progress"]["percent"], 100);
    assert_eq!(first_job["progress"]["bytesReused"], 0);
    assert_eq!(first_job["progress"]["bytesTotal"], first["logicalBytes"]);
    assert_eq!(first_job["attempt"], 1);
    check_bytes(&installation, &first).await?;
    check_contents(&installation, &milvus, &first).await?;

    let mut random = SmallRng::seed_from_u64(7);
    let numbers = ROWS..ROWS + MORE_ROWS;
    data::insert(&milvus, DemoCollection::Documents, numbers, &mut random, |_| ()).await?;
    let (second, second_job) = api.back_up(&cluster_id, &DemoCollection::DATABASES).await?;
    assert_eq!(second["rowCount"], ROWS + MORE_ROWS);
    ensure!(number(&second_job["progress"]["bytesReused"]) > 0, "nothing was reused: {second_job}");
    ensure!(
        number(&second["newlyStoredBytes"]) < number(&first["newlyStoredBytes"]) / 2,
        "500 more rows cost {} after {} for 12,000",
        second["newlyStoredBytes"],
        first["newlyStoredBytes"]
    );
    check_bytes(&installation, &second).await?;
    for backup in [&first, &second] {
        let verify = api.verify_ok(text(&backup["id"])).await?;
        assert_eq!(verify["verifyReport"]["objectsChecked"], backup["objectCount"]);
        assert_eq!(verify["verifyReport"]["bytesRead"], backup["logicalBytes"]);
    }

    one_wrong_bit_is_found(&installation, text(&first["id"])).await?;
    installation.finish().await
}

/// Every object equals Milvus's file, and every file of the segments that the backup names is in it.
async fn check_bytes(installation: &Installation, backup: &Value) -> Result<()> {
    let (repository, backup_id) = (installation.repository_dir(), text(&backup["id"]));
    let storage = local_storage().await?;
    let comparison = byte_check::compare(&repository, backup_id, storage)?;
    assert_eq!(comparison.differences, Vec::<String>::new());
    assert_eq!(json!(comparison.objects_equal), backup["objectCount"]);
    assert_eq!(json!(comparison.bytes_equal), backup["logicalBytes"]);

    let objects = objects(&repository, backup_id)?;
    let named: BTreeSet<String> = objects.iter().map(|object| object.source.key.to_string()).collect();
    let segments: BTreeSet<String> =
        named.iter().filter_map(|key| key.starts_with("insert_log").then(|| segment_of(key))?).collect();
    ensure!(!segments.is_empty(), "no insert logs at all");
    for segment in segments {
        for field in fs::read_dir(storage.join(&segment))? {
            let field = field?.file_name();
            for log in fs::read_dir(storage.join(&segment).join(&field))? {
                let key = format!("{segment}/{}/{}", field.display(), log?.file_name().display());
                ensure!(named.contains(&key), "{key} is not in the backup");
            }
        }
    }
    Ok(())
}

/// `insert_log/<collection>/<partition>/<segment>` of a key below it.
fn segment_of(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split('/').collect();
    parts.get(..4).map(|parts| parts.join("/"))
}

/// What the API says about the databases and collections of the backup.
async fn check_contents(installation: &Installation, milvus: &MilvusClient, backup: &Value) -> Result<()> {
    let document = "query($id: ID!) { backup(id: $id) { cutAt milvusVersion databases(first: 10) { nodes {
        name collectionCount collections(first: 10) { nodes {
            id name description rowCount segmentCount shardCount dynamicField loadState replicaCount aliases
            consistencyLevel
            partitions { name rowCount } indexes { fieldName params { key value } }
            fields { id name dataType elementType primaryKey autoId partitionKey typeParams { key value } }
        } } } } } }";
    let answer = installation.api.request(document, json!({ "id": backup["id"] })).await?;
    let backup = &answer["backup"];
    ensure!(text(&backup["milvusVersion"]).contains("2.3.5"), "{}", backup["milvusVersion"]);
    let databases = backup["databases"]["nodes"].as_array().context("databases")?;
    let names: Vec<&str> = databases.iter().map(|database| text(&database["name"])).collect();
    assert_eq!(names, ["media", "shop"]);
    for collection in DemoCollection::ALL {
        let shown = collection_of(databases, collection)?;
        let database = milvus.in_database(collection.database());
        assert_eq!(shown["id"], database.collection_id(collection.name()).await?.to_string());
        assert_eq!(shown["description"], format!("{} of the demo", collection.name()));
        assert_eq!(shown["rowCount"], collection.share_of(ROWS));
        assert_eq!(shown["loadState"], "LOADED");
        assert_eq!(shown["replicaCount"], 1);
        assert_eq!(shown["consistencyLevel"], "BOUNDED");
        let metric =
            shown["indexes"][0]["params"].as_array().and_then(|params| find(params, "key", "metric_type"));
        assert_eq!(shown["indexes"][0]["fieldName"], "embedding");
        assert_eq!(metric.context("an index has a metric")?["value"], collection.metric());
        let embedding = field(shown, "embedding")?;
        assert_eq!(embedding["dataType"], "FloatVector");
        assert_eq!(embedding["typeParams"], json!([{ "key": "dim", "value": "128" }]));
    }
    let products = collection_of(databases, DemoCollection::Products)?;
    assert_eq!(products["aliases"], json!(["catalogue"]));
    assert_eq!(products["dynamicField"], true);
    assert_eq!(field(products, "id")?["primaryKey"], true);
    assert_eq!(field(products, "ratings")?["elementType"], "Int64");
    let partitions = products["partitions"].as_array().context("partitions")?;
    let names: BTreeSet<&str> = partitions.iter().map(|partition| text(&partition["name"])).collect();
    assert_eq!(names, BTreeSet::from(["_default", "y2024", "y2025", "y2026"]));
    let rows: u64 = partitions.iter().map(|partition| number(&partition["rowCount"])).sum();
    assert_eq!(rows, DemoCollection::Products.share_of(ROWS));
    let reviews = collection_of(databases, DemoCollection::Reviews)?;
    assert_eq!(reviews["shardCount"], 2);
    assert_eq!(field(reviews, "language")?["partitionKey"], true);
    assert_eq!(field(reviews, "review_id")?["typeParams"], json!([{ "key": "max_length", "value": "32" }]));
    assert_eq!(field(collection_of(databases, DemoCollection::Images)?, "image_id")?["autoId"], true);
    Ok(())
}

/// Flips a bit in a pack, has the verify find it, and takes it back.
async fn one_wrong_bit_is_found(installation: &Installation, backup_id: &str) -> Result<()> {
    let repository = installation.repository_dir();
    let objects = objects(&repository, backup_id)?;
    let victim = objects
        .iter()
        .find(|object| matches!(object.location, Location::Pack { .. }) && object.stored_bytes > 1000)
        .context("a pack holds something")?;
    let (file, start) = place(victim);
    flip_a_bit(&repository.join(&file), start + victim.stored_bytes / 2)?;
    let job = installation.api.verify(backup_id).await?;
    assert_eq!(job["state"], "FAILED", "{job}");
    assert_eq!(job["verifyReport"]["failureCount"], 1, "{job}");
    let failure = &job["verifyReport"]["failures"][0];
    ensure!(text(&failure["file"]).contains(&file), "{failure} does not name {file}");
    assert_eq!(failure["key"], victim.source.key.to_string());
    ensure!(!text(&job["failure"]).is_empty(), "{job}");

    flip_a_bit(&repository.join(&file), start + victim.stored_bytes / 2)?;
    installation.api.verify_ok(backup_id).await?;
    Ok(())
}

fn flip_a_bit(path: &Path, offset: u64) -> Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    #[expect(clippy::permissions_set_readonly_false, reason = "a file of a test")]
    permissions.set_readonly(false);
    fs::set_permissions(path, permissions)?;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    file.write_all_at(&[byte[0] ^ 0x10], offset)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_is_a_complete_backup_too() -> Result<()> {
    let installation = Installation::start("empty").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    milvus.create_database("empty").await?;
    let (backup, job) = installation.api.back_up(&cluster_id, &["empty"]).await?;
    assert_eq!(backup["objectCount"], 0);
    assert_eq!(backup["rowCount"], 0);
    assert_eq!(job["progress"]["percent"], 100);
    installation.api.verify_ok(text(&backup["id"])).await?;
    installation.finish().await
}

fn objects(repository: &Path, backup_id: &str) -> Result<Vec<StoredObject>> {
    let mut objects = Vec::new();
    let manifest = File::open(repository.join("backups").join(backup_id).join("manifest"))?;
    read_objects(manifest, |object| objects.push(object))?;
    Ok(objects)
}

fn collection_of(databases: &[Value], collection: DemoCollection) -> Result<&Value> {
    find(databases, "name", collection.database())
        .and_then(|database| find(database["collections"]["nodes"].as_array()?, "name", collection.name()))
        .with_context(|| format!("{} is not in the backup", collection.name()))
}

fn field<'a>(collection: &'a Value, name: &str) -> Result<&'a Value> {
    collection["fields"]
        .as_array()
        .and_then(|fields| find(fields, "name", name))
        .with_context(|| format!("field {name} is not in the backup"))
}

fn find<'a>(list: &'a [Value], key: &str, value: &str) -> Option<&'a Value> {
    list.iter().find(|entry| entry[key] == value)
}
