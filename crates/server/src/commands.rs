//! What each command does.

use crate::cli::{CatalogCommand, Command, ConfigCommand, SecretsCommand};
use crate::{config, recovery, rotation, wire};
use anyhow::Context;
use std::future::Future;
use std::io::{self, Write};
use std::time::Duration;

/// How long file operations that are still under way get once all else has ended.
const BLOCKING_TIME_MAX: Duration = Duration::from_secs(2);

/// Runs a command to its end.
///
/// # Errors
/// A [`config::ConfigurationProblem`], or whatever kept the command from its end.
pub(crate) fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Serve(arguments) => {
            let configuration = arguments.settings.load()?;
            let outputs = wire::Outputs {
                owner_key_file: arguments.owner_key_file,
                listen_file: arguments.listen_file,
            };
            on_io_runtime(wire::serve(configuration, outputs))
        }
        Command::OwnerKey(arguments) => {
            let configuration = arguments.settings.load()?;
            on_io_runtime(wire::make_owner_key(configuration, arguments.owner_key_file))
        }
        Command::Catalog(CatalogCommand::Rebuild(mut arguments)) => {
            let configuration = arguments.settings.take().load()?;
            on_io_runtime(recovery::rebuild(configuration, arguments))
        }
        Command::Catalog(CatalogCommand::Restore(mut arguments)) => {
            let configuration = arguments.settings.take().load()?;
            on_io_runtime(recovery::restore(configuration, arguments))
        }
        Command::Secrets(SecretsCommand::Check(settings)) => on_io_runtime(rotation::check(settings.load()?)),
        Command::Secrets(SecretsCommand::Rotate(settings)) => {
            on_io_runtime(rotation::rotate(settings.load()?))
        }
        Command::Config(ConfigCommand::Check(settings)) => {
            settings.load()?;
            print("the configuration is valid\n")
        }
        Command::Config(ConfigCommand::Reference) => print(&config::reference_markdown()),
        Command::Version => print(&format!("milvault {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Sdl => print(&milvault_gateway::sdl()),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    io::stdout().write_all(text.as_bytes()).context("cannot write to standard output")
}

fn on_io_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("io")
        .enable_all()
        .build()
        .context("cannot start the io threads")?;
    let outcome = runtime.block_on(work);
    // A file operation that hangs on a dead network disk must not keep the process alive.
    runtime.shutdown_timeout(BLOCKING_TIME_MAX);
    outcome
}
