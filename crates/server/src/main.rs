//! The Milvault server: configuration, wiring, signals, and the other commands of the binary.

mod cli;
mod commands;
mod config;
mod connections;
mod master_key;
mod owner_key;
mod places;
mod recovery;
mod residence;
mod rotation;
mod runtime;
mod secrets;
mod shutdown;
mod sign_in;
mod telemetry;
mod webhooks;
mod wire;

use clap::Parser;
use cli::CommandLine;
use config::ConfigurationProblem;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Err(error) = commands::run(CommandLine::parse().command) else { return ExitCode::SUCCESS };
    eprintln!("milvault: {error:#}");
    // 2 is also what the command line parser answers to wrong arguments.
    ExitCode::from(if error.is::<ConfigurationProblem>() { 2 } else { 1 })
}
