//! The command line.

use crate::config::{self, Configuration, ConfigurationProblem, Flags, LogFormat};
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Self-hosted backup service for Milvus clusters.
#[derive(Debug, Parser)]
#[command(name = "milvault", version, about, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the server until SIGTERM or SIGINT.
    Serve(ServeArguments),
    /// Make a new owner API key, for when the one printed at first start is lost. The server must not be running.
    OwnerKey(OwnerKeyArguments),
    /// Check or explain the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print the version.
    Version,
    /// Print the GraphQL schema.
    #[command(hide = true)]
    Sdl,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Read all sources and say what is wrong with them; exit code 2 when something is.
    Check(SettingArguments),
    /// Print the reference of all settings as Markdown.
    Reference,
}

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// Write the owner API key of a first start to this file (mode 0600) instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key_file: Option<PathBuf>,
    /// Write the bound address to this file once the server listens.
    #[arg(long, value_name = "FILE")]
    pub(crate) listen_file: Option<PathBuf>,
}

/// Arguments of `owner-key`.
#[derive(Debug, Args)]
pub(crate) struct OwnerKeyArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// Write the key to this file (mode 0600) instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key_file: Option<PathBuf>,
}

/// Where settings come from.
#[derive(Debug, Args)]
pub(crate) struct SettingArguments {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE", env = config::CONFIG_FILE_VARIABLE)]
    config: Option<PathBuf>,
    /// Address and port to listen on; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Directory of the embedded catalog and the master key.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// Shape of log lines.
    #[arg(long)]
    log_format: Option<LogFormat>,
    /// Level, or levels per target such as `info,milvault_actors=debug`.
    #[arg(long, value_name = "LEVELS")]
    log_filter: Option<String>,
}

impl SettingArguments {
    /// Reads the configuration from all sources.
    ///
    /// # Errors
    /// Says what is wrong, where.
    pub(crate) fn load(self) -> Result<Configuration, ConfigurationProblem> {
        let flags = Flags {
            listen: self.listen,
            data_dir: self.data_dir,
            log_format: self.log_format,
            log_filter: self.log_filter,
        };
        // Variables that are not Unicode cannot be settings.
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        config::load(self.config.as_deref(), environment, &flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        CommandLine::command().debug_assert();
    }
}
