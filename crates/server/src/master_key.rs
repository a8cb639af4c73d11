//! Where the keys come from that seal secrets in the catalog.

use crate::config::Configuration;
use milvault_catalog::Sealer;
use milvault_domain::ports::PortResult;
use milvault_domain::secret::SecretValue;
use std::fmt;
use std::path::{Path, PathBuf};

/// The setting with the keys themselves, as messages name it.
const SETTING: &str = "catalog.master_key";

/// The place of the keys.
pub(crate) enum MasterKey {
    /// A file, which this program may make and change.
    File(PathBuf),
    /// The configuration, in practice the environment, which this program cannot change.
    Given(SecretValue),
}

impl MasterKey {
    /// What the configuration says; a file in the data directory when it says nothing.
    pub(crate) fn configured(configuration: &Configuration, data_dir: &Path) -> Self {
        let catalog = &configuration.catalog;
        if let Some(keys) = &catalog.master_key {
            return Self::Given(keys.clone());
        }
        Self::File(catalog.master_key_file.clone().unwrap_or_else(|| data_dir.join("master.key")))
    }

    /// The file, if that is their place.
    pub(crate) fn into_file(self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Given(_) => None,
        }
    }

    /// The keys, which must be there.
    ///
    /// # Errors
    /// As for [`Sealer::load`].
    pub(crate) fn load(&self) -> PortResult<Sealer> {
        match self {
            Self::File(path) => Sealer::load(path),
            Self::Given(keys) => Sealer::from_hex(keys.expose(), SETTING),
        }
    }

    /// The keys. Where they belong into a file and there is none, it is made with a new key.
    ///
    /// # Errors
    /// As for [`Sealer::load_or_create`].
    pub(crate) fn load_or_create(&self) -> PortResult<Sealer> {
        match self {
            Self::File(path) => Sealer::load_or_create(path),
            Self::Given(_) => self.load(),
        }
    }
}

impl fmt::Display for MasterKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Given(_) => formatter.write_str(SETTING),
        }
    }
}
