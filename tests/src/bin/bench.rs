//! `cargo xtask bench`: see `milvault_tests::bench`.

use clap::{Parser, Subcommand};
use milvault_tests::bench::{
    CopyExtra, CopyOptions, bench_catalog, bench_copy, bench_plan, bench_restore, publish, run_copy_task,
    run_plan_task, work_directory,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::path::PathBuf;

/// Times Milvault beside a reference. Fails when work failed, not when a figure is low.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// A backup into a local repository beside `cp -r` and `sync`, in turn.
    Copy {
        /// Also time a second backup with nothing changed.
        #[arg(long)]
        incremental: bool,
        /// Also back up from one bucket of an S3 server to another.
        #[arg(long)]
        s3: bool,
        /// Size of the data set.
        #[arg(long, default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1100..=1_000_000))]
        size_mib: u64,
        /// Runs of each side.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99))]
        runs: u32,
        /// Write the figures to this file too, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A cluster of very many objects: memory, and the time of a page.
    Plan {
        /// Binlog objects, rounded up to whole segments.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
        objects: u64,
        /// Write the figures to this file too, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// A restore beside one import job per segment, one after another.
    Restore {
        /// Rows with vectors of 128 floats.
        #[arg(long, default_value_t = 240_000, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
        rows: u64,
        /// Write the figures to this file too, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Lists, look-ups and timers of a large catalog, on SQLite and on PostgreSQL.
    Catalog {
        /// Backups in it.
        #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
        backups: u64,
        /// Jobs in it.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
        jobs: u64,
        /// Write the figures to this file too, as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Does what standard input says, in this process.
    #[command(hide = true)]
    CopyTask,
    /// Does what standard input says, in this process.
    #[command(hide = true)]
    PlanTask,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().bench {
        Bench::Copy { incremental, s3, size_mib, runs, json } => {
            let extras = [(incremental, CopyExtra::Incremental), (s3, CopyExtra::S3)];
            let extras = extras.into_iter().filter_map(|(wanted, extra)| wanted.then_some(extra)).collect();
            let figures = bench_copy(&work_directory(), &CopyOptions { size_mib, runs, extras }).await?;
            publish(&figures, json.as_deref())
        }
        Bench::Plan { objects, json } => publish(&bench_plan(&work_directory(), objects)?, json.as_deref()),
        Bench::Restore { rows, json } => {
            publish(&bench_restore(&work_directory(), rows).await?, json.as_deref())
        }
        Bench::Catalog { backups, jobs, json } => {
            publish(&bench_catalog(&work_directory(), backups, jobs).await?, json.as_deref())
        }
        Bench::CopyTask => answer(&run_copy_task(task()?).await?),
        Bench::PlanTask => answer(&run_plan_task(task()?).await?),
    }
}

fn task<T: DeserializeOwned>() -> anyhow::Result<T> {
    Ok(serde_json::from_reader(std::io::stdin().lock())?)
}

fn answer(outcome: &impl Serialize) -> anyhow::Result<()> {
    Ok(serde_json::to_writer(std::io::stdout().lock(), outcome)?)
}
