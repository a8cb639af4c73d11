//! Secrets: written, never read back.

use crate::error::GatewayError;
use async_graphql::{Enum, OneofObject, SimpleObject};
use milvault_domain::secret::{Secret, SecretValue};

/// Longest value of a secret; service account keys have a few thousand characters.
const VALUE_BYTES_MAX: usize = 16 * 1024;
/// Longest name of a variable or file.
const NAME_BYTES_MAX: usize = 255;

/// A secret: its value, or where the server finds it. Exactly one is given.
#[derive(OneofObject)]
pub(crate) enum SecretInput {
    /// The value. It is stored encrypted and never shown again.
    Value(String),
    /// Name of an environment variable of the server; it must begin with `MILVAULT_SECRET_`.
    Environment(String),
    /// Name of a file in the server's secrets directory, without directories.
    File(String),
}

impl SecretInput {
    /// Checks it.
    ///
    /// # Errors
    /// Names the field that it was given in, never the value.
    pub(crate) fn check(self, field: &'static str) -> Result<Secret, GatewayError> {
        match self {
            Self::Value(value) => {
                let value = SecretValue::new(value);
                if value.expose().is_empty() || value.expose().len() > VALUE_BYTES_MAX {
                    return Err(GatewayError::bad_field(
                        field,
                        format!("a secret must have 1 to {VALUE_BYTES_MAX} bytes"),
                    ));
                }
                Ok(Secret::Value(value))
            }
            Self::Environment(name) => {
                let prefix = Secret::ENVIRONMENT_PREFIX;
                if !name.starts_with(prefix) || name.len() == prefix.len() || !is_plain_name(&name) {
                    return Err(GatewayError::bad_field(
                        field,
                        format!("the environment variable's name must begin with `{prefix}`"),
                    ));
                }
                Ok(Secret::Environment(name))
            }
            Self::File(name) => {
                if name.starts_with('.') || !is_plain_name(&name) {
                    return Err(GatewayError::bad_field(
                        field,
                        "must be the name of a file in the server's secrets directory, without directories",
                    ));
                }
                Ok(Secret::File(name))
            }
        }
    }
}

/// Checks a secret that may be absent.
///
/// # Errors
/// As [`SecretInput::check`].
pub(crate) fn check_optional(
    secret: Option<SecretInput>,
    field: &'static str,
) -> Result<Option<Secret>, GatewayError> {
    secret.map(|secret| secret.check(field)).transpose()
}

fn is_plain_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// Where a secret comes from.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// It was given as a value and is stored encrypted.
    Value,
    /// An environment variable of the server.
    Environment,
    /// A file in the server's secrets directory.
    File,
}

/// A secret that is set. Its value is never shown.
#[derive(SimpleObject)]
#[graphql(name = "Secret")]
pub(crate) struct SecretView {
    /// Where it comes from.
    source: SecretSource,
    /// Name of the variable or file; null for a stored value.
    reference: Option<String>,
}

impl From<&Secret> for SecretView {
    fn from(secret: &Secret) -> Self {
        match secret {
            Secret::Value(_) => Self { source: SecretSource::Value, reference: None },
            Secret::Environment(name) => {
                Self { source: SecretSource::Environment, reference: Some(name.clone()) }
            }
            Secret::File(name) => Self { source: SecretSource::File, reference: Some(name.clone()) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_may_not_leave_their_place() {
        for name in ["", ".", "..", ".hidden", "a/b", "../x", "a\\b", "a\0b", "ä"] {
            assert!(SecretInput::File(name.to_owned()).check("token").is_err(), "{name}");
        }
        for name in ["PATH", "MILVAULT_SECRET_", "MILVAULT_SECRET_A=B", "milvault_secret_x"] {
            assert!(SecretInput::Environment(name.to_owned()).check("token").is_err(), "{name}");
        }
        assert!(SecretInput::File(String::from("s3.key")).check("token").is_ok());
        assert!(SecretInput::Environment(String::from("MILVAULT_SECRET_X")).check("token").is_ok());
    }

    #[test]
    fn a_refusal_does_not_repeat_the_value() {
        let value = "canary".repeat(VALUE_BYTES_MAX);
        let error = SecretInput::Value(value).check("token").err().map(|error| error.to_string());
        assert!(error.is_some_and(|words| !words.contains("canary")));
    }
}
