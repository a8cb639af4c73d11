//! Values of secrets: as given, from the server's environment, or from a file of its secrets directory.

use crate::config::Configuration;
use crate::master_key::MasterKey;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use std::fs;
use std::path::{Path, PathBuf};

/// Largest secret: certificates and keys are far smaller, and the value is held in memory.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Reveals secrets on the machine of the server.
///
/// References are made by API callers, so they reach only what the operator set aside for them: variables with the
/// prefix, and files inside one directory; and nothing of that which the server keeps for itself.
#[derive(Debug)]
pub(crate) struct LocalSecrets {
    directory: Option<PathBuf>,
    own_variable: Option<String>,
    own_files: Vec<PathBuf>,
}

impl LocalSecrets {
    /// Files are looked up in this directory; without one, references to files are refused.
    pub(crate) fn new(directory: Option<PathBuf>) -> Self {
        Self { directory, own_variable: None, own_files: Vec::new() }
    }

    /// What callers may refer to: not the secret of the identity provider's client, and not the catalog's keys.
    pub(crate) fn for_callers(configuration: &Configuration) -> Self {
        let directory = configuration.server.secrets_dir.clone();
        let oidc = &configuration.oidc;
        let of_client =
            directory.as_ref().zip(oidc.client_secret_file.as_ref()).map(|(dir, name)| dir.join(name));
        let master_key = MasterKey::configured(configuration, &configuration.server.data_dir).into_file();
        Self {
            directory,
            own_variable: oidc.client_secret_env.clone(),
            own_files: of_client.into_iter().chain(master_key).collect(),
        }
    }

    /// Whether a file is one of the server's own, under whatever name.
    fn is_own(&self, path: &Path) -> bool {
        self.own_files.iter().any(|own| fs::canonicalize(own).is_ok_and(|own| own == path))
    }
}

impl SecretSource for LocalSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        match secret {
            Secret::Value(value) => Ok(value.clone()),
            Secret::Environment(name) if self.own_variable.as_ref() == Some(name) => Err(own(name)),
            Secret::Environment(name) => from_environment(name),
            Secret::File(name) => {
                let path = path_of(self.directory.as_deref(), name)?;
                if self.is_own(&path) { Err(own(name)) } else { from_file(&path, name) }
            }
        }
    }
}

fn own(name: &str) -> PortError {
    let message = format!("{name} is a secret of the server itself; name another");
    PortError::new(PortErrorKind::PermissionDenied, message)
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

fn path_of(directory: Option<&Path>, name: &str) -> PortResult<PathBuf> {
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
    // Orchestrators mount secrets as links to a versioned directory beside them, so links are followed, but only
    // as long as they stay inside.
    let directory = fs::canonicalize(directory).map_err(|error| {
        PortError::with_source(PortErrorKind::NotFound, "the secrets directory cannot be opened", error)
    })?;
    let path = fs::canonicalize(directory.join(name)).map_err(|error| failed(name, &error))?;
    if !path.starts_with(&directory) {
        return Err(refused(name, PortErrorKind::PermissionDenied, "is a link that leads out of it"));
    }
    Ok(path)
}

fn refused(name: &str, kind: PortErrorKind, what: &str) -> PortError {
    PortError::new(kind, format!("the secret file {name} in the secrets directory {what}"))
}

fn failed(name: &str, error: &std::io::Error) -> PortError {
    match error.kind() {
        std::io::ErrorKind::NotFound => refused(name, PortErrorKind::NotFound, "does not exist"),
        std::io::ErrorKind::PermissionDenied => {
            refused(name, PortErrorKind::PermissionDenied, "cannot be read by the server")
        }
        _ => refused(name, PortErrorKind::Internal, "cannot be read"),
    }
}

fn from_file(path: &Path, name: &str) -> PortResult<SecretValue> {
    let metadata = fs::metadata(path).map_err(|error| failed(name, &error))?;
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err(refused(
            name,
            PortErrorKind::InvalidInput,
            &format!("must be a regular file of at most {SECRET_BYTES_MAX} bytes"),
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidData => refused(name, PortErrorKind::InvalidInput, "is not UTF-8 text"),
        _ => failed(name, &error),
    })?;
    let text = SecretValue::new(text);
    // Editors and `echo` end files with a line break that is not part of the secret.
    let value = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let value = value.strip_suffix('\r').unwrap_or(value);
    if value.is_empty() {
        return Err(refused(name, PortErrorKind::InvalidInput, "is empty"));
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
    fn callers_do_not_reach_what_is_the_servers_own() {
        let directory = TempDir::new().unwrap();
        let of = |name: &str| directory.path().join(name);
        for name in ["master.key", "oidc", "token"] {
            fs::write(of(name), name).unwrap();
        }
        symlink("master.key", of("other-name")).unwrap();
        let mut configuration = Configuration::default();
        configuration.server.secrets_dir = Some(directory.path().to_owned());
        configuration.catalog.master_key_file = Some(of("master.key"));
        configuration.oidc.client_secret_file = Some(String::from("oidc"));
        configuration.oidc.client_secret_env = Some(String::from("MILVAULT_SECRET_OIDC"));
        let secrets = LocalSecrets::for_callers(&configuration);
        for name in ["master.key", "other-name", "oidc"] {
            let refused = secrets.reveal(&Secret::File(String::from(name))).unwrap_err();
            assert_eq!(refused.kind(), PortErrorKind::PermissionDenied, "{name}");
        }
        let variable = Secret::Environment(String::from("MILVAULT_SECRET_OIDC"));
        assert_eq!(secrets.reveal(&variable).unwrap_err().kind(), PortErrorKind::PermissionDenied);
        assert_eq!(secrets.reveal(&Secret::File(String::from("token"))).unwrap().expose(), "token");
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
