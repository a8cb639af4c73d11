//! Roles as they are given to users and service keys, and who may give them.

use super::{Action, Decision, OrganizationAction, Principal, Role};
use crate::error::InvalidInput;
use crate::ids::{CustomRoleId, ProjectId};

/// A role as it is kept with a user or service key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssignedRole {
    /// One that every organization has.
    Predefined(Role),
    /// One that this organization has made. What it amounts to is looked up whenever it is used.
    Custom(CustomRoleId),
}

/// A role that somebody has, with the place it holds in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Assignment {
    /// The role.
    pub role: AssignedRole,
    /// The project; `None` for roles of the organization.
    pub project_id: Option<ProjectId>,
}

impl Assignment {
    /// Most roles of one user or service key.
    pub const PER_HOLDER_MAX: usize = 200;

    /// A role of the organization names no project, every other names one. What custom roles amount to cannot be
    /// given without the custom role itself.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        match (self.role, self.project_id) {
            (AssignedRole::Predefined(Role::CustomBackupView | Role::CustomBackupManage), _) => Err(
                InvalidInput::new("role", "is what a custom role amounts to; give `customRoleId` instead"),
            ),
            (AssignedRole::Predefined(role), None) if !role.is_of_organization() => {
                Err(InvalidInput::new("projectId", "this role holds in one project; name it"))
            }
            (AssignedRole::Predefined(role), Some(_)) if role.is_of_organization() => {
                Err(InvalidInput::new("projectId", "this role holds in the whole organization; leave it out"))
            }
            (AssignedRole::Custom(_), None) => {
                Err(InvalidInput::new("projectId", "a custom role holds in one project; name it"))
            }
            _ => Ok(()),
        }
    }

    /// Whether it makes somebody an owner of the organization.
    #[must_use]
    pub fn is_ownership(&self) -> bool {
        self.role == AssignedRole::Predefined(Role::OrganizationOwner) && self.project_id.is_none()
    }
}

impl Principal {
    /// Decides whether this caller may give and take roles: those of the organization (`None`), or those in a project.
    /// Nobody gives more than he has: both need the strongest role of that place.
    #[must_use]
    pub fn may_assign(&self, project_id: Option<ProjectId>) -> Decision {
        match project_id {
            None => self.decide_in_organization(OrganizationAction::Manage, self.organization_id),
            Some(project_id) => self.decide(Action::ManageClusters, project_id),
        }
    }

    /// Whether this caller may give any role anywhere.
    #[must_use]
    pub fn assigns_somewhere(&self) -> bool {
        self.may_assign(None) == Decision::Allowed
            || self
                .grants
                .iter()
                .filter_map(|grant| grant.project_id)
                .any(|project_id| self.may_assign(Some(project_id)) == Decision::Allowed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Credential, RoleGrant};
    use crate::ids::{ApiKeyId, OrganizationId};
    use uuid::Uuid;

    fn project(number: u128) -> ProjectId {
        ProjectId::from_uuid(Uuid::from_u128(number))
    }

    #[test]
    fn roles_have_their_level() {
        for role in Role::ALL {
            let of_projects = [None, Some(project(1))].map(|project_id| {
                Assignment { role: AssignedRole::Predefined(role), project_id }.validate().is_ok()
            });
            let expected = match role {
                Role::CustomBackupView | Role::CustomBackupManage => [false, false],
                role if role.is_of_organization() => [true, false],
                _ => [false, true],
            };
            assert_eq!(of_projects, expected, "{role:?}");
        }
        let custom = AssignedRole::Custom(CustomRoleId::from_uuid(Uuid::nil()));
        assert!(Assignment { role: custom, project_id: None }.validate().is_err());
        assert!(Assignment { role: custom, project_id: Some(project(1)) }.validate().is_ok());
    }

    #[test]
    fn nobody_gives_more_than_he_has() {
        for role in Role::ALL {
            let person = Principal {
                credential: Credential::ApiKey(ApiKeyId::from_uuid(Uuid::nil())),
                user_id: None,
                organization_id: OrganizationId::from_uuid(Uuid::nil()),
                name: String::from("somebody"),
                grants: vec![RoleGrant {
                    role,
                    project_id: (!role.is_of_organization()).then(|| project(1)),
                }],
            };
            let owner = role == Role::OrganizationOwner;
            let decisions = [None, Some(project(1)), Some(project(2))].map(|place| person.may_assign(place));
            let expected = match role {
                Role::OrganizationOwner => [Decision::Allowed; 3],
                Role::ProjectOwner => [Decision::Forbidden, Decision::Allowed, Decision::Hidden],
                Role::OrganizationMember | Role::BillingAdmin => {
                    [Decision::Forbidden, Decision::Hidden, Decision::Hidden]
                }
                _ => [Decision::Forbidden, Decision::Forbidden, Decision::Hidden],
            };
            assert_eq!(decisions, expected, "{role:?}");
            assert_eq!(person.assigns_somewhere(), owner || role == Role::ProjectOwner, "{role:?}");
        }
    }
}
