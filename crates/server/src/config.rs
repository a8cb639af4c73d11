//! Configuration: defaults, then a TOML file, then environment variables, then flags; later ones win.

mod check;
mod layers;
mod problem;
mod reference;
mod settings;

pub(crate) use problem::ConfigurationProblem;
pub(crate) use reference::reference_markdown;
pub(crate) use settings::{Configuration, LogFormat, OidcSettings, WebhookSettings};

use figment::Figment;
use figment::providers::Serialized;
use layers::{EnvironmentLayer, FileLayer, FlagLayer};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What environment variables of settings start with; the rest is `SECTION__KEY`.
pub(crate) const ENVIRONMENT_PREFIX: &str = "MILVAULT_";
/// The variable that names the configuration file.
pub(crate) const CONFIG_FILE_VARIABLE: &str = "MILVAULT_CONFIG";

/// Settings given on the command line; `None` leaves what the other sources say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Flags {
    /// `server.listen`.
    pub(crate) listen: Option<SocketAddr>,
    /// `server.data_dir`.
    pub(crate) data_dir: Option<PathBuf>,
    /// `log.format`.
    pub(crate) log_format: Option<LogFormat>,
    /// `log.filter`.
    pub(crate) log_filter: Option<String>,
}

/// Reads all sources, merges them and checks the result.
///
/// # Errors
/// Names the source (file with line, variable or flag), the key, and the rule it breaks. Values are never repeated,
/// since any of them may hold a password.
pub(crate) fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &Flags,
) -> Result<Configuration, ConfigurationProblem> {
    let file = file.map(FileLayer::read).transpose()?;
    let mut figment = Figment::from(Serialized::defaults(Configuration::default()));
    if let Some(layer) = &file {
        figment = figment.merge(layer);
    }
    figment = figment.merge(EnvironmentLayer::new(environment)).merge(FlagLayer::new(flags));
    let configuration: Configuration =
        figment.extract().map_err(|error| ConfigurationProblem::from_figment(&error, file.as_ref()))?;
    match check::broken_rule(&configuration) {
        None => Ok(configuration),
        Some(rule) => Err(ConfigurationProblem::from_rule(&rule, &figment, file.as_ref())),
    }
}

#[cfg(test)]
mod tests;
