//! Users and their roles.

use super::grants::{self, Holder};
use super::{check_room, not_found, owners, taken};
use crate::database::{Record, Statement, Transaction};
use crate::model::{folded, id, optional_microseconds, optional_time, time};
use crate::page::ListQuery;
use crate::sign_in;
use chrono::{DateTime, Utc};
use milvault_domain::access::{AssignedRole, Assignment};
use milvault_domain::identity::{USERS_MAX, User, UserPatch};
use milvault_domain::ids::{OrganizationId, ProjectId, UserId};
use milvault_domain::ports::{PageRequest, PortError, PortErrorKind, PortResult, UserFilter};

/// One row per role, and one with nulls for a user without any.
const SELECT: &str = "SELECT users.*, grants.ordinal AS grant_ordinal, grants.role AS grant_role, \
    grants.custom_role_id AS grant_custom_role_id, grants.project_id AS grant_project_id \
    FROM (SELECT * FROM users WHERE ";
const WITH_ROLES: &str = ") AS users LEFT JOIN user_grants AS grants ON grants.user_id = users.id \
    ORDER BY users.created_at_us DESC, users.id DESC, grants.ordinal";

pub(crate) async fn insert(transaction: &mut dyn Transaction, user: &User) -> PortResult<()> {
    let existing = Statement::new("SELECT id FROM users WHERE organization_id = ")
        .bind(user.organization_id.to_string());
    check_room(transaction, existing, USERS_MAX, "users of the organization").await?;
    let columns = [
        ("id", user.id.to_string().into()),
        ("organization_id", user.organization_id.to_string().into()),
        ("name", user.name.as_str().into()),
        ("email", user.email.as_str().into()),
        ("email_folded", folded(&user.email).into()),
        ("disabled_at_us", optional_microseconds(user.disabled_at).into()),
        ("created_at_us", user.created_at.timestamp_micros().into()),
    ];
    transaction
        .execute(Statement::insert("users", columns))
        .await
        .map_err(|error| taken("user with the address", &user.email, error))?;
    for (ordinal, assignment) in (0_i64..).zip(&user.assignments) {
        transaction.execute(grants::insert(Holder::User, &user.id.to_string(), ordinal, assignment)).await?;
    }
    Ok(())
}

pub(crate) async fn update(
    transaction: &mut dyn Transaction,
    user_id: UserId,
    patch: &UserPatch,
    now: DateTime<Utc>,
) -> PortResult<User> {
    let current = load(transaction, user_id).await?;
    let owner_existed = owners::exist(transaction, current.organization_id, now).await?;
    let changed = patch.applied_to(current, now);
    let columns = [
        ("name", changed.name.as_str().into()),
        ("email", changed.email.as_str().into()),
        ("email_folded", folded(&changed.email).into()),
        ("disabled_at_us", optional_microseconds(changed.disabled_at).into()),
    ];
    transaction
        .execute(Statement::update("users", columns).push("id = ").bind(user_id.to_string()))
        .await
        .map_err(|error| taken("user with the address", &changed.email, error))?;
    if changed.disabled_at.is_some() {
        transaction.execute(sign_in::end_of_user(user_id, now)).await?;
    }
    owners::check_kept(transaction, changed.organization_id, owner_existed, now).await?;
    Ok(changed)
}

pub(crate) async fn set_roles(
    transaction: &mut dyn Transaction,
    user_id: UserId,
    project_id: Option<ProjectId>,
    roles: &[AssignedRole],
    now: DateTime<Utc>,
) -> PortResult<User> {
    let current = load(transaction, user_id).await?;
    let kept = current.assignments.iter().filter(|assignment| assignment.project_id != project_id).count();
    if Assignment::PER_HOLDER_MAX < kept + roles.len() {
        let rule = format!("a user may have {} roles", Assignment::PER_HOLDER_MAX);
        return Err(PortError::new(PortErrorKind::Conflict, rule));
    }
    let owner_existed = owners::exist(transaction, current.organization_id, now).await?;
    let delete = Statement::new("DELETE FROM user_grants WHERE user_id = ").bind(user_id.to_string());
    let delete = match project_id {
        Some(project_id) => delete.push(" AND project_id = ").bind(project_id.to_string()),
        None => delete.push(" AND project_id IS NULL"),
    };
    transaction.execute(delete).await?;
    let last = Statement::new("SELECT ordinal FROM user_grants WHERE user_id = ")
        .bind(user_id.to_string())
        .push(" ORDER BY ordinal DESC LIMIT 1");
    let last = transaction.query(last).await?.first_mut().map(|row| row.integer("ordinal")).transpose()?;
    for (ordinal, role) in (last.map_or(0, |last| last + 1)..).zip(roles) {
        let assignment = Assignment { role: *role, project_id };
        transaction.execute(grants::insert(Holder::User, &user_id.to_string(), ordinal, &assignment)).await?;
    }
    owners::check_kept(transaction, current.organization_id, owner_existed, now).await?;
    load(transaction, user_id).await
}

async fn load(transaction: &mut dyn Transaction, user_id: UserId) -> PortResult<User> {
    let rows = transaction.query(select(user_id)).await?;
    read_all(rows)?.into_iter().next().ok_or_else(|| not_found("user", user_id))
}

pub(crate) fn select(user_id: UserId) -> Statement {
    Statement::new(SELECT).push("id = ").bind(user_id.to_string()).push(WITH_ROLES)
}

pub(crate) fn select_by_email(organization_id: OrganizationId, email: &str) -> Statement {
    Statement::new(SELECT)
        .push("organization_id = ")
        .bind(organization_id.to_string())
        .push(" AND email_folded = ")
        .bind(folded(email))
        .push(WITH_ROLES)
}

pub(crate) fn list(filter: &UserFilter, page: PageRequest) -> PortResult<Option<Statement>> {
    let users = Statement::new(SELECT).push("organization_id = ").bind(filter.organization_id.to_string());
    let users = match filter.project_id {
        Some(project_id) => users
            .push(" AND id IN (SELECT user_id FROM user_grants WHERE project_id = ")
            .bind(project_id.to_string())
            .push(")"),
        None => users,
    };
    let page = ListQuery::of(users, UserId::PREFIX).page(page)?;
    Ok(page.map(|statement| statement.push(WITH_ROLES)))
}

/// Reads users of rows that stand together, in their order.
pub(crate) fn read_all(rows: Vec<Record>) -> PortResult<Vec<User>> {
    let mut users: Vec<User> = Vec::new();
    for mut row in rows {
        let user_id: UserId = id(&row.text("id")?)?;
        let assignment = grants::read(&mut row)?;
        match users.last_mut().filter(|user| user.id == user_id) {
            Some(user) => user.assignments.extend(assignment),
            None => users.push(User {
                id: user_id,
                organization_id: id(&row.text("organization_id")?)?,
                name: row.text("name")?,
                email: row.text("email")?,
                disabled_at: optional_time(row.optional_integer("disabled_at_us")?)?,
                created_at: time(row.integer("created_at_us")?)?,
                assignments: assignment.into_iter().collect(),
            }),
        }
    }
    Ok(users)
}
