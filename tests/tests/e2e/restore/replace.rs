//! The server is killed while a restore replaces collections: under every name are the old rows or the restored ones.

use super::crash::revive;
use super::{check_clean, check_no_staging, check_rows};
use crate::support::{
    Installation, PATIENCE, index_and_load, insert_plain, is_final, number, plain_collection, run_directory,
};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvus_client::{MilvusClient, Rows};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const DATABASE: &str = "replaced";
const COLLECTIONS: [&str; 3] = ["east", "north", "west"];
const ALIAS: &str = "sunrise";
const ROWS: u64 = 1_000;
const DIMENSION: usize = 16;
const ATTEMPTS_MAX: (&str, &str) = ("MILVAULT_JOBS__ATTEMPTS_MAX", "50");
/// What a Milvus needs at most to notice that a client was killed, and to crash with it.
const MILVUS_NOTICES: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(200);
/// A swap is two renames, each of some tens of milliseconds.
const SWAP_TIME: Duration = Duration::from_millis(40);

/// When the server is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// Files are staged, and imported.
    Staged,
    /// So many old collections are renamed away, or the last of them is about to be.
    Swap(usize),
    /// The old ones are dropped.
    Finish,
}

const MOMENTS: [Moment; 4] = [Moment::Staged, Moment::Swap(1), Moment::Swap(2), Moment::Finish];

/// Rows of a collection.
struct Versions {
    /// At the backup.
    at_cut: Rows,
    /// What the restore replaces.
    changed: Rows,
    /// Milvus's id of what the restore replaces.
    old_id: i64,
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replace_that_is_killed_at_any_moment_has_the_old_rows_or_the_new_under_the_name() -> Result<()> {
    let mut installation = Installation::start_with("restore_replace", &[ATTEMPTS_MAX]).await?;
    // A Milvus of its own: it may crash, see `revive`.
    let tools = Tools::install().await?;
    let options = MilvusOptions::local(run_directory()?.join("milvus-of-killed-replaces"));
    let mut server = Milvus::start(&tools, options).await?;
    let (cluster_id, milvus) = installation.with_cluster_of(&server, json!({})).await?;
    let database = milvus.create_database(DATABASE).await?;
    for name in COLLECTIONS {
        plain_collection(&database, name, ROWS, DIMENSION).await?;
        index_and_load(&database, name).await?;
    }
    database.create_alias(COLLECTIONS[0], ALIAS).await?;
    let mut at_cut = Vec::new();
    for name in COLLECTIONS {
        at_cut.push(database.rows(name).await?);
    }
    let (backup, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    let mut expected: BTreeMap<&str, Versions> = BTreeMap::new();
    for (name, at_cut) in COLLECTIONS.into_iter().zip(at_cut) {
        database.delete(name, "id < 100").await?;
        insert_plain(&database, name, ROWS..ROWS + 50, DIMENSION).await?;
        let (changed, old_id) = (database.rows(name).await?, database.collection_id(name).await?);
        expected.insert(name, Versions { at_cut, changed, old_id });
    }
    let seed = rand::rng().random();
    eprintln!("the random moments come from seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);

    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id,
        "conflictPolicy": "REPLACE", "compare": "ROWS" });
    let job_id = installation.api.start_restore(input).await?;
    let storage = server.storage_dir().context("a local Milvus has a directory")?;
    let staging = storage.join("milvault_restore").join(&job_id);
    for moment in MOMENTS {
        if !reach(&installation, &job_id, moment, &staging).await? {
            eprintln!("the restore ended before {moment:?} was seen");
            break;
        }
        if matches!(moment, Moment::Swap(_)) {
            tokio::time::sleep(random.random_range(Duration::ZERO..=SWAP_TIME)).await;
        }
        installation.milvault.kill()?;
        tokio::time::sleep(MILVUS_NOTICES).await;
        revive(&mut server).await?;
        let swapped = check_old_or_new(&database, &expected).await?;
        eprintln!("killed at {moment:?}, with the restored rows under {swapped:?}");
        installation = installation.come_back().await?;
    }
    let job = installation.api.await_restore(&job_id).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    ensure!(number(&job["attempt"]) > 2, "too few kills came in time: {job}");
    assert_eq!(database.collection_names().await?, COLLECTIONS);
    for (name, versions) in &expected {
        check_rows(&database, name, &versions.at_cut).await?;
        ensure!(database.collection_id(name).await? != versions.old_id, "{name} was not replaced");
    }
    assert_eq!(database.collection_id(ALIAS).await?, database.collection_id(COLLECTIONS[0]).await?);
    check_clean(&database).await?;
    check_no_staging(&server, &job)?;
    installation.finish().await
}

/// Waits for a moment of a restore; false when it has ended before. There are no events between two steps.
async fn reach(installation: &Installation, job_id: &str, moment: Moment, staging: &Path) -> Result<bool> {
    let document = "query($id: ID!) { job(id: $id) { state phase
        restore { collections(first: 10) { nodes { replacedKeptAs } } } } }";
    let look = async {
        loop {
            let job = installation.api.request(document, json!({ "id": job_id })).await?["job"].take();
            if is_final(&job) {
                return Ok(false);
            }
            let is_reached = match moment {
                Moment::Staged => job["phase"] == "IMPORT" && staging.exists(),
                Moment::Swap(count) => job["phase"] == "IMPORT" && gave_way(&job) >= count,
                Moment::Finish => job["phase"] == "FINISH",
            };
            if is_reached {
                return Ok(true);
            }
        }
    };
    tokio::time::timeout(PATIENCE, look).await.with_context(|| format!("{moment:?} does not come"))?
}

/// Old collections whose renaming is recorded.
fn gave_way(job: &Value) -> usize {
    let collections = job["restore"]["collections"]["nodes"].as_array();
    collections.map_or(0, |all| all.iter().filter(|entry| entry["replacedKeptAs"].is_string()).count())
}

/// Under every name, and under the alias, are all the old rows or all the restored ones; between the two renames of a
/// swap nothing has the name, and the old rows lie beside it. Returns the names that have the restored rows.
async fn check_old_or_new<'a>(
    database: &MilvusClient,
    expected: &BTreeMap<&'a str, Versions>,
) -> Result<Vec<&'a str>> {
    let names = database.collection_names().await?;
    let mut swapped = Vec::new();
    for (name, versions) in expected {
        if names.iter().any(|other| other == name) {
            let rows = read(database, name).await?;
            if rows == versions.at_cut {
                swapped.push(*name);
            } else {
                check_rows(database, name, &versions.changed).await?;
            }
        } else {
            let kept = names.iter().find(|other| other.starts_with(&format!("{name}_milvault_replaced_")));
            let kept = kept.with_context(|| format!("the old {name} is nowhere in {names:?}"))?;
            eprintln!("{name} is between two renames");
            ensure!(read(database, kept).await? == versions.changed, "{kept} has other rows than before");
        }
    }
    let through_alias = read(database, ALIAS).await?;
    let versions = &expected[COLLECTIONS[0]];
    ensure!([&versions.at_cut, &versions.changed].contains(&&through_alias), "{ALIAS} has other rows");
    Ok(swapped)
}

/// Rows of a collection that a Milvus which was started again may not have loaded yet.
async fn read(database: &MilvusClient, collection: &str) -> Result<Rows> {
    let rows = async {
        loop {
            match database.rows(collection).await {
                Ok(rows) => return rows,
                Err(error) => eprintln!("{collection} cannot be read yet: {error:#}"),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    tokio::time::timeout(PATIENCE, rows).await.with_context(|| format!("{collection} cannot be read"))
}
