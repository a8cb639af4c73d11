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
        started = Servers::start(&tools, &dir, arguments.s3) => started?,
    };
    println!("{}", servers.addresses());
    ended.await;
    servers.stop().await
}

struct Servers {
    milvus: Milvus,
    postgres: Postgres,
    seaweedfs: Option<SeaweedFs>,
}

impl Servers {
    async fn start(tools: &Tools, dir: &Path, with_s3: bool) -> Result<Self> {
        let postgres = Postgres::start(tools, &dir.join("postgres")).await?;
        let milvus_dir = dir.join("milvus");
        let (seaweedfs, options) = if with_s3 {
            let options = SeaweedFsOptions::default();
            let server = SeaweedFs::start(tools, &dir.join("seaweedfs"), options).await?;
            server.create_bucket(REPOSITORY_BUCKET).await?;
            let options = MilvusOptions::on_s3(milvus_dir, server.milvus_storage(MILVUS_BUCKET));
            (Some(server), options)
        } else {
            (None, MilvusOptions::local(milvus_dir))
        };
        let milvus = Milvus::start(tools, options).await?;
        Ok(Self { milvus, postgres, seaweedfs })
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
        self.postgres.stop().await?;
        if let Some(mut server) = self.seaweedfs {
            server.kill()?;
        }
        Ok(())
    }
}
