//! Users, roles, memberships and grants.

use crate::access;
use crate::client::Client;
use crate::connector::ConnectedCluster;
use crate::error::{CallError, CallResult, Fault};
use crate::listing::CALLS_AT_ONCE;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use milvault_domain::error::PortResult;
use milvault_domain::milvus::{AccessControl, Grant, RoleDescription};
use milvault_domain::restore::UserPassword;
use milvus::proto::common::Status;
use milvus::proto::milvus::{
    CreateCredentialRequest, CreateRoleRequest, GrantEntity, GrantorEntity, ObjectEntity,
    OperatePrivilegeRequest, OperatePrivilegeType, OperateUserRoleRequest, OperateUserRoleType,
    PrivilegeEntity, RoleEntity, UserEntity,
};
use std::collections::BTreeSet;
use tonic::metadata::MetadataValue;

/// Most failures that are told one by one.
const WORDS_MAX: usize = 100;
/// Who grants at a server that asks nobody for a name: base64 of `root:`. 2.3.5 takes the grantor from this header
/// and refuses to grant without one, also where authentication is off.
const ROOT_WITHOUT_PASSWORD: &str = "cm9vdDo=";

/// Makes what does not exist yet. Whoever calls leaves out what users and roles of the target's own are not to get: an
/// attempt that was cut off may have made some of the others, so that they exist says nothing here. Returns what could
/// not be made, in words.
pub(crate) async fn restore(
    cluster: &ConnectedCluster,
    wanted: &AccessControl,
    passwords: &[UserPassword],
) -> PortResult<Vec<String>> {
    let client = cluster.client.authorized_by_default(MetadataValue::from_static(ROOT_WITHOUT_PASSWORD));
    let databases: BTreeSet<_> = wanted.grants.iter().map(|grant| grant.database.clone()).collect();
    let databases: Vec<_> = databases.into_iter().collect();
    let Some(existing) = access::read(&client, &databases).await? else {
        let words = "users, roles and grants were not restored: the Milvus user registered for this cluster may not \
                     manage them";
        return Ok(vec![String::from(words)]);
    };
    let mut work = Work { client: &client, failures: Failures::default() };
    let users = work.users(cluster, wanted, passwords, &existing).await?;
    let roles = work.roles(wanted, &existing).await?;
    work.memberships(wanted, &existing, &users, &roles).await?;
    work.grants(wanted, &existing, &roles).await?;
    Ok(work.failures.into_words())
}

struct Work<'a> {
    client: &'a Client,
    failures: Failures,
}

impl Work<'_> {
    /// Makes users; returns all that exist then.
    async fn users(
        &mut self,
        cluster: &ConnectedCluster,
        wanted: &AccessControl,
        passwords: &[UserPassword],
        existing: &AccessControl,
    ) -> PortResult<BTreeSet<String>> {
        let mut users: BTreeSet<_> = existing.users.iter().cloned().collect();
        for user in wanted.users.iter().filter(|user| !existing.users.contains(user)) {
            let Some(given) = passwords.iter().find(|given| given.user == *user) else {
                let why = "no password was given, and Milvus does not tell the one that it had";
                self.failures.add(format!("user `{user}` was not made: {why}"));
                continue;
            };
            let password = cluster.secrets.reveal(&given.password)?;
            let request = CreateCredentialRequest {
                username: user.clone(),
                password: STANDARD.encode(password.expose()),
                ..Default::default()
            };
            let made = self.client.call(request).await.map_err(|mut error| {
                error.message = error.message.replace(password.expose(), "***");
                error
            });
            if self.note(&format!("user `{user}` was not made"), made)? {
                users.insert(user.clone());
            }
        }
        Ok(users)
    }

    /// Makes roles; returns all that exist then.
    async fn roles(
        &mut self,
        wanted: &AccessControl,
        existing: &AccessControl,
    ) -> PortResult<BTreeSet<String>> {
        let mut roles: BTreeSet<_> = existing.roles.iter().map(|role| role.name.clone()).collect();
        let named = wanted.roles.iter().map(|role| &role.name).chain(wanted.grants.iter().map(|g| &g.role));
        let missing: BTreeSet<_> = named.filter(|name| !roles.contains(*name)).cloned().collect();
        for name in missing {
            let request = CreateRoleRequest { entity: Some(role_entity(&name)), ..Default::default() };
            let made = self.client.call(request).await;
            if self.note(&format!("role `{name}` was not made"), made)? {
                roles.insert(name);
            }
        }
        Ok(roles)
    }

    /// Gives roles to users, where both exist: the failure to make one was told already.
    async fn memberships(
        &mut self,
        wanted: &AccessControl,
        existing: &AccessControl,
        users: &BTreeSet<String>,
        roles: &BTreeSet<String>,
    ) -> PortResult<()> {
        let members = |role: &RoleDescription| {
            let has = existing.roles.iter().find(|other| other.name == role.name);
            let has: BTreeSet<_> = has.into_iter().flat_map(|role| role.users.iter()).cloned().collect();
            let missing = role.users.iter().filter(move |user| users.contains(*user) && !has.contains(*user));
            let name = role.name.clone();
            missing.map(move |user| (name.clone(), user.clone())).collect::<Vec<_>>()
        };
        let missing = wanted.roles.iter().filter(|role| roles.contains(&role.name)).flat_map(members);
        for (role, user) in missing {
            let words = format!("role `{role}` was not given to user `{user}`");
            let request = OperateUserRoleRequest {
                username: user,
                role_name: role,
                r#type: OperateUserRoleType::AddUserToRole.into(),
                ..Default::default()
            };
            let given = self.client.call(request).await;
            self.note(&words, given)?;
        }
        Ok(())
    }

    /// Grants, side by side: a cluster may have thousands.
    async fn grants(
        &mut self,
        wanted: &AccessControl,
        existing: &AccessControl,
        roles: &BTreeSet<String>,
    ) -> PortResult<()> {
        let known: BTreeSet<_> = existing.grants.iter().map(identity).collect();
        let is_missing = |grant: &&Grant| roles.contains(&grant.role) && !known.contains(&identity(grant));
        let client = self.client;
        let calls: Vec<_> =
            wanted.grants.iter().filter(is_missing).map(|grant| make(client, grant)).collect();
        let made: Vec<_> = stream::iter(calls).buffered(CALLS_AT_ONCE).collect().await;
        for (words, result) in made {
            self.note(&words, result)?;
        }
        Ok(())
    }

    /// Keeps a refusal in words and returns false; a connection that does not work ends everything.
    fn note(&mut self, what: &str, result: CallResult<Status>) -> PortResult<bool> {
        match result {
            Ok(_) => Ok(true),
            Err(error) if ends_everything(&error) => Err(error.into()),
            Err(error) => {
                self.failures.add(format!("{what}: {}", error.message));
                Ok(false)
            }
        }
    }
}

fn ends_everything(error: &CallError) -> bool {
    matches!(error.fault, Fault::Unavailable | Fault::RateLimited | Fault::Unauthenticated)
}

/// What makes two grants the same; who granted does not.
fn identity(grant: &Grant) -> [&str; 5] {
    let Grant { role, object_type, object_name, database, privilege, grantor: _ } = grant;
    [role, database, object_type, object_name, privilege]
}

async fn make(client: &Client, grant: &Grant) -> (String, CallResult<Status>) {
    let Grant { role, object_type, object_name, database, privilege, grantor } = grant;
    let words = format!(
        "privilege `{privilege}` on {object_type} `{object_name}` in database `{database}` was not granted to role \
         `{role}`"
    );
    let entity = GrantEntity {
        role: Some(role_entity(role)),
        object: Some(ObjectEntity { name: object_type.clone() }),
        object_name: object_name.clone(),
        grantor: Some(GrantorEntity {
            user: Some(UserEntity { name: grantor.clone() }),
            privilege: Some(PrivilegeEntity { name: privilege.clone() }),
        }),
        db_name: database.clone(),
    };
    let request = OperatePrivilegeRequest {
        entity: Some(entity),
        r#type: OperatePrivilegeType::Grant.into(),
        ..Default::default()
    };
    (words, client.call(request).await)
}

fn role_entity(name: &str) -> RoleEntity {
    RoleEntity { name: name.to_owned(), ..Default::default() }
}

/// What could not be made; no more than a person reads.
#[derive(Default)]
struct Failures {
    words: Vec<String>,
    more: usize,
}

impl Failures {
    fn add(&mut self, words: String) {
        if self.words.len() < WORDS_MAX {
            self.words.push(words);
        } else {
            self.more += 1;
        }
    }

    fn into_words(self) -> Vec<String> {
        let more = (self.more > 0).then(|| format!("{} more could not be made", self.more));
        self.words.into_iter().chain(more).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_a_limit() {
        let mut failures = Failures::default();
        for number in 0..WORDS_MAX + 5 {
            failures.add(format!("grant {number}"));
        }
        let words = failures.into_words();
        assert_eq!(words.len(), WORDS_MAX + 1);
        assert_eq!(words.last().map(String::as_str), Some("5 more could not be made"));
    }
}
