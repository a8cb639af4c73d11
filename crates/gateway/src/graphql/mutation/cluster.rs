//! Registering, changing, removing and checking clusters.

use super::not_negative;
use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::check::CheckFinding;
use crate::graphql::model::cluster::Cluster;
use crate::graphql::model::secret::{SecretInput, check_optional};
use crate::graphql::model::storage::StorageInput;
use crate::graphql::scalar::{Bytes, parse_id, print_id};
use async_graphql::{Context, ID, InputObject, MaybeUndefined, Object, SimpleObject};
use milvault_actors::{ClusterPatch, NewCluster};
use milvault_domain::access::Action;
use milvault_domain::cluster::{self as domain, MilvusAuth, MilvusEndpoint};
use milvault_domain::ids::{ClusterId, ProjectId};
use milvault_domain::secret::Secret;

/// Mutations of clusters.
#[derive(Default)]
pub(crate) struct ClusterMutation;

/// A cluster to be registered. Authentication is by `token`, by `user` and `password`, or off when none is given.
#[derive(InputObject)]
pub(crate) struct RegisterClusterInput {
    /// Name, 1 to 64 characters, unique in the project.
    name: String,
    /// Project it will belong to; absent for the repository's.
    project_id: Option<ID>,
    /// `http://host:port` or `https://host:port` of Milvus's gRPC endpoint.
    uri: String,
    /// API token of Milvus.
    token: Option<SecretInput>,
    /// User of Milvus.
    user: Option<String>,
    /// Password of that user.
    password: Option<SecretInput>,
    /// PEM certificates to trust besides the system's (https only).
    ca_pem: Option<String>,
    /// Name expected in the server's certificate, when it differs from the host (https only).
    server_name: Option<String>,
    /// Where Milvus keeps its binlogs.
    storage: StorageInput,
    /// Repository of the same project that its backups go to.
    repository_id: ID,
    /// Compute units, 1 to 1,024; 4 when absent. How many objects are copied at once follows them.
    cu_size: Option<i32>,
    /// Upper limit of copied bytes per second; null or absent is unlimited.
    max_bytes_per_second: Option<Bytes>,
}

/// Changes of a cluster. What is absent stays as it is. Jobs at work keep what they began with.
#[derive(InputObject)]
pub(crate) struct UpdateClusterInput {
    /// Which cluster.
    cluster_id: ID,
    /// New name.
    name: Option<String>,
    /// New address of Milvus.
    uri: Option<String>,
    /// New API token, in place of what authenticated before; null switches authentication off.
    token: MaybeUndefined<SecretInput>,
    /// New user; the password stays unless one is given too.
    user: Option<String>,
    /// New password; the user stays unless one is given too.
    password: Option<SecretInput>,
    /// New PEM certificates to trust; null for the system's only.
    ca_pem: MaybeUndefined<String>,
    /// New name expected in the certificate; null for the host.
    server_name: MaybeUndefined<String>,
    /// New place of the binlogs, secrets included.
    storage: Option<StorageInput>,
    /// New repository of the same project; earlier backups stay where they are.
    repository_id: Option<ID>,
    /// New compute units, 1 to 1,024.
    cu_size: Option<i32>,
    /// New limit of copied bytes per second; null removes it.
    max_bytes_per_second: MaybeUndefined<Bytes>,
}

/// A cluster to be removed.
#[derive(InputObject)]
pub(crate) struct RemoveClusterInput {
    /// Which cluster; it must have no job that has not ended.
    cluster_id: ID,
}

/// A cluster to be checked.
#[derive(InputObject)]
pub(crate) struct CheckClusterInput {
    /// Which cluster.
    cluster_id: ID,
}

/// A cluster that was registered.
#[derive(SimpleObject)]
pub(crate) struct RegisterClusterPayload {
    /// The cluster.
    cluster: Cluster,
}

/// A cluster that was changed.
#[derive(SimpleObject)]
pub(crate) struct UpdateClusterPayload {
    /// The cluster as it is now.
    cluster: Cluster,
}

/// A cluster that was removed.
#[derive(SimpleObject)]
pub(crate) struct RemoveClusterPayload {
    /// Its id.
    cluster_id: ID,
}

/// What a check found.
#[derive(SimpleObject)]
pub(crate) struct CheckClusterPayload {
    /// Whether everything is fine.
    ok: bool,
    /// What was found of Milvus, of its storage and of the repository.
    findings: Vec<CheckFinding>,
}

#[Object]
impl ClusterMutation {
    /// Registers a cluster. Nothing is contacted; ask `checkCluster` whether everything can be reached.
    async fn register_cluster(
        &self,
        context: &Context<'_>,
        input: RegisterClusterInput,
    ) -> Result<RegisterClusterPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted = input.project_id.as_ref().map(|id| parse_id("projectId", id)).transpose()?;
        let repository_id = parse_id("repositoryId", &input.repository_id)?;
        let repository = access::repository(context, Action::View, repository_id).await?;
        let project_id =
            caller.project_for(Action::ManageClusters, wanted.or(Some(repository.project_id)))?;
        context.note_project(project_id);
        let new = input.check(project_id)?;
        context.permit_place(&new.storage)?;
        context.permit_secret(new.endpoint.auth.secret())?;
        let made = backend.service.register_cluster(new).await?;
        context.note_target(made.id);
        Ok(RegisterClusterPayload { cluster: made.into() })
    }

    /// Changes a cluster.
    async fn update_cluster(
        &self,
        context: &Context<'_>,
        input: UpdateClusterInput,
    ) -> Result<UpdateClusterPayload, GatewayError> {
        context.caller()?;
        let cluster_id: ClusterId = parse_id("clusterId", &input.cluster_id)?;
        let current = access::cluster(context, Action::ManageClusters, cluster_id).await?;
        let patch = input.check(&current)?;
        if let Some(storage) = &patch.storage {
            context.permit_place(storage)?;
        }
        if let Some(endpoint) = patch.endpoint.as_ref().filter(|new| new.auth != current.endpoint.auth) {
            context.permit_secret(endpoint.auth.secret())?;
        }
        if let Some(repository_id) = patch.repository_id {
            access::repository(context, Action::View, repository_id).await?;
        }
        let backend = context.backend()?;
        let changed = backend.service.update_cluster(cluster_id, patch).await?;
        Ok(UpdateClusterPayload { cluster: changed.into() })
    }

    /// Removes a cluster from service. Its manual backups stay, its automatic ones end. While it has jobs that have
    /// not ended, this is refused with `CONFLICT`.
    async fn remove_cluster(
        &self,
        context: &Context<'_>,
        input: RemoveClusterInput,
    ) -> Result<RemoveClusterPayload, GatewayError> {
        context.caller()?;
        let cluster_id: ClusterId = parse_id("clusterId", &input.cluster_id)?;
        access::cluster(context, Action::ManageClusters, cluster_id).await?;
        let backend = context.backend()?;
        backend.service.remove_cluster(cluster_id).await?;
        Ok(RemoveClusterPayload { cluster_id: print_id(cluster_id) })
    }

    /// Contacts Milvus, its storage and the repository, and says in words what is wrong. It changes nothing; it is a
    /// mutation because it makes the server connect to other systems.
    async fn check_cluster(
        &self,
        context: &Context<'_>,
        input: CheckClusterInput,
    ) -> Result<CheckClusterPayload, GatewayError> {
        context.caller()?;
        let cluster_id: ClusterId = parse_id("clusterId", &input.cluster_id)?;
        access::cluster(context, Action::ManageClusters, cluster_id).await?;
        let backend = context.backend()?;
        let findings = backend.service.check_cluster(cluster_id).await?;
        Ok(CheckClusterPayload {
            ok: findings.iter().all(|finding| finding.ok),
            findings: findings.into_iter().map(Into::into).collect(),
        })
    }
}

impl RegisterClusterInput {
    fn check(self, project_id: ProjectId) -> Result<NewCluster, GatewayError> {
        let token = check_optional(self.token, "token")?;
        let password = check_optional(self.password, "password")?;
        let auth = match (token, self.user, password) {
            (None, None, None) => MilvusAuth::None,
            (Some(token), None, None) => MilvusAuth::Token(token),
            (None, Some(user), Some(password)) => MilvusAuth::Password { user, password },
            _ => return Err(mixed_authentication()),
        };
        Ok(NewCluster {
            project_id,
            name: self.name,
            endpoint: MilvusEndpoint {
                uri: self.uri,
                auth,
                ca_pem: self.ca_pem,
                server_name: self.server_name,
            },
            storage: self.storage.check()?,
            repository_id: parse_id("repositoryId", &self.repository_id)?,
            cu_size: not_negative("cuSize", self.cu_size)?,
            max_bytes_per_second: self.max_bytes_per_second.map(|limit| limit.0),
        })
    }
}

impl UpdateClusterInput {
    fn check(self, current: &domain::Cluster) -> Result<ClusterPatch, GatewayError> {
        let present = &current.endpoint;
        let keeps_secret =
            present.auth != MilvusAuth::None && self.token.is_undefined() && self.password.is_none();
        let is_elsewhere = self.uri.as_ref().is_some_and(|uri| *uri != present.uri)
            || is_changed(&self.ca_pem, present.ca_pem.as_ref())
            || is_changed(&self.server_name, present.server_name.as_ref());
        if keeps_secret && is_elsewhere {
            // Whoever may change an address must not learn by it what others gave for the one before.
            let rule = "give `token` or `password` again when `uri`, `caPem` or `serverName` change: what is kept for \
                        one address is not sent to another";
            return Err(GatewayError::bad_field("uri", rule));
        }
        let auth = changed_authentication(
            self.token,
            self.user,
            check_optional(self.password, "password")?,
            &present.auth,
        )?;
        let untouched = auth.is_none()
            && self.uri.is_none()
            && self.ca_pem.is_undefined()
            && self.server_name.is_undefined();
        let endpoint = (!untouched).then(|| MilvusEndpoint {
            uri: self.uri.unwrap_or_else(|| present.uri.clone()),
            auth: auth.unwrap_or_else(|| present.auth.clone()),
            ca_pem: changed(self.ca_pem, present.ca_pem.as_ref()),
            server_name: changed(self.server_name, present.server_name.as_ref()),
        });
        Ok(ClusterPatch {
            name: self.name,
            endpoint,
            storage: self.storage.map(StorageInput::check).transpose()?,
            repository_id: self.repository_id.map(|id| parse_id("repositoryId", &id)).transpose()?,
            cu_size: not_negative("cuSize", self.cu_size)?,
            max_bytes_per_second: match self.max_bytes_per_second {
                MaybeUndefined::Undefined => None,
                MaybeUndefined::Null => Some(None),
                MaybeUndefined::Value(limit) => Some(Some(limit.0)),
            },
        })
    }
}

/// The authentication after a change, or `None` when nothing of it changes.
fn changed_authentication(
    token: MaybeUndefined<SecretInput>,
    user: Option<String>,
    password: Option<Secret>,
    present: &MilvusAuth,
) -> Result<Option<MilvusAuth>, GatewayError> {
    match (token, user, password) {
        (MaybeUndefined::Undefined, None, None) => Ok(None),
        (MaybeUndefined::Null, None, None) => Ok(Some(MilvusAuth::None)),
        (MaybeUndefined::Value(token), None, None) => Ok(Some(MilvusAuth::Token(token.check("token")?))),
        (MaybeUndefined::Undefined, user, password) => {
            let (present_user, present_password) = match present {
                MilvusAuth::Password { user, password } => (Some(user), Some(password)),
                MilvusAuth::None | MilvusAuth::Token(_) => (None, None),
            };
            let user = user.or_else(|| present_user.cloned());
            let password = password.or_else(|| present_password.cloned());
            match (user, password) {
                (Some(user), Some(password)) => Ok(Some(MilvusAuth::Password { user, password })),
                _ => Err(mixed_authentication()),
            }
        }
        (MaybeUndefined::Null | MaybeUndefined::Value(_), _, _) => Err(mixed_authentication()),
    }
}

fn is_changed(change: &MaybeUndefined<String>, present: Option<&String>) -> bool {
    match change {
        MaybeUndefined::Undefined => false,
        MaybeUndefined::Null => present.is_some(),
        MaybeUndefined::Value(value) => Some(value) != present,
    }
}

fn changed(change: MaybeUndefined<String>, present: Option<&String>) -> Option<String> {
    match change {
        MaybeUndefined::Undefined => present.cloned(),
        MaybeUndefined::Null => None,
        MaybeUndefined::Value(value) => Some(value),
    }
}

fn mixed_authentication() -> GatewayError {
    GatewayError::bad_field("token", "give either `token`, or `user` and `password`, or none of them")
}
