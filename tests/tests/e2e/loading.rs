//! Collections are loaded and released all the time while backups are made.

use crate::support::{Installation, Worker, index_and_load, local_storage, number, plain_collection, text};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::demo::byte_check;
use milvault_tests::milvus_client::{MilvusClient, RowDifferences, Rows};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATABASE: &str = "loading";
const LOADED: &str = "always_loaded";
const RELEASED: &str = "never_loaded";
const CYCLED: [&str; 2] = ["cycled_0", "cycled_1"];
const ROWS: u64 = 1_000;
const DIMENSION: usize = 16;
const BACKUPS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn loading_and_releasing_meanwhile_disturbs_no_backup() -> Result<()> {
    let installation = Installation::start("loading").await?;
    let (cluster_id, milvus) = installation.with_local_cluster(json!({})).await?;
    let api = &installation.api;
    let database = milvus.create_database(DATABASE).await?;
    let names = CYCLED.into_iter().chain([LOADED, RELEASED]);
    let made = futures::future::try_join_all(names.clone().map(|name| make(&database, name))).await?;
    let expected: BTreeMap<&str, Rows> = names.zip(made).collect();
    database.release(RELEASED).await?;

    let mut workers = CYCLED
        .map(|name| Worker::start(&database, move |database, step| load_or_release(database, name, step)));
    let (mut backups, mut changes) = (Vec::new(), 0);
    for _ in 0..BACKUPS {
        for worker in &mut workers {
            worker.does(1).await?;
        }
        let before: u64 = workers.iter().map(Worker::done).sum();
        let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
        changes += workers.iter().map(Worker::done).sum::<u64>() - before;
        backups.push(backup);
    }
    for worker in workers {
        worker.stop().await?;
    }
    ensure!(changes > 0, "nothing was loaded or released while a backup was made");
    // At rest again there is one state that is right.
    for name in CYCLED {
        database.release(name).await?;
    }
    database.load(CYCLED[0]).await?;
    let (at_rest, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    check_states(&installation, &at_rest, |name| (name == CYCLED[0]).into()).await?;

    for backup in &backups {
        // On the way any state is one that the collection was in.
        check_states(&installation, backup, |_| Expected::Any).await?;
        assert_eq!(backup["rowCount"], ROWS * (CYCLED.len() as u64 + 2));
        api.verify_ok(text(&backup["id"])).await?;
        let comparison =
            byte_check::compare(&installation.repository_dir(), text(&backup["id"]), local_storage().await?)?;
        assert_eq!(comparison.differences, Vec::<String>::new());
    }
    let last = backups.last().context("a backup")?;
    let names = json!([{ "from": DATABASE, "to": "loading_restored" }]);
    let input = json!({ "backupId": last["id"], "targetClusterId": cluster_id, "databaseNames": names, "compare": "ROWS" });
    api.restore_ok(input).await?;
    let restored = milvus.in_database("loading_restored");
    ensure!(restored.is_loaded(LOADED).await?, "what was loaded is loaded again");
    ensure!(!restored.is_loaded(RELEASED).await?, "what was not loaded is not loaded");
    let read =
        futures::future::try_join_all(expected.keys().map(|name| load_and_read(&restored, name))).await?;
    for ((name, rows), found) in expected.iter().zip(&read) {
        assert_eq!(RowDifferences::between(rows, found), RowDifferences::default(), "{name}");
    }
    installation.finish().await
}

async fn make(database: &MilvusClient, name: &str) -> Result<Rows> {
    plain_collection(database, name, ROWS, DIMENSION).await?;
    index_and_load(database, name).await?;
    database.rows(name).await
}

async fn load_and_read(database: &MilvusClient, name: &str) -> Result<Rows> {
    database.load(name).await?;
    database.rows(name).await
}

async fn load_or_release(database: MilvusClient, name: &'static str, step: u64) -> Result<()> {
    if step.is_multiple_of(2) { database.release(name).await } else { database.load(name).await }
}

/// What a backup may say about a collection that was loaded and released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Loaded,
    Released,
    Any,
}

impl From<bool> for Expected {
    fn from(loaded: bool) -> Self {
        if loaded { Self::Loaded } else { Self::Released }
    }
}

/// What the backup says about every collection, where `of_cycled` tells what is right for those that were not left alone.
async fn check_states(
    installation: &Installation,
    backup: &Value,
    of_cycled: impl Fn(&str) -> Expected,
) -> Result<()> {
    let document = "query($id: ID!) { backup(id: $id) { databases(first: 1) { nodes {
        collections(first: 10) { nodes { name loadState replicaCount rowCount } } } } } }";
    let answer = installation.api.request(document, json!({ "id": backup["id"] })).await?;
    let shown = answer["backup"]["databases"]["nodes"][0]["collections"]["nodes"].as_array();
    let shown = shown.context("collections")?;
    assert_eq!(shown.len(), CYCLED.len() + 2, "{answer}");
    for collection in shown {
        let expected = match text(&collection["name"]) {
            LOADED => Expected::Loaded,
            RELEASED => Expected::Released,
            cycled => of_cycled(cycled),
        };
        let (state, replicas) = (text(&collection["loadState"]), number(&collection["replicaCount"]));
        let is_right = match expected {
            Expected::Loaded => (state, replicas) == ("LOADED", 1),
            Expected::Released => (state, replicas) == ("NOT_LOADED", 0),
            // It may be released between the question for its state and that for its replicas.
            Expected::Any => replicas <= u64::from(state != "NOT_LOADED"),
        };
        ensure!(is_right, "{expected:?} was expected: {collection}");
        assert_eq!(collection["rowCount"], ROWS, "{collection}");
    }
    Ok(())
}
