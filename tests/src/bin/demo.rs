//! `cargo xtask demo`: see `milvault_tests::demo`.

use anyhow::Context as _;
use clap::Parser;
use milvault_tests::demo::{DemoReport, Stage, Summary};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Backs up a real Milvus while it serves, gives its rows back, and proves that every byte and every row is right.
#[derive(Parser)]
#[command(name = "cargo xtask demo")]
struct Arguments {
    /// Rows in all collections together.
    #[arg(long, default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(100..=50_000_000))]
    rows: u64,
    /// Leave the servers and their files until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Write the figures to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    let directory = run_directory();
    let (stage, played) = tokio::select! {
        played = play(&arguments, &directory) => played?,
        // Dropping the play kills its servers.
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            eprintln!("interrupted; files and logs are in {}", directory.display());
            return Ok(ExitCode::from(130));
        }
    };
    if arguments.keep {
        eprintln!("\n  Everything is still up; Ctrl-C ends it.\n{}", stage.how_to_reach());
        tokio::signal::ctrl_c().await?;
    }
    stage.stop().await?;
    let problems = played
        .with_context(|| format!("the demo did not reach its end; logs are in {}", directory.display()))?
        .problems();
    if !problems.is_empty() {
        eprintln!("  files and logs are in {}", directory.display());
        return Ok(ExitCode::FAILURE);
    }
    if !arguments.keep {
        std::fs::remove_dir_all(&directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Plays the story and shows what came out. The servers are up when it ends, however the story went.
async fn play(
    arguments: &Arguments,
    directory: &Path,
) -> anyhow::Result<(Stage, anyhow::Result<DemoReport>)> {
    let stage = Stage::start(directory).await?;
    let played = stage.play(arguments.rows).await;
    match &played {
        Ok(report) => show(report, arguments.json.as_deref())?,
        Err(error) => eprintln!("  wrong: {error:#}"),
    }
    Ok((stage, played))
}

fn show(report: &DemoReport, json: Option<&Path>) -> anyhow::Result<()> {
    println!("\n{}", Summary(report));
    if let Some(file) = json {
        let text = serde_json::to_string_pretty(&report.to_json())?;
        std::fs::write(file, text + "\n").with_context(|| format!("write {}", file.display()))?;
    }
    let problems = report.problems();
    for problem in &problems {
        eprintln!("  wrong: {problem}");
    }
    if problems.is_empty() {
        println!("  All is well: every byte of the backups is what Milvus wrote, and every row came back.");
    }
    Ok(())
}

/// A directory of this run's own.
fn run_directory() -> PathBuf {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/demo");
    target.join(format!("run-{}", std::process::id()))
}
