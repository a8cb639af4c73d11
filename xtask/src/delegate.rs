//! Tasks that need heavy libraries: they live in the package of the end-to-end tests, whose binaries are run here.

use crate::process::{cargo, run, target_directory};
use std::process::Command;

/// Runs the demo with the server in its release build: the demo shows its speed.
pub(crate) fn demo(arguments: &[String]) -> anyhow::Result<()> {
    run_release("demo", arguments)
}

/// Runs a benchmark.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    run_release("bench", arguments)
}

/// Installs or starts the real servers.
pub(crate) fn servers(arguments: &[String]) -> anyhow::Result<()> {
    run_binary(&["run", "--quiet", "--package", "milvault-tests", "--bin", "servers", "--"], arguments)
}

/// Server and binary are built by one command: two would compile most libraries twice, with other features each.
fn run_release(binary: &str, arguments: &[String]) -> anyhow::Result<()> {
    run(&mut cargo([
        "build",
        "--release",
        "--package",
        "milvault",
        "--package",
        "milvault-tests",
        "--bins",
    ]))?;
    run(Command::new(target_directory()?.join("release").join(binary)).args(arguments))
}

fn run_binary(cargo_arguments: &[&str], arguments: &[String]) -> anyhow::Result<()> {
    run(cargo(cargo_arguments.iter().copied()).args(arguments))
}
