//! Values of secrets: as given, from the server's environment, or from a file of its secrets directory.

use milvault_domain::ports::{PortError, PortErrorKind, PortResult, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use std::fs;
use std::path::{Path, PathBuf};

/// Largest secret: certificates and keys are far smaller, and the value is held in memory.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Reveals secrets on the machine of the server.
///
/// References are made by API callers, so they reach only what the operator set aside for them: variables with the
/// prefix, and files inside one directory.
#[derive(Debug)]
pub(crate) struct LocalSecrets {
    directory: Option<PathBuf>,
}

impl LocalSecrets {
    /// Files are looked up in this directory; without one, references to files are refused.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory }
    }
}

impl SecretSource for LocalSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        match secret {
            Secret::Value(value) => Ok(value.clone()),
            Secret::Environment(name) => from_environment(name),
            Secret::File(name) => from_file(self.directory.as_deref(), name),
        }
    }
}

fn from_environment(name: &str) -> PortResult<SecretValue> {
    let allowed = name.starts_with(Secret::ENVIRONMENT_PREFIX)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !allowed {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!("environment variables of secrets must be named {}<NAME>", Secret::ENVIRONMENT_PREFIX),
        ));
    }
    let missing = |what: &str| {
        PortError::new(PortErrorKind::NotFound, format!("the server's environment variable {name} {what}"))
    };
    match std::env::var(name) {
        Ok(value) if value.is_empty() => Err(missing("is empty; set it and restart the server")),
        Ok(value) => Ok(SecretValue::new(value)),
        Err(std::env::VarError::NotPresent) => Err(missing("is not set; set it and restart the server")),
        Err(std::env::VarError::NotUnicode(_)) => Err(missing("is not Unicode text")),
    }
}

fn from_file(directory: Option<&Path>, name: &str) -> PortResult<SecretValue> {
    let Some(directory) = directory else {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            "references to secret files need the setting server.secrets_dir",
        ));
    };
    if name.is_empty() || name.len() > 255 || name.starts_with('.') || name.contains(['/', '\\', '\0']) {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            "a secret file is given by its name, without a directory and not beginning with a dot",
        ));
    }
    let refused = |kind, what: &str| {
        PortError::new(kind, format!("the secret file {name} in the secrets directory {what}"))
    };
    let failed = |error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => refused(PortErrorKind::NotFound, "does not exist"),
        std::io::ErrorKind::PermissionDenied => {
            refused(PortErrorKind::PermissionDenied, "cannot be read by the server")
        }
        _ => refused(PortErrorKind::Internal, "cannot be read"),
    };
    // Orchestrators mount secrets as links to a versioned directory beside them, so links are followed, but only
    // as long as they stay inside.
    let directory = fs::canonicalize(directory).map_err(|error| {
        PortError::with_source(PortErrorKind::NotFound, "the secrets directory cannot be opened", error)
    })?;
    let path = fs::canonicalize(directory.join(name)).map_err(|error| failed(&error))?;
    if !path.starts_with(&directory) {
        return Err(refused(PortErrorKind::PermissionDenied, "is a link that leads out of it"));
    }
    let metadata = fs::metadata(&path).map_err(|error| failed(&error))?;
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err(refused(
            PortErrorKind::InvalidInput,
            &format!("must be a regular file of at most {SECRET_BYTES_MAX} bytes"),
        ));
    }
    let text = fs::read_to_string(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => refused(PortErrorKind::InvalidInput, "is not UTF-8 text"),
        _ => failed(&error),
    })?;
    let text = SecretValue::new(text);
    // Editors and `echo` end files with a line break that is not part of the secret.
    let value = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(refused(PortErrorKind::InvalidInput, "is empty"));
    }
    Ok(SecretValue::new(value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::os::unix::fs::symlink;
    use tempfile::TempDir;

    fn reveal_file(directory: &Path, name: &str) -> PortResult<String> {
        let secrets = LocalSecrets::new(Some(directory.to_owned()));
        secrets.reveal(&Secret::File(name.to_owned())).map(|value| value.expose().to_owned())
    }

    fn refused_file(directory: &Path, name: &str) -> PortErrorKind {
        reveal_file(directory, name).unwrap_err().kind()
    }

    #[test]
    fn a_value_is_itself() {
        let secret = Secret::Value(SecretValue::new(String::from("x")));
        assert_eq!(LocalSecrets::new(None).reveal(&secret).unwrap().expose(), "x");
    }

    #[test]
    fn a_file_loses_one_line_break() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("token"), "abc\n\n").unwrap();
        fs::write(directory.path().join("windows"), "abc\r\n").unwrap();
        assert_eq!(reveal_file(directory.path(), "token").unwrap(), "abc\n");
        assert_eq!(reveal_file(directory.path(), "windows").unwrap(), "abc");
    }

    #[test]
    fn links_are_followed_inside_the_directory_only() {
        let outside = TempDir::new().unwrap();
        fs::write(outside.path().join("shadow"), "root").unwrap();
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("..2026")).unwrap();
        fs::write(directory.path().join("..2026/token"), "abc").unwrap();
        symlink("..2026/token", directory.path().join("token")).unwrap();
        symlink(outside.path().join("shadow"), directory.path().join("leak")).unwrap();
        assert_eq!(reveal_file(directory.path(), "token").unwrap(), "abc");
        assert_eq!(refused_file(directory.path(), "leak"), PortErrorKind::PermissionDenied);
    }

    #[test]
    fn names_that_are_paths_are_refused() {
        let directory = TempDir::new().unwrap();
        for name in ["", ".", "..", "../token", "/etc/passwd", "a/b", "a\\b", "a\0b", ".hidden"] {
            assert_eq!(refused_file(directory.path(), name), PortErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn files_that_cannot_be_secrets_are_refused() {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("folder")).unwrap();
        fs::write(directory.path().join("empty"), "\n").unwrap();
        fs::write(directory.path().join("binary"), [0xff, 0xfe]).unwrap();
        fs::write(directory.path().join("large"), "x".repeat(65 * 1024)).unwrap();
        for name in ["folder", "empty", "binary", "large"] {
            assert_eq!(refused_file(directory.path(), name), PortErrorKind::InvalidInput, "{name}");
        }
        assert_eq!(refused_file(directory.path(), "absent"), PortErrorKind::NotFound);
        let unset = LocalSecrets::new(None).reveal(&Secret::File(String::from("token"))).unwrap_err();
        assert!(unset.to_string().contains("server.secrets_dir"), "{unset}");
    }

    #[test]
    fn only_variables_with_the_prefix_are_read() {
        let secrets = LocalSecrets::new(None);
        for name in ["PATH", "HOME", "MILVAULT_CATALOG__URL", "MILVAULT_SECRET_A=B"] {
            let error = secrets.reveal(&Secret::Environment(name.to_owned())).unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{name}");
        }
        let absent = Secret::Environment(String::from("MILVAULT_SECRET_NOT_SET_ANYWHERE"));
        assert_eq!(secrets.reveal(&absent).unwrap_err().kind(), PortErrorKind::NotFound);
    }
}
