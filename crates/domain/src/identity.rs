//! Projects, users and the records of API keys.

use crate::access::{Assignment, CustomRole};
use crate::error::{InvalidInput, check_name};
use crate::ids::{ApiKeyId, OrganizationId, ProjectId, UserId};
use crate::recovery::REBUILD;
use chrono::{DateTime, Utc};

/// Most projects of an organization.
pub const PROJECTS_MAX: usize = 100;
/// Most users of an organization, disabled ones included.
pub const USERS_MAX: usize = 1_000;
/// Most custom roles of an organization.
pub const CUSTOM_ROLES_MAX: usize = 100;
/// Most keys of an organization that are neither revoked nor over.
pub const LIVE_KEYS_MAX: usize = 1_000;
/// Most personal keys of a user that are neither revoked nor over.
pub const PERSONAL_KEYS_MAX: usize = 20;
/// What stands in `createdBy` and in the audit log for the server itself. Nobody else may be called so.
const RESERVED_NAMES: [&str; 6] = ["anonymous", REBUILD, "retention", "schedule", "sweep", "system"];
/// Longest e-mail address, in bytes.
const EMAIL_BYTES_MAX: usize = 254;

/// What clusters, repositories, backups and jobs belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Identity.
    pub id: ProjectId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people, unique in the organization.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Identity.
    pub id: UserId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people; goes into `createdBy`.
    pub name: String,
    /// E-mail address, unique in the organization without regard to case.
    pub email: String,
    /// When the user was shut out; all his keys are dead meanwhile.
    pub disabled_at: Option<DateTime<Utc>>,
    /// When the record was made.
    pub created_at: DateTime<Utc>,
    /// His roles.
    pub assignments: Vec<Assignment>,
}

impl User {
    /// Names as everywhere; addresses have one `@`, something on both sides of it, and no white space.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_actor_name(&self.name)?;
        let well_formed = self
            .email
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'));
        let sane = self.email.len() <= EMAIL_BYTES_MAX
            && !self.email.chars().any(|letter| letter.is_whitespace() || letter.is_control());
        if well_formed && sane {
            return Ok(());
        }
        Err(InvalidInput::new(
            "email",
            format!(
                "must be an e-mail address of at most {EMAIL_BYTES_MAX} bytes, such as `ada@example.com`"
            ),
        ))
    }
}

/// What to change of a user; absent fields stay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// Name.
    pub name: Option<String>,
    /// E-mail address.
    pub email: Option<String>,
    /// Whether the user is shut out.
    pub disabled: Option<bool>,
}

impl UserPatch {
    /// The user after the change. One who is disabled already keeps the time of that.
    #[must_use]
    pub fn applied_to(&self, user: User, now: DateTime<Utc>) -> User {
        let disabled_at = match self.disabled {
            None => user.disabled_at,
            Some(true) => user.disabled_at.or(Some(now)),
            Some(false) => None,
        };
        User {
            name: self.name.clone().unwrap_or(user.name),
            email: self.email.clone().unwrap_or(user.email),
            disabled_at,
            ..user
        }
    }
}

/// An API key as lists show it: neither its text nor its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRecord {
    /// Identity.
    pub id: ApiKeyId,
    /// Organization.
    pub organization_id: OrganizationId,
    /// Name for people.
    pub name: String,
    /// The user whose personal key it is; `None` for service keys.
    pub user_id: Option<UserId>,
    /// Roles of a service key; a personal key carries those of its user.
    pub assignments: Vec<Assignment>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it ends by itself.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was taken back.
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute or so.
    pub last_used_at: Option<DateTime<Utc>>,
}

impl KeyRecord {
    /// A key has a name and an end in the future, if any. A service key has roles, each once; a personal one has none
    /// of its own.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), InvalidInput> {
        check_actor_name(&self.name)?;
        if self.expires_at.is_some_and(|end| end <= self.created_at) {
            return Err(InvalidInput::new("expiresAt", "must be in the future"));
        }
        if self.user_id.is_some() == self.assignments.is_empty() {
            return check_assignments(&self.assignments);
        }
        Err(InvalidInput::new(
            "grants",
            "a service key needs at least one role; a personal key carries the roles of its user and takes none",
        ))
    }
}

/// A name that stands in `createdBy`: like every name, and none of the server's own.
fn check_actor_name(name: &str) -> Result<(), InvalidInput> {
    check_name("name", name)?;
    if is_reserved_name(name) {
        let rule = format!("must not be one of those of the server itself: {}", RESERVED_NAMES.join(", "));
        return Err(InvalidInput::new("name", rule));
    }
    Ok(())
}

/// Whether the server calls itself so.
pub(crate) fn is_reserved_name(name: &str) -> bool {
    RESERVED_NAMES.iter().any(|reserved| reserved.eq_ignore_ascii_case(name))
}

/// Each role of a list is possible where it stands, and stands there once.
///
/// # Errors
/// Names the field and the rule.
pub fn check_assignments(assignments: &[Assignment]) -> Result<(), InvalidInput> {
    if assignments.len() > Assignment::PER_HOLDER_MAX {
        let rule = format!("must be at most {}, got {}", Assignment::PER_HOLDER_MAX, assignments.len());
        return Err(InvalidInput::new("grants", rule));
    }
    for (index, assignment) in assignments.iter().enumerate() {
        assignment.validate()?;
        if assignments[..index].contains(assignment) {
            return Err(InvalidInput::new("grants", "must not name a role twice for the same place"));
        }
    }
    Ok(())
}

/// A custom role has a name and at least one privilege, none twice.
///
/// # Errors
/// Names the field and the rule.
pub fn check_custom_role(role: &CustomRole) -> Result<(), InvalidInput> {
    check_name("name", &role.name)?;
    let twice = role.privileges.iter().enumerate().any(|(index, one)| role.privileges[..index].contains(one));
    if role.privileges.is_empty() || twice {
        return Err(InvalidInput::new("privileges", "must name at least one privilege, and none twice"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::access::{AssignedRole, Role};
    use uuid::Uuid;

    fn user(email: &str) -> User {
        User {
            id: UserId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            name: String::from("Ada"),
            email: email.to_owned(),
            disabled_at: None,
            created_at: DateTime::UNIX_EPOCH,
            assignments: Vec::new(),
        }
    }

    #[test]
    fn nobody_is_called_like_the_server() {
        for name in ["schedule", "Retention", "SYSTEM", "catalog rebuild"] {
            let error = User { name: name.to_owned(), ..user("ada@example.com") }.validate().unwrap_err();
            assert_eq!(error.field, "name", "{name}");
        }
        let scheduler = User { name: String::from("scheduler"), ..user("ada@example.com") };
        assert_eq!(scheduler.validate(), Ok(()));
    }

    #[test]
    fn addresses_are_looked_at_before_they_are_kept() {
        assert_eq!(user("ada@example.com").validate(), Ok(()));
        for email in [
            "",
            "ada",
            "@example.com",
            "ada@",
            "a@b@c",
            "a da@b",
            "ada@b\n",
            &format!("{}@b", "a".repeat(300)),
        ] {
            assert!(user(email).validate().is_err(), "{email}");
        }
    }

    #[test]
    fn disabling_twice_keeps_the_first_time() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let disable = UserPatch { disabled: Some(true), ..UserPatch::default() };
        let once = disable.applied_to(user("a@b"), at(1));
        let twice = disable.applied_to(once, at(2));
        assert_eq!(twice.disabled_at, Some(at(1)));
        let enable = UserPatch { disabled: Some(false), ..UserPatch::default() };
        assert_eq!(enable.applied_to(twice, at(3)).disabled_at, None);
    }

    #[test]
    fn service_keys_have_roles_and_personal_keys_none() {
        let owner = Assignment { role: AssignedRole::Predefined(Role::OrganizationOwner), project_id: None };
        let key = |user_id, assignments, expires_at| KeyRecord {
            id: ApiKeyId::from_uuid(Uuid::nil()),
            organization_id: OrganizationId::from_uuid(Uuid::nil()),
            name: String::from("key"),
            user_id,
            assignments,
            created_at: DateTime::UNIX_EPOCH,
            expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let somebody = Some(UserId::from_uuid(Uuid::nil()));
        assert_eq!(key(None, vec![owner], None).validate(), Ok(()));
        assert_eq!(key(somebody, vec![], None).validate(), Ok(()));
        assert!(key(None, vec![], None).validate().is_err());
        assert!(key(somebody, vec![owner], None).validate().is_err());
        assert!(key(None, vec![owner, owner], None).validate().is_err());
        assert!(key(None, vec![owner], Some(DateTime::UNIX_EPOCH)).validate().is_err());
    }
}
