//! Projects.

use super::{check_room, not_found, taken};
use crate::database::{Record, Statement, Transaction};
use crate::model::{id, time};
use milvault_domain::identity::{PROJECTS_MAX, Project};
use milvault_domain::ids::{OrganizationId, ProjectId};
use milvault_domain::ports::PortResult;

pub(crate) async fn insert(transaction: &mut dyn Transaction, project: &Project) -> PortResult<()> {
    let existing = Statement::new("SELECT id FROM projects WHERE organization_id = ")
        .bind(project.organization_id.to_string());
    check_room(transaction, existing, PROJECTS_MAX, "projects of the organization").await?;
    let columns = [
        ("id", project.id.to_string().into()),
        ("organization_id", project.organization_id.to_string().into()),
        ("name", project.name.as_str().into()),
        ("created_at_us", project.created_at.timestamp_micros().into()),
    ];
    transaction
        .execute(Statement::insert("projects", columns))
        .await
        .map_err(|error| taken("project", &project.name, error))?;
    Ok(())
}

pub(crate) async fn rename(
    transaction: &mut dyn Transaction,
    project_id: ProjectId,
    name: &str,
) -> PortResult<Project> {
    let update =
        Statement::update("projects", [("name", name.into())]).push("id = ").bind(project_id.to_string());
    transaction.execute(update).await.map_err(|error| taken("project", name, error))?;
    let select = Statement::new("SELECT * FROM projects WHERE id = ").bind(project_id.to_string());
    let mut rows = transaction.query(select).await?;
    rows.first_mut().map(read).transpose()?.ok_or_else(|| not_found("project", project_id))
}

/// All of an organization: [`PROJECTS_MAX`] at most.
pub(crate) fn list(organization_id: OrganizationId) -> Statement {
    Statement::new("SELECT * FROM projects WHERE organization_id = ")
        .bind(organization_id.to_string())
        .push(" ORDER BY name")
}

pub(crate) fn read(row: &mut Record) -> PortResult<Project> {
    Ok(Project {
        id: id(&row.text("id")?)?,
        organization_id: id(&row.text("organization_id")?)?,
        name: row.text("name")?,
        created_at: time(row.integer("created_at_us")?)?,
    })
}
