//! Making projects and users, and giving them roles.

use crate::error::GatewayError;
use crate::graphql::AuditNotes;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::identity::{CustomRole, Privilege, Project, RoleInput, User};
use crate::graphql::scalar::{parse_id, print_id};
use async_graphql::{Context, ID, InputObject, Object, SimpleObject};
use milvault_actors::{NewCustomRole, NewUser};
use milvault_domain::access::Decision;
use milvault_domain::identity::{User as UserRecord, UserPatch};
use milvault_domain::ids::{CustomRoleId, ProjectId};

/// Mutations of projects, users and roles.
#[derive(Default)]
pub(crate) struct IdentityMutation;

/// A project to be made.
#[derive(InputObject)]
pub(crate) struct CreateProjectInput {
    /// Name, 1 to 64 characters, unique in the organization.
    name: String,
}

/// Another name for a project.
#[derive(InputObject)]
pub(crate) struct RenameProjectInput {
    /// Which project.
    project_id: ID,
    /// Name, 1 to 64 characters, unique in the organization.
    name: String,
}

/// A project that was made or changed.
#[derive(SimpleObject)]
pub(crate) struct ProjectPayload {
    /// The project.
    project: Project,
}

/// A user to be added.
#[derive(InputObject)]
pub(crate) struct CreateUserInput {
    /// Name, 1 to 64 characters; it stands in `createdBy`.
    name: String,
    /// E-mail address, unique in the organization without regard to case.
    email: String,
}

/// What to change of a user. Fields that are absent or null stay.
#[derive(InputObject)]
pub(crate) struct UpdateUserInput {
    /// Which user.
    user_id: ID,
    /// Name, 1 to 64 characters.
    name: Option<String>,
    /// E-mail address.
    email: Option<String>,
    /// Whether he is shut out. His keys are dead at once, and his subscriptions end within seconds.
    disabled: Option<bool>,
}

/// The roles of a user in one place.
#[derive(InputObject)]
pub(crate) struct SetUserRolesInput {
    /// Which user; absent when `email` says it.
    user_id: Option<ID>,
    /// His address; absent when `userId` says it.
    email: Option<String>,
    /// The project in which the roles hold; absent for the roles of the organization.
    project_id: Option<ID>,
    /// All the roles that he shall have there. Others that he has there are taken from him; an empty list takes all.
    roles: Vec<RoleInput>,
}

/// A user that was added or changed.
#[derive(SimpleObject)]
pub(crate) struct UserPayload {
    /// The user.
    user: User,
}

/// A custom role to be made.
#[derive(InputObject)]
pub(crate) struct CreateCustomRoleInput {
    /// Name, 1 to 64 characters, unique in the organization.
    name: String,
    /// What it allows; at least one.
    privileges: Vec<Privilege>,
}

/// A custom role that was made.
#[derive(SimpleObject)]
pub(crate) struct CreateCustomRolePayload {
    /// The role.
    custom_role: CustomRole,
}

/// A custom role to be removed.
#[derive(InputObject)]
pub(crate) struct DeleteCustomRoleInput {
    /// Which.
    custom_role_id: ID,
}

/// A custom role that was removed.
#[derive(SimpleObject)]
pub(crate) struct DeleteCustomRolePayload {
    /// Its identity.
    custom_role_id: ID,
}

#[Object]
impl IdentityMutation {
    /// Makes a project. Owners of the organization may.
    async fn create_project(
        &self,
        context: &Context<'_>,
        input: CreateProjectInput,
    ) -> Result<ProjectPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_managing_organization()?;
        let made = backend.service.create_project(caller.principal.organization_id, input.name).await?;
        caller.meet_project(made.clone());
        context.note_target(made.id);
        Ok(ProjectPayload { project: made.into() })
    }

    /// Gives a project another name. Owners of the organization and of the project may.
    async fn rename_project(
        &self,
        context: &Context<'_>,
        input: RenameProjectInput,
    ) -> Result<ProjectPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let project_id: ProjectId = parse_id("projectId", &input.project_id)?;
        caller.permit_assigning(Some(project_id))?;
        let renamed = backend.service.rename_project(project_id, input.name).await?;
        caller.meet_project(renamed.clone());
        Ok(ProjectPayload { project: renamed.into() })
    }

    /// Adds a user with the role `ORGANIZATION_MEMBER`. He comes in with a personal key (`createApiKey`). Owners of
    /// the organization may.
    async fn create_user(
        &self,
        context: &Context<'_>,
        input: CreateUserInput,
    ) -> Result<UserPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_managing_organization()?;
        let new = NewUser {
            organization_id: caller.principal.organization_id,
            name: input.name,
            email: input.email,
        };
        let made = backend.service.create_user(new).await?;
        context.note_target(made.id);
        payload(context, made)
    }

    /// Changes a user, or shuts him out. The last owner of the organization cannot be shut out (`CONFLICT`). Owners of
    /// the organization may.
    async fn update_user(
        &self,
        context: &Context<'_>,
        input: UpdateUserInput,
    ) -> Result<UserPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_managing_organization()?;
        let user = access::identity::user(context, parse_id("userId", &input.user_id)?).await?;
        let patch = UserPatch { name: input.name, email: input.email, disabled: input.disabled };
        payload(context, backend.service.update_user(user.id, patch).await?)
    }

    /// Replaces the roles of a user in one place. Owners of the organization may everywhere; owners of a project in it,
    /// for those who have a role there and for anybody whose address they know. The last owner of the organization
    /// stays one (`CONFLICT`).
    async fn set_user_roles(
        &self,
        context: &Context<'_>,
        input: SetUserRolesInput,
    ) -> Result<UserPayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let project_id = input.project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        caller.permit_assigning(project_id)?;
        let user = match (input.user_id, input.email) {
            (Some(id), None) => access::identity::assignable_user(context, parse_id("userId", &id)?).await?,
            (None, Some(email)) => {
                let found = backend.catalog.user_by_email(caller.principal.organization_id, &email).await?;
                found.ok_or_else(|| GatewayError::not_found("user", &email))?
            }
            _ => return Err(GatewayError::bad_field("userId", "give either `userId` or `email`")),
        };
        context.note_target(user.id);
        context.note("userId", user.id);
        let roles = input.roles.into_iter().map(RoleInput::check).collect::<Result<_, _>>()?;
        payload(context, backend.service.set_user_roles(user.id, project_id, roles).await?)
    }

    /// Makes a custom role, to be given in projects. Owners of the organization may.
    async fn create_custom_role(
        &self,
        context: &Context<'_>,
        input: CreateCustomRoleInput,
    ) -> Result<CreateCustomRolePayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_managing_organization()?;
        let new = NewCustomRole {
            organization_id: caller.principal.organization_id,
            name: input.name,
            privileges: input.privileges.into_iter().map(Into::into).collect(),
        };
        let made = backend.service.create_custom_role(new).await?;
        context.note_target(made.id);
        Ok(CreateCustomRolePayload { custom_role: made.into() })
    }

    /// Removes a custom role; whoever has it loses it. Owners of the organization may.
    async fn delete_custom_role(
        &self,
        context: &Context<'_>,
        input: DeleteCustomRoleInput,
    ) -> Result<DeleteCustomRolePayload, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_managing_organization()?;
        let custom_role_id: CustomRoleId = parse_id("customRoleId", &input.custom_role_id)?;
        let known = backend.catalog.custom_roles(caller.principal.organization_id).await?;
        if !known.iter().any(|role| role.id == custom_role_id) {
            return Err(GatewayError::not_found("custom role", custom_role_id));
        }
        backend.service.delete_custom_role(custom_role_id).await?;
        Ok(DeleteCustomRolePayload { custom_role_id: print_id(custom_role_id) })
    }
}

fn payload(context: &Context<'_>, user: UserRecord) -> Result<UserPayload, GatewayError> {
    let principal = &context.caller()?.principal;
    let user = User::seen(user, |role| principal.may_assign(role.project_id) == Decision::Allowed);
    Ok(UserPayload { user })
}
