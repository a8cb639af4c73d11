//! Benchmarks: how fast the product's own pipeline is, beside a reference that runs in the same call.
//!
//! What is measured runs in a child process of its own, so that making the data does not count into its memory. Times
//! are told as ratios, because the figures of one machine say little about another.

mod catalog;
mod child;
mod copy;
mod data_set;
mod measure;
mod phases;
mod pipeline;
mod plan;
mod restore;
mod s3;
mod synthetic;

pub use catalog::bench_catalog;
pub use child::{CopyTask, run_copy_task};
pub use copy::{CopyExtra, CopyOptions, bench_copy};
pub use plan::{PlanTask, bench_plan, run_plan_task};
pub use restore::bench_restore;

use anyhow::Context as _;
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

/// Where benchmarks keep their files; the data set stays there for the next run.
#[must_use]
pub fn work_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench")
}

/// Keeps other benchmarks out of the directory, for they use the same names; waits while one is at work there.
fn lock(work: &Path) -> anyhow::Result<File> {
    let path = work.join("lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another benchmark to end");
        file.lock().with_context(|| format!("lock {}", path.display()))?;
    }
    Ok(file)
}

/// Prints the figures, and writes them to a file where one is given.
///
/// # Errors
/// The file cannot be written.
pub fn publish(figures: &Value, file: Option<&Path>) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(figures)?;
    println!("{text}");
    if let Some(file) = file {
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}
