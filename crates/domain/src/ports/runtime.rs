//! Time, ids and secrets, as arguments.

use crate::error::PortResult;
use crate::secret::{Secret, SecretValue};
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Where "now" comes from.
pub trait Clock: Send + Sync {
    /// The time now.
    fn now(&self) -> DateTime<Utc>;
}

/// Where new ids come from.
pub trait IdSource: Send + Sync {
    /// A new version 7 UUID.
    fn new_uuid(&self) -> Uuid;
}

/// Turns a reference to a secret into its value.
pub trait SecretSource: Send + Sync {
    /// Fetches the value: as given, from an environment variable whose name starts with
    /// [`Secret::ENVIRONMENT_PREFIX`], or from a file of the secrets directory.
    ///
    /// # Errors
    /// Names the variable or file that is missing or not allowed; never contains the value.
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue>;
}
