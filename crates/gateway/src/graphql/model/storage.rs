//! Places that hold objects.

use super::secret::{SecretInput, SecretView, check_optional};
use crate::error::GatewayError;
use async_graphql::{Enum, InputObject, OneofObject, SimpleObject};
use milvault_domain::storage::{
    self as domain, AzureStorage, GcsStorage, LocalStorage, S3Credentials, S3Storage, StorageConfig,
};

/// How the bucket appears in the address of an S3 request.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::S3Addressing")]
pub(crate) enum S3Addressing {
    /// `endpoint/bucket/key`: what nearly every compatible store understands.
    Path,
    /// `bucket.endpoint/key`.
    VirtualHost,
}

/// A place that holds objects, with what is needed to reach it. Exactly one kind is given.
#[derive(OneofObject)]
pub(crate) enum StorageInput {
    /// A directory of a file system that the server sees.
    Local(LocalStorageInput),
    /// Amazon S3 or a compatible store.
    S3(S3StorageInput),
    /// Google Cloud Storage.
    Gcs(GcsStorageInput),
    /// Azure Blob Storage.
    Azure(AzureStorageInput),
}

/// A directory.
#[derive(InputObject)]
pub(crate) struct LocalStorageInput {
    /// Absolute path. For a cluster, the directory that holds `insert_log/` and `delta_log/`.
    path: String,
}

/// A bucket of an S3-compatible store.
#[derive(InputObject)]
pub(crate) struct S3StorageInput {
    /// Bucket name.
    bucket: String,
    /// Key prefix; for a cluster, Milvus's `minio.rootPath` (`files` unless it was changed).
    #[graphql(default)]
    prefix: String,
    /// `http(s)://host:port` of a compatible store; absent for Amazon's own.
    endpoint: Option<String>,
    /// Region to sign for; `us-east-1` when absent.
    region: Option<String>,
    /// How the bucket appears in the address; `PATH` when absent.
    addressing: Option<S3Addressing>,
    /// Access key id of a fixed key pair.
    access_key_id: Option<String>,
    /// Secret access key of a fixed key pair.
    secret_access_key: Option<SecretInput>,
    /// Session token of temporary credentials.
    session_token: Option<SecretInput>,
    /// PEM certificates to trust besides the system's.
    ca_pem: Option<String>,
    /// Take the credentials from the provider's default chain: environment, web identity, container, instance.
    #[graphql(default)]
    default_credential_chain: bool,
}

/// A bucket of Google Cloud Storage.
#[derive(InputObject)]
pub(crate) struct GcsStorageInput {
    /// Bucket name.
    bucket: String,
    /// Key prefix.
    #[graphql(default)]
    prefix: String,
    /// Service account key (JSON); absent for the application default credentials.
    service_account_key: Option<SecretInput>,
}

/// A container of Azure Blob Storage.
#[derive(InputObject)]
pub(crate) struct AzureStorageInput {
    /// Storage account.
    account: String,
    /// Container name.
    container: String,
    /// Key prefix.
    #[graphql(default)]
    prefix: String,
    /// Account key; absent for the managed identity.
    access_key: Option<SecretInput>,
    /// Another endpoint than the public cloud's.
    endpoint: Option<String>,
}

impl StorageInput {
    /// Checks its form. Whether the place can be reached shows when it is used.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub(crate) fn check(self) -> Result<StorageConfig, GatewayError> {
        let storage = self.read()?;
        storage.check_lengths()?;
        Ok(storage)
    }

    fn read(self) -> Result<StorageConfig, GatewayError> {
        match self {
            Self::Local(input) => input.check().map(StorageConfig::Local),
            Self::S3(input) => input.check().map(StorageConfig::S3),
            Self::Gcs(input) => Ok(StorageConfig::Gcs(GcsStorage {
                bucket: not_empty("storage.gcs.bucket", input.bucket)?,
                prefix: trimmed(&input.prefix),
                service_account_key: check_optional(
                    input.service_account_key,
                    "storage.gcs.serviceAccountKey",
                )?,
            })),
            Self::Azure(input) => Ok(StorageConfig::Azure(AzureStorage {
                account: not_empty("storage.azure.account", input.account)?,
                container: not_empty("storage.azure.container", input.container)?,
                prefix: trimmed(&input.prefix),
                access_key: check_optional(input.access_key, "storage.azure.accessKey")?,
                endpoint: input.endpoint,
            })),
        }
    }
}

impl LocalStorageInput {
    fn check(self) -> Result<LocalStorage, GatewayError> {
        let climbs = self.path.split('/').any(|part| part == "..");
        if !self.path.starts_with('/') || climbs || self.path.contains('\0') {
            return Err(GatewayError::bad_field(
                "storage.local.path",
                "must be an absolute path without `..`, as the server sees it",
            ));
        }
        Ok(LocalStorage { path: self.path })
    }
}

impl S3StorageInput {
    fn check(self) -> Result<S3Storage, GatewayError> {
        let secret = check_optional(self.secret_access_key, "storage.s3.secretAccessKey")?;
        let session_token = check_optional(self.session_token, "storage.s3.sessionToken")?;
        let credentials = match (self.default_credential_chain, self.access_key_id, secret, session_token) {
            (true, None, None, None) => S3Credentials::DefaultChain,
            (false, Some(access_key_id), Some(secret_access_key), session_token) => {
                S3Credentials::Static { access_key_id, secret_access_key, session_token }
            }
            _ => {
                return Err(GatewayError::bad_field(
                    "storage.s3",
                    "give either `accessKeyId` and `secretAccessKey`, or `defaultCredentialChain: true`",
                ));
            }
        };
        Ok(S3Storage {
            bucket: not_empty("storage.s3.bucket", self.bucket)?,
            prefix: trimmed(&self.prefix),
            endpoint: self.endpoint,
            region: self.region,
            addressing: self.addressing.unwrap_or(S3Addressing::Path).into(),
            credentials,
            ca_pem: self.ca_pem,
        })
    }
}

fn not_empty(field: &'static str, text: String) -> Result<String, GatewayError> {
    if text.is_empty() { Err(GatewayError::bad_field(field, "must not be empty")) } else { Ok(text) }
}

/// The domain keeps prefixes without slashes at their ends.
fn trimmed(prefix: &str) -> String {
    prefix.trim_matches('/').to_owned()
}

/// Kind of a place that holds objects.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StorageKind {
    /// A directory.
    Local,
    /// Amazon S3 or a compatible store.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

/// A place that holds objects. Secrets are never shown, only whether they are set and where they come from.
#[derive(SimpleObject)]
pub(crate) struct Storage {
    /// Its kind.
    kind: StorageKind,
    /// Short form for people, such as `s3://bucket/prefix`.
    url: String,
    /// Another endpoint than the provider's own.
    endpoint: Option<String>,
    /// S3: region to sign for.
    region: Option<String>,
    /// S3: how the bucket appears in the address.
    addressing: Option<S3Addressing>,
    /// S3: access key id of the fixed key pair.
    access_key_id: Option<String>,
    /// The secret that gives access, where one is set: S3's secret access key, GCS's service account key, Azure's account key.
    secret: Option<SecretView>,
    /// S3: session token of temporary credentials.
    session_token: Option<SecretView>,
    /// S3: PEM certificates that are trusted besides the system's.
    ca_pem: Option<String>,
}

impl From<&StorageConfig> for Storage {
    fn from(config: &StorageConfig) -> Self {
        let view = |kind| Self {
            kind,
            url: config.display_url(),
            endpoint: None,
            region: None,
            addressing: None,
            access_key_id: None,
            secret: None,
            session_token: None,
            ca_pem: None,
        };
        match config {
            StorageConfig::Local(_) => view(StorageKind::Local),
            StorageConfig::S3(s3) => Self::of_s3(s3, view(StorageKind::S3)),
            StorageConfig::Gcs(gcs) => {
                Self { secret: gcs.service_account_key.as_ref().map(Into::into), ..view(StorageKind::Gcs) }
            }
            StorageConfig::Azure(azure) => Self {
                endpoint: azure.endpoint.clone(),
                secret: azure.access_key.as_ref().map(Into::into),
                ..view(StorageKind::Azure)
            },
        }
    }
}

impl Storage {
    fn of_s3(s3: &S3Storage, view: Self) -> Self {
        let (access_key_id, secret, session_token) = match &s3.credentials {
            S3Credentials::Static { access_key_id, secret_access_key, session_token } => {
                (Some(access_key_id.clone()), Some(secret_access_key), session_token.as_ref())
            }
            S3Credentials::DefaultChain => (None, None, None),
        };
        Self {
            endpoint: s3.endpoint.clone(),
            region: s3.region.clone(),
            addressing: Some(s3.addressing.into()),
            access_key_id,
            secret: secret.map(Into::into),
            session_token: session_token.map(Into::into),
            ca_pem: s3.ca_pem.clone(),
            ..view
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn s3() -> S3StorageInput {
        S3StorageInput {
            bucket: String::from("b"),
            prefix: String::from("/files/"),
            endpoint: None,
            region: None,
            addressing: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            ca_pem: None,
            default_credential_chain: false,
        }
    }

    #[test]
    fn s3_needs_exactly_one_kind_of_credentials() {
        let key = || Some(SecretInput::Value(String::from("s")));
        let id = || Some(String::from("i"));
        assert!(s3().check().is_err());
        assert!(S3StorageInput { access_key_id: id(), ..s3() }.check().is_err());
        let pair = S3StorageInput { access_key_id: id(), secret_access_key: key(), ..s3() };
        assert_eq!(pair.check().unwrap().prefix, "files");
        assert!(S3StorageInput { default_credential_chain: true, ..s3() }.check().is_ok());
        let both = S3StorageInput {
            access_key_id: id(),
            secret_access_key: key(),
            default_credential_chain: true,
            ..s3()
        };
        assert!(both.check().is_err());
    }

    #[test]
    fn local_paths_are_absolute_and_do_not_climb() {
        for path in ["", "a", "./a", "/a/../b", "/a\0"] {
            assert!(LocalStorageInput { path: path.to_owned() }.check().is_err(), "{path}");
        }
        assert!(LocalStorageInput { path: String::from("/data/milvus..1") }.check().is_ok());
    }
}
