//! Users, roles and grants that a restore makes.

use super::selection::{cropped, near};
use super::target::{Findings, list_some};
use super::validate::ROOT_USER;
use crate::error::InvalidInput;
use crate::milvus::{AccessControl, Cut, RoleDescription};
use crate::ports::Inventory;
use crate::restore::{AccessPlan, AccessRestore};
use std::collections::HashSet;

/// Roles that every Milvus has.
const BUILT_IN_ROLES: [&str; 2] = ["admin", "public"];

pub(super) fn plan(
    wanted: &AccessRestore,
    cut: &Cut,
    inventory: &Inventory,
    findings: &mut Findings,
) -> Result<AccessPlan, InvalidInput> {
    let Some(access) = &cut.access_control else {
        return Err(InvalidInput::new(
            "accessControl",
            "the backup has no users, roles and grants: only backups of a whole cluster do, where Milvus gives them out",
        ));
    };
    let with_password: HashSet<&str> = wanted.passwords.iter().map(|entry| entry.user.as_str()).collect();
    let users = sorted(access.users.iter().map(String::as_str).filter(|user| *user != ROOT_USER));
    if let Some(entry) =
        wanted.passwords.iter().find(|entry| users.binary_search(&entry.user.as_str()).is_err())
    {
        let near = near(&entry.user, users.iter().copied());
        let rule = format!("the backup has no user named `{}`{near}", cropped(&entry.user));
        return Err(InvalidInput::new("accessControl", rule));
    }
    let roles = sorted(
        access.roles.iter().map(|role| role.name.as_str()).filter(|role| !BUILT_IN_ROLES.contains(role)),
    );

    let (existing_users, new_users) = split(users, &inventory.users);
    let (existing_roles, new_roles) = split(roles, &inventory.roles);
    let left = existing_users.iter().map(|user| format!("user `{user}`"));
    if let Some(left) = list_some(left.chain(existing_roles.iter().map(|role| format!("role `{role}`")))) {
        findings.warn(format!("these exist at the target and stay as they are: {left}"));
    }
    let (users, users_without_password): (Vec<&str>, Vec<&str>) =
        new_users.into_iter().partition(|user| with_password.contains(user));
    if let Some(missing) = list_some(users_without_password.iter().map(|user| format!("`{user}`"))) {
        findings.warn(format!(
            "Milvus does not give passwords out, so a backup has none; users that are not made because no password was given: {missing}"
        ));
    }
    let is_made = |role: &str| new_roles.binary_search(&role).is_ok();
    Ok(AccessPlan {
        users: owned(&users),
        users_without_password: owned(&users_without_password),
        grant_count: access.grants.iter().filter(|grant| is_made(&grant.role)).count() as u64,
        roles: owned(&new_roles),
    })
}

impl AccessPlan {
    /// What is to be made of a backup's users and roles: those that are new, memberships of which the user or the role
    /// is new, and grants of new roles. What the target has of its own gets nothing; so the roles that every Milvus has
    /// get no grants.
    #[must_use]
    pub fn part_to_make(&self, access: &AccessControl) -> AccessControl {
        let new_users: HashSet<&str> = self.users.iter().map(String::as_str).collect();
        let new_roles: HashSet<&str> = self.roles.iter().map(String::as_str).collect();
        let part_of_role = |role: &RoleDescription| {
            let is_new = new_roles.contains(role.name.as_str());
            let gets_it = |user: &&String| is_new || new_users.contains(user.as_str());
            let users: Vec<String> = role.users.iter().filter(gets_it).cloned().collect();
            (is_new || !users.is_empty()).then(|| RoleDescription { name: role.name.clone(), users })
        };
        // Whoever makes them tells of users without a password.
        let is_wanted =
            |user: &&String| new_users.contains(user.as_str()) || self.users_without_password.contains(user);
        let is_granted = |role: &str| new_roles.contains(role);
        AccessControl {
            users: access.users.iter().filter(is_wanted).cloned().collect(),
            roles: access.roles.iter().filter_map(part_of_role).collect(),
            grants: access.grants.iter().filter(|grant| is_granted(&grant.role)).cloned().collect(),
        }
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn split<'a>(names: Vec<&'a str>, existing: &[String]) -> (Vec<&'a str>, Vec<&'a str>) {
    let existing: HashSet<&str> = existing.iter().map(String::as_str).collect();
    names.into_iter().partition(|name| existing.contains(name))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
