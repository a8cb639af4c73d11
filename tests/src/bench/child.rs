//! One Milvault backup in a process of its own.

use super::measure::peak_rss_mib;
use super::phases::Phases;
use super::pipeline::{GivenSecrets, Pipeline};
use anyhow::{Context as _, ensure};
use milvault_domain::storage::StorageConfig;
use milvault_repository::RepositoryStores;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What the child has to do.
#[derive(Debug, Serialize, Deserialize)]
pub struct CopyTask {
    /// Where its catalog goes: an empty directory.
    pub(super) directory: PathBuf,
    /// The cluster's storage.
    pub(super) source: StorageConfig,
    /// An empty place for the repository.
    pub(super) repository: StorageConfig,
    /// The file with the cluster's cut.
    pub(super) cut_file: PathBuf,
    /// Backups to make, one after the other, with nothing changed between them.
    pub(super) backups: u32,
}

/// What it measured.
#[derive(Debug, Serialize, Deserialize)]
pub struct CopyOutcome {
    /// How long each backup took.
    pub(super) backups: Vec<Phases>,
    /// Size of the first backup's objects.
    pub(super) bytes_total: u64,
    /// Bytes of the last backup that were in the repository before.
    pub(super) bytes_reused_last: u64,
    /// Of the first backup, bytes that passed through the process.
    pub(super) bytes_through_server: u64,
    /// Most memory resident.
    pub(super) peak_rss_mib: f64,
}

/// Does the task in this process.
///
/// # Errors
/// Anything that keeps a backup from succeeding.
pub async fn run_copy_task(task: CopyTask) -> anyhow::Result<CopyOutcome> {
    let cut = serde_json::from_slice(&std::fs::read(&task.cut_file)?)?;
    let stores = Arc::new(RepositoryStores::new(Arc::new(GivenSecrets)));
    let pipeline = Pipeline::start(&task.directory, stores, task.source, task.repository, cut).await?;
    let mut made = Vec::new();
    for _ in 0..task.backups {
        made.push(pipeline.back_up().await?);
    }
    pipeline.stop().await;
    let (first, last) = made.first().zip(made.last()).context("no backup was asked for")?;
    Ok(CopyOutcome {
        backups: made.iter().map(|made| made.phases.clone()).collect(),
        bytes_total: first.job.progress.bytes_total,
        bytes_reused_last: last.job.progress.bytes_reused,
        bytes_through_server: first.job.progress.bytes_through_server,
        peak_rss_mib: peak_rss_mib()?,
    })
}

/// Runs this program again with a subcommand that reads a task from its standard input and writes the outcome to its
/// standard output, both as JSON.
pub(super) fn run_in_child<T: Serialize, O: DeserializeOwned>(
    subcommand: &str,
    task: &T,
) -> anyhow::Result<O> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("start the process that is measured")?;
    let stdin = child.stdin.take().context("the child has no standard input")?;
    serde_json::to_writer(stdin, task)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "the process that is measured ended with {}", output.status);
    serde_json::from_slice(&output.stdout).context("the process that is measured wrote something else")
}

/// An empty directory of this name.
pub(super) fn fresh_directory(path: &Path) -> anyhow::Result<PathBuf> {
    if path.exists() {
        std::fs::remove_dir_all(path).with_context(|| format!("remove {}", path.display()))?;
    }
    std::fs::create_dir_all(path).with_context(|| format!("create {}", path.display()))?;
    Ok(std::fs::canonicalize(path)?)
}
