//! Clusters.

use super::checks::DrillPolicy;
use super::leases::{ClusterLease, LeaseOn};
use super::repository::Repository;
use super::schedules::BackupPolicy;
use super::secret::SecretView;
use super::storage::Storage;
use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::loaders::{DrillsOf, ScheduleOf};
use crate::graphql::scalar::{Bytes, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::cluster::{self as domain, MilvusAuth};
use milvault_domain::ids;

/// A Milvus cluster that Milvault backs up.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct Cluster {
    /// Identity, `clu_...`.
    pub(crate) id: ID,
    /// Project it belongs to.
    project_id: ID,
    /// Name, unique in the project.
    name: String,
    /// Whether it is known from its backups alone: until `updateCluster` gives its address and its storage, it can
    /// neither be backed up nor be restored to.
    needs_registration: bool,
    /// `http://host:port` or `https://host:port` of Milvus.
    uri: String,
    /// How to authenticate at Milvus.
    authentication: MilvusAuthentication,
    /// PEM certificates that are trusted besides the system's.
    ca_pem: Option<String>,
    /// Name expected in the server's certificate, when it differs from the host.
    server_name: Option<String>,
    /// Where Milvus keeps its binlogs.
    storage: Storage,
    /// Repository that its backups go to.
    repository_id: ID,
    /// Compute units; how many objects are copied at once follows them.
    cu_size: u32,
    /// Upper limit of copied bytes per second; null is unlimited.
    max_bytes_per_second: Option<Bytes>,
    /// When it was registered.
    created_at: DateTime<Utc>,
    /// When it was last changed.
    updated_at: DateTime<Utc>,
    #[graphql(skip)]
    repository_key: ids::RepositoryId,
    #[graphql(skip)]
    key: ids::ClusterId,
}

#[ComplexObject]
impl Cluster {
    /// When automatic backups are made; null when nobody has said so.
    async fn backup_policy(&self, context: &Context<'_>) -> Result<Option<BackupPolicy>, GatewayError> {
        let found = context.records()?.load_one(ScheduleOf(self.key)).await?;
        Ok(found.map(Into::into))
    }

    /// When its backups are restored for proof; null when nobody has said so.
    async fn drill_policy(&self, context: &Context<'_>) -> Result<Option<DrillPolicy>, GatewayError> {
        let found = context.records()?.load_one(DrillsOf(self.key)).await?;
        Ok(found.map(Into::into))
    }

    /// The server that works on its jobs; null when there is nothing to do.
    async fn lease(&self, context: &Context<'_>) -> Result<Option<ClusterLease>, GatewayError> {
        context.records()?.load_one(LeaseOn(self.key)).await
    }

    /// Repository that its backups go to; null when the caller may not see it.
    async fn repository(&self, context: &Context<'_>) -> Result<Option<Repository>, GatewayError> {
        let found = context.records()?.load_one(self.repository_key).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }
}

/// How a Milvus asks who is calling.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MilvusAuthenticationKind {
    /// Authentication is off.
    None,
    /// An API token.
    Token,
    /// User and password.
    Password,
}

/// How to authenticate at Milvus. The secret itself is never shown.
#[derive(SimpleObject)]
pub(crate) struct MilvusAuthentication {
    /// Its kind.
    kind: MilvusAuthenticationKind,
    /// User name, where there is one.
    user: Option<String>,
    /// The token or password.
    secret: Option<SecretView>,
}

impl From<&MilvusAuth> for MilvusAuthentication {
    fn from(auth: &MilvusAuth) -> Self {
        match auth {
            MilvusAuth::None => Self { kind: MilvusAuthenticationKind::None, user: None, secret: None },
            MilvusAuth::Token(token) => {
                Self { kind: MilvusAuthenticationKind::Token, user: None, secret: Some(token.into()) }
            }
            MilvusAuth::Password { user, password } => Self {
                kind: MilvusAuthenticationKind::Password,
                user: Some(user.clone()),
                secret: Some(password.into()),
            },
        }
    }
}

impl From<domain::Cluster> for Cluster {
    fn from(record: domain::Cluster) -> Self {
        let needs_registration = record.needs_registration();
        Self {
            id: print_id(record.id),
            project_id: print_id(record.project_id),
            needs_registration,
            name: record.name,
            uri: record.endpoint.uri,
            authentication: (&record.endpoint.auth).into(),
            ca_pem: record.endpoint.ca_pem,
            server_name: record.endpoint.server_name,
            storage: (&record.storage).into(),
            repository_id: print_id(record.repository_id),
            cu_size: record.cu_size,
            max_bytes_per_second: record.max_bytes_per_second.map(Bytes),
            created_at: record.created_at,
            updated_at: record.updated_at,
            repository_key: record.repository_id,
            key: record.id,
        }
    }
}
