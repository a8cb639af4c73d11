//! A registered Milvus cluster.

use crate::backup::Backup;
use crate::error::{InvalidInput, check_length, check_name};
use crate::ids::{ClusterId, ProjectId, RepositoryId};
use crate::secret::Secret;
use crate::storage::{LocalStorage, StorageConfig};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A Milvus cluster that Milvault backs up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Identity.
    pub id: ClusterId,
    /// The project it belongs to; rights are given per project.
    pub project_id: ProjectId,
    /// Name for people, unique in the project.
    pub name: String,
    /// How to reach Milvus.
    pub endpoint: MilvusEndpoint,
    /// Where Milvus keeps its binlogs.
    pub storage: StorageConfig,
    /// Where its backups go.
    pub repository_id: RepositoryId,
    /// Compute units of the cluster; copy concurrency follows it.
    pub cu_size: u32,
    /// Upper limit of copied bytes per second; `None` is unlimited.
    pub max_bytes_per_second: Option<u64>,
    /// When it was registered.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// How to reach a Milvus over gRPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MilvusEndpoint {
    /// `http://host:port` or `https://host:port`.
    pub uri: String,
    /// How to authenticate.
    pub auth: MilvusAuth,
    /// PEM certificates to trust besides the system's (https only).
    pub ca_pem: Option<String>,
    /// Name expected in the server's certificate, when it differs from the host (https only).
    pub server_name: Option<String>,
}

/// How to authenticate at Milvus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MilvusAuth {
    /// Authentication is off.
    None,
    /// An API token.
    Token(Secret),
    /// User and password.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: Secret,
    },
}

impl MilvusAuth {
    /// What proves who is asking.
    #[must_use]
    pub const fn secret(&self) -> Option<&Secret> {
        match self {
            Self::None => None,
            Self::Token(secret) | Self::Password { password: secret, .. } => Some(secret),
        }
    }
}

impl Cluster {
    /// Largest compute-unit figure that is accepted; the range of Zilliz Cloud's `cuSize`.
    pub const CU_SIZE_MAX: u32 = 1024;
    /// Compute units of a cluster for which none was given.
    pub const CU_SIZE_DEFAULT: u32 = 4;

    /// The address of a cluster that is known only from its backups: a name that no name server may ever know.
    pub const UNKNOWN_URI: &str = "http://unknown.invalid";

    /// A cluster that is known only from its backups. Its address and storage lead nowhere.
    #[must_use]
    pub fn unregistered(backup: &Backup) -> Self {
        Self {
            id: backup.cluster_id,
            project_id: backup.project_id,
            name: backup.cluster_name.clone(),
            endpoint: MilvusEndpoint {
                uri: Self::UNKNOWN_URI.to_owned(),
                auth: MilvusAuth::None,
                ca_pem: None,
                server_name: None,
            },
            storage: StorageConfig::Local(LocalStorage { path: String::new() }),
            repository_id: backup.repository_id,
            cu_size: Self::CU_SIZE_DEFAULT,
            max_bytes_per_second: None,
            created_at: backup.created_at,
            updated_at: backup.created_at,
        }
    }

    /// Whether nobody has said yet where it is: its backups are known, its address or its storage is not.
    #[must_use]
    pub fn needs_registration(&self) -> bool {
        let no_storage = matches!(&self.storage, StorageConfig::Local(local) if local.path.is_empty());
        no_storage || self.endpoint.uri == Self::UNKNOWN_URI
    }

    /// Checks what a person may set.
    ///
    /// # Errors
    /// Names the field and the rule that it breaks.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_name("name", &self.name)?;
        if !(1..=Self::CU_SIZE_MAX).contains(&self.cu_size) {
            return Err(InvalidInput::new(
                "cuSize",
                format!("must be between 1 and {}, got {}", Self::CU_SIZE_MAX, self.cu_size),
            ));
        }
        if self.max_bytes_per_second == Some(0) {
            return Err(InvalidInput::new("maxBytesPerSecond", "must be at least 1, or null for no limit"));
        }
        self.endpoint.validate()
    }

    /// How many copy units of this cluster may be in flight at once: two for the smallest cluster, one more for
    /// each further compute unit, sixteen at most (beyond that one server's disk or network is the limit).
    #[must_use]
    pub fn copies_in_flight(&self) -> usize {
        self.cu_size.saturating_add(1).clamp(2, 16) as usize
    }
}

impl MilvusEndpoint {
    /// Longest address, in bytes.
    const URI_BYTES_MAX: usize = 2_048;
    /// Longest user name, in bytes.
    const USER_BYTES_MAX: usize = 255;
    /// Longest name in a certificate, in bytes: that of a host.
    const SERVER_NAME_BYTES_MAX: usize = 253;

    fn validate(&self) -> Result<(), InvalidInput> {
        check_length("uri", &self.uri, Self::URI_BYTES_MAX)?;
        if let MilvusAuth::Password { user, .. } = &self.auth {
            check_length("user", user, Self::USER_BYTES_MAX)?;
        }
        if let Some(ca_pem) = &self.ca_pem {
            check_length("caPem", ca_pem, StorageConfig::CA_PEM_BYTES_MAX)?;
        }
        if let Some(server_name) = &self.server_name {
            check_length("serverName", server_name, Self::SERVER_NAME_BYTES_MAX)?;
        }
        let host = self.uri.strip_prefix("http://").or_else(|| self.uri.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains('@') => Ok(()),
            Some(host) if host.contains('@') => Err(InvalidInput::new(
                "uri",
                "must not carry a user or password; give them in `user` and `password`",
            )),
            _ => Err(InvalidInput::new("uri", "must be `http://host:port` or `https://host:port`")),
        }
    }
}
