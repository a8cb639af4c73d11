//! The server is killed in the middle of restores, and they are cancelled: nothing is half there.

use super::{check_clean, check_no_staging, check_rows};
use crate::support::{
    Installation, PATIENCE, index_and_load, is_final, number, plain_collection, run_directory, text,
};
use anyhow::{Context as _, Result, ensure};
use futures::StreamExt as _;
use milvault_tests::milvus_client::{MilvusClient, Rows};
use milvault_tests::servers::{Milvus, MilvusOptions, Tools};
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const DATABASE: &str = "restore_crash";
const COLLECTIONS: [&str; 4] = ["one", "two", "three", "four"];
const ROWS: u64 = 4_000;
const DIMENSION: usize = 64;
const ATTEMPTS_MAX: (&str, &str) = ("MILVAULT_JOBS__ATTEMPTS_MAX", "50");
const KILLS: usize = 5;
/// Events after which a kill or a cancel comes at the latest.
const EVENTS_MAX: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn a_restore_survives_kills_and_a_canceled_one_leaves_nothing_half_done() -> Result<()> {
    let mut installation = Installation::start_with("restore_crash", &[ATTEMPTS_MAX]).await?;
    // A Milvus of its own: it may crash, see `revive`.
    let tools = Tools::install().await?;
    let options = MilvusOptions::local(run_directory()?.join("milvus-of-killed-restores"));
    let mut server = Milvus::start(&tools, options).await?;
    let (cluster_id, milvus) = installation.with_cluster_of(&server, json!({})).await?;
    let database = milvus.create_database(DATABASE).await?;
    let mut expected: BTreeMap<&str, Rows> = BTreeMap::new();
    for name in COLLECTIONS {
        plain_collection(&database, name, ROWS, DIMENSION).await?;
        index_and_load(&database, name).await?;
        database.delete(name, "id in [1, 2, 3]").await?;
        expected.insert(name, database.rows(name).await?);
    }
    let (backup, _) = installation.api.back_up(&cluster_id, &[DATABASE]).await?;
    for name in COLLECTIONS {
        database.drop_collection(name).await?;
    }
    let input = json!({ "backupId": backup["id"], "targetClusterId": cluster_id });
    let seed = rand::rng().random();
    eprintln!("the random moments come from seed {seed}");
    let mut random = SmallRng::seed_from_u64(seed);

    let job_id = installation.api.start_restore(input.clone()).await?;
    for _ in 0..KILLS {
        if !see_events(&installation, &job_id, random.random_range(1..=EVENTS_MAX)).await? {
            break;
        }
        installation = installation.crash().await?;
        revive(&mut server).await?;
    }
    let job = installation.api.await_restore(&job_id).await?;
    assert_eq!(job["state"], "SUCCESSFUL", "{job}");
    ensure!(number(&job["attempt"]) > 1, "no kill came in time: {job}");
    check_all(&database, &expected).await?;
    check_no_staging(&server, &job)?;

    // Canceled: what is done is whole and listed, what is not is gone.
    for name in COLLECTIONS {
        database.drop_collection(name).await?;
    }
    let job_id = installation.api.start_restore(input.clone()).await?;
    see_events(&installation, &job_id, random.random_range(2..=EVENTS_MAX)).await?;
    let canceled = installation.api.cancel(&job_id).await;
    let job = installation.api.await_restore(&job_id).await?;
    if canceled.is_ok() {
        ensure!(["CANCELED", "SUCCESSFUL"].contains(&text(&job["state"])), "{job}");
    }
    check_clean(&database).await?;
    check_no_staging(&server, &job)?;
    let done: Vec<String> = database.collection_names().await?;
    for name in &done {
        check_rows(&database, name, &expected[name.as_str()]).await?;
    }
    // The rest is restored by going on.
    if job["state"] == "CANCELED" {
        let resume = json!({ "jobId": job_id });
        let id = installation.api.start_job("resumeRestore", "ResumeRestoreInput", resume).await?;
        let job = installation.api.await_restore(&id).await?;
        assert_eq!(job["state"], "SUCCESSFUL", "{job}");
        check_all(&database, &expected).await?;
    }
    installation.finish().await?;
    server.stop().await
}

/// The proxy of Milvus 2.3.5 crashes when a client dies in the middle of `GetImportState`, which nobody but Milvus can
/// mend: who kills Milvault in a restore may find that Milvus has to be started again, too.
pub(super) async fn revive(server: &mut Milvus) -> Result<()> {
    if server.has_ended()? {
        eprintln!("Milvus has crashed with the client that was killed; it is started again");
        server.restart().await?;
    }
    Ok(())
}

/// Waits for so many events of a job; false when it has ended before.
async fn see_events(installation: &Installation, job_id: &str, wanted: usize) -> Result<bool> {
    let mut events = installation.api.watch(job_id).await?;
    for _ in 0..wanted {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job: Value = event.context("the events ended before the job did")??["jobUpdated"].take();
        if is_final(&job) {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn check_all(database: &MilvusClient, expected: &BTreeMap<&str, Rows>) -> Result<()> {
    let mut names: Vec<&str> = COLLECTIONS.to_vec();
    names.sort_unstable();
    assert_eq!(database.collection_names().await?, names);
    for name in COLLECTIONS {
        check_rows(database, name, &expected[name]).await?;
    }
    Ok(())
}
