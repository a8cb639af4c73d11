//! The rule that an organization keeps an owner who can come in.

use crate::database::{Statement, Transaction};
use chrono::{DateTime, Utc};
use milvault_domain::ids::OrganizationId;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};

/// A key that lets an owner in at this moment, twice: one that is a service key, one that belongs to a user.
pub(crate) fn select_owners(organization_id: OrganizationId, now: DateTime<Utc>) -> [Statement; 2] {
    let service_keys = "SELECT api_keys.id FROM api_key_grants AS owners \
        JOIN api_keys ON api_keys.id = owners.api_key_id \
        WHERE owners.role = 'ORGANIZATION_OWNER' AND owners.project_id IS NULL";
    let personal_keys = "SELECT api_keys.id FROM user_grants AS owners \
        JOIN users ON users.id = owners.user_id JOIN api_keys ON api_keys.user_id = users.id \
        WHERE owners.role = 'ORGANIZATION_OWNER' AND owners.project_id IS NULL AND users.disabled_at_us IS NULL";
    [service_keys, personal_keys].map(|select| {
        Statement::new(select)
            .push(" AND api_keys.organization_id = ")
            .bind(organization_id.to_string())
            .push(" AND api_keys.revoked_at_us IS NULL AND (api_keys.expires_at_us IS NULL OR api_keys.expires_at_us > ")
            .bind(now.timestamp_micros())
            .push(") LIMIT 1")
    })
}

/// Whether somebody can come in as an owner.
pub(crate) async fn exist(
    transaction: &mut dyn Transaction,
    organization_id: OrganizationId,
    now: DateTime<Utc>,
) -> PortResult<bool> {
    for statement in select_owners(organization_id, now) {
        if !transaction.query(statement).await?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses a change that took the last owner away. `existed` is what [`exist`] said before it.
pub(crate) async fn check_kept(
    transaction: &mut dyn Transaction,
    organization_id: OrganizationId,
    existed: bool,
    now: DateTime<Utc>,
) -> PortResult<()> {
    if !existed || exist(transaction, organization_id, now).await? {
        return Ok(());
    }
    Err(PortError::new(
        PortErrorKind::Conflict,
        "nobody could come in as an owner of the organization any more; give another user or service key the role \
         ORGANIZATION_OWNER, with a valid key, first",
    ))
}
