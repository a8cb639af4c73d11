//! The caller himself.

use crate::auth::Caller;
use crate::graphql::Backend;
use crate::graphql::scalar::print_id;
use async_graphql::{Enum, ID, SimpleObject};
use milvault_domain::access::{Role as DomainRole, RoleGrant as DomainGrant};

/// A role, in an organization or in one project.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "DomainRole")]
pub(crate) enum Role {
    /// Owns the organization: everything in all its projects.
    OrganizationOwner,
    /// Owns a project: everything in it.
    ProjectOwner,
    /// Works in a project: sees everything in it, makes no backups.
    ProjectReadWrite,
    /// Looks at a project.
    ProjectReadOnly,
}

/// A role with the place where it holds.
#[derive(SimpleObject)]
pub(crate) struct RoleGrant {
    /// The role.
    role: Role,
    /// The project; null for roles of the organization.
    project_id: Option<ID>,
}

/// Who is asking.
#[derive(SimpleObject)]
pub(crate) struct Viewer {
    /// The API key that came with the request (its record, not its secret).
    api_key_id: ID,
    /// Name of the key; it stands in `createdBy`.
    name: String,
    /// Organization of the key.
    organization_id: ID,
    /// Its roles.
    grants: Vec<RoleGrant>,
    /// Projects that it sees.
    project_ids: Vec<ID>,
}

impl Viewer {
    pub(crate) fn new(caller: &Caller, backend: &Backend) -> Self {
        let principal = &caller.principal;
        Self {
            api_key_id: print_id(principal.api_key_id),
            name: principal.name.clone(),
            organization_id: print_id(principal.organization_id),
            grants: principal.grants.iter().map(Into::into).collect(),
            project_ids: caller
                .projects(milvault_domain::access::Action::View, backend)
                .into_iter()
                .map(print_id)
                .collect(),
        }
    }
}

impl From<&DomainGrant> for RoleGrant {
    fn from(grant: &DomainGrant) -> Self {
        Self { role: grant.role.into(), project_id: grant.project_id.map(print_id) }
    }
}
