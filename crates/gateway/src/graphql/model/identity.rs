//! Projects, users, custom roles and API keys.

use super::viewer::Role;
use crate::error::GatewayError;
use crate::graphql::scalar::{parse_id, print_id};
use async_graphql::{Enum, ID, InputObject, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_domain::access as domain;
use milvault_domain::identity;

/// What clusters, repositories, backups and jobs belong to.
#[derive(SimpleObject)]
pub(crate) struct Project {
    /// Identity.
    id: ID,
    /// Name, unique in the organization.
    name: String,
    /// When it was made.
    created_at: DateTime<Utc>,
}

impl From<identity::Project> for Project {
    fn from(project: identity::Project) -> Self {
        Self { id: print_id(project.id), name: project.name, created_at: project.created_at }
    }
}

/// A role that a user or service key was given.
#[derive(SimpleObject)]
pub(crate) struct AssignedRole {
    /// The role; null for a custom one.
    role: Option<Role>,
    /// The custom role; null for others.
    custom_role_id: Option<ID>,
    /// The project in which it holds; null for roles of the organization.
    project_id: Option<ID>,
}

impl From<&domain::Assignment> for AssignedRole {
    fn from(assignment: &domain::Assignment) -> Self {
        let (role, custom_role_id) = match assignment.role {
            domain::AssignedRole::Predefined(role) => (Some(role.into()), None),
            domain::AssignedRole::Custom(custom_role_id) => (None, Some(print_id(custom_role_id))),
        };
        Self { role, custom_role_id, project_id: assignment.project_id.map(print_id) }
    }
}

/// A person of the organization.
#[derive(SimpleObject)]
pub(crate) struct User {
    /// Identity.
    id: ID,
    /// Name; it stands in `createdBy`.
    name: String,
    /// E-mail address, unique in the organization without regard to case.
    email: String,
    /// When the user was shut out; null while he may come in.
    disabled_at: Option<DateTime<Utc>>,
    /// When he was added.
    created_at: DateTime<Utc>,
    /// His roles, as far as the caller sees where they hold.
    roles: Vec<AssignedRole>,
}

impl User {
    /// The view of a caller who sees the roles in these places only.
    pub(crate) fn seen(user: identity::User, sees: impl Fn(&domain::Assignment) -> bool) -> Self {
        Self {
            id: print_id(user.id),
            roles: user.assignments.iter().filter(|role| sees(role)).map(Into::into).collect(),
            name: user.name,
            email: user.email,
            disabled_at: user.disabled_at,
            created_at: user.created_at,
        }
    }
}

/// Something that a custom role may allow.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "domain::Privilege")]
pub(crate) enum Privilege {
    /// `backup:view`: see everything in the project.
    BackupView,
    /// `backup:manage`: besides, create, restore, delete, schedule and cancel backups.
    BackupManage,
}

/// A role that the organization has made for itself.
#[derive(SimpleObject)]
pub(crate) struct CustomRole {
    /// Identity.
    id: ID,
    /// Name, unique in the organization.
    name: String,
    /// What it allows.
    privileges: Vec<Privilege>,
}

impl From<domain::CustomRole> for CustomRole {
    fn from(role: domain::CustomRole) -> Self {
        Self {
            id: print_id(role.id),
            name: role.name,
            privileges: role.privileges.into_iter().map(Into::into).collect(),
        }
    }
}

/// An API key: its record, never its text.
#[derive(SimpleObject)]
pub(crate) struct ApiKey {
    /// Identity.
    id: ID,
    /// Name.
    name: String,
    /// The user whose personal key it is; null for a service key.
    user_id: Option<ID>,
    /// Roles of a service key. A personal key carries those that its user has at the moment.
    roles: Vec<AssignedRole>,
    /// When it was made.
    created_at: DateTime<Utc>,
    /// When it ends by itself; null for never.
    expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute; null for never.
    last_used_at: Option<DateTime<Utc>>,
}

impl From<identity::KeyRecord> for ApiKey {
    fn from(key: identity::KeyRecord) -> Self {
        Self {
            id: print_id(key.id),
            name: key.name,
            user_id: key.user_id.map(print_id),
            roles: key.assignments.iter().map(Into::into).collect(),
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            last_used_at: key.last_used_at,
        }
    }
}

/// A role to be given: one of the fields.
#[derive(InputObject)]
pub(crate) struct RoleInput {
    /// A role that every organization has.
    role: Option<Role>,
    /// A custom role.
    custom_role_id: Option<ID>,
}

impl RoleInput {
    /// # Errors
    /// Not exactly one of the fields is given, or the id is malformed.
    pub(crate) fn check(self) -> Result<domain::AssignedRole, GatewayError> {
        match (self.role, self.custom_role_id) {
            (Some(role), None) => Ok(domain::AssignedRole::Predefined(role.into())),
            (None, Some(id)) => Ok(domain::AssignedRole::Custom(parse_id("customRoleId", &id)?)),
            _ => Err(GatewayError::bad_field("role", "give either `role` or `customRoleId`")),
        }
    }
}

/// A role to be given to a service key, with the place where it holds.
#[derive(InputObject)]
pub(crate) struct RoleGrantInput {
    /// A role that every organization has; absent for a custom one.
    role: Option<Role>,
    /// A custom role; absent for others.
    custom_role_id: Option<ID>,
    /// The project; absent for roles of the organization.
    project_id: Option<ID>,
}

impl RoleGrantInput {
    /// # Errors
    /// As [`RoleInput::check`].
    pub(crate) fn check(self) -> Result<domain::Assignment, GatewayError> {
        let role = RoleInput { role: self.role, custom_role_id: self.custom_role_id }.check()?;
        let project_id = self.project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        Ok(domain::Assignment { role, project_id })
    }
}
