//! Where files lie: a cluster's binlogs, or a backup repository.

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
