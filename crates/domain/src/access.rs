//! Who may do what.

use crate::ids::{ApiKeyId, OrganizationId, ProjectId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A role, in an organization or in one project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Owns the organization: everything in all its projects.
    OrganizationOwner,
    /// Owns a project: everything in it.
    ProjectOwner,
    /// Works in a project: sees everything in it, makes no backups.
    ProjectReadWrite,
    /// Looks at a project.
    ProjectReadOnly,
}

/// Something a person may want to do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See clusters, repositories, backups and jobs.
    View,
    /// Make, verify and cancel backups.
    ManageBackups,
    /// Register, change and remove clusters and repositories.
    ManageClusters,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::View, Self::ManageBackups, Self::ManageClusters];
}

/// A role with the place it holds in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGrant {
    /// The role.
    pub role: Role,
    /// The project; `None` for roles of the organization.
    pub project_id: Option<ProjectId>,
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key that was presented.
    pub api_key_id: ApiKeyId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people; goes into `createdBy`.
    pub name: String,
    /// What the key carries.
    pub grants: Vec<RoleGrant>,
}

/// An API key as the catalog keeps it: never the secret, only its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Identity.
    pub id: ApiKeyId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people.
    pub name: String,
    /// BLAKE3 of the whole key text.
    pub secret_hash: [u8; 32],
    /// What it carries.
    pub grants: Vec<RoleGrant>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether it is valid at that moment.
    #[must_use]
    pub fn is_valid_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Answer to "who may do this".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Go ahead.
    Allowed,
    /// May see the project, but not do this: the answer is `FORBIDDEN`.
    Forbidden,
    /// May not even see the project: the answer is `NOT_FOUND`, so that nothing leaks.
    Hidden,
}

impl Principal {
    /// Decides about an action in a project. The one place where roles turn into rights.
    #[must_use]
    pub fn decide(&self, action: Action, project_id: ProjectId) -> Decision {
        let mut visible = false;
        for grant in &self.grants {
            let applies = grant.project_id.is_none_or(|granted| granted == project_id);
            let right = match (grant.role, grant.project_id) {
                (Role::OrganizationOwner, None) | (Role::ProjectOwner, Some(_)) => true,
                (Role::ProjectReadWrite | Role::ProjectReadOnly, Some(_)) => action == Action::View,
                // A role granted at the wrong level gives nothing.
                (Role::OrganizationOwner, Some(_)) | (_, None) => continue,
            };
            if applies && right {
                return Decision::Allowed;
            }
            visible |= applies;
        }
        if visible { Decision::Forbidden } else { Decision::Hidden }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn project(number: u128) -> ProjectId {
        ProjectId::from_uuid(Uuid::from_u128(number))
    }

    fn principal(role: Role, project_id: Option<ProjectId>) -> Principal {
        Principal {
            api_key_id: ApiKeyId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            name: String::from("somebody"),
            grants: vec![RoleGrant { role, project_id }],
        }
    }

    #[test]
    fn only_owners_manage() {
        let here = project(1);
        for action in Action::ALL {
            assert_eq!(principal(Role::OrganizationOwner, None).decide(action, here), Decision::Allowed);
            assert_eq!(principal(Role::ProjectOwner, Some(here)).decide(action, here), Decision::Allowed);
            let expected = if action == Action::View { Decision::Allowed } else { Decision::Forbidden };
            for role in [Role::ProjectReadWrite, Role::ProjectReadOnly] {
                assert_eq!(principal(role, Some(here)).decide(action, here), expected);
            }
        }
    }

    #[test]
    fn other_projects_are_hidden() {
        for role in [Role::ProjectOwner, Role::ProjectReadWrite, Role::ProjectReadOnly] {
            for action in Action::ALL {
                assert_eq!(principal(role, Some(project(1))).decide(action, project(2)), Decision::Hidden);
            }
        }
    }

    #[test]
    fn a_role_at_the_wrong_level_gives_nothing() {
        assert_eq!(principal(Role::ProjectOwner, None).decide(Action::View, project(1)), Decision::Hidden);
        assert_eq!(
            principal(Role::OrganizationOwner, Some(project(1))).decide(Action::View, project(1)),
            Decision::Hidden
        );
    }
}
