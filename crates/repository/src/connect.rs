//! Opens what a storage configuration names.

use crate::error::from_store;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ports::SecretSource;
use milvault_domain::secret::Secret;
use milvault_domain::storage::{
    AzureStorage, GcsStorage, S3Addressing, S3Credentials, S3Storage, StorageConfig,
};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::{BackoffConfig, Certificate, ClientOptions, ObjectStore, RetryConfig};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Region that is signed for where none is configured.
pub(crate) const DEFAULT_REGION: &str = "us-east-1";

/// An opened storage configuration. Nothing has been contacted.
#[derive(Clone)]
pub(crate) enum Connection {
    /// A directory.
    Local(PathBuf),
    /// A prefix in a bucket or container.
    Object(Box<ObjectConnection>),
}

/// See [`Connection::Object`].
#[derive(Clone)]
pub(crate) struct ObjectConnection {
    /// The store.
    pub(crate) store: Arc<dyn ObjectStore>,
    /// Container for people: `s3://bucket`.
    pub(crate) container: String,
    /// Prefix without slashes at its ends.
    pub(crate) prefix: String,
    /// What server-side copies need besides, for S3.
    pub(crate) s3: Option<S3Connection>,
}

/// An S3 bucket with its configuration.
#[derive(Clone)]
pub(crate) struct S3Connection {
    /// The bucket, which signs requests too.
    pub(crate) store: Arc<AmazonS3>,
    /// Its configuration.
    pub(crate) config: S3Storage,
    /// How requests are sent.
    pub(crate) client: ClientOptions,
}

/// Opens a storage configuration.
///
/// # Errors
/// A configuration that cannot be right, a secret that is missing.
pub(crate) fn connect(storage: &StorageConfig, secrets: &dyn SecretSource) -> PortResult<Connection> {
    match storage {
        StorageConfig::Local(local) => {
            let path = Path::new(&local.path);
            if !path.is_absolute() {
                return Err(invalid(format!("the path `{}` must be absolute", local.path)));
            }
            Ok(Connection::Local(path.to_owned()))
        }
        StorageConfig::S3(config) => {
            let s3 = connect_s3(config, secrets)?;
            let store = Arc::clone(&s3.store) as Arc<dyn ObjectStore>;
            object_connection(format!("s3://{}", config.bucket), store, &config.prefix, Some(s3))
        }
        StorageConfig::Gcs(config) => object_connection(
            format!("gs://{}", config.bucket),
            connect_gcs(config, secrets)?,
            &config.prefix,
            None,
        ),
        StorageConfig::Azure(config) => {
            let container = format!("az://{}/{}", config.account, config.container);
            object_connection(container, connect_azure(config, secrets)?, &config.prefix, None)
        }
    }
}

/// Opens an S3 bucket.
///
/// # Errors
/// As for [`connect`].
pub(crate) fn connect_s3(config: &S3Storage, secrets: &dyn SecretSource) -> PortResult<S3Connection> {
    check_name("bucket", &config.bucket)?;
    let client = client_options(config.endpoint.as_deref(), config.ca_pem.as_deref())?;
    let mut builder = match &config.credentials {
        S3Credentials::DefaultChain => AmazonS3Builder::from_env(),
        S3Credentials::Static { access_key_id, secret_access_key, session_token } => {
            let secret = secrets.reveal(secret_access_key)?;
            let builder = AmazonS3Builder::new()
                .with_access_key_id(access_key_id)
                .with_secret_access_key(secret.expose());
            match session_token {
                Some(token) => builder.with_token(secrets.reveal(token)?.expose()),
                None => builder,
            }
        }
    };
    builder = builder
        .with_bucket_name(&config.bucket)
        .with_region(config.region.as_deref().unwrap_or(DEFAULT_REGION))
        .with_retry(retry())
        .with_client_options(client.clone())
        .with_virtual_hosted_style_request(config.addressing == S3Addressing::VirtualHost)
        // TLS guards the body against change already; over plain HTTP the signature has to.
        .with_unsigned_payload(!client_is_plain(config.endpoint.as_deref()));
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(match config.addressing {
            S3Addressing::Path => endpoint.trim_end_matches('/').to_owned(),
            S3Addressing::VirtualHost => bucket_endpoint(endpoint, &config.bucket)?,
        });
    }
    let store = builder.build().map_err(|error| from_store("open", &config.bucket, error))?;
    Ok(S3Connection { store: Arc::new(store), config: config.clone(), client })
}

fn connect_gcs(config: &GcsStorage, secrets: &dyn SecretSource) -> PortResult<Arc<dyn ObjectStore>> {
    check_name("bucket", &config.bucket)?;
    let mut builder = match &config.service_account_key {
        None => GoogleCloudStorageBuilder::from_env(),
        Some(key) => {
            let key = reveal(key, secrets)?;
            check_service_account_key(&key)?;
            GoogleCloudStorageBuilder::new().with_service_account_key(key)
        }
    };
    builder = builder
        .with_bucket_name(&config.bucket)
        .with_retry(retry())
        .with_client_options(client_options(None, None)?);
    let store = builder.build().map_err(|error| from_store("open", &config.bucket, error))?;
    Ok(Arc::new(store))
}

/// Checks the form of a key here, because what a parser says of one that is none quotes it.
fn check_service_account_key(key: &str) -> PortResult<()> {
    const NEEDED: [&str; 3] = ["private_key", "private_key_id", "client_email"];
    /// Fields by which the client would leave Google's address, or send nothing to prove who it is.
    const REFUSED: [&str; 2] = ["gcs_base_url", "disable_oauth"];
    let Ok(Value::Object(fields)) = serde_json::from_str(key) else {
        return Err(invalid(String::from(
            "the service account key is not a JSON object; give the whole key file",
        )));
    };
    if let Some(field) = NEEDED.into_iter().find(|field| !fields.get(*field).is_some_and(Value::is_string)) {
        return Err(invalid(format!(
            "the service account key has no text `{field}`; give the whole key file"
        )));
    }
    match REFUSED.into_iter().find(|field| fields.contains_key(*field)) {
        Some(field) => Err(invalid(format!("the service account key must not have the field `{field}`"))),
        None => Ok(()),
    }
}

fn connect_azure(config: &AzureStorage, secrets: &dyn SecretSource) -> PortResult<Arc<dyn ObjectStore>> {
    check_name("container", &config.container)?;
    // The identity of the machine is proved by a token that whoever answers at the address could use elsewhere.
    if config.access_key.is_none() && config.endpoint.is_some() {
        let rule =
            "an endpoint needs an access key: the identity of the server goes to Azure's own address only";
        return Err(invalid(String::from(rule)));
    }
    let mut builder = match &config.access_key {
        None => MicrosoftAzureBuilder::from_env(),
        Some(key) => MicrosoftAzureBuilder::new().with_access_key(reveal(key, secrets)?),
    };
    builder = builder
        .with_account(&config.account)
        .with_container_name(&config.container)
        .with_retry(retry())
        .with_client_options(client_options(config.endpoint.as_deref(), None)?);
    if let Some(endpoint) = &config.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let store = builder.build().map_err(|error| from_store("open", &config.container, error))?;
    Ok(Arc::new(store))
}

fn reveal(secret: &Secret, secrets: &dyn SecretSource) -> PortResult<String> {
    Ok(secrets.reveal(secret)?.expose().to_owned())
}

fn object_connection(
    container: String,
    store: Arc<dyn ObjectStore>,
    prefix: &str,
    s3: Option<S3Connection>,
) -> PortResult<Connection> {
    let prefix = prefix.trim_matches('/');
    if !prefix.is_empty() {
        object_store::path::Path::parse(prefix)
            .map_err(|error| invalid(format!("the prefix `{prefix}` cannot be part of a key: {error}")))?;
    }
    let connection = ObjectConnection { store, container, prefix: prefix.to_owned(), s3 };
    Ok(Connection::Object(Box::new(connection)))
}

fn check_name(what: &str, name: &str) -> PortResult<()> {
    if name.is_empty() || name.contains(['/', '\\', '?', '#']) || name.chars().any(char::is_whitespace) {
        return Err(invalid(format!("`{name}` cannot be the name of a {what}")));
    }
    Ok(())
}

fn client_is_plain(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|endpoint| endpoint.starts_with("http://"))
}

/// Plain HTTP is used only when the configured address says so. The limits bound how long a store may keep silent.
fn client_options(endpoint: Option<&str>, ca_pem: Option<&str>) -> PortResult<ClientOptions> {
    if let Some(endpoint) = endpoint
        && !endpoint.starts_with("http://")
        && !endpoint.starts_with("https://")
    {
        return Err(invalid(format!("the endpoint `{endpoint}` must begin with http:// or https://")));
    }
    let mut options = ClientOptions::new()
        .with_allow_http(client_is_plain(endpoint))
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(Duration::from_secs(30))
        // An answer may be as long as a file and as slow as its reader; silence is what the other limits bound.
        .with_timeout_disabled();
    if let Some(pem) = ca_pem {
        let certificates = Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| invalid(format!("the certificates in `caPem` cannot be read: {error}")))?;
        if certificates.is_empty() {
            return Err(invalid(String::from(
                "`caPem` holds no certificate; paste the authority's PEM block",
            )));
        }
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            base: 2.0,
        },
        max_retries: 6,
        retry_timeout: Duration::from_mins(1),
    }
}

/// `https://host:port` with the bucket before the host, which is how the library wants virtual-host addresses.
fn bucket_endpoint(endpoint: &str, bucket: &str) -> PortResult<String> {
    let (scheme, host) = endpoint
        .trim_end_matches('/')
        .split_once("://")
        .ok_or_else(|| invalid(format!("the endpoint `{endpoint}` must begin with http:// or https://")))?;
    Ok(format!("{scheme}://{bucket}.{host}"))
}

fn invalid(message: String) -> PortError {
    PortError::new(PortErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::secret::SecretValue;
    use milvault_domain::storage::LocalStorage;
    use object_store::ClientConfigKey;

    struct Plain;

    impl SecretSource for Plain {
        fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
            match secret {
                Secret::Value(value) => Ok(value.clone()),
                _ => Err(PortError::new(PortErrorKind::NotFound, "no such secret")),
            }
        }
    }

    fn s3() -> S3Storage {
        S3Storage {
            bucket: String::from("bucket"),
            prefix: String::from("/a/b/"),
            endpoint: Some(String::from("https://store.example:9000/")),
            region: None,
            addressing: S3Addressing::Path,
            credentials: S3Credentials::Static {
                access_key_id: String::from("id"),
                secret_access_key: Secret::Value(SecretValue::new(String::from("value"))),
                session_token: None,
            },
            ca_pem: None,
        }
    }

    fn refusal(storage: &StorageConfig) -> PortErrorKind {
        connect(storage, &Plain).map(|_| ()).unwrap_err().kind()
    }

    #[test]
    fn configurations_that_cannot_be_right_are_refused() {
        let local = |path: &str| StorageConfig::Local(LocalStorage { path: path.to_owned() });
        assert_eq!(refusal(&local("relative/path")), PortErrorKind::InvalidInput);
        for bucket in ["", "a/b", "a b", "a?b"] {
            let config = S3Storage { bucket: bucket.to_owned(), ..s3() };
            assert_eq!(refusal(&StorageConfig::S3(config)), PortErrorKind::InvalidInput, "{bucket}");
        }
        let config = S3Storage { endpoint: Some(String::from("store.example")), ..s3() };
        assert_eq!(refusal(&StorageConfig::S3(config)), PortErrorKind::InvalidInput);
        let config = S3Storage { prefix: String::from("a//b"), ..s3() };
        assert_eq!(refusal(&StorageConfig::S3(config)), PortErrorKind::InvalidInput);
        let config = S3Storage { ca_pem: Some(String::from("not a certificate")), ..s3() };
        assert_eq!(refusal(&StorageConfig::S3(config)), PortErrorKind::InvalidInput);
    }

    fn secret(text: &str) -> Secret {
        Secret::Value(SecretValue::new(text.to_owned()))
    }

    #[test]
    fn the_identity_of_the_server_does_not_go_to_another_address() {
        let azure = |access_key| {
            StorageConfig::Azure(AzureStorage {
                account: String::from("account"),
                container: String::from("container"),
                prefix: String::new(),
                endpoint: Some(String::from("https://elsewhere.example")),
                access_key,
            })
        };
        assert_eq!(refusal(&azure(None)), PortErrorKind::InvalidInput);
        connect(&azure(Some(secret("a2V5"))), &Plain).unwrap();
    }

    #[test]
    fn a_service_account_key_that_is_none_is_refused_without_being_quoted() {
        let refused = |key: &str| {
            let config = GcsStorage {
                bucket: String::from("bucket"),
                prefix: String::new(),
                service_account_key: Some(secret(key)),
            };
            let error = connect(&StorageConfig::Gcs(config), &Plain).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{key}");
            format!("{error} {error:?}")
        };
        for key in ["4711", "\"4711\"", "{\"private_key\": 4711}", "[4711]"] {
            assert!(!refused(key).contains("4711"), "{key}");
        }
        let elsewhere = "{\"private_key\": \"\", \"private_key_id\": \"\", \"client_email\": \"\", \"gcs_base_url\": \"http://10.0.0.1\"}";
        assert!(refused(elsewhere).contains("gcs_base_url"));
    }

    #[test]
    fn a_missing_secret_is_told() {
        let credentials = S3Credentials::Static {
            access_key_id: String::from("id"),
            secret_access_key: Secret::File(String::from("absent")),
            session_token: None,
        };
        assert_eq!(refusal(&StorageConfig::S3(S3Storage { credentials, ..s3() })), PortErrorKind::NotFound);
    }

    #[test]
    fn places_are_named_for_people() {
        let Connection::Object(connection) = connect(&StorageConfig::S3(s3()), &Plain).unwrap() else {
            unreachable!("S3 is an object store");
        };
        assert_eq!((connection.container.as_str(), connection.prefix.as_str()), ("s3://bucket", "a/b"));
    }

    #[test]
    fn silence_is_limited_and_the_length_of_an_answer_is_not() {
        let options = client_options(None, None).unwrap();
        assert_eq!(options.get_config_value(&ClientConfigKey::Timeout), None);
        assert!(options.get_config_value(&ClientConfigKey::ReadTimeout).is_some());
        assert!(options.get_config_value(&ClientConfigKey::ConnectTimeout).is_some());
    }

    #[test]
    fn virtual_hosts_carry_the_bucket() {
        assert_eq!(bucket_endpoint("http://host:1/", "b").unwrap(), "http://b.host:1");
    }
}
