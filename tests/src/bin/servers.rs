//! Installs the real servers, and starts them for use by hand.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use milvault_tests::servers::{Milvus, MilvusOptions, Postgres, SeaweedFs, SeaweedFsOptions, Tools};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

const MILVUS_BUCKET: &str = "milvus";
const REPOSITORY_BUCKET: &str = "backups";

/// Real servers for tests and demonstrations.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch what is missing.
    Install,
    /// Start Milvus and PostgreSQL, print their addresses as one line of JSON, and stop them when
    /// interrupted.
    Up(Up),
}

#[derive(Debug, clap::Args)]
struct Up {
    /// Start an S3 server too, and keep Milvus's files there.
    #[arg(long)]
    s3: bool,
    /// Start what the test suite needs: an S3 server, a Milvus on local storage, and another one
    /// that asks for a password.
    #[arg(long, conflicts_with = "s3")]
    for_tests: bool,
    /// Keep the data in this directory; without it they are gone at the end.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    match Arguments::parse().command {
        Action::Install => {
            let tools = Tools::install().await?;
            println!("milvus: {}", tools.milvus_dir().display());
            println!("seaweedfs: {}", tools.weed().display());
            println!("postgres: {}", tools.postgres_bin_dir().display());
            Ok(())
        }
        Action::Up(arguments) => up(arguments).await,
    }
}

async fn up(arguments: Up) -> Result<()> {
    let tools = Tools::install().await?;
    let temporary = tempfile::tempdir().context("make a directory for the servers")?;
    let set = arguments.set();
    let dir = arguments.dir.unwrap_or_else(|| temporary.path().to_path_buf());
    let mut interrupted = signal(SignalKind::interrupt())?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut ended = std::pin::pin!(async {
        tokio::select! {
            _ = interrupted.recv() => {}
            _ = terminated.recv() => {}
        }
    });
    let servers = tokio::select! {
        // Those that run already end as their handles are dropped.
        () = &mut ended => return Ok(()),
        started = Servers::start(&tools, &dir, set) => started?,
    };
    println!("{}", servers.addresses());
    ended.await;
    servers.stop().await
}

/// Which servers to start besides a Milvus and a PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServerSet {
    /// None.
    Plain,
    /// An S3 server, which keeps Milvus's files.
    OnS3,
    /// An S3 server, and a Milvus that asks for a password.
    ForTests,
}

impl Up {
    fn set(&self) -> ServerSet {
        match (self.s3, self.for_tests) {
            (true, _) => ServerSet::OnS3,
            (false, true) => ServerSet::ForTests,
            (false, false) => ServerSet::Plain,
        }
    }
}

struct Servers {
    milvus: Milvus,
    milvus_with_auth: Option<Milvus>,
    postgres: Postgres,
    seaweedfs: Option<SeaweedFs>,
}

impl Servers {
    async fn start(tools: &Tools, dir: &Path, set: ServerSet) -> Result<Self> {
        let postgres = Postgres::start(tools, &dir.join("postgres")).await?;
        let seaweedfs = if set == ServerSet::Plain {
            None
        } else {
            let server = SeaweedFs::start(tools, &dir.join("seaweedfs"), SeaweedFsOptions::default()).await?;
            server.create_bucket(REPOSITORY_BUCKET).await?;
            Some(server)
        };
        let options = match &seaweedfs {
            Some(server) if set == ServerSet::OnS3 => {
                MilvusOptions::on_s3(dir.join("milvus"), server.milvus_storage(MILVUS_BUCKET))
            }
            _ => MilvusOptions::local(dir.join("milvus")),
        };
        let milvus = Milvus::start(tools, options).await?;
        let milvus_with_auth = if set == ServerSet::ForTests {
            let mut options = MilvusOptions::local(dir.join("milvus-with-auth"));
            options.auth = true;
            Some(Milvus::start(tools, options).await?)
        } else {
            None
        };
        Ok(Self { milvus, milvus_with_auth, postgres, seaweedfs })
    }

    fn addresses(&self) -> Value {
        let s3 = self.seaweedfs.as_ref().map(|server| {
            json!({
                "endpoint": server.endpoint(),
                "access_key": server.admin().access_key,
                "secret_key": server.admin().secret_key,
                "milvus_bucket": MILVUS_BUCKET,
                "milvus_root_path": server.milvus_storage(MILVUS_BUCKET).root_path,
                "repository_bucket": REPOSITORY_BUCKET,
                "log": server.log_path(),
                "pid": server.pid(),
            })
        });
        json!({
            "milvus": {
                "uri": self.milvus.uri(),
                "management_uri": self.milvus.management_uri(),
                "storage_dir": self.milvus.storage_dir(),
                "log": self.milvus.log_path(),
                "pid": self.milvus.pid(),
            },
            "milvus_with_auth": self.milvus_with_auth.as_ref().map(|server| {
                json!({ "uri": server.uri(), "log": server.log_path(), "pid": server.pid() })
            }),
            "postgres": {
                "url": self.postgres.url(),
                "log": self.postgres.log_path(),
                "pid": self.postgres.pid(),
            },
            "s3": s3,
        })
    }

    /// A Milvus goes before the store that it writes to.
    async fn stop(mut self) -> Result<()> {
        self.milvus.stop().await?;
        if let Some(mut server) = self.milvus_with_auth {
            server.stop().await?;
        }
        self.postgres.stop().await?;
        if let Some(mut server) = self.seaweedfs {
            server.kill()?;
        }
        Ok(())
    }
}
