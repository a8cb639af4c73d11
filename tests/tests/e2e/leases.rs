//! Two servers on one PostgreSQL: they share the work, and one goes on where the other was killed or stood still.

use crate::support::{Api, PATIENCE, local_storage, number, plain_collection, run_directory, text};
use crate::support::{is_final, local_milvus, turn};
use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use milvault_tests::graphql_client::GraphqlError;
use milvault_tests::milvault_process::{MilvaultOptions, MilvaultProcess};
use milvault_tests::milvus_client::MilvusClient;
use milvault_tests::servers::{Postgres, Tools};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::SemaphorePermit;

/// Rows of 1 KiB each.
const ROWS: u64 = 20_000;
/// So slow that the copy lasts for some seconds.
const BYTES_PER_SECOND: u64 = 5 << 20;

struct Pair {
    first: MilvaultProcess,
    second: MilvaultProcess,
    apis: [Api; 2],
    directory: PathBuf,
    cluster_id: String,
    database: &'static str,
    _postgres: Postgres,
    _turn: SemaphorePermit<'static>,
}

/// A server of the pair. Both have one master key, and the key of the owner that the first start made.
async fn start(directory: &Path, name: &str, url: &str) -> Result<MilvaultProcess> {
    let own = directory.join(name);
    fs::create_dir_all(&own)?;
    let owner_key = directory.join("first/owner-key");
    if name != "first" {
        fs::copy(owner_key, own.join("owner-key"))?;
    }
    let environment = [
        ("MILVAULT_CATALOG__URL", url.to_owned()),
        ("MILVAULT_CATALOG__MASTER_KEY_FILE", directory.join("master.key").display().to_string()),
        ("MILVAULT_CATALOG__LEASE_SECONDS", String::from("10")),
        ("MILVAULT_SERVER__NAME", name.to_owned()),
    ];
    let environment = environment.map(|(key, value)| (key.to_owned(), value)).to_vec();
    MilvaultProcess::start(&own, MilvaultOptions { environment, ..MilvaultOptions::default() }).await
}

impl Pair {
    async fn start(test: &str, database: &'static str) -> Result<Self> {
        let turn = turn().await?;
        let directory = run_directory()?.join(test);
        let postgres = Postgres::start(&Tools::install().await?, &directory.join("postgresql")).await?;
        let url = postgres.create_database("milvault").await?;
        let first = start(&directory, "first", &url).await?;
        let second = start(&directory, "second", &url).await?;
        let apis = [Api::new(first.client()?), Api::new(second.client()?)];

        let milvus = local_milvus().await?;
        let repository_id = apis[0].register_local_repository("local", &directory.join("repository")).await?;
        let storage = json!({ "local": { "path": local_storage().await? } });
        let slow = json!({ "maxBytesPerSecond": BYTES_PER_SECOND, "cuSize": 1 });
        let cluster_id = apis[1].register_cluster(&milvus.uri(), &storage, &repository_id, slow).await?;
        let client = MilvusClient::connect(&milvus.uri()).await?;
        plain_collection(&client.create_database(database).await?, "rows", ROWS, 256).await?;
        Ok(Self { first, second, apis, directory, cluster_id, database, _postgres: postgres, _turn: turn })
    }

    fn scope(&self) -> Value {
        json!({ "scope": { "databases": [self.database] } })
    }

    /// Which of the two works on the cluster, or is about to: between two leases there may be a moment.
    async fn worker(&self, asked: &Api) -> Result<usize> {
        let document = "query($id: ID!) { cluster(id: $id) { lease { serverName generation } } }";
        let look = async {
            loop {
                let answer = asked.request(document, json!({ "id": self.cluster_id })).await?;
                match answer["cluster"]["lease"]["serverName"].as_str() {
                    Some("first") => return Ok(0),
                    Some("second") => return Ok(1),
                    Some(_) => bail!("a stranger works on the cluster: {answer}"),
                    None => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        };
        tokio::time::timeout(PATIENCE, look).await.context("nobody works on the cluster")?
    }

    async fn finish(mut self) -> Result<()> {
        for milvault in [&mut self.first, &mut self.second] {
            milvault.terminate().await?;
            let log = fs::read_to_string(milvault.log_file())?;
            ensure!(
                !log.contains("panicked at"),
                "the server panicked; see {}",
                milvault.log_file().display()
            );
        }
        fs::remove_dir_all(&self.directory)?;
        Ok(())
    }
}

/// Watches a job at a server until it copies; returns what was told last.
async fn copying(api: &Api, job_id: &str) -> Result<Value> {
    let mut events = api.watch(job_id).await?;
    loop {
        let event = tokio::time::timeout(PATIENCE, events.next()).await.context("no further event")?;
        let job = event.context("the events ended before the job did")??["jobUpdated"].take();
        ensure!(!is_final(&job), "the job has ended: {job}");
        if job["phase"] == "COPY" && number(&job["progress"]["bytesTotal"]) > 0 {
            return Ok(job);
        }
    }
}

fn ends(job: &Value) -> usize {
    let history = job["history"].as_array().map(Vec::as_slice).unwrap_or_default();
    history.iter().filter(|event| is_final(event)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_postgresql_share_the_work() -> Result<()> {
    let pair = Pair::start("two_servers", "two_servers").await?;
    let [first, second] = &pair.apis;

    // Both are asked at once: one accepts, and the other names that one's job.
    let (one, two) = tokio::join!(
        first.create_backup(&pair.cluster_id, pair.scope()),
        second.create_backup(&pair.cluster_id, pair.scope()),
    );
    let (started, refusal) = match (one, two) {
        (Ok(started), Err(refusal)) | (Err(refusal), Ok(started)) => (started, refusal),
        other => bail!("one of two was expected: {other:?}"),
    };
    match refusal {
        GraphqlError::Answer { code, extensions, .. } if code == "CONFLICT" => {
            assert_eq!(extensions["jobId"], started.job_id);
        }
        other => bail!("CONFLICT was expected, not {other:?}"),
    }
    // Its progress and its end are seen at both.
    let (at_first, at_second) =
        tokio::try_join!(copying(first, &started.job_id), copying(second, &started.job_id))?;
    assert_eq!((at_first["attempt"].as_u64(), at_second["attempt"].as_u64()), (Some(1), Some(1)));
    let worker = pair.worker(second).await?;
    let (_, job) = pair.apis[1 - worker].await_available(&started).await?;
    assert_eq!(ends(&job), 1, "{job}");

    // A job that one of them runs is canceled through the other.
    let started = first.create_backup(&pair.cluster_id, pair.scope()).await?;
    let worker = pair.worker(first).await?;
    let other = &pair.apis[1 - worker];
    let canceled = other.cancel(&started.job_id).await?;
    ensure!(matches!(text(&canceled["state"]), "CANCELING" | "CANCELED"), "{canceled}");
    let job = other.await_end(&started.job_id).await?;
    assert_eq!((job["state"].as_str(), ends(&job)), (Some("CANCELED"), 1), "{job}");

    let answer =
        first.request("{ servers { name alive answering leases { clusterId } } }", json!({})).await?;
    let servers = answer["servers"].as_array().context("servers")?;
    let seen: Vec<_> = servers
        .iter()
        .map(|server| (text(&server["name"]), server["alive"] == true, server["answering"] == true))
        .collect();
    assert_eq!(seen, [("first", true, true), ("second", true, false)]);
    pair.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_finishes_what_a_killed_one_began() -> Result<()> {
    let mut pair = Pair::start("killed_server", "killed_server").await?;
    let started = pair.apis[0].create_backup(&pair.cluster_id, pair.scope()).await?;
    copying(&pair.apis[0], &started.job_id).await?;
    let worker = pair.worker(&pair.apis[1]).await?;
    if worker == 0 {
        pair.first.kill()?;
    } else {
        pair.second.kill()?;
    }

    let left = &pair.apis[1 - worker];
    let (backup, job) = left.await_available(&started).await?;
    assert_eq!(backup["rowCount"], ROWS);
    assert_eq!((job["attempt"].as_u64(), ends(&job)), (Some(2), 1), "{job}");
    left.verify_ok(&started.backup_id).await?;
    let document = "query($id: ID!) { backups(filter: { clusterId: $id }) { nodes { id } } }";
    let answer = left.request(document, json!({ "id": pair.cluster_id })).await?;
    assert_eq!(answer["backups"]["nodes"], json!([{ "id": started.backup_id }]));

    // The dead one comes back and finds nothing to do.
    if worker == 0 {
        pair.first = pair.first.restart().await?;
        pair.apis[0] = Api::new(pair.first.client()?);
    } else {
        pair.second = pair.second.restart().await?;
        pair.apis[1] = Api::new(pair.second.client()?);
    }
    let again = pair.apis[worker].job(&started.job_id).await?;
    assert_eq!((again["state"].as_str(), ends(&again)), (Some("SUCCESSFUL"), 1));
    pair.finish().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stood_still_past_its_lease_does_nothing_twice() -> Result<()> {
    let pair = Pair::start("paused_server", "paused_server").await?;
    let started = pair.apis[0].create_backup(&pair.cluster_id, pair.scope()).await?;
    copying(&pair.apis[0], &started.job_id).await?;
    let worker = pair.worker(&pair.apis[1]).await?;
    let paused = if worker == 0 { &pair.first } else { &pair.second };
    let pid = Pid::from_raw(i32::try_from(paused.pid())?).context("a process id")?;
    kill_process(pid, Signal::STOP)?;

    let other = &pair.apis[1 - worker];
    let (backup, job) = other.await_available(&started).await?;
    assert_eq!((backup["rowCount"].as_u64(), job["attempt"].as_u64()), (Some(ROWS), Some(2)));
    kill_process(pid, Signal::CONT)?;

    // It comes to itself, is heard of again, and has changed nothing.
    let document = "{ servers { name alive } }";
    let both_alive = async {
        loop {
            let answer = other.request(document, json!({})).await?;
            let servers = answer["servers"].as_array().context("servers")?;
            if servers.iter().all(|server| server["alive"] == true) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, both_alive).await.context("it is not heard of again")??;
    let seen = pair.apis[worker].job(&started.job_id).await?;
    assert_eq!(
        (&seen["state"], &seen["attempt"], ends(&seen)),
        (&job["state"], &job["attempt"], 1),
        "{seen}"
    );
    other.verify_ok(&started.backup_id).await?;
    let sealed = fs::read_dir(pair.directory.join("repository/backups"))?.count();
    assert_eq!(sealed, 1);
    // And it works as before.
    let next = pair.apis[worker].create_backup(&pair.cluster_id, pair.scope()).await?;
    pair.apis[worker].await_available(&next).await?;
    pair.finish().await
}
