//! Users, roles and grants.

use crate::call::Call;
use crate::client::Client;
use crate::error::{CallResult, Fault};
use crate::listing::CALLS_AT_ONCE;
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::milvus::{AccessControl, Grant, RoleDescription};
use milvus::proto::milvus::{
    GrantEntity, ListCredUsersRequest, RoleEntity, SelectGrantRequest, SelectRoleRequest, SelectRoleResponse,
};

/// Times that everything is read when a role is dropped meanwhile.
const READINGS_MAX: usize = 3;

/// Reads them one list after the other: they are small and rarely change. `None` when the server refuses to tell
/// this user, or does not know the calls. With authentication off, 2.3.5 answers all the same.
pub(crate) async fn read(client: &Client, databases: &[String]) -> CallResult<Option<AccessControl>> {
    let mut readings = 1;
    loop {
        match read_once(client, databases).await {
            // Of a role that is gone 2.3.5 says so in words only.
            Err(error)
                if readings < READINGS_MAX
                    && matches!(error.fault, Fault::Other | Fault::NotFound | Fault::Nothing) =>
            {
                tracing::info!(%error, "users, roles and grants are read again");
                readings += 1;
            }
            other => return other,
        }
    }
}

async fn read_once(client: &Client, databases: &[String]) -> CallResult<Option<AccessControl>> {
    let request = ListCredUsersRequest::default();
    let Some(users) = unless_refused(client, request).await? else { return Ok(None) };
    let request = SelectRoleRequest { include_user_info: true, ..Default::default() };
    let Some(roles) = unless_refused(client, request).await? else { return Ok(None) };
    let mut roles = role_descriptions(roles);
    roles.sort_by(|a, b| a.name.cmp(&b.name));
    let of_databases = |role: &RoleDescription| {
        let role = role.name.clone();
        databases.iter().map(move |database| (role.clone(), database.clone()))
    };
    let questions: Vec<_> = roles.iter().flat_map(of_databases).collect();
    let answers = questions.into_iter().map(|(role, database)| grants_of(client, role, database));
    let answers: Vec<_> = stream::iter(answers).buffered(CALLS_AT_ONCE).try_collect().await?;
    let Some(grants) = answers.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
    let mut grants: Vec<_> = grants.into_iter().flatten().collect();
    // A grant for all databases is in the answer for each.
    grants.sort_by(|a, b| order(a).cmp(&order(b)));
    grants.dedup();
    let mut users = users.usernames;
    users.sort();
    Ok(Some(AccessControl { users, roles, grants }))
}

fn order(grant: &Grant) -> [&str; 6] {
    let Grant { role, object_type, object_name, database, privilege, grantor } = grant;
    [role, database, object_type, object_name, privilege, grantor]
}

async fn unless_refused<C: Call>(client: &Client, request: C) -> CallResult<Option<C::Answer>> {
    match client.call(request).await {
        Ok(answer) => Ok(Some(answer)),
        Err(error) if matches!(error.fault, Fault::PermissionDenied | Fault::Unimplemented) => {
            tracing::info!(%error, "users, roles and grants are left out of the backup");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn role_descriptions(answer: SelectRoleResponse) -> Vec<RoleDescription> {
    let roles = answer.results.into_iter().filter_map(|result| {
        let mut users: Vec<_> = result.users.into_iter().map(|user| user.name).collect();
        users.sort();
        Some(RoleDescription { name: result.role?.name, users })
    });
    roles.collect()
}

/// 2.3.5 answers for one role and one database at a time.
async fn grants_of(client: &Client, role: String, database: String) -> CallResult<Option<Vec<Grant>>> {
    let role_entity = RoleEntity { name: role.clone(), ..Default::default() };
    let entity = GrantEntity { role: Some(role_entity), db_name: database, ..Default::default() };
    let request = SelectGrantRequest { entity: Some(entity), ..Default::default() };
    let Some(answer) = unless_refused(client, request).await? else { return Ok(None) };
    Ok(Some(answer.entities.into_iter().map(|entity| grant(&role, entity)).collect()))
}

fn grant(role: &str, entity: GrantEntity) -> Grant {
    let grantor = entity.grantor.unwrap_or_default();
    Grant {
        role: role.to_owned(),
        object_type: entity.object.unwrap_or_default().name,
        object_name: entity.object_name,
        database: entity.db_name,
        privilege: grantor.privilege.unwrap_or_default().name,
        grantor: grantor.user.unwrap_or_default().name,
    }
}
