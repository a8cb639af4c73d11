//! Records of API keys. Their hashes are written here and never read: a key is found by it (`tenancy`).

use super::grants::{self, Holder};
use super::{check_room, not_found, owners};
use crate::database::{Record, Statement, Transaction};
use crate::model::{id, optional_microseconds, optional_time, time};
use crate::page::ListQuery;
use chrono::{DateTime, Utc};
use milvault_domain::identity::{KeyRecord, LIVE_KEYS_MAX, PERSONAL_KEYS_MAX};
use milvault_domain::ids::ApiKeyId;
use milvault_domain::ports::{KeyFilter, PageRequest, PortResult};

/// One row per role, and one with nulls for a key without any.
const SELECT: &str = "SELECT keys.*, grants.ordinal AS grant_ordinal, grants.role AS grant_role, \
    grants.custom_role_id AS grant_custom_role_id, grants.project_id AS grant_project_id \
    FROM (SELECT * FROM api_keys WHERE ";
const WITH_ROLES: &str = ") AS keys LEFT JOIN api_key_grants AS grants ON grants.api_key_id = keys.id \
    ORDER BY keys.created_at_us DESC, keys.id DESC, grants.ordinal";

pub(crate) async fn insert(
    transaction: &mut dyn Transaction,
    key: &KeyRecord,
    secret_hash: &[u8; 32],
) -> PortResult<()> {
    let now = key.created_at;
    let live = live_keys(now, "organization_id", key.organization_id.to_string());
    check_room(transaction, live, LIVE_KEYS_MAX, "valid API keys of the organization").await?;
    if let Some(user_id) = key.user_id {
        // Everybody makes his own, and must not take the places of all others.
        let live = live_keys(now, "user_id", user_id.to_string());
        check_room(transaction, live, PERSONAL_KEYS_MAX, "valid API keys of this user").await?;
    }
    let columns = [
        ("id", key.id.to_string().into()),
        ("organization_id", key.organization_id.to_string().into()),
        ("name", key.name.as_str().into()),
        ("secret_hash", secret_hash.as_slice().into()),
        ("created_at_us", key.created_at.timestamp_micros().into()),
        ("expires_at_us", optional_microseconds(key.expires_at).into()),
        ("revoked_at_us", optional_microseconds(key.revoked_at).into()),
        ("user_id", key.user_id.map(|id| id.to_string()).into()),
    ];
    transaction.execute(Statement::insert("api_keys", columns)).await?;
    for (ordinal, assignment) in (0_i64..).zip(&key.assignments) {
        transaction.execute(grants::insert(Holder::Key, &key.id.to_string(), ordinal, assignment)).await?;
    }
    Ok(())
}

/// Keys that are neither revoked nor over.
fn live_keys(now: DateTime<Utc>, holder_column: &'static str, holder: String) -> Statement {
    Statement::new(
        "SELECT id FROM api_keys WHERE revoked_at_us IS NULL AND (expires_at_us IS NULL OR expires_at_us > ",
    )
    .bind(now.timestamp_micros())
    .push(") AND ")
    .push(holder_column)
    .push(" = ")
    .bind(holder)
}

pub(crate) async fn revoke(
    transaction: &mut dyn Transaction,
    api_key_id: ApiKeyId,
    now: DateTime<Utc>,
) -> PortResult<KeyRecord> {
    let current = load(transaction, api_key_id).await?;
    let owner_existed = owners::exist(transaction, current.organization_id, now).await?;
    let revoke = Statement::update("api_keys", [("revoked_at_us", now.timestamp_micros().into())])
        .push("revoked_at_us IS NULL AND id = ")
        .bind(api_key_id.to_string());
    transaction.execute(revoke).await?;
    owners::check_kept(transaction, current.organization_id, owner_existed, now).await?;
    load(transaction, api_key_id).await
}

async fn load(transaction: &mut dyn Transaction, api_key_id: ApiKeyId) -> PortResult<KeyRecord> {
    let rows = transaction.query(select(api_key_id)).await?;
    read_all(rows)?.into_iter().next().ok_or_else(|| not_found("API key", api_key_id))
}

pub(crate) fn select(api_key_id: ApiKeyId) -> Statement {
    Statement::new(SELECT).push("id = ").bind(api_key_id.to_string()).push(WITH_ROLES)
}

pub(crate) fn list(filter: &KeyFilter, page: PageRequest) -> PortResult<Option<Statement>> {
    let keys = match filter.user_id {
        Some(user_id) => Statement::new(SELECT).push("user_id = ").bind(user_id.to_string()),
        None => Statement::new(SELECT).push("organization_id = ").bind(filter.organization_id.to_string()),
    };
    let page = ListQuery::of(keys, ApiKeyId::PREFIX).page(page)?;
    Ok(page.map(|statement| statement.push(WITH_ROLES)))
}

/// The latest use stays, whatever the order of batches.
pub(crate) fn note_use(api_key_id: ApiKeyId, used_at: DateTime<Utc>) -> Statement {
    let used_at = used_at.timestamp_micros();
    Statement::update("api_keys", [("last_used_at_us", used_at.into())])
        .push("id = ")
        .bind(api_key_id.to_string())
        .push(" AND (last_used_at_us IS NULL OR last_used_at_us < ")
        .bind(used_at)
        .push(")")
}

/// Reads keys of rows that stand together, in their order.
pub(crate) fn read_all(rows: Vec<Record>) -> PortResult<Vec<KeyRecord>> {
    let mut keys: Vec<KeyRecord> = Vec::new();
    for mut row in rows {
        let api_key_id: ApiKeyId = id(&row.text("id")?)?;
        let assignment = grants::read(&mut row)?;
        match keys.last_mut().filter(|key| key.id == api_key_id) {
            Some(key) => key.assignments.extend(assignment),
            None => keys.push(KeyRecord {
                id: api_key_id,
                organization_id: id(&row.text("organization_id")?)?,
                name: row.text("name")?,
                user_id: row.optional_text("user_id")?.map(|text| id(&text)).transpose()?,
                assignments: assignment.into_iter().collect(),
                created_at: time(row.integer("created_at_us")?)?,
                expires_at: optional_time(row.optional_integer("expires_at_us")?)?,
                revoked_at: optional_time(row.optional_integer("revoked_at_us")?)?,
                last_used_at: optional_time(row.optional_integer("last_used_at_us")?)?,
            }),
        }
    }
    Ok(keys)
}
