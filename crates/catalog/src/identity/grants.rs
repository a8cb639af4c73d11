//! Roles of users and service keys as rows.

use crate::database::{Record, Statement};
use crate::model::{Spelled, from_json, id, spelled};
use milvault_domain::access::{AssignedRole, Assignment, Privilege};
use milvault_domain::ports::PortResult;

/// What `role` holds where `custom_role_id` says which.
const CUSTOM: &str = "CUSTOM";

/// Whose grants.
#[derive(Clone, Copy)]
pub(crate) enum Holder {
    User,
    Key,
}

pub(crate) fn insert(holder: Holder, holder_id: &str, ordinal: i64, assignment: &Assignment) -> Statement {
    let (table, column) = match holder {
        Holder::User => ("user_grants", "user_id"),
        Holder::Key => ("api_key_grants", "api_key_id"),
    };
    let (role, custom_role_id) = match assignment.role {
        AssignedRole::Predefined(role) => (role.spelling(), None),
        AssignedRole::Custom(custom_role_id) => (CUSTOM, Some(custom_role_id.to_string())),
    };
    Statement::insert(
        table,
        [
            (column, holder_id.into()),
            ("ordinal", ordinal.into()),
            ("role", role.into()),
            ("project_id", assignment.project_id.map(|id| id.to_string()).into()),
            ("custom_role_id", custom_role_id.into()),
        ],
    )
}

/// Reads the grant in a row of a join; `None` for a holder without any.
pub(crate) fn read(row: &mut Record) -> PortResult<Option<Assignment>> {
    let Some(role) = row.optional_text("grant_role")? else { return Ok(None) };
    let role = match row.optional_text("grant_custom_role_id")? {
        Some(custom_role_id) => AssignedRole::Custom(id(&custom_role_id)?),
        None => AssignedRole::Predefined(spelled(&role)?),
    };
    let project_id = row.optional_text("grant_project_id")?.map(|text| id(&text)).transpose()?;
    Ok(Some(Assignment { role, project_id }))
}

/// Reads the privileges of a custom role.
pub(crate) fn read_privileges(text: &str) -> PortResult<Vec<Privilege>> {
    from_json(text)
}
