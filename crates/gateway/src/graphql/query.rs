//! Queries, by noun. Look-ups by id may be null in the schema, so that an error in one leaves the others of the same
//! request whole.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod catalog_backups;
pub(crate) mod cluster;
pub(crate) mod foreign;
pub(crate) mod identity;
pub(crate) mod job;
pub(crate) mod leases;
pub(crate) mod lifecycle;
pub(crate) mod node;
pub(crate) mod repository;
pub(crate) mod restore;
pub(crate) mod schedules;
pub(crate) mod sign_in;
pub(crate) mod usage;
pub(crate) mod viewer;
pub(crate) mod webhooks;

use super::access::ContextExt;
use super::scalar::parse_id;
use crate::error::GatewayError;
use async_graphql::{Context, ID};
use milvault_domain::access::Action;
use milvault_domain::error::{InvalidInput, NAME_CHARS_MAX};
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::Page;

/// The projects that a list may show: those that the caller sees, or the one of them that he asks for. A project
/// that he may not see gives an empty list, as one that does not exist.
///
/// # Errors
/// Nobody is asking, or the id is malformed.
fn listed_projects(context: &Context<'_>, wanted: Option<&ID>) -> Result<Vec<ProjectId>, GatewayError> {
    let mut projects = context.caller()?.projects(Action::View);
    if let Some(wanted) = wanted {
        let wanted: ProjectId = parse_id("filter.projectId", wanted)?;
        projects.retain(|project| *project == wanted);
    }
    Ok(projects)
}

/// Searches are bounded like the names they look for.
fn check_search(name_contains: Option<&str>) -> Result<(), GatewayError> {
    if name_contains.is_some_and(|text| text.chars().count() > NAME_CHARS_MAX) {
        let rule = format!("must have at most {NAME_CHARS_MAX} characters");
        return Err(InvalidInput::new("filter.nameContains", rule).into());
    }
    Ok(())
}

fn empty_page<T>() -> Page<T> {
    Page::empty()
}
