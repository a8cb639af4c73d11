//! Where files lie: a cluster's binlogs, or a backup repository.

use crate::error::{InvalidInput, check_length};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};

/// A place that holds objects, with what is needed to reach it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StorageConfig {
    /// A directory of a file system that the server sees.
    Local(LocalStorage),
    /// Amazon S3 or a compatible store.
    S3(S3Storage),
    /// Google Cloud Storage.
    Gcs(GcsStorage),
    /// Azure Blob Storage.
    Azure(AzureStorage),
}

impl StorageConfig {
    /// What of the server's own is used to reach it: its disks, its identity or its secrets. `None` when the caller
    /// gave all that is needed.
    #[must_use]
    pub fn of_the_server(&self) -> Option<&'static str> {
        const IDENTITY: &str = "the server's own identity at a provider";
        const SECRETS: &str = "secrets of the server's environment or files";
        let by_secret = |secret: &Secret| secret.is_reference().then_some(SECRETS);
        match self {
            Self::Local(_) => Some("directories of the server"),
            Self::S3(S3Storage { credentials: S3Credentials::DefaultChain, .. }) => Some(IDENTITY),
            Self::S3(S3Storage {
                credentials: S3Credentials::Static { secret_access_key, session_token, .. },
                ..
            }) => by_secret(secret_access_key).or_else(|| session_token.as_ref().and_then(by_secret)),
            Self::Gcs(GcsStorage { service_account_key: secret, .. })
            | Self::Azure(AzureStorage { access_key: secret, .. }) => {
                secret.as_ref().map_or(Some(IDENTITY), by_secret)
            }
        }
    }
}

/// How binlogs are laid out below a source's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceLayout {
    /// As Milvus writes them.
    Milvus,
    /// As milvus-backup copies them, below this directory.
    MilvusBackup {
        /// Name of the backup's directory.
        directory: String,
    },
}

/// A directory. For a cluster it is the directory that holds `insert_log/` and `delta_log/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalStorage {
    /// Absolute path.
    pub path: String,
}

/// A bucket of an S3-compatible store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct S3Storage {
    /// Bucket name.
    pub bucket: String,
    /// Key prefix without slashes at its ends (Milvus: `minio.rootPath`, `files` by default). May be empty.
    pub prefix: String,
    /// `http(s)://host:port` of a compatible store; `None` is Amazon's own endpoint of the region.
    pub endpoint: Option<String>,
    /// Region to sign for; `None` is `us-east-1`.
    pub region: Option<String>,
    /// How the bucket appears in the address.
    pub addressing: S3Addressing,
    /// How requests are signed.
    pub credentials: S3Credentials,
    /// PEM certificates to trust besides the system's, for stores with a private authority.
    pub ca_pem: Option<String>,
}

/// How the bucket appears in the address of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Addressing {
    /// `endpoint/bucket/key`: what nearly every compatible store understands.
    #[default]
    Path,
    /// `bucket.endpoint/key`.
    VirtualHost,
}

/// How S3 requests are signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum S3Credentials {
    /// A fixed key pair, with a session token when it is temporary.
    Static {
        /// Access key id. Not a secret in S3's model.
        access_key_id: String,
        /// Secret access key.
        secret_access_key: Secret,
        /// Session token of temporary credentials.
        session_token: Option<Secret>,
    },
    /// The provider's default chain: environment, web identity, container, instance metadata.
    DefaultChain,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcsStorage {
    /// Bucket name.
    pub bucket: String,
    /// Key prefix without slashes at its ends. May be empty.
    pub prefix: String,
    /// Service account key (JSON); `None` uses the application default credentials.
    pub service_account_key: Option<Secret>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AzureStorage {
    /// Storage account.
    pub account: String,
    /// Container name.
    pub container: String,
    /// Key prefix without slashes at its ends. May be empty.
    pub prefix: String,
    /// Account key; `None` uses the managed identity.
    pub access_key: Option<Secret>,
    /// Another endpoint than the public cloud's.
    pub endpoint: Option<String>,
}

impl StorageConfig {
    /// Longest set of certificates, in bytes.
    pub(crate) const CA_PEM_BYTES_MAX: usize = 64 * 1024;
    /// Longest name of a bucket, container, account, region or key, in bytes.
    const NAME_BYTES_MAX: usize = 255;
    /// Longest path or prefix, in bytes: keys of objects have at most 1,024.
    const PATH_BYTES_MAX: usize = 1_024;
    /// Longest address, in bytes.
    const ENDPOINT_BYTES_MAX: usize = 2_048;

    /// Nothing of it is longer than anything that works.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn check_lengths(&self) -> Result<(), InvalidInput> {
        let (name, path, endpoint) = (Self::NAME_BYTES_MAX, Self::PATH_BYTES_MAX, Self::ENDPOINT_BYTES_MAX);
        match self {
            Self::Local(local) => check_length("storage.local.path", &local.path, path),
            Self::S3(s3) => {
                check_length("storage.s3.bucket", &s3.bucket, name)?;
                check_length("storage.s3.prefix", &s3.prefix, path)?;
                check_length("storage.s3.endpoint", s3.endpoint.as_deref().unwrap_or_default(), endpoint)?;
                check_length("storage.s3.region", s3.region.as_deref().unwrap_or_default(), name)?;
                let ca_pem = s3.ca_pem.as_deref().unwrap_or_default();
                check_length("storage.s3.caPem", ca_pem, Self::CA_PEM_BYTES_MAX)?;
                match &s3.credentials {
                    S3Credentials::Static { access_key_id, .. } => {
                        check_length("storage.s3.accessKeyId", access_key_id, name)
                    }
                    S3Credentials::DefaultChain => Ok(()),
                }
            }
            Self::Gcs(gcs) => {
                check_length("storage.gcs.bucket", &gcs.bucket, name)?;
                check_length("storage.gcs.prefix", &gcs.prefix, path)
            }
            Self::Azure(azure) => {
                check_length("storage.azure.account", &azure.account, name)?;
                check_length("storage.azure.container", &azure.container, name)?;
                check_length("storage.azure.prefix", &azure.prefix, path)?;
                check_length(
                    "storage.azure.endpoint",
                    azure.endpoint.as_deref().unwrap_or_default(),
                    endpoint,
                )
            }
        }
    }

    /// Short form for people and logs, without credentials: `s3://bucket/prefix`, `file:///path`.
    #[must_use]
    pub fn display_url(&self) -> String {
        match self {
            Self::Local(local) => format!("file://{}", local.path),
            Self::S3(s3) => join_url("s3", &s3.bucket, &s3.prefix),
            Self::Gcs(gcs) => join_url("gs", &gcs.bucket, &gcs.prefix),
            Self::Azure(azure) => {
                join_url("az", &format!("{}/{}", azure.account, azure.container), &azure.prefix)
            }
        }
    }
}

fn join_url(scheme: &str, container: &str, prefix: &str) -> String {
    if prefix.is_empty() {
        format!("{scheme}://{container}")
    } else {
        format!("{scheme}://{container}/{prefix}")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_longer_than_anything_that_works_is_refused_by_name() {
        let local = |length| StorageConfig::Local(LocalStorage { path: "x".repeat(length) });
        assert_eq!(local(1_024).check_lengths(), Ok(()));
        let error = local(1_025).check_lengths().unwrap_err();
        assert_eq!(error.field, "storage.local.path");
        let azure = StorageConfig::Azure(AzureStorage {
            account: String::from("a"),
            container: "x".repeat(256),
            prefix: String::new(),
            access_key: None,
            endpoint: None,
        });
        assert_eq!(azure.check_lengths().unwrap_err().field, "storage.azure.container");
    }
}
