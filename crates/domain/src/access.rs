//! Who may do what.

mod assignment;
mod custom_role;

pub use assignment::{AssignedRole, Assignment};
pub use custom_role::{CustomRole, Privilege, UnknownPrivilege};

use crate::ids::{ApiKeyId, OrganizationId, ProjectId, SessionId, UserId};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A role, in an organization or in one project. The spellings are stored with grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    /// Owns the organization: everything in all its projects.
    OrganizationOwner,
    /// Belongs to the organization; sees only the projects in which it has a role.
    OrganizationMember,
    /// Sees what the organization uses; sees only the projects in which it has a role.
    BillingAdmin,
    /// Owns a project: everything in it.
    ProjectOwner,
    /// Works in a project: sees everything in it, makes no backups.
    ProjectReadWrite,
    /// Looks at a project.
    ProjectReadOnly,
    /// What a custom role with the privilege `backup:view` amounts to in a project.
    CustomBackupView,
    /// What a custom role with the privilege `backup:manage` amounts to in a project.
    CustomBackupManage,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 8] = [
        Self::OrganizationOwner,
        Self::OrganizationMember,
        Self::BillingAdmin,
        Self::ProjectOwner,
        Self::ProjectReadWrite,
        Self::ProjectReadOnly,
        Self::CustomBackupView,
        Self::CustomBackupManage,
    ];

    /// Whether it is granted for the whole organization; the others are granted for one project.
    #[must_use]
    pub const fn is_of_organization(self) -> bool {
        matches!(self, Self::OrganizationOwner | Self::OrganizationMember | Self::BillingAdmin)
    }
}

/// Something a person may want to do in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// See clusters, repositories, backups and jobs.
    View,
    /// Make, verify and cancel backups.
    ManageBackups,
    /// Register, change and remove clusters, repositories and webhooks.
    ManageClusters,
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::View, Self::ManageBackups, Self::ManageClusters];
}

/// Something a person may want to do in an organization, outside its projects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OrganizationAction {
    /// See that it exists, and one's own place in it.
    View,
    /// See what its projects store and use.
    ViewUsage,
    /// Make projects, people, service keys and custom roles, and give roles to them; read the audit log.
    Manage,
}

impl OrganizationAction {
    /// All actions.
    pub const ALL: [Self; 3] = [Self::View, Self::ViewUsage, Self::Manage];
}

/// A role with the place it holds in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleGrant {
    /// The role.
    pub role: Role,
    /// The project; `None` for roles of the organization.
    pub project_id: Option<ProjectId>,
}

/// What somebody proved himself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// An API key.
    ApiKey(ApiKeyId),
    /// A session of somebody who signed in by an identity provider.
    Session(SessionId),
}

impl Credential {
    /// The key, if it is one.
    #[must_use]
    pub const fn api_key_id(self) -> Option<ApiKeyId> {
        match self {
            Self::ApiKey(api_key_id) => Some(api_key_id),
            Self::Session(_) => None,
        }
    }

    /// The session, if it is one.
    #[must_use]
    pub const fn session_id(self) -> Option<SessionId> {
        match self {
            Self::Session(session_id) => Some(session_id),
            Self::ApiKey(_) => None,
        }
    }
}

/// Who is asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// What was presented.
    pub credential: Credential,
    /// The user whose personal key or session it is; `None` for service keys.
    pub user_id: Option<UserId>,
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
    /// The user whose personal key it is; `None` for service keys.
    pub user: Option<KeyUser>,
    /// What it carries: its own roles, or those that its user has now.
    pub grants: Vec<RoleGrant>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
}

/// The user of a personal key, as he is when the key is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUser {
    /// Identity.
    pub id: UserId,
    /// Name for people.
    pub name: String,
    /// Whether he is shut out.
    pub is_disabled: bool,
}

impl ApiKey {
    /// Whether it is valid at that moment. The keys of a disabled user are not.
    #[must_use]
    pub fn is_valid_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none()
            && self.expires_at.is_none_or(|end| now < end)
            && self.user.as_ref().is_none_or(|user| !user.is_disabled)
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
            // A role granted at the wrong level gives nothing.
            if grant.role.is_of_organization() != grant.project_id.is_none() {
                continue;
            }
            let applies = grant.project_id.is_none_or(|granted| granted == project_id);
            let right = match grant.role {
                Role::OrganizationOwner | Role::ProjectOwner => true,
                Role::CustomBackupManage => matches!(action, Action::View | Action::ManageBackups),
                Role::ProjectReadWrite | Role::ProjectReadOnly | Role::CustomBackupView => {
                    action == Action::View
                }
                Role::OrganizationMember | Role::BillingAdmin => continue,
            };
            if applies && right {
                return Decision::Allowed;
            }
            visible |= applies;
        }
        if visible { Decision::Forbidden } else { Decision::Hidden }
    }

    /// Decides about an action in an organization, outside its projects.
    #[must_use]
    pub fn decide_in_organization(
        &self,
        action: OrganizationAction,
        organization_id: OrganizationId,
    ) -> Decision {
        if organization_id != self.organization_id {
            return Decision::Hidden;
        }
        let allowed = self.grants.iter().filter(|grant| grant.project_id.is_none()).any(|grant| {
            match (action, grant.role) {
                (_, Role::OrganizationOwner) => true,
                (OrganizationAction::ViewUsage, role) => role == Role::BillingAdmin,
                (OrganizationAction::View | OrganizationAction::Manage, _) => false,
            }
        });
        // Whoever has a place in the organization sees that it exists.
        if allowed || action == OrganizationAction::View { Decision::Allowed } else { Decision::Forbidden }
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
            credential: Credential::ApiKey(ApiKeyId::from_uuid(Uuid::nil())),
            user_id: None,
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
    fn custom_roles_do_what_their_privilege_says() {
        let here = project(1);
        let decide = |role, action| principal(role, Some(here)).decide(action, here);
        for role in [Role::CustomBackupView, Role::CustomBackupManage] {
            assert_eq!(decide(role, Action::View), Decision::Allowed);
            assert_eq!(decide(role, Action::ManageClusters), Decision::Forbidden);
        }
        assert_eq!(decide(Role::CustomBackupView, Action::ManageBackups), Decision::Forbidden);
        assert_eq!(decide(Role::CustomBackupManage, Action::ManageBackups), Decision::Allowed);
    }

    #[test]
    fn other_projects_are_hidden_from_all_but_the_owner_of_the_organization() {
        for role in Role::ALL.into_iter().filter(|role| *role != Role::OrganizationOwner) {
            let granted = (!role.is_of_organization()).then(|| project(1));
            for action in Action::ALL {
                assert_eq!(principal(role, granted).decide(action, project(2)), Decision::Hidden, "{role:?}");
            }
        }
    }

    #[test]
    fn a_place_in_the_organization_adds_nothing_to_a_role_in_a_project() {
        let mut person = principal(Role::OrganizationMember, None);
        person.grants.push(RoleGrant { role: Role::ProjectReadOnly, project_id: Some(project(1)) });
        assert_eq!(person.decide(Action::View, project(1)), Decision::Allowed);
        assert_eq!(person.decide(Action::ManageBackups, project(1)), Decision::Forbidden);
        assert_eq!(person.decide(Action::View, project(2)), Decision::Hidden);
    }

    #[test]
    fn a_role_at_the_wrong_level_gives_nothing() {
        for role in Role::ALL {
            let wrong_level = role.is_of_organization().then(|| project(1));
            for action in Action::ALL {
                assert_eq!(
                    principal(role, wrong_level).decide(action, project(1)),
                    Decision::Hidden,
                    "{role:?}"
                );
            }
        }
    }

    #[test]
    fn the_organization_is_managed_by_its_owner() {
        let (own, other) =
            (OrganizationId::from_uuid(Uuid::nil()), OrganizationId::from_uuid(Uuid::from_u128(9)));
        for role in Role::ALL {
            let person = principal(role, (!role.is_of_organization()).then(|| project(1)));
            for action in OrganizationAction::ALL {
                let allowed = match action {
                    OrganizationAction::View => true,
                    OrganizationAction::ViewUsage => {
                        matches!(role, Role::OrganizationOwner | Role::BillingAdmin)
                    }
                    OrganizationAction::Manage => role == Role::OrganizationOwner,
                };
                let expected = if allowed { Decision::Allowed } else { Decision::Forbidden };
                assert_eq!(person.decide_in_organization(action, own), expected, "{role:?} {action:?}");
                assert_eq!(person.decide_in_organization(action, other), Decision::Hidden);
            }
        }
        let misplaced = principal(Role::OrganizationOwner, Some(project(1)));
        assert_eq!(misplaced.decide_in_organization(OrganizationAction::Manage, own), Decision::Forbidden);
    }
}
