//! The caller himself.

use super::identity::Project;
use crate::auth::Caller;
use crate::graphql::scalar::print_id;
use async_graphql::{Enum, ID, SimpleObject};
use milvault_domain::access::{Credential, Role as DomainRole, RoleGrant as DomainGrant};

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

/// How a caller has proven who he is.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SignedInBy {
    /// By an API key.
    ApiKey,
    /// By a session: he signed in by the identity provider.
    Session,
}

/// Who is asking.
#[derive(SimpleObject)]
pub(crate) struct Viewer {
    /// How the caller has proven who he is.
    signed_in_by: SignedInBy,
    /// The API key that came with the request (its record, not its secret); null for a session.
    api_key_id: Option<ID>,
    /// The session that came with the request; null for an API key.
    session_id: Option<ID>,
    /// The user whose personal key or session it is; null for a service key.
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
            signed_in_by: match principal.credential {
                Credential::ApiKey(_) => SignedInBy::ApiKey,
                Credential::Session(_) => SignedInBy::Session,
            },
            api_key_id: principal.credential.api_key_id().map(print_id),
            session_id: principal.credential.session_id().map(print_id),
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
