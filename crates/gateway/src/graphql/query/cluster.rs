//! Clusters.

use super::{check_search, empty_page, listed_projects};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::cluster::Cluster;
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, InputObject, Object};
use milvault_domain::access::Action;
use milvault_domain::ports::{ClusterFilter, SortKey};

/// Queries about clusters.
#[derive(Default)]
pub(crate) struct ClusterQuery;

/// Which clusters to list. Conditions that are absent leave nothing out.
#[derive(InputObject, Default)]
#[graphql(name = "ClusterFilter")]
pub(crate) struct ClusterFilterInput {
    /// Only of this project.
    project_id: Option<ID>,
    /// Only whose name contains this, without regard to case.
    name_contains: Option<String>,
}

#[Object]
impl ClusterQuery {
    /// A cluster.
    async fn cluster(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the cluster.")] id: ID,
    ) -> Result<Option<Cluster>, GatewayError> {
        context.caller()?;
        let record = access::cluster(context, Action::View, parse_id("id", &id)?).await?;
        Ok(Some(record.into()))
    }

    /// Clusters, newest first.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn clusters(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which clusters.")] filter: Option<ClusterFilterInput>,
        #[graphql(desc = "Clusters wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<ListConnection<Cluster>, GatewayError> {
        let backend = context.backend()?;
        let filter = filter.unwrap_or_default();
        let projects = listed_projects(context, filter.project_id.as_ref())?;
        check_search(filter.name_contains.as_deref())?;
        let request = page::page_request(first, after.as_deref())?;
        let found = if projects.is_empty() {
            empty_page()
        } else {
            let filter = ClusterFilter { project_ids: Some(projects), name_contains: filter.name_contains };
            backend.catalog.clusters(&filter, request).await?
        };
        let sort_key = |record: &milvault_domain::cluster::Cluster| SortKey {
            created_at: record.created_at,
            id: record.id.as_uuid(),
        };
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }
}
