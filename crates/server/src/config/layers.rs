//! The sources of settings above the defaults, as figment providers that remember where a value came from.

use super::problem::ConfigurationProblem;
use super::{ENVIRONMENT_PREFIX, Flags};
use figment::value::{Dict, Map, Value};
use figment::{Metadata, Profile, Provider};
use milvault_domain::secret::Secret;
use std::fs;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest configuration file: nobody writes a larger one, and a wrong path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Names of the metadata, by which problems tell sources apart.
pub(super) const ENVIRONMENT_SOURCE: &str = "environment";
pub(super) const FLAG_SOURCE: &str = "flag";

/// Between section and key. Variables without it are no settings: Kubernetes, for one, sets `MILVAULT_PORT` and more
/// for a service of that name, and the server must start all the same.
const SECTION_SEPARATOR: &str = "__";

/// Settings that are texts whatever they look like.
const TEXTS: [&str; 1] = ["catalog.master_key"];

/// A configuration file: its settings, and its text to find lines in.
pub(super) struct FileLayer {
    path: PathBuf,
    text: String,
    settings: Dict,
}

impl FileLayer {
    /// Reads a TOML file of at most 1 MiB.
    ///
    /// # Errors
    /// The file cannot be read or is not TOML; with its line where there is one.
    pub(super) fn read(path: &Path) -> Result<Self, ConfigurationProblem> {
        let cannot_read = |reason: String| ConfigurationProblem::new(path.display(), reason);
        let metadata = fs::metadata(path).map_err(|error| cannot_read(format!("cannot be read: {error}")))?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return Err(cannot_read(format!("must be a regular file of at most {FILE_BYTES_MAX} bytes")));
        }
        let text =
            fs::read_to_string(path).map_err(|error| cannot_read(format!("cannot be read: {error}")))?;
        let settings = toml::from_str::<Dict>(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_at(&text, span.start));
            ConfigurationProblem::new(
                format_args!("{} line {line}", path.display()),
                format!("not TOML: {}", error.message()),
            )
        })?;
        Ok(Self { path: path.to_owned(), text, settings })
    }

    /// The file's path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The line, from 1, of the longest part of `key_path` that the file has.
    pub(super) fn line_of(&self, key_path: &[String]) -> Option<usize> {
        let document = DeTable::parse(&self.text).ok()?;
        let mut table: &DeTable<'_> = document.get_ref();
        let mut offset = None;
        for key in key_path {
            let Some((spanned_key, value)) =
                table.iter().find(|(candidate, _)| candidate.get_ref().as_ref() == key.as_str())
            else {
                break;
            };
            offset = Some(spanned_key.span().start);
            match Spanned::get_ref(value) {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        offset.map(|offset| line_at(&self.text, offset))
    }
}

impl Provider for &FileLayer {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}

/// Environment variables `MILVAULT_<SECTION>__<KEY>`.
pub(super) struct EnvironmentLayer {
    settings: Dict,
}

impl EnvironmentLayer {
    /// Takes the settings among these variables.
    pub(super) fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut settings = Dict::new();
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            if name.starts_with(Secret::ENVIRONMENT_PREFIX) || !rest.contains(SECTION_SEPARATOR) {
                continue;
            }
            let key_path = rest.to_ascii_lowercase().replace(SECTION_SEPARATOR, ".");
            // A list is written `["a", "b"]`; what cannot be read as a number, a bool or a list is a text.
            // A key of digits only is a text all the same.
            let value = if TEXTS.contains(&key_path.as_str()) {
                Value::from(text)
            } else {
                text.parse::<Value>().unwrap_or_else(|never| match never {})
            };
            settings = merged(settings, figment::util::nest(&key_path, value));
        }
        Self { settings }
    }
}

impl Provider for EnvironmentLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT_SOURCE)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}

/// Settings given as flags.
pub(super) struct FlagLayer {
    settings: Dict,
}

impl FlagLayer {
    /// Takes the flags that were given.
    pub(super) fn new(flags: &Flags) -> Self {
        let given = [
            ("server.listen", flags.listen.map(|address| Value::from(address.to_string()))),
            ("server.data_dir", flags.data_dir.as_ref().and_then(|path| Value::serialize(path).ok())),
            ("log.format", flags.log_format.and_then(|format| Value::serialize(format).ok())),
            ("log.filter", flags.log_filter.clone().map(Value::from)),
        ];
        let settings = given
            .into_iter()
            .filter_map(|(key_path, value)| value.map(|value| figment::util::nest(key_path, value)))
            .fold(Dict::new(), merged);
        Self { settings }
    }
}

impl Provider for FlagLayer {
    fn metadata(&self) -> Metadata {
        Metadata::named(FLAG_SOURCE)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}

/// Adds a nested value to a dictionary, section by section.
fn merged(mut settings: Dict, nested: Value) -> Dict {
    let Some(entries) = nested.into_dict() else { return settings };
    for (key, value) in entries {
        match settings.remove(&key) {
            Some(Value::Dict(tag, section)) => {
                settings.insert(key, Value::Dict(tag, merged(section, value)));
            }
            _ => {
                settings.insert(key, value);
            }
        }
    }
    settings
}

/// The line, from 1, that holds this byte.
fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}
