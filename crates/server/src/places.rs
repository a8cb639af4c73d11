//! Where repositories lie, as the configuration file and the command line say it. Secrets are references: files and
//! command lines are read by others.

use anyhow::{Context, bail};
use milvault_domain::secret::Secret;
use milvault_domain::storage::{
    AzureStorage, GcsStorage, LocalStorage, S3Addressing, S3Credentials, S3Storage, StorageConfig,
};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::PathBuf;

/// A repository: `kind` says which of the other keys it takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RepositoryPlace {
    name: String,
    kind: String,
    path: Option<String>,
    bucket: Option<String>,
    prefix: Option<String>,
    endpoint: Option<String>,
    region: Option<String>,
    addressing: Option<String>,
    access_key_id: Option<String>,
    secret_access_key: Option<String>,
    session_token: Option<String>,
    ca_pem_file: Option<PathBuf>,
    service_account_key: Option<String>,
    account: Option<String>,
    container: Option<String>,
    access_key: Option<String>,
}

impl RepositoryPlace {
    /// Reads `NAME=KIND:key=value,key=value`; for a directory `NAME=local:/path`.
    ///
    /// # Errors
    /// It has another form, or a key that no repository has.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let form = "must have the form NAME=KIND:key=value,... such as safe=s3:bucket=backups,region=eu-west-1 or safe=local:/srv/backups";
        let (name, rest) = text.split_once('=').context(form)?;
        let (kind, rest) = rest.split_once(':').context(form)?;
        let mut table = toml::Table::new();
        if kind == "local" && !rest.starts_with("path=") {
            table.insert("path".to_owned(), rest.into());
        } else {
            for pair in rest.split(',').filter(|pair| !pair.is_empty()) {
                let (key, value) = pair.split_once('=').context(form)?;
                table.insert(key.to_owned(), value.into());
            }
        }
        table.insert("name".to_owned(), name.into());
        table.insert("kind".to_owned(), kind.into());
        table.try_into().map_err(|error: toml::de::Error| anyhow::anyhow!("{}", error.message()))
    }

    /// Name that the repository gets, and where it lies.
    ///
    /// # Errors
    /// A key is missing, not of this kind, or no reference to a secret.
    pub(crate) fn storage(&self) -> anyhow::Result<(String, StorageConfig)> {
        let storage = self.storage_of_kind().with_context(|| format!("repository \"{}\"", self.name))?;
        Ok((self.name.clone(), storage))
    }

    fn storage_of_kind(&self) -> anyhow::Result<StorageConfig> {
        let allowed: &[&str] = match self.kind.as_str() {
            "local" => &["path"],
            "s3" => &[
                "bucket",
                "prefix",
                "endpoint",
                "region",
                "addressing",
                "access_key_id",
                "secret_access_key",
                "session_token",
                "ca_pem_file",
            ],
            "gcs" => &["bucket", "prefix", "service_account_key"],
            "azure" => &["account", "container", "prefix", "access_key", "endpoint"],
            _ => bail!("kind must be local, s3, gcs or azure"),
        };
        for key in self.given() {
            if !allowed.contains(&key) {
                bail!("{key} is not for kind {}; it takes {}", self.kind, allowed.join(", "));
            }
        }
        Ok(match self.kind.as_str() {
            "local" => StorageConfig::Local(LocalStorage { path: required("path", self.path.as_ref())? }),
            "s3" => StorageConfig::S3(self.s3()?),
            "gcs" => StorageConfig::Gcs(GcsStorage {
                bucket: required("bucket", self.bucket.as_ref())?,
                prefix: self.prefix.clone().unwrap_or_default(),
                service_account_key: reference("service_account_key", self.service_account_key.as_ref())?,
            }),
            _ => StorageConfig::Azure(AzureStorage {
                account: required("account", self.account.as_ref())?,
                container: required("container", self.container.as_ref())?,
                prefix: self.prefix.clone().unwrap_or_default(),
                access_key: reference("access_key", self.access_key.as_ref())?,
                endpoint: self.endpoint.clone(),
            }),
        })
    }

    fn s3(&self) -> anyhow::Result<S3Storage> {
        let secret = reference("secret_access_key", self.secret_access_key.as_ref())?;
        let credentials = match (&self.access_key_id, secret) {
            (None, None) => S3Credentials::DefaultChain,
            (Some(access_key_id), Some(secret_access_key)) => S3Credentials::Static {
                access_key_id: access_key_id.clone(),
                secret_access_key,
                session_token: reference("session_token", self.session_token.as_ref())?,
            },
            _ => bail!(
                "access_key_id and secret_access_key belong together; without both, the provider's default chain is used"
            ),
        };
        let addressing = match self.addressing.as_deref() {
            None | Some("path") => S3Addressing::Path,
            Some("virtual_host") => S3Addressing::VirtualHost,
            Some(_) => bail!("addressing must be path or virtual_host"),
        };
        let read = |path: &PathBuf| {
            fs::read_to_string(path).with_context(|| format!("cannot read ca_pem_file {}", path.display()))
        };
        Ok(S3Storage {
            bucket: required("bucket", self.bucket.as_ref())?,
            prefix: self.prefix.as_deref().unwrap_or_default().trim_matches('/').to_owned(),
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            addressing,
            credentials,
            ca_pem: self.ca_pem_file.as_ref().map(read).transpose()?,
        })
    }

    /// Keys that were given, name and kind left out.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        [
            ("path", self.path.is_some()),
            ("bucket", self.bucket.is_some()),
            ("prefix", self.prefix.is_some()),
            ("endpoint", self.endpoint.is_some()),
            ("region", self.region.is_some()),
            ("addressing", self.addressing.is_some()),
            ("access_key_id", self.access_key_id.is_some()),
            ("secret_access_key", self.secret_access_key.is_some()),
            ("session_token", self.session_token.is_some()),
            ("ca_pem_file", self.ca_pem_file.is_some()),
            ("service_account_key", self.service_account_key.is_some()),
            ("account", self.account.is_some()),
            ("container", self.container.is_some()),
            ("access_key", self.access_key.is_some()),
        ]
        .into_iter()
        .filter_map(|(key, given)| given.then_some(key))
    }
}

fn required(key: &str, value: Option<&String>) -> anyhow::Result<String> {
    value.cloned().with_context(|| format!("{key} is missing"))
}

/// A reference to a secret. The value itself is not repeated: it may be one.
fn reference(key: &str, value: Option<&String>) -> anyhow::Result<Option<Secret>> {
    let Some(value) = value else { return Ok(None) };
    match value.split_once(':') {
        Some(("env", name)) => Ok(Some(Secret::Environment(name.to_owned()))),
        Some(("file", name)) => Ok(Some(Secret::File(name.to_owned()))),
        _ => bail!(
            "{key} must be env:{}NAME or file:NAME (in server.secrets_dir); secrets themselves do not belong on a command line",
            Secret::ENVIRONMENT_PREFIX
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn storage(text: &str) -> anyhow::Result<(String, StorageConfig)> {
        RepositoryPlace::parse(text)?.storage()
    }

    #[test]
    fn every_kind_is_read() {
        let (name, local) = storage("safe=local:/srv/backups").unwrap();
        assert_eq!((name.as_str(), local.display_url().as_str()), ("safe", "file:///srv/backups"));
        let text = "a=s3:bucket=b,prefix=/p/q/,endpoint=http://127.0.0.1:9000,access_key_id=k,secret_access_key=env:MILVAULT_SECRET_K";
        let StorageConfig::S3(s3) = storage(text).unwrap().1 else { panic!("an s3 store") };
        assert_eq!((s3.bucket.as_str(), s3.prefix.as_str()), ("b", "p/q"));
        assert_eq!(s3.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        let secret = Secret::Environment(String::from("MILVAULT_SECRET_K"));
        let S3Credentials::Static { secret_access_key, .. } = s3.credentials else { panic!("a key pair") };
        assert_eq!(secret_access_key, secret);
        let (_, gcs) = storage("a=gcs:bucket=b,service_account_key=file:key.json").unwrap();
        assert_eq!(gcs.display_url(), "gs://b");
        assert_eq!(storage("a=azure:account=x,container=y,prefix=z").unwrap().1.display_url(), "az://x/y/z");
    }

    #[test]
    fn mistakes_are_named_and_secrets_are_not_repeated() {
        for (text, words) in [
            ("safe", "must have the form"),
            ("safe=tape:path=b", "kind must be"),
            ("safe=s3:prefix=p", "bucket is missing"),
            ("safe=s3:bucket=b,colour=red", "unknown field `colour`"),
            ("safe=s3:bucket=b,account=a", "account is not for kind s3"),
            ("safe=s3:bucket=b,access_key_id=k", "belong together"),
            ("safe=s3:bucket=b,access_key_id=k,secret_access_key=canary", "must be env:MILVAULT_SECRET_NAME"),
        ] {
            let error = format!("{:#}", storage(text).unwrap_err());
            assert!(error.contains(words), "{text}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
