//! `bench copy`: a backup into a local repository beside `cp -r` with `sync`, in turn.

use super::child::{CopyOutcome, CopyTask, fresh_directory, run_in_child};
use super::data_set::DataSet;
use super::measure::{median, rounded};
use super::s3;
use anyhow::{Context as _, ensure};
use milvault_domain::storage::{LocalStorage, StorageConfig};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// What to measure.
#[derive(Debug, Clone)]
pub struct CopyOptions {
    /// Size of the data set.
    pub size_mib: u64,
    /// Runs of each side.
    pub runs: u32,
    /// Further measurements.
    pub extras: Vec<CopyExtra>,
}

/// A further measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyExtra {
    /// A second backup with nothing changed.
    Incremental,
    /// From one bucket of an S3 server to another.
    S3,
}

/// Runs the benchmark and returns its figures.
///
/// # Errors
/// Work failed. That a figure is low is no error.
pub async fn bench_copy(work: &Path, options: &CopyOptions) -> anyhow::Result<Value> {
    std::fs::create_dir_all(work)?;
    let work = std::fs::canonicalize(work)?;
    let _lock = super::lock(&work)?;
    let data_set = DataSet::open_or_make(&work, options.size_mib)?;
    eprintln!(
        "data set: {} files, {} bytes; source in the page cache for every run",
        data_set.files, data_set.bytes
    );
    let incremental = options.extras.contains(&CopyExtra::Incremental);
    let pairs = run_pairs(&work, &data_set, options.runs, incremental)?;
    let mut figures = pairs.figures(&data_set);
    if options.extras.contains(&CopyExtra::S3) {
        figures.extend(s3::bench_s3(&work, &data_set).await?);
    }
    Ok(Value::Object(figures))
}

struct Pairs {
    cp_seconds: Vec<f64>,
    milvault: Vec<CopyOutcome>,
}

/// Both sides in turn, so that whatever else the machine does meets both.
fn run_pairs(work: &Path, data_set: &DataSet, runs: u32, incremental: bool) -> anyhow::Result<Pairs> {
    let mut pairs = Pairs { cp_seconds: Vec::new(), milvault: Vec::new() };
    for run in 1..=runs {
        let target = fresh_directory(&work.join("cp-target"))?;
        settle(work, data_set)?;
        let seconds = cp_and_sync(&data_set.root, &target)?;
        std::fs::remove_dir_all(&target)?;
        eprintln!("run {run}: {:<15} {seconds:>8.3} s", "cp -r and sync");
        pairs.cp_seconds.push(seconds);

        let target = fresh_directory(&work.join("milvault-target"))?;
        let task = CopyTask {
            directory: target.clone(),
            source: local(&data_set.root)?,
            repository: local(&target.join("repository"))?,
            cut_file: data_set.cut_file.clone(),
            backups: if incremental { 2 } else { 1 },
        };
        settle(work, data_set)?;
        let outcome: CopyOutcome = run_in_child("copy-task", &task)?;
        std::fs::remove_dir_all(&target)?;
        check(&outcome, data_set, incremental)?;
        for (number, phases) in outcome.backups.iter().enumerate() {
            let what = if number == 0 { "milvault" } else { "nothing changed" };
            eprintln!("run {run}: {what:<15} {phases}");
        }
        pairs.milvault.push(outcome);
    }
    Ok(pairs)
}

/// The same start for every run: nothing left to write, the source in memory.
fn settle(work: &Path, data_set: &DataSet) -> anyhow::Result<()> {
    sync_file_system(work)?;
    data_set.warm_up()
}

fn cp_and_sync(source: &Path, target: &Path) -> anyhow::Result<f64> {
    let began = Instant::now();
    let status = Command::new("cp").arg("-r").arg(source).arg(target).status().context("run cp")?;
    ensure!(status.success(), "cp ended with {status}");
    sync_file_system(target)?;
    Ok(began.elapsed().as_secs_f64())
}

fn sync_file_system(path: &Path) -> anyhow::Result<()> {
    let status = Command::new("sync").arg("-f").arg(path).status().context("run sync")?;
    ensure!(status.success(), "sync ended with {status}");
    Ok(())
}

fn local(path: &Path) -> anyhow::Result<StorageConfig> {
    let path = path.to_str().context("the benchmark's directory has a name that is not UTF-8")?;
    Ok(StorageConfig::Local(LocalStorage { path: path.to_owned() }))
}

/// A backup that left something out would be fast, too.
pub(super) fn check(outcome: &CopyOutcome, data_set: &DataSet, incremental: bool) -> anyhow::Result<()> {
    ensure!(
        outcome.bytes_total == data_set.bytes,
        "the backup has {} bytes, the data set {}",
        outcome.bytes_total,
        data_set.bytes
    );
    ensure!(
        !incremental || outcome.bytes_reused_last == data_set.bytes,
        "the unchanged backup reused {} bytes only",
        outcome.bytes_reused_last
    );
    Ok(())
}

impl Pairs {
    fn figures(&self, data_set: &DataSet) -> Map<String, Value> {
        let first: Vec<f64> =
            self.milvault.iter().filter_map(|run| Some(run.backups.first()?.total)).collect();
        let ratios: Vec<f64> = self.cp_seconds.iter().zip(&first).map(|(cp, ours)| cp / ours).collect();
        let peak = self.milvault.iter().map(|run| run.peak_rss_mib).fold(0.0, f64::max);
        let mut figures = Map::new();
        let mut put = |name: &str, value: Value| figures.insert(name.to_owned(), value);
        put("files", json!(data_set.files));
        put("bytes", json!(data_set.bytes));
        put("source", json!("page cache"));
        put("cp_seconds", json!(self.cp_seconds.iter().copied().map(rounded).collect::<Vec<_>>()));
        put("milvault_seconds", json!(first.iter().copied().map(rounded).collect::<Vec<_>>()));
        put("ratios_to_cp", json!(ratios.iter().copied().map(rounded).collect::<Vec<_>>()));
        put("ratio_to_cp", json!(rounded(median(&ratios))));
        // On machines that hand memory back to their host, buffered writes may slow down from run to run.
        let best_cp = self.cp_seconds.iter().copied().fold(f64::INFINITY, f64::min);
        put("ratio_to_fastest_cp", json!(rounded(best_cp / median(&first))));
        put("peak_rss_mib", json!(rounded(peak)));
        let unchanged: Vec<f64> =
            self.milvault.iter().filter_map(|run| Some(run.backups.get(1)?.total)).collect();
        if !unchanged.is_empty() {
            let ratios: Vec<f64> =
                unchanged.iter().zip(&first).map(|(second, first)| second / first).collect();
            put("incremental_seconds", json!(unchanged.iter().copied().map(rounded).collect::<Vec<_>>()));
            put("incremental_ratio", json!(rounded(median(&ratios))));
        }
        figures
    }
}
