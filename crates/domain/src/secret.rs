//! A value that must never be shown: tokens, passwords, storage keys.

use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Where a secret comes from. Records keep this, the value itself is fetched just before it is used.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Secret {
    /// The value. At rest it is encrypted by the catalog.
    Value(SecretValue),
    /// The name of an environment variable of the server. Only names that start with [`Secret::ENVIRONMENT_PREFIX`] are read.
    Environment(String),
    /// A file name (no directories) below the server's configured secrets directory.
    File(String),
}

impl Secret {
    /// Environment variables outside this prefix are never read on behalf of an API caller: otherwise a caller could
    /// have any variable of the server sent to an endpoint of his own.
    pub const ENVIRONMENT_PREFIX: &'static str = "MILVAULT_SECRET_";

    /// Whether the value is looked up at the server, instead of having been given by the caller.
    #[must_use]
    pub const fn is_reference(&self) -> bool {
        matches!(self, Self::Environment(_) | Self::File(_))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value(_) => formatter.write_str("Value(redacted)"),
            Self::Environment(name) => write!(formatter, "Environment({name})"),
            Self::File(name) => write!(formatter, "File({name})"),
        }
    }
}

/// The characters of a secret: erased from memory when dropped, redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop, Serialize, Deserialize)]
pub struct SecretValue(String);

impl SecretValue {
    /// Takes the characters over.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(value)
    }

    /// The characters, for the one call that needs them.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SecretValue(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_character_of_a_secret() {
        let secret = Secret::Value(SecretValue::new(String::from("hunter2")));
        assert_eq!(format!("{secret:?}"), "Value(redacted)");
        assert_eq!(format!("{:?}", SecretValue::new(String::from("hunter2"))), "SecretValue(redacted)");
    }
}
