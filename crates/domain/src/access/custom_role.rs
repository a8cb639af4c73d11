//! Roles that an organization makes for itself.

use super::Role;
use crate::ids::{CustomRoleId, OrganizationId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A role that an organization has made, to be granted in projects. A grant refers to it by id; whoever loads grants
/// turns it into [`CustomRole::role`], so a change of its privileges holds from the next request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomRole {
    /// Identity.
    pub id: CustomRoleId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people, unique in the organization.
    pub name: String,
    /// What it allows.
    pub privileges: Vec<Privilege>,
}

/// Something that a custom role may allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Privilege {
    /// See everything in the project.
    #[serde(rename = "backup:view")]
    BackupView,
    /// Besides, create, restore, delete, schedule and cancel backups.
    #[serde(rename = "backup:manage")]
    BackupManage,
}

/// A text that is no privilege.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no privilege; there are `backup:view` and `backup:manage`")]
pub struct UnknownPrivilege(String);

impl CustomRole {
    /// What it amounts to; `None` when it allows nothing.
    #[must_use]
    pub fn role(&self) -> Option<Role> {
        self.privileges.iter().max().copied().map(Role::from)
    }
}

impl From<Privilege> for Role {
    fn from(privilege: Privilege) -> Self {
        match privilege {
            Privilege::BackupView => Self::CustomBackupView,
            Privilege::BackupManage => Self::CustomBackupManage,
        }
    }
}

impl Privilege {
    /// All privileges.
    pub const ALL: [Self; 2] = [Self::BackupView, Self::BackupManage];

    const fn spelling(self) -> &'static str {
        match self {
            Self::BackupView => "backup:view",
            Self::BackupManage => "backup:manage",
        }
    }
}

impl fmt::Display for Privilege {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.spelling())
    }
}

impl FromStr for Privilege {
    type Err = UnknownPrivilege;

    fn from_str(text: &str) -> Result<Self, UnknownPrivilege> {
        Self::ALL
            .into_iter()
            .find(|privilege| privilege.spelling() == text)
            .ok_or_else(|| UnknownPrivilege(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_custom_role_amounts_to_its_strongest_privilege() {
        let role_of = |privileges: &[Privilege]| {
            let role = CustomRole {
                id: CustomRoleId::from_uuid(Uuid::nil()),
                organization_id: OrganizationId::from_uuid(Uuid::nil()),
                name: String::from("operators"),
                privileges: privileges.to_vec(),
            };
            role.role()
        };
        assert_eq!(role_of(&[]), None);
        assert_eq!(role_of(&[Privilege::BackupView]), Some(Role::CustomBackupView));
        assert_eq!(
            role_of(&[Privilege::BackupManage, Privilege::BackupView]),
            Some(Role::CustomBackupManage)
        );
    }

    #[test]
    fn privileges_are_spelled_as_in_the_documentation() {
        for privilege in Privilege::ALL {
            assert_eq!(privilege.to_string().parse(), Ok(privilege));
        }
        assert_eq!("backup:view".parse(), Ok(Privilege::BackupView));
        assert!("backup:delete".parse::<Privilege>().is_err());
    }
}
