//! The target's Milvus is away, or goes away in the middle of a restore and comes back.

use super::{check_clean, check_no_staging, check_rows};
use crate::support::{
    Installation, PATIENCE, index_and_load, is_final, plain_collection, run_directory, text,
};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use milvault_tests::milvus_client::{MilvusClient, Rows};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools, free_port};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

const DATABASE: &str = "outage";
const COLLECTIONS: [&str; 4] = ["one", "two", "three", "four"];
const ROWS: u64 = 4_000;
const DIMENSION: usize = 64;
/// Time after the beginning of the imports at which the target goes down at the latest.
const MOMENT_MAX: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_away_is_named_and_one_that_comes_back_is_waited_for() -> Result<()> {
    let installation = Installation::start("restore_outage").await?;
    let api = &installation.api;
    let tools = Tools::install().await?;
    let directory = run_directory()?.join("milvus-that-goes-away");
    let mut server = Milvus::start(&tools, MilvusOptions::local(directory)).await?;
    let uri = server.uri();
    let (cluster_id, milvus) = installation.with_cluster_of(&server, json!({})).await?;
    let database = milvus.create_database(DATABASE).await?;
    let mut expected: BTreeMap<&str, Rows> = BTreeMap::new();
    for name in COLLECTIONS {
        plain_collection(&database, name, ROWS, DIMENSION).await?;
        index_and_load(&database, name).await?;
        expected.insert(name, database.rows(name).await?);
    }
    let (backup, _) = api.back_up(&cluster_id, &[DATABASE]).await?;
    for name in COLLECTIONS {
        database.drop_collection(name).await?;
    }

    // Away when it is asked.
    let nobody = format!("http://127.0.0.1:{}", free_port()?);
    api.update_cluster(&cluster_id, json!({ "uri": nobody })).await?;
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id });
    let job = api.restore(input).await?;
    assert_eq!(job["state"], "FAILED", "{job}");
    let failure = text(&job["failure"]);
    for words in [&*nobody, "check the address and port", "that Milvus is up"] {
        ensure!(failure.contains(words), "{words} is missing in: {failure}");
    }
    check_no_staging(&server, &job)?;
    assert_eq!(database.collection_names().await?, Vec::<String>::new());
    api.update_cluster(&cluster_id, json!({ "uri": uri })).await?;

    // Away in the middle.
    let seed = rand::rng().random();
    eprintln!("the random moment comes from seed {seed}");
    let moment = SmallRng::seed_from_u64(seed).random_range(Duration::ZERO..=MOMENT_MAX);
    let resume = json!({ "jobId": job["id"] });
    let job_id = api.start_job("resumeRestore", "ResumeRestoreInput", resume).await?;
    see_imports(&installation, &job_id).await?;
    tokio::time::sleep(moment).await;
    server.kill()?;
    server.restart().await?;
    ensure!(server.uri() == uri, "another process has taken the port; the address is {} now", server.uri());
    // Milvus takes a minute to come back, and may have forgotten an import, which is waited for a minute more.
    let job = match api.await_restore(&job_id).await {
        Ok(job) => job,
        Err(_) => api.await_restore(&job_id).await?,
    };
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    ensure!(!server.has_ended()?, "Milvus has crashed");
    let database = MilvusClient::connect(&uri).await?.in_database(DATABASE);
    for name in COLLECTIONS {
        check_rows(&database, name, &expected[name]).await?;
    }
    check_clean(&database).await?;
    check_no_staging(&server, &job)?;
    installation.finish().await?;
    server.stop().await
}

/// Waits until a restore is importing.
async fn see_imports(installation: &Installation, job_id: &str) -> Result<()> {
    let mut events = installation.api.watch(job_id).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job: Value = event.context("the events ended before the job did")??["jobUpdated"].take();
        ensure!(!is_final(&job), "it ended before the target went down: {job}");
        if job["phase"] == "IMPORT" {
            return Ok(());
        }
    }
}
