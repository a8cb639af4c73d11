//! The catalog of projects, users, roles and API keys.

use crate::access::{AssignedRole, CustomRole};
use crate::error::PortResult;
use crate::identity::{KeyRecord, Project, User, UserPatch};
use crate::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};
use crate::ports::{Page, PageRequest};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Which users to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserFilter {
    /// Only of this organization.
    pub organization_id: OrganizationId,
    /// Only those with a role in this project.
    pub project_id: Option<ProjectId>,
}

/// Which API keys to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFilter {
    /// Only of this organization.
    pub organization_id: OrganizationId,
    /// Only personal keys of this user.
    pub user_id: Option<UserId>,
}

/// The part of the catalog that says who may come in and what they may do.
///
/// Each change is one transaction. A change after which nobody could come in as an owner of the organization, although
/// somebody could before, is refused with `Conflict`: at least one key stays that is neither revoked nor expired,
/// belongs to no disabled user, and carries that role.
#[async_trait]
pub trait IdentityCatalog: Send + Sync {
    /// Adds a project. `Conflict` when its name is taken or the organization has all the projects it may have.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn insert_project(&self, project: &Project) -> PortResult<()>;

    /// Gives a project another name. `Conflict` when it is taken.
    ///
    /// # Errors
    /// As said; `NotFound`; errors of the database.
    async fn rename_project(&self, project_id: ProjectId, name: &str) -> PortResult<Project>;

    /// All projects of an organization, by name.
    ///
    /// # Errors
    /// Errors of the database.
    async fn projects(&self, organization_id: OrganizationId) -> PortResult<Vec<Project>>;

    /// Adds a user with his roles. `Conflict` when the address is taken or the organization has all the users it may
    /// have.
    ///
    /// # Errors
    /// As said; `NotFound` for a project or custom role; errors of the database.
    async fn insert_user(&self, user: &User) -> PortResult<()>;

    /// Changes a user. `Conflict` when the address is taken, or when he is the last owner.
    ///
    /// # Errors
    /// As said; `NotFound`; errors of the database.
    async fn update_user(&self, user_id: UserId, patch: &UserPatch, now: DateTime<Utc>) -> PortResult<User>;

    /// Replaces the roles that a user has in one place: in a project, or those of the organization (`None`).
    /// `Conflict` when he is the last owner.
    ///
    /// # Errors
    /// As said; `NotFound` for the user, project or custom role; errors of the database.
    async fn set_user_roles(
        &self,
        user_id: UserId,
        project_id: Option<ProjectId>,
        roles: &[AssignedRole],
        now: DateTime<Utc>,
    ) -> PortResult<User>;

    /// Finds a user.
    ///
    /// # Errors
    /// Errors of the database.
    async fn user(&self, user_id: UserId) -> PortResult<Option<User>>;

    /// Finds a user by his address, without regard to case.
    ///
    /// # Errors
    /// Errors of the database.
    async fn user_by_email(&self, organization_id: OrganizationId, email: &str) -> PortResult<Option<User>>;

    /// Lists users by creation, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn users(&self, filter: &UserFilter, page: PageRequest) -> PortResult<Page<User>>;

    /// Adds a custom role. `Conflict` when its name is taken or the organization has all it may have.
    ///
    /// # Errors
    /// As said; errors of the database.
    async fn insert_custom_role(&self, role: &CustomRole) -> PortResult<()>;

    /// Removes a custom role, and takes it from everybody who has it.
    ///
    /// # Errors
    /// `NotFound`; errors of the database.
    async fn delete_custom_role(&self, custom_role_id: CustomRoleId) -> PortResult<()>;

    /// All custom roles of an organization, by name.
    ///
    /// # Errors
    /// Errors of the database.
    async fn custom_roles(&self, organization_id: OrganizationId) -> PortResult<Vec<CustomRole>>;

    /// Adds a key with its roles. `Conflict` when the organization has all the keys it may have.
    ///
    /// # Errors
    /// As said; `NotFound` for the user, a project or a custom role; errors of the database.
    async fn insert_key(&self, key: &KeyRecord, secret_hash: &[u8; 32]) -> PortResult<()>;

    /// Takes a key back; one that was taken back keeps the time of that. `Conflict` when it is the last owner.
    ///
    /// # Errors
    /// As said; `NotFound`; errors of the database.
    async fn revoke_key(&self, api_key_id: ApiKeyId, now: DateTime<Utc>) -> PortResult<KeyRecord>;

    /// Finds the record of a key.
    ///
    /// # Errors
    /// Errors of the database.
    async fn key(&self, api_key_id: ApiKeyId) -> PortResult<Option<KeyRecord>>;

    /// Lists keys by creation, newest first, revoked and expired ones too.
    ///
    /// # Errors
    /// Errors of the database.
    async fn keys(&self, filter: &KeyFilter, page: PageRequest) -> PortResult<Page<KeyRecord>>;

    /// Records when keys were last used, all in one transaction. A time before the recorded one changes nothing, nor
    /// does a key that is not there.
    ///
    /// # Errors
    /// Errors of the database.
    async fn note_key_uses(&self, uses: &[(ApiKeyId, DateTime<Utc>)]) -> PortResult<()>;
}
