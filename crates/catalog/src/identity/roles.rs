//! Custom roles.

use super::grants::read_privileges;
use super::{check_room, taken};
use crate::database::{Record, Statement, Transaction};
use crate::model::{id, to_json};
use milvault_domain::access::CustomRole;
use milvault_domain::identity::CUSTOM_ROLES_MAX;
use milvault_domain::ids::{CustomRoleId, OrganizationId};
use milvault_domain::ports::PortResult;

pub(crate) async fn insert(transaction: &mut dyn Transaction, role: &CustomRole) -> PortResult<()> {
    let existing = Statement::new("SELECT id FROM custom_roles WHERE organization_id = ")
        .bind(role.organization_id.to_string());
    check_room(transaction, existing, CUSTOM_ROLES_MAX, "custom roles of the organization").await?;
    let columns = [
        ("id", role.id.to_string().into()),
        ("organization_id", role.organization_id.to_string().into()),
        ("name", role.name.as_str().into()),
        ("privileges", to_json(&role.privileges)?.into()),
    ];
    transaction
        .execute(Statement::insert("custom_roles", columns))
        .await
        .map_err(|error| taken("custom role", &role.name, error))?;
    Ok(())
}

/// Its grants go with it.
pub(crate) fn delete(custom_role_id: CustomRoleId) -> Statement {
    Statement::new("DELETE FROM custom_roles WHERE id = ").bind(custom_role_id.to_string())
}

/// All of an organization: [`CUSTOM_ROLES_MAX`] at most.
pub(crate) fn list(organization_id: OrganizationId) -> Statement {
    Statement::new("SELECT * FROM custom_roles WHERE organization_id = ")
        .bind(organization_id.to_string())
        .push(" ORDER BY name")
}

pub(crate) fn read(row: &mut Record) -> PortResult<CustomRole> {
    Ok(CustomRole {
        id: id(&row.text("id")?)?,
        organization_id: id(&row.text("organization_id")?)?,
        name: row.text("name")?,
        privileges: read_privileges(&row.text("privileges")?)?,
    })
}
