//! What the organization's projects take up.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::scalar::{Bytes, Int64, print_id};
use async_graphql::{Context, ID, Object, SimpleObject};
use milvault_domain::ports::BATCH_MAX;
use std::collections::HashMap;

/// Queries about usage.
#[derive(Default)]
pub(crate) struct UsageQuery;

/// What the available backups of a project take up, as the catalog knows it.
#[derive(SimpleObject)]
pub(crate) struct ProjectUsage {
    /// The project.
    project_id: ID,
    /// Its name.
    project_name: String,
    /// Available backups.
    backups: Int64,
    /// Sum of the sizes of their objects at the source.
    logical_bytes: Bytes,
    /// Bytes that they added to their repositories when they were made. What a deleted backup has left to others is not
    /// counted.
    stored_bytes: Bytes,
}

#[Object]
impl UsageQuery {
    /// What each project of the organization takes up, by name; at most 100, which is as many as there may be. For owners
    /// and billing admins of the organization.
    #[graphql(complexity = "1_000 + 100 * child_complexity")]
    async fn usage(&self, context: &Context<'_>) -> Result<Vec<ProjectUsage>, GatewayError> {
        let (caller, backend) = (context.caller()?, context.backend()?);
        caller.permit_viewing_usage()?;
        let projects = caller.all_projects();
        let ids: Vec<_> = projects.iter().map(|project| project.id).collect();
        let mut sums = HashMap::new();
        for ids in ids.chunks(BATCH_MAX) {
            sums.extend(backend.catalog.usage(ids).await?);
        }
        let usage = projects.into_iter().map(|project| {
            let sum = sums.remove(&project.id).unwrap_or_default();
            ProjectUsage {
                project_id: print_id(project.id),
                project_name: project.name,
                backups: Int64(sum.backup_count),
                logical_bytes: Bytes(sum.logical_bytes),
                stored_bytes: Bytes(sum.stored_bytes),
            }
        });
        Ok(usage.collect())
    }
}
