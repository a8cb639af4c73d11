//! Every server starts, keeps what it is given across restarts, and goes when it is no longer held.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs::Permissions;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::TryStreamExt as _;
use milvault_tests::servers::{Milvus, MilvusOptions, Postgres, SeaweedFs, SeaweedFsOptions, Tools};
use milvus::proto::milvus::milvus_service_client::MilvusServiceClient;
use milvus::proto::milvus::{FlushRequest, GetFlushStateRequest};
use object_store::aws::AmazonS3Builder;
use object_store::path::Path as ObjectPath;
use object_store::{Certificate, ClientOptions, ObjectStore, ObjectStoreExt as _};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::tempdir;

const DIMENSION: usize = 8;
const ROWS: usize = 100;

#[tokio::test]
async fn milvus_keeps_its_collections_and_address_across_a_stop_and_a_crash() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let mut milvus = Milvus::start(&tools, MilvusOptions::local(dir.path())).await?;
    let uri = milvus.uri();
    create_with_rows(&milvus, "kept").await?;
    flush(&milvus, "kept").await?;
    let files = binlogs(&milvus.storage_dir().context("local storage has a directory")?)?;
    ensure!(!files.is_empty(), "a flushed collection has files");

    milvus.stop().await?;
    ensure!(collections(&milvus).await.is_err(), "a stopped server does not answer");
    milvus.restart().await?;
    assert_eq!(milvus.uri(), uri);
    assert_eq!(collections(&milvus).await?, ["kept"]);

    milvus.kill()?;
    milvus.restart().await?;
    assert_eq!(milvus.uri(), uri);
    assert_eq!(collections(&milvus).await?, ["kept"]);

    drop(milvus);
    let milvus = Milvus::start(&tools, MilvusOptions::local(dir.path())).await?;
    assert_eq!(milvus.uri(), uri);
    assert_eq!(collections(&milvus).await?, ["kept"]);
    let pid = milvus.pid();
    drop(milvus);
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "dropped and still running");
    Ok(())
}

#[tokio::test]
async fn two_milvus_run_side_by_side_one_with_authentication() -> Result<()> {
    let tools = Tools::install().await?;
    let (first_dir, second_dir) = (tempdir()?, tempdir()?);
    let guarded = MilvusOptions { auth: true, ..MilvusOptions::local(second_dir.path()) };
    let (first, second) = tokio::try_join!(
        Milvus::start(&tools, MilvusOptions::local(first_dir.path())),
        Milvus::start(&tools, guarded),
    )?;
    create(&first, "only_in_first").await?;
    create(&second, "only_in_second").await?;
    assert_eq!(collections(&first).await?, ["only_in_first"]);
    assert_eq!(collections(&second).await?, ["only_in_second"]);

    let url = format!("{}/v1/vector/collections", second.uri());
    let refused = client()?.get(url).send().await?;
    assert_eq!(refused.status(), reqwest::StatusCode::UNAUTHORIZED);
    Ok(())
}

#[tokio::test]
async fn milvus_keeps_its_files_in_an_s3_bucket() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let store = SeaweedFs::start(&tools, &dir.path().join("seaweedfs"), SeaweedFsOptions::default()).await?;
    let options = MilvusOptions::on_s3(dir.path().join("milvus"), store.milvus_storage("lake"));
    let milvus = Milvus::start(&tools, options).await?;
    assert_eq!(milvus.storage_dir(), None);
    create_with_rows(&milvus, "on_s3").await?;
    flush(&milvus, "on_s3").await?;

    let prefix = ObjectPath::from("files/insert_log");
    let objects: Vec<_> = store.bucket("lake")?.list(Some(&prefix)).try_collect().await?;
    ensure!(!objects.is_empty(), "a flushed collection has objects");
    ensure!(store.traffic().await?.received_bytes > 0, "they came by way of S3");
    Ok(())
}

#[tokio::test]
async fn seaweedfs_restarts_with_its_objects_and_counts_only_what_passes_through_clients() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let mut server = SeaweedFs::start(&tools, dir.path(), SeaweedFsOptions::default()).await?;
    server.create_bucket("one").await?;
    server.create_bucket("one").await?;
    let bucket = server.bucket("one")?;
    let content = vec![7_u8; 1 << 20];
    let object = ObjectPath::from("some/object");
    bucket.put(&object, content.clone().into()).await?;
    let after_put = server.traffic().await?;
    ensure!(after_put.received_bytes >= 1 << 20, "{after_put:?}");

    bucket.copy(&object, &ObjectPath::from("some/copy")).await?;
    let after_copy = server.traffic().await?;
    ensure!(after_copy.received_bytes < after_put.received_bytes + 4096, "{after_copy:?}");
    ensure!(after_copy.sent_bytes < after_put.sent_bytes + 4096, "{after_copy:?}");

    let endpoint = server.endpoint();
    server.kill()?;
    ensure!(bucket.head(&object).await.is_err(), "a killed server does not answer");
    server.restart().await?;
    assert_eq!(server.endpoint(), endpoint);
    let read = bucket.get(&ObjectPath::from("some/copy")).await?.bytes().await?;
    assert_eq!(read, content);
    Ok(())
}

#[tokio::test]
async fn seaweedfs_lets_the_read_only_identity_read_one_bucket() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let options =
        SeaweedFsOptions { read_only_bucket: Some("shown".to_owned()), ..SeaweedFsOptions::default() };
    let server = SeaweedFs::start(&tools, dir.path(), options).await?;
    let object = ObjectPath::from("object");
    for name in ["shown", "hidden"] {
        server.create_bucket(name).await?;
        server.bucket(name)?.put(&object, "content".into()).await?;
    }
    let reader = |bucket: &str| {
        AmazonS3Builder::new()
            .with_endpoint(server.endpoint())
            .with_allow_http(true)
            .with_bucket_name(bucket)
            .with_access_key_id(&server.read_only().access_key)
            .with_secret_access_key(&server.read_only().secret_key)
            .build()
    };
    assert_eq!(reader("shown")?.get(&object).await?.bytes().await?, "content");
    ensure!(reader("shown")?.put(&object, "other".into()).await.is_err());
    ensure!(reader("hidden")?.get(&object).await.is_err());
    Ok(())
}

#[tokio::test]
async fn seaweedfs_speaks_tls_to_those_who_trust_its_authority() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let options = SeaweedFsOptions { tls: true, ..SeaweedFsOptions::default() };
    let server = SeaweedFs::start(&tools, dir.path(), options).await?;
    server.create_bucket("sealed").await?;
    let tls = server.tls().context("TLS was asked for")?;
    let authority = Certificate::from_pem(&std::fs::read(&tls.ca_certificate)?)?;
    let with = |options: ClientOptions| {
        AmazonS3Builder::new()
            .with_endpoint(&tls.endpoint)
            .with_client_options(options)
            .with_bucket_name("sealed")
            .with_access_key_id(&server.admin().access_key)
            .with_secret_access_key(&server.admin().secret_key)
            .with_retry(object_store::RetryConfig { max_retries: 0, ..Default::default() })
            .build()
    };
    let object = ObjectPath::from("object");
    let trusting = with(ClientOptions::new().with_root_certificate(authority))?;
    trusting.put(&object, "content".into()).await?;
    assert_eq!(trusting.get(&object).await?.bytes().await?, "content");
    ensure!(with(ClientOptions::new())?.get(&object).await.is_err());
    Ok(())
}

#[tokio::test]
async fn postgres_gives_each_database_by_its_address_and_leaves_nothing_behind() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let postgres = Postgres::start(&tools, dir.path()).await?;
    let first = postgres.create_database("first").await?;
    let second = postgres.create_database("second").await?;
    psql(&tools, &first, "CREATE TABLE t (n int); INSERT INTO t VALUES (42)")?;
    assert_eq!(psql(&tools, &first, "SELECT n FROM t")?, "42");
    ensure!(psql(&tools, &second, "SELECT n FROM t").is_err());
    ensure!(postgres.create_database("first").await.is_err(), "the name is taken");
    ensure!(postgres.create_database("a\"; DROP").await.is_err());

    let pid = postgres.pid();
    drop(postgres);
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "dropped and still running");
    Ok(())
}

#[tokio::test]
async fn milvus_moves_when_another_process_has_its_port() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let milvus = Milvus::start(&tools, MilvusOptions::local(dir.path())).await?;
    let port = milvus.port();
    drop(milvus);
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port))?;
    let milvus = Milvus::start(&tools, MilvusOptions::local(dir.path())).await?;
    assert_ne!(milvus.port(), port);
    assert!(collections(&milvus).await?.is_empty());
    drop(squatter);
    Ok(())
}

#[tokio::test]
async fn a_milvus_that_cannot_start_shows_the_end_of_its_log() -> Result<()> {
    let tools = Tools::install().await?;
    let dir = tempdir()?;
    let options = MilvusOptions::local(dir.path()).with("mq.type", "no-such-queue");
    let error = Milvus::start(&tools, options).await.unwrap_err().to_string();
    ensure!(error.contains("no-such-queue"), "{error}");
    ensure!(error.contains("milvus.log"), "{error}");
    Ok(())
}

#[tokio::test]
async fn servers_by_hand_stop_when_interrupted_and_end_with_a_program_that_is_killed() -> Result<()> {
    Tools::install().await?;
    let dir = tempdir()?;
    // The user who runs PostgreSQL must get through to its data.
    std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
    let mut by_hand = ServersByHand::start(dir.path(), &["--s3"])?;
    by_hand.signal(Signal::INT)?;
    ensure!(by_hand.program.wait()?.success());
    for pid in by_hand.pids {
        ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} was not stopped");
    }

    let mut by_hand = ServersByHand::start(dir.path(), &[])?;
    by_hand.program.kill()?;
    by_hand.program.wait()?;
    for pid in by_hand.pids {
        wait_until_ended(pid).await?;
    }
    Ok(())
}

/// `servers up`, when it has said where its servers are.
struct ServersByHand {
    program: Child,
    pids: Vec<u64>,
}

impl ServersByHand {
    fn start(temporary: &Path, arguments: &[&str]) -> Result<Self> {
        let mut program = Command::new(env!("CARGO_BIN_EXE_servers"))
            .arg("up")
            .args(arguments)
            .env("TMPDIR", temporary)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = program.stdout.take().context("stdout is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let addresses: Value = serde_json::from_str(&line)?;
        let pids: Vec<u64> = ["milvus", "postgres", "s3"]
            .iter()
            .filter_map(|server| addresses[server]["pid"].as_u64())
            .collect();
        assert_eq!(pids.len(), 2 + arguments.len(), "{addresses}");
        Ok(Self { program, pids })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.program.id())?).context("a program has a pid")?;
        Ok(kill_process(pid, signal)?)
    }
}

/// Ended, if not yet reaped by its new parent.
async fn wait_until_ended(pid: u64) -> Result<()> {
    for _ in 0..600 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if status.is_empty() || status.contains(") Z ") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("process {pid} outlived the program that started it")
}

async fn create_with_rows(milvus: &Milvus, collection: &str) -> Result<()> {
    create(milvus, collection).await?;
    let rows: Vec<Value> = (0..ROWS).map(|row| json!({"vector": vec![row; DIMENSION]})).collect();
    post(milvus, "insert", &json!({"collectionName": collection, "data": rows})).await?;
    Ok(())
}

async fn create(milvus: &Milvus, collection: &str) -> Result<()> {
    let body = json!({"collectionName": collection, "dimension": DIMENSION});
    post(milvus, "collections/create", &body).await?;
    Ok(())
}

async fn collections(milvus: &Milvus) -> Result<Vec<String>> {
    let mut request = client()?.get(format!("{}/v1/vector/collections", milvus.uri()));
    if let Some(token) = milvus.token() {
        request = request.bearer_auth(token);
    }
    let answer: Value = request.send().await?.json().await?;
    Ok(serde_json::from_value(answer["data"].clone())?)
}

async fn post(milvus: &Milvus, path: &str, body: &Value) -> Result<Value> {
    let mut request = client()?.post(format!("{}/v1/vector/{path}", milvus.uri()));
    if let Some(token) = milvus.token() {
        request = request.bearer_auth(token);
    }
    let answer: Value = request.json(body).send().await?.json().await?;
    ensure!(answer["code"] == 200, "{path} answered {answer}");
    Ok(answer)
}

/// REST v1 cannot flush; and this shows that the gRPC side is up.
async fn flush(milvus: &Milvus, collection: &str) -> Result<()> {
    let channel = tonic::transport::Endpoint::new(milvus.uri())?.connect().await?;
    let mut client = MilvusServiceClient::new(channel);
    let request = FlushRequest { collection_names: vec![collection.to_owned()], ..FlushRequest::default() };
    let flushed = client.flush(request).await?.into_inner();
    let segments = flushed.coll_seg_i_ds[collection].data.clone();
    let flush_ts = flushed.coll_flush_ts[collection];
    for _ in 0..600 {
        let request = GetFlushStateRequest {
            segment_i_ds: segments.clone(),
            flush_ts,
            collection_name: collection.to_owned(),
            ..GetFlushStateRequest::default()
        };
        if client.get_flush_state(request).await?.into_inner().flushed {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{collection} was not flushed in a minute")
}

/// The files below `insert_log/`.
fn binlogs(storage_dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![storage_dir.join("insert_log")];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                found.push(entry.path());
            }
        }
    }
    Ok(found)
}

fn psql(tools: &Tools, url: &str, statement: &str) -> Result<String> {
    let output = Command::new(tools.postgres_bin_dir().join("psql"))
        .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn client() -> Result<reqwest::Client> {
    Ok(reqwest::Client::builder().no_proxy().build()?)
}
