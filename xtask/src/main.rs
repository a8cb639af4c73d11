//! What contributors and CI run: `cargo xtask <command>`.

mod access;
mod ci;
mod codegen;
mod delegate;
mod edges;
mod process;
mod test;
mod tools;

use clap::{Args, Parser, Subcommand};
use process::CommandFailed;
use std::process::ExitCode;

/// Tasks of the Milvault repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", disable_help_subcommand = true)]
struct CommandLine {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Back up a real Milvus, from start to verified bytes.
    #[command(disable_help_flag = true)]
    Demo(PassedOn),
    /// Measure: `bench copy`, `bench plan`, `bench restore`, `bench catalog`.
    #[command(disable_help_flag = true)]
    Bench(PassedOn),
    /// Install the real servers of the tests, or start them for use by hand.
    #[command(disable_help_flag = true)]
    Servers(PassedOn),
    /// Start the real servers and run all tests. Arguments go to `cargo test`.
    #[command(disable_help_flag = true)]
    Test(PassedOn),
    /// Run every check, then all tests.
    Ci {
        /// Leave the tests out.
        #[arg(long)]
        no_test: bool,
    },
    /// Write the generated files: the GraphQL schema and the configuration reference.
    Codegen {
        /// Write nothing; fail when a file is not as it would be written.
        #[arg(long)]
        check: bool,
    },
    /// Check that crates depend only on those they may depend on.
    Edges,
}

#[derive(Debug, Args)]
struct PassedOn {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

fn main() -> ExitCode {
    let Err(error) = run(CommandLine::parse().task) else { return ExitCode::SUCCESS };
    eprintln!("xtask: {error:#}");
    match error.downcast_ref::<CommandFailed>() {
        Some(failed) => ExitCode::from(failed.exit_code),
        None => ExitCode::FAILURE,
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    match task {
        Task::Demo(passed_on) => delegate::demo(&passed_on.arguments),
        Task::Bench(passed_on) => delegate::bench(&passed_on.arguments),
        Task::Servers(passed_on) => delegate::servers(&passed_on.arguments),
        Task::Test(passed_on) => test::run(&passed_on.arguments),
        Task::Ci { no_test } => {
            ci::run_all()?;
            if no_test { Ok(()) } else { test::run(&[]) }
        }
        Task::Codegen { check } => {
            codegen::run(if check { codegen::Mode::Check } else { codegen::Mode::Write })
        }
        Task::Edges => edges::run(),
    }
}
