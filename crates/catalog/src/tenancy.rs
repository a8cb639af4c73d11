//! Organizations, projects and API keys.

use crate::database::{Record, Statement, Transaction};
use crate::identity::grants::read_privileges;
use crate::model::{Spelled, id, optional_microseconds, optional_time, spelled, time};
use milvault_domain::access::{ApiKey, KeyUser, Role, RoleGrant};
use milvault_domain::ports::{PortResult, Tenancy};

pub(crate) async fn ensure(
    transaction: &mut dyn Transaction,
    tenancy: &Tenancy,
    owner_key: &ApiKey,
) -> PortResult<(Tenancy, bool)> {
    let existing = transaction
        .query(Statement::new(
            "SELECT organizations.id AS organization_id, organizations.name AS organization_name, \
             projects.id AS project_id, projects.name AS project_name \
             FROM organizations JOIN projects ON projects.organization_id = organizations.id \
             ORDER BY projects.created_at_us, projects.id LIMIT 1",
        ))
        .await?;
    if let Some(mut row) = existing.into_iter().next() {
        let found = Tenancy {
            organization_id: id(&row.text("organization_id")?)?,
            organization_name: row.text("organization_name")?,
            project_id: id(&row.text("project_id")?)?,
            project_name: row.text("project_name")?,
        };
        return Ok((found, false));
    }
    let created_at = owner_key.created_at.timestamp_micros();
    transaction
        .execute(Statement::insert(
            "organizations",
            [
                ("id", tenancy.organization_id.to_string().into()),
                ("name", tenancy.organization_name.as_str().into()),
                ("created_at_us", created_at.into()),
            ],
        ))
        .await?;
    transaction
        .execute(Statement::insert(
            "projects",
            [
                ("id", tenancy.project_id.to_string().into()),
                ("organization_id", tenancy.organization_id.to_string().into()),
                ("name", tenancy.project_name.as_str().into()),
                ("created_at_us", created_at.into()),
            ],
        ))
        .await?;
    insert_key(transaction, owner_key).await?;
    Ok((tenancy.clone(), true))
}

pub(crate) async fn insert_key(transaction: &mut dyn Transaction, key: &ApiKey) -> PortResult<()> {
    transaction
        .execute(Statement::insert(
            "api_keys",
            [
                ("id", key.id.to_string().into()),
                ("organization_id", key.organization_id.to_string().into()),
                ("name", key.name.as_str().into()),
                ("secret_hash", key.secret_hash.as_slice().into()),
                ("created_at_us", key.created_at.timestamp_micros().into()),
                ("expires_at_us", optional_microseconds(key.expires_at).into()),
                ("revoked_at_us", optional_microseconds(key.revoked_at).into()),
            ],
        ))
        .await?;
    for (ordinal, grant) in (0_i64..).zip(&key.grants) {
        transaction
            .execute(Statement::insert(
                "api_key_grants",
                [
                    ("api_key_id", key.id.to_string().into()),
                    ("ordinal", ordinal.into()),
                    ("role", grant.role.spelling().into()),
                    ("project_id", grant.project_id.map(|id| id.to_string()).into()),
                ],
            ))
            .await?;
    }
    Ok(())
}

/// One row per grant, and one with nulls for a key without grants: read in one statement, so that key, user, grants and
/// custom roles fit. A key has grants of its own or a user that has them, never both.
pub(crate) fn select_key(secret_hash: &[u8; 32]) -> Statement {
    Statement::new(
        "SELECT api_keys.*, users.name AS user_name, users.disabled_at_us, \
         COALESCE(of_key.role, of_user.role) AS role, \
         COALESCE(of_key.project_id, of_user.project_id) AS project_id, \
         COALESCE(of_key.ordinal, of_user.ordinal) AS ordinal, custom_roles.privileges \
         FROM api_keys LEFT JOIN users ON users.id = api_keys.user_id \
         LEFT JOIN api_key_grants AS of_key ON of_key.api_key_id = api_keys.id \
         LEFT JOIN user_grants AS of_user ON of_user.user_id = api_keys.user_id \
         LEFT JOIN custom_roles ON custom_roles.id = COALESCE(of_key.custom_role_id, of_user.custom_role_id) \
         WHERE api_keys.secret_hash = ",
    )
    .bind(secret_hash.as_slice())
}

pub(crate) fn read_key(rows: Vec<Record>) -> PortResult<Option<ApiKey>> {
    let mut key: Option<ApiKey> = None;
    let mut grants = Vec::new();
    for mut row in rows {
        if let Some(grant) = read_grant(&mut row)? {
            grants.push((row.integer("ordinal")?, grant));
        }
        if key.is_none() {
            key = Some(ApiKey {
                id: id(&row.text("id")?)?,
                organization_id: id(&row.text("organization_id")?)?,
                name: row.text("name")?,
                secret_hash: row.hash("secret_hash")?,
                user: read_user(&mut row)?,
                grants: Vec::new(),
                created_at: time(row.integer("created_at_us")?)?,
                expires_at: optional_time(row.optional_integer("expires_at_us")?)?,
                revoked_at: optional_time(row.optional_integer("revoked_at_us")?)?,
            });
        }
    }
    grants.sort_by_key(|(ordinal, _)| *ordinal);
    if let Some(key) = &mut key {
        key.grants = grants.into_iter().map(|(_, grant)| grant).collect();
    }
    Ok(key)
}

fn read_user(row: &mut Record) -> PortResult<Option<KeyUser>> {
    let Some(user_id) = row.optional_text("user_id")? else { return Ok(None) };
    Ok(Some(KeyUser {
        id: id(&user_id)?,
        name: row.text("user_name")?,
        is_disabled: row.optional_integer("disabled_at_us")?.is_some(),
    }))
}

/// A grant as it is now: a custom role is what its privileges amount to.
pub(crate) fn read_grant(row: &mut Record) -> PortResult<Option<RoleGrant>> {
    let project_id = row.optional_text("project_id")?.map(|text| id(&text)).transpose()?;
    let role: Option<Role> = match (row.optional_text("role")?, row.optional_text("privileges")?) {
        (None, _) => None,
        (Some(_), Some(privileges)) => read_privileges(&privileges)?.into_iter().max().map(Role::from),
        (Some(role), None) => Some(spelled(&role)?),
    };
    Ok(role.map(|role| RoleGrant { role, project_id }))
}
