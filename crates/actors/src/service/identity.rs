//! Projects, users, roles and API keys. Whether the caller may do it was decided before.

use super::{Service, not_found};
use crate::error::ServiceError;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, Assignment, CustomRole, Privilege, Role};
use milvault_domain::error::check_name;
use milvault_domain::identity::{KeyRecord, Project, User, UserPatch, check_assignments, check_custom_role};
use milvault_domain::ids::{ApiKeyId, CustomRoleId, OrganizationId, ProjectId, UserId};

/// A user to be added.
#[derive(Debug, Clone)]
pub struct NewUser {
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people, 1 to 64 characters.
    pub name: String,
    /// E-mail address, unique in the organization.
    pub email: String,
}

/// A custom role to be added.
#[derive(Debug, Clone)]
pub struct NewCustomRole {
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people, 1 to 64 characters, unique in the organization.
    pub name: String,
    /// What it allows; at least one.
    pub privileges: Vec<Privilege>,
}

/// An API key to be added. Its text stays with the caller.
#[derive(Debug, Clone)]
pub struct NewApiKey {
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people, 1 to 64 characters.
    pub name: String,
    /// The user whose personal key it will be; `None` for a service key.
    pub user_id: Option<UserId>,
    /// Roles of a service key.
    pub assignments: Vec<Assignment>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// Hash of its text.
    pub secret_hash: [u8; 32],
}

impl Service {
    /// Makes a project.
    ///
    /// # Errors
    /// `InvalidInput`; `Conflict` when the name is taken or there are too many.
    pub async fn create_project(
        &self,
        organization_id: OrganizationId,
        name: String,
    ) -> Result<Project, ServiceError> {
        self.admit()?;
        check_name("name", &name)?;
        let project = Project {
            id: ProjectId::from_uuid(self.deps().ids.new_uuid()),
            organization_id,
            name,
            created_at: self.deps().clock.now(),
        };
        self.deps().catalog.insert_project(&project).await?;
        Ok(project)
    }

    /// Gives a project another name.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound`; `Conflict` when the name is taken.
    pub async fn rename_project(&self, project_id: ProjectId, name: String) -> Result<Project, ServiceError> {
        self.admit()?;
        check_name("name", &name)?;
        Ok(self.deps().catalog.rename_project(project_id, &name).await?)
    }

    /// Adds a user as a member of the organization, without a key.
    ///
    /// # Errors
    /// `InvalidInput`; `Conflict` when the address is taken or there are too many.
    pub async fn create_user(&self, new: NewUser) -> Result<User, ServiceError> {
        self.admit()?;
        let role = AssignedRole::Predefined(Role::OrganizationMember);
        let user = User {
            id: UserId::from_uuid(self.deps().ids.new_uuid()),
            organization_id: new.organization_id,
            name: new.name,
            email: new.email,
            disabled_at: None,
            created_at: self.deps().clock.now(),
            assignments: vec![Assignment { role, project_id: None }],
        };
        user.validate()?;
        self.deps().catalog.insert_user(&user).await?;
        Ok(user)
    }

    /// Changes a user, or shuts him out.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound`; `Conflict` when the address is taken, or when he is the last owner.
    pub async fn update_user(&self, user_id: UserId, patch: UserPatch) -> Result<User, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        let current = self.deps().catalog.user(user_id).await?;
        let current = current.ok_or_else(|| not_found("user", &user_id))?;
        patch.applied_to(current, now).validate()?;
        Ok(self.deps().catalog.update_user(user_id, &patch, now).await?)
    }

    /// Replaces the roles of a user in one place: a project, or the organization (`None`).
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound` for the user, the project or a custom role; `Conflict` when he is the last owner.
    pub async fn set_user_roles(
        &self,
        user_id: UserId,
        project_id: Option<ProjectId>,
        roles: Vec<AssignedRole>,
    ) -> Result<User, ServiceError> {
        self.admit()?;
        let user = self.deps().catalog.user(user_id).await?;
        let user = user.ok_or_else(|| not_found("user", &user_id))?;
        let assignments: Vec<_> = roles.iter().map(|role| Assignment { role: *role, project_id }).collect();
        check_assignments(&assignments)?;
        self.check_places(user.organization_id, &assignments).await?;
        let now = self.deps().clock.now();
        Ok(self.deps().catalog.set_user_roles(user_id, project_id, &roles, now).await?)
    }

    /// Makes a custom role.
    ///
    /// # Errors
    /// `InvalidInput`; `Conflict` when the name is taken or there are too many.
    pub async fn create_custom_role(&self, new: NewCustomRole) -> Result<CustomRole, ServiceError> {
        self.admit()?;
        let role = CustomRole {
            id: CustomRoleId::from_uuid(self.deps().ids.new_uuid()),
            organization_id: new.organization_id,
            name: new.name,
            privileges: new.privileges,
        };
        check_custom_role(&role)?;
        self.deps().catalog.insert_custom_role(&role).await?;
        Ok(role)
    }

    /// Removes a custom role; whoever has it loses it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn delete_custom_role(&self, custom_role_id: CustomRoleId) -> Result<(), ServiceError> {
        self.admit()?;
        Ok(self.deps().catalog.delete_custom_role(custom_role_id).await?)
    }

    /// Adds a key.
    ///
    /// # Errors
    /// `InvalidInput`; `NotFound` for the user, a project or a custom role; `Conflict` when there are too many.
    pub async fn create_api_key(&self, new: NewApiKey) -> Result<KeyRecord, ServiceError> {
        self.admit()?;
        let key = KeyRecord {
            id: ApiKeyId::from_uuid(self.deps().ids.new_uuid()),
            organization_id: new.organization_id,
            name: new.name,
            user_id: new.user_id,
            assignments: new.assignments,
            created_at: self.deps().clock.now(),
            expires_at: new.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        key.validate()?;
        self.check_places(key.organization_id, &key.assignments).await?;
        self.deps().catalog.insert_key(&key, &new.secret_hash).await?;
        Ok(key)
    }

    /// Takes a key back. Doing it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is the last one with which an owner could come in.
    pub async fn revoke_api_key(&self, api_key_id: ApiKeyId) -> Result<KeyRecord, ServiceError> {
        self.admit()?;
        let now = self.deps().clock.now();
        Ok(self.deps().catalog.revoke_key(api_key_id, now).await?)
    }

    /// Roles hold in projects of the organization, and custom ones are its own.
    async fn check_places(
        &self,
        organization_id: OrganizationId,
        assignments: &[Assignment],
    ) -> Result<(), ServiceError> {
        let catalog = &self.deps().catalog;
        let projects = catalog.projects(organization_id).await?;
        let custom_roles = catalog.custom_roles(organization_id).await?;
        for assignment in assignments {
            if let Some(project_id) = assignment.project_id
                && !projects.iter().any(|project| project.id == project_id)
            {
                return Err(not_found("project", &project_id));
            }
            if let AssignedRole::Custom(custom_role_id) = assignment.role
                && !custom_roles.iter().any(|role| role.id == custom_role_id)
            {
                return Err(not_found("custom role", &custom_role_id));
            }
        }
        Ok(())
    }
}
