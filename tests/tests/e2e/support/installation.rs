//! A `milvault serve` of a test's own, with a repository and a registered cluster.

use super::api::Api;
use super::servers::{local_milvus, run_directory};
use anyhow::{Context as _, Result, ensure};
use milvault_tests::milvault_process::{MilvaultOptions, MilvaultProcess};
use milvault_tests::milvus_client::MilvusClient;
use milvault_tests::servers::Milvus;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Tests that may be at work at once: they share one Milvus.
const AT_ONCE: usize = 3;

static TURNS: Semaphore = Semaphore::const_new(AT_ONCE);

/// Waits until one more test may be at work.
pub(crate) async fn turn() -> Result<SemaphorePermit<'static>> {
    Ok(TURNS.acquire().await?)
}

/// A running server and where it keeps its things.
pub(crate) struct Installation {
    pub(crate) api: Api,
    pub(crate) milvault: MilvaultProcess,
    directory: PathBuf,
    turn: SemaphorePermit<'static>,
}

impl Installation {
    /// Starts a server whose directory carries the test's name.
    pub(crate) async fn start(test: &str) -> Result<Self> {
        Self::start_with(test, &[]).await
    }

    /// The same with further environment variables.
    pub(crate) async fn start_with(test: &str, environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_at(test, None, environment).await
    }

    /// The same at an address that is known before.
    pub(crate) async fn start_at(
        test: &str,
        listen: Option<String>,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let turn = TURNS.acquire().await?;
        let directory = run_directory()?.join(test);
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let options = MilvaultOptions {
            listen,
            environment: environment.iter().map(owned).collect(),
            ..MilvaultOptions::default()
        };
        let milvault = MilvaultProcess::start(&directory.join("milvault"), options).await?;
        Ok(Self { api: Api::new(milvault.client()?), milvault, directory, turn })
    }

    /// Where the test's local repository lies.
    pub(crate) fn repository_dir(&self) -> PathBuf {
        self.directory.join("repository")
    }

    /// Registers the local Milvus with a local repository; the fields of `more` go into the cluster's input. Returns
    /// the cluster's id and a client of Milvus.
    pub(crate) async fn with_local_cluster(&self, more: Value) -> Result<(String, MilvusClient)> {
        self.with_cluster_of(local_milvus().await?, more).await
    }

    /// The same with a Milvus on a local directory that nobody shares.
    pub(crate) async fn with_cluster_of(
        &self,
        milvus: &Milvus,
        more: Value,
    ) -> Result<(String, MilvusClient)> {
        let repository_id = self.api.register_local_repository("local", &self.repository_dir()).await?;
        let directory = milvus.storage_dir().context("a local Milvus has a directory")?;
        let storage = json!({ "local": { "path": directory } });
        let cluster_id = self.api.register_cluster(&milvus.uri(), &storage, &repository_id, more).await?;
        Ok((cluster_id, MilvusClient::connect(&milvus.uri()).await?))
    }

    /// Whether the server has made itself an embedded catalog.
    pub(crate) fn has_embedded_catalog(&self) -> bool {
        self.directory.join("milvault/data/catalog.db").exists()
    }

    /// Ends the server as a crash would, and starts it again.
    pub(crate) async fn crash(mut self) -> Result<Self> {
        self.milvault.kill()?;
        self.start_again().await
    }

    /// Starts the server again that has ended.
    pub(crate) async fn come_back(self) -> Result<Self> {
        self.start_again().await
    }

    /// Ends the server as an administrator would, and starts it again.
    pub(crate) async fn restart(mut self) -> Result<Self> {
        self.milvault.terminate().await?;
        self.start_again().await
    }

    async fn start_again(self) -> Result<Self> {
        let Self { milvault, directory, turn, .. } = self;
        let milvault = milvault.restart().await?;
        Ok(Self { api: Api::new(milvault.client()?), milvault, directory, turn })
    }

    /// The end of a test that went well: the server still answers, ends by itself, and nothing is left of it.
    pub(crate) async fn finish(mut self) -> Result<()> {
        self.api.viewer().await.context("the server no longer answers at the test's end")?;
        self.milvault.terminate().await?;
        let log = std::fs::read_to_string(self.milvault.log_file())?;
        ensure!(
            !log.contains("panicked at"),
            "the server panicked; see {}",
            self.milvault.log_file().display()
        );
        std::fs::remove_dir_all(&self.directory)?;
        Ok(())
    }
}

/// The directory of the local Milvus that holds its binlogs.
pub(crate) async fn local_storage() -> Result<&'static Path> {
    static DIRECTORY: std::sync::OnceLock<PathBuf> = std::sync::OnceLock::new();
    let found = local_milvus().await?.storage_dir().context("a local Milvus has a directory")?;
    Ok(DIRECTORY.get_or_init(|| found))
}
