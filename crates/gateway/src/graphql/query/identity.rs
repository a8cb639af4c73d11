//! Projects, users, custom roles and API keys.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::identity::{ApiKey, CustomRole, Project, User};
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object};
use milvault_domain::access::Decision;
use milvault_domain::identity::{KeyRecord, User as UserRecord};
use milvault_domain::ids::{ProjectId, UserId};
use milvault_domain::ports::{KeyFilter, SortKey, UserFilter};

/// Queries about who may do what.
#[derive(Default)]
pub(crate) struct IdentityQuery;

/// Which users to list.
#[derive(InputObject, Default)]
#[graphql(name = "UserFilter")]
pub(crate) struct UserFilterInput {
    /// Only those with a role in this project. An owner of a project, who does not own the organization, must name it.
    project_id: Option<ID>,
}

/// Which API keys to list.
#[derive(InputObject, Default)]
#[graphql(name = "ApiKeyFilter")]
pub(crate) struct ApiKeyFilterInput {
    /// Only personal keys of this user.
    user_id: Option<ID>,
}

#[Object]
impl IdentityQuery {
    /// Projects that the caller sees, by name; 100 at most.
    #[allow(clippy::unused_async, reason = "the macro asks for async resolvers")]
    async fn projects(&self, context: &Context<'_>) -> Result<Vec<Project>, GatewayError> {
        Ok(context.caller()?.visible_projects().into_iter().map(Into::into).collect())
    }

    /// Users, newest first: for owners of the organization, and for owners of a project those who have a role in it.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn users(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which users.")] filter: Option<UserFilterInput>,
        #[graphql(desc = "Users wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<User>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let project_id: Option<ProjectId> = filter
            .and_then(|filter| filter.project_id)
            .map(|id| parse_id("filter.projectId", &id))
            .transpose()?;
        caller.permit_assigning(project_id)?;
        let request = page::page_request(first, after.as_deref())?;
        let filter = UserFilter { organization_id: caller.principal.organization_id, project_id };
        let found = backend.catalog.users(&filter, request).await?;
        let sort_key =
            |record: &UserRecord| SortKey { created_at: record.created_at, id: record.id.as_uuid() };
        let view = |record| {
            User::seen(record, |role| caller.principal.may_assign(role.project_id) == Decision::Allowed)
        };
        Ok(page::connection(found, request.after, sort_key, view))
    }

    /// API keys, newest first, revoked and expired ones too: for owners of the organization all, for everybody else his
    /// personal ones.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn api_keys(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which keys.")] filter: Option<ApiKeyFilterInput>,
        #[graphql(desc = "Keys wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<ApiKey>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        let wanted: Option<UserId> =
            filter.and_then(|filter| filter.user_id).map(|id| parse_id("filter.userId", &id)).transpose()?;
        let request = page::page_request(first, after.as_deref())?;
        let own = caller.principal.user_id;
        let sees_any = caller.manages_organization();
        let user_id = if sees_any { wanted } else { own };
        let nothing = !sees_any && (own.is_none() || wanted.is_some_and(|wanted| Some(wanted) != own));
        let found = if nothing {
            super::empty_page()
        } else {
            let filter = KeyFilter { organization_id: caller.principal.organization_id, user_id };
            backend.catalog.keys(&filter, request).await?
        };
        let sort_key =
            |record: &KeyRecord| SortKey { created_at: record.created_at, id: record.id.as_uuid() };
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }

    /// Custom roles of the organization, by name; 100 at most. For those who may give roles somewhere.
    async fn custom_roles(&self, context: &Context<'_>) -> Result<Vec<CustomRole>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        if !caller.principal.assigns_somewhere() {
            caller.permit_managing_organization()?;
        }
        let found = backend.catalog.custom_roles(caller.principal.organization_id).await?;
        Ok(found.into_iter().map(Into::into).collect())
    }
}
