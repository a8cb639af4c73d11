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
    /// Make a lost catalog again, or back it up. No server may run meanwhile.
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Check or change the key that seals secrets in the catalog. No server may run meanwhile.
    #[command(subcommand)]
    Secrets(SecretsCommand),
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

/// What to do with the catalog.
#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Make a new catalog from what the repositories know: projects, clusters, backups with their holds. Repositories are
    /// only read. Running it twice changes nothing.
    Rebuild(RebuildArguments),
    /// Make the catalog what its latest backup in a repository says, and add what the repositories know since. The
    /// catalog must be new; the master key must be the one of the backup.
    Restore(RestoreArguments),
}

/// Arguments of `catalog restore`.
#[derive(Debug, Args)]
pub(crate) struct RestoreArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// A repository, as for `catalog rebuild`. The latest backup of a catalog in any of them is taken.
    #[arg(long = "repository", value_name = "NAME=KIND:...")]
    pub(crate) repositories: Vec<String>,
    /// Take the latest backup that was made at or before this time (RFC 3339).
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<chrono::DateTime<chrono::Utc>>,
    /// The organization whose catalog it is, when the repositories have backups of several.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<String>,
    /// Days in which no backup that the restored catalog does not know expires.
    #[arg(long, value_name = "DAYS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=365))]
    pub(crate) grace_days: u32,
}

/// What to do with the key that seals secrets.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Count the sealed values by key; exit code 1 when one cannot be read with the keys that are there.
    Check(SettingArguments),
    /// Make a new key, seal everything anew with it, and put the former key into a file of its own. Keys that are given
    /// by `catalog.master_key` are yours to change: then everything is sealed anew with the first of them. May be
    /// repeated after it was cut off.
    Rotate(SettingArguments),
}

/// Arguments of `catalog rebuild`.
#[derive(Debug, Args)]
pub(crate) struct RebuildArguments {
    /// Settings.
    #[command(flatten)]
    pub(crate) settings: SettingArguments,
    /// A repository, such as `safe=local:/srv/backups` or
    /// `safe=s3:bucket=b,region=r,access_key_id=k,secret_access_key=env:MILVAULT_SECRET_S3`; may be repeated. Without
    /// any, those of `[[catalog.repositories]]` in the configuration file.
    #[arg(long = "repository", value_name = "NAME=KIND:...")]
    pub(crate) repositories: Vec<String>,
    /// Add what is missing to a catalog that has things in it.
    #[arg(long)]
    pub(crate) merge: bool,
    /// Read and tell, and write nothing. The catalog is not looked at.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Days in which no backup that is found expires, so that schedules and holds can be looked at.
    #[arg(long, value_name = "DAYS", default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=365))]
    pub(crate) grace_days: u32,
    /// Write the new owner API key to this file (mode 0600) instead of printing it.
    #[arg(long, value_name = "FILE")]
    pub(crate) owner_key_file: Option<PathBuf>,
}

/// Where settings come from.
#[derive(Debug, Default, Args)]
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
    /// Takes them out of the arguments that they came with.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }

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
