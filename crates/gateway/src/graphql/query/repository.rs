//! Repositories.

use super::{empty_page, listed_projects};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::repository::Repository;
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object};
use milvault_domain::access::Action;
use milvault_domain::ports::{RepositoryFilter, SortKey};

/// Queries about repositories.
#[derive(Default)]
pub(crate) struct RepositoryQuery;

/// Which repositories to list. Conditions that are absent leave nothing out.
#[derive(InputObject, Default)]
#[graphql(name = "RepositoryFilter")]
pub(crate) struct RepositoryFilterInput {
    /// Only of this project.
    project_id: Option<ID>,
}

#[Object]
impl RepositoryQuery {
    /// A repository.
    async fn repository(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the repository.")] id: ID,
    ) -> Result<Option<Repository>, GatewayError> {
        context.caller()?;
        let record = access::repository(context, Action::View, parse_id("id", &id)?).await?;
        Ok(Some(record.into()))
    }

    /// Repositories, newest first.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn repositories(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which repositories.")] filter: Option<RepositoryFilterInput>,
        #[graphql(desc = "Repositories wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<Repository>, GatewayError> {
        let backend = context.backend()?;
        let filter = filter.unwrap_or_default();
        let projects = listed_projects(context, filter.project_id.as_ref())?;
        let request = page::page_request(first, after.as_deref())?;
        let found = if projects.is_empty() {
            empty_page()
        } else {
            let filter = RepositoryFilter { project_ids: Some(projects) };
            backend.catalog.repositories(&filter, request).await?
        };
        let sort_key = |record: &milvault_domain::repository::Repository| SortKey {
            created_at: record.created_at,
            id: record.id.as_uuid(),
        };
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }
}
