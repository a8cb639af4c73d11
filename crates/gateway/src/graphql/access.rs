//! Who may do what: the one place that every resolver goes through. What a caller may not see is not found.

pub(crate) mod identity;

use super::Backend;
use super::loaders::Records;
use crate::auth::Caller;
use crate::error::GatewayError;
use async_graphql::Context;
use milvault_domain::access::{Action, Decision};
use milvault_domain::backup::Backup;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, ClusterId, DeliveryId, JobId, ProjectId, RepositoryId, WebhookId};
use milvault_domain::job::Job;
use milvault_domain::repository::Repository;
use milvault_domain::secret::Secret;
use milvault_domain::storage::StorageConfig;
use milvault_domain::webhook::Webhook;
use std::fmt::Display;
use std::sync::Arc;

/// What a resolver finds in its context.
pub(crate) trait ContextExt {
    /// Who is asking.
    ///
    /// # Errors
    /// `Unauthenticated` when nobody proved who he is.
    fn caller(&self) -> Result<&Caller, GatewayError>;

    /// What to work on. Only proven callers get it, so no resolver can reach anything without one.
    ///
    /// # Errors
    /// `Unauthenticated` as above; `Internal` when the schema was built without it.
    fn backend(&self) -> Result<&Arc<Backend>, GatewayError>;

    /// Where what many entries of a list refer to is looked up together.
    ///
    /// # Errors
    /// As [`Self::backend`].
    fn records(&self) -> Result<&Records, GatewayError>;

    /// Lets a caller name this place. All projects share the server's directories, identity and secrets, so that with
    /// them one project could reach what is another's.
    ///
    /// # Errors
    /// `Forbidden` for who may not name what is the server's own.
    fn permit_place(&self, storage: &StorageConfig) -> Result<(), GatewayError>;

    /// The same of a secret by itself.
    ///
    /// # Errors
    /// As [`Self::permit_place`].
    fn permit_secret(&self, secret: Option<&Secret>) -> Result<(), GatewayError>;
}

impl ContextExt for Context<'_> {
    fn caller(&self) -> Result<&Caller, GatewayError> {
        self.data_opt().ok_or(GatewayError::Unauthenticated { message: "an API key is needed" })
    }

    fn backend(&self) -> Result<&Arc<Backend>, GatewayError> {
        self.caller()?;
        self.data_opt().ok_or_else(|| GatewayError::internal("the schema has no backend"))
    }

    fn records(&self) -> Result<&Records, GatewayError> {
        self.caller()?;
        self.data_opt().ok_or_else(|| GatewayError::internal("the operation has no look-ups"))
    }

    fn permit_place(&self, storage: &StorageConfig) -> Result<(), GatewayError> {
        permit_of_the_server(self, storage.of_the_server())
    }

    fn permit_secret(&self, secret: Option<&Secret>) -> Result<(), GatewayError> {
        let is_reference = secret.is_some_and(Secret::is_reference);
        permit_of_the_server(self, is_reference.then_some("secrets of the server's environment or files"))
    }
}

fn permit_of_the_server(context: &Context<'_>, what: Option<&'static str>) -> Result<(), GatewayError> {
    let Some(what) = what else { return Ok(()) };
    if context.backend()?.project_owners_use_server || context.caller()?.manages_organization() {
        return Ok(());
    }
    let message = format!(
        "only an owner of the organization may name {what}, which all projects share: give credentials of your own as \
         values, ask such an owner, or have the operator set gateway.project_owners_use_server"
    );
    Err(GatewayError::Forbidden { message })
}

/// A record that belongs to a project.
pub(crate) trait InProject {
    /// What people call it.
    const KIND: &'static str;

    /// Its project.
    fn project_id(&self) -> ProjectId;
}

macro_rules! in_project {
    ($($record:ty => $kind:literal),* $(,)?) => {$(
        impl InProject for $record {
            const KIND: &'static str = $kind;

            fn project_id(&self) -> ProjectId {
                self.project_id
            }
        }
    )*};
}

in_project!(Cluster => "cluster", Repository => "repository", Backup => "backup", Job => "job", Webhook => "webhook");

impl Caller {
    /// Decides about an action in a project. A role of the organization holds in that organization's projects only.
    fn decide(&self, action: Action, project_id: ProjectId) -> Decision {
        if self.knows_project(project_id) {
            return self.principal.decide(action, project_id);
        }
        let mut in_projects = self.principal.clone();
        in_projects.grants.retain(|grant| grant.project_id.is_some());
        in_projects.decide(action, project_id)
    }

    /// Lets a record through when the caller may do this to it.
    ///
    /// # Errors
    /// `NotFound` when it is absent or hidden from the caller, in the same words; `Forbidden` when he sees it only.
    pub(crate) fn permit<T: InProject>(
        &self,
        action: Action,
        found: Option<T>,
        id: impl Display,
    ) -> Result<T, GatewayError> {
        let Some(record) = found else { return Err(GatewayError::not_found(T::KIND, id)) };
        match self.decide(action, record.project_id()) {
            Decision::Allowed => Ok(record),
            Decision::Forbidden => Err(forbidden(action)),
            Decision::Hidden => Err(GatewayError::not_found(T::KIND, id)),
        }
    }

    /// A record that another record refers to, when the caller may see it.
    pub(crate) fn visible<T: InProject>(&self, found: Option<T>) -> Option<T> {
        found.filter(|record| self.sees(record.project_id()))
    }

    /// Whether the caller may see a project.
    pub(crate) fn sees(&self, project_id: ProjectId) -> bool {
        self.decide(Action::View, project_id) == Decision::Allowed
    }

    /// The projects of the organization in which the caller may do this.
    pub(crate) fn projects(&self, action: Action) -> Vec<ProjectId> {
        let may = |project_id: &ProjectId| self.principal.decide(action, *project_id) == Decision::Allowed;
        self.visible_projects().into_iter().map(|project| project.id).filter(may).collect()
    }

    /// The project in which something new is to be made: the given one, or the only one where the caller may.
    ///
    /// # Errors
    /// `NotFound` for a project that does not exist or that the caller may not see, `Forbidden` where he may only
    /// look, `BadUserInput` when he has to choose.
    pub(crate) fn project_for(
        &self,
        action: Action,
        wanted: Option<ProjectId>,
    ) -> Result<ProjectId, GatewayError> {
        let projects = self.projects(action);
        match (wanted, projects.as_slice()) {
            (Some(wanted), projects) if projects.contains(&wanted) => Ok(wanted),
            (Some(wanted), _) => match self.decide(action, wanted) {
                Decision::Forbidden => Err(forbidden(action)),
                Decision::Allowed | Decision::Hidden => Err(GatewayError::not_found("project", wanted)),
            },
            (None, [only]) => Ok(*only),
            (None, []) => Err(forbidden(action)),
            (None, [_, _, ..]) => {
                Err(GatewayError::bad_field("projectId", "this key holds for several projects; name one"))
            }
        }
    }
}

fn forbidden(action: Action) -> GatewayError {
    let doing = match action {
        Action::View => "look at this project",
        Action::ManageBackups => "make, verify, restore or cancel backups in this project",
        Action::ManageClusters => "manage clusters, repositories and webhooks of this project",
    };
    GatewayError::Forbidden { message: format!("this API key may not {doing}; ask an owner of the project") }
}

/// Finds a cluster for an action.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn cluster(
    context: &Context<'_>,
    action: Action,
    cluster_id: ClusterId,
) -> Result<Cluster, GatewayError> {
    let caller = context.caller()?;
    caller.permit(action, context.backend()?.catalog.cluster(cluster_id).await?, cluster_id)
}

/// Finds a repository for an action.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn repository(
    context: &Context<'_>,
    action: Action,
    repository_id: RepositoryId,
) -> Result<Repository, GatewayError> {
    let caller = context.caller()?;
    caller.permit(action, context.backend()?.catalog.repository(repository_id).await?, repository_id)
}

/// Finds a backup for an action.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn backup(
    context: &Context<'_>,
    action: Action,
    backup_id: BackupId,
) -> Result<Backup, GatewayError> {
    let caller = context.caller()?;
    caller.permit(action, context.backend()?.catalog.backup(backup_id).await?, backup_id)
}

/// Finds a job for an action.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn job(context: &Context<'_>, action: Action, job_id: JobId) -> Result<Job, GatewayError> {
    let caller = context.caller()?;
    caller.permit(action, context.backend()?.catalog.job(job_id).await?, job_id)
}

/// Finds a webhook for an action.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn webhook(
    context: &Context<'_>,
    action: Action,
    webhook_id: WebhookId,
) -> Result<Webhook, GatewayError> {
    let caller = context.caller()?;
    caller.permit(action, context.backend()?.catalog.webhook(webhook_id).await?, webhook_id)
}

/// Finds the webhook of a delivery for an action. One that the caller may not see is told by the delivery's own name.
///
/// # Errors
/// As [`Caller::permit`]; errors of the catalog.
pub(crate) async fn webhook_of_delivery(
    context: &Context<'_>,
    action: Action,
    delivery_id: DeliveryId,
) -> Result<Webhook, GatewayError> {
    let (caller, backend) = (context.caller()?, context.backend()?);
    let absent = || GatewayError::not_found("webhook delivery", delivery_id);
    let delivery = backend.catalog.webhook_delivery(delivery_id).await?.ok_or_else(absent)?;
    let webhook = caller.visible(backend.catalog.webhook(delivery.webhook_id).await?).ok_or_else(absent)?;
    caller.permit(action, Some(webhook), delivery.webhook_id)
}
