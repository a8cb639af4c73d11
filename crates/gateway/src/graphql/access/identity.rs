//! Who may manage projects, users, roles and keys.

use super::ContextExt;
use crate::auth::Caller;
use crate::error::GatewayError;
use async_graphql::Context;
use milvault_domain::access::{Decision, OrganizationAction};
use milvault_domain::identity::{KeyRecord, User};
use milvault_domain::ids::{ApiKeyId, ProjectId, UserId};

impl Caller {
    /// Lets through who owns the organization.
    ///
    /// # Errors
    /// `Forbidden` for everybody else: he belongs to the organization, so there is nothing to hide.
    pub(crate) fn permit_managing_organization(&self) -> Result<(), GatewayError> {
        if self.manages_organization() {
            Ok(())
        } else {
            Err(forbidden("do this; ask an owner of the organization"))
        }
    }

    /// Lets through who may see what the organization uses.
    ///
    /// # Errors
    /// `Forbidden` for everybody else.
    pub(crate) fn permit_viewing_usage(&self) -> Result<(), GatewayError> {
        let own = self.principal.organization_id;
        match self.principal.decide_in_organization(OrganizationAction::ViewUsage, own) {
            Decision::Allowed => Ok(()),
            Decision::Forbidden | Decision::Hidden => {
                Err(forbidden("see this; ask an owner or a billing admin of the organization"))
            }
        }
    }

    /// Whether the caller owns the organization.
    pub(crate) fn manages_organization(&self) -> bool {
        let own = self.principal.organization_id;
        self.principal.decide_in_organization(OrganizationAction::Manage, own) == Decision::Allowed
    }

    /// Lets through who may give roles in a project, or those of the organization (`None`).
    ///
    /// # Errors
    /// `NotFound` for a project that the caller does not see; `Forbidden` where he has no right to give.
    pub(crate) fn permit_assigning(&self, project_id: Option<ProjectId>) -> Result<(), GatewayError> {
        let absent = project_id.filter(|project_id| !self.knows_project(*project_id));
        match (self.principal.may_assign(project_id), absent, project_id) {
            (_, Some(absent), _) => Err(GatewayError::not_found("project", absent)),
            (Decision::Allowed, None, _) => Ok(()),
            (Decision::Hidden, None, Some(project_id)) => Err(GatewayError::not_found("project", project_id)),
            (Decision::Hidden | Decision::Forbidden, None, _) => {
                Err(forbidden("give or take these roles; ask an owner"))
            }
        }
    }
}

fn forbidden(doing: &str) -> GatewayError {
    GatewayError::Forbidden { message: format!("this API key may not {doing}") }
}

/// Finds a user of the caller's organization, whom only its owners see as such.
///
/// # Errors
/// `NotFound`; errors of the catalog.
pub(crate) async fn user(context: &Context<'_>, user_id: UserId) -> Result<User, GatewayError> {
    let caller = context.caller()?;
    let found = context.backend()?.catalog.user(user_id).await?;
    found
        .filter(|user| user.organization_id == caller.principal.organization_id)
        .ok_or_else(|| GatewayError::not_found("user", user_id))
}

/// Finds a user whose roles in a place the caller may set: an owner of the organization anybody of it, an owner of a
/// project those who have a role in one of his projects.
///
/// # Errors
/// As [`user`].
pub(crate) async fn assignable_user(context: &Context<'_>, user_id: UserId) -> Result<User, GatewayError> {
    let caller = context.caller()?;
    let user = user(context, user_id).await?;
    let is_met = |project_id| caller.principal.may_assign(Some(project_id)) == Decision::Allowed;
    let met = user.assignments.iter().filter_map(|assignment| assignment.project_id).any(is_met);
    if met || caller.manages_organization() {
        return Ok(user);
    }
    Err(GatewayError::not_found("user", user_id))
}

/// Finds a key that the caller may see and take back: an owner of the organization all, everybody his personal ones.
///
/// # Errors
/// `NotFound`; errors of the catalog.
pub(crate) async fn api_key(context: &Context<'_>, api_key_id: ApiKeyId) -> Result<KeyRecord, GatewayError> {
    let caller = context.caller()?;
    let principal = &caller.principal;
    let found = context.backend()?.catalog.key(api_key_id).await?;
    found
        .filter(|key| key.organization_id == principal.organization_id)
        .filter(|key| {
            caller.manages_organization() || (key.user_id.is_some() && key.user_id == principal.user_id)
        })
        .ok_or_else(|| GatewayError::not_found("API key", api_key_id))
}
