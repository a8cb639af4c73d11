//! The caller himself.

use super::identity::Project;
use crate::auth::Caller;
use crate::graphql::scalar::print_id;
use async_graphql::{Enum, ID, SimpleObject};
use milvault_domain::access::{Role as DomainRole, RoleGrant as DomainGrant};

/// A role, in an organization or in one project.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
#[graphql(remote = "DomainRole")]
pub(crate) enum Role {
    /// Owns the organization: everything in all its projects.
    OrganizationOwner,
    /// Belongs to the organization; sees only the projects in which it has a role.
    OrganizationMember,
    /// Sees what the organization uses; sees only the projects in which it has a role.
    BillingAdmin,
    /// Owns a project: everything in it.
    ProjectOwner,
    /// Works in a project: sees everything in it, makes no backups.
    ProjectReadWrite,
    /// Looks at a project.
    ProjectReadOnly,
    /// A custom role with the privilege `backup:view`.
    CustomBackupView,
    /// A custom role with the privilege `backup:manage`.
    CustomBackupManage,
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
    /// The user whose personal key it is; null for a service key.
    user_id: Option<ID>,
    /// Name of the user, or of the service key; it stands in `createdBy`.
    name: String,
    /// Organization of the key.
    organization_id: ID,
    /// Its roles.
    grants: Vec<RoleGrant>,
    /// Projects that it sees.
    project_ids: Vec<ID>,
    /// The same with their names.
    projects: Vec<Project>,
}

impl Viewer {
    pub(crate) fn new(caller: &Caller) -> Self {
        let principal = &caller.principal;
        let projects = caller.visible_projects();
        Self {
            api_key_id: print_id(principal.api_key_id),
            user_id: principal.user_id.map(print_id),
            name: principal.name.clone(),
            organization_id: print_id(principal.organization_id),
            grants: principal.grants.iter().map(Into::into).collect(),
            project_ids: projects.iter().map(|project| print_id(project.id)).collect(),
            projects: projects.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<&DomainGrant> for RoleGrant {
    fn from(grant: &DomainGrant) -> Self {
        Self { role: grant.role.into(), project_id: grant.project_id.map(print_id) }
    }
}
