//! Tasks that need heavy libraries: they live in the package of the end-to-end tests, whose binaries are run here.

use crate::process::{cargo, run};

/// Runs the demo with the server in its release build: the demo shows its speed.
pub(crate) fn demo(arguments: &[String]) -> anyhow::Result<()> {
    build_server()?;
    run_release("demo", arguments)
}

/// Runs a benchmark.
pub(crate) fn bench(arguments: &[String]) -> anyhow::Result<()> {
    build_server()?;
    run_release("bench", arguments)
}

/// Installs or starts the real servers.
pub(crate) fn servers(arguments: &[String]) -> anyhow::Result<()> {
    run_binary(&["run", "--quiet", "--package", "milvault-tests", "--bin", "servers", "--"], arguments)
}

fn build_server() -> anyhow::Result<()> {
    run(&mut cargo(["build", "--release", "--package", "milvault"]))
}

fn run_release(binary: &str, arguments: &[String]) -> anyhow::Result<()> {
    run_binary(&["run", "--release", "--package", "milvault-tests", "--bin", binary, "--"], arguments)
}

fn run_binary(cargo_arguments: &[&str], arguments: &[String]) -> anyhow::Result<()> {
    run(cargo(cargo_arguments.iter().copied()).args(arguments))
}
