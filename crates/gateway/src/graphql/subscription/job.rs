//! Jobs as they go on.

use super::feed::{ClusterFeed, JobFeed};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::job::Job;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Subscription};
use futures::Stream;
use milvault_domain::access::Action;
use milvault_domain::ids::{ClusterId, JobId, ProjectId};
use std::sync::Arc;

/// Subscriptions to jobs.
#[derive(Default)]
pub(crate) struct JobSubscription;

#[Subscription]
impl JobSubscription {
    /// A job as it goes on: first as it is now, then after every change of state, phase or progress. Ends after its final
    /// state. A slow reader misses intermediate figures, never the last.
    async fn job_updated(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which job.")] job_id: ID,
    ) -> Result<impl Stream<Item = Result<Job, GatewayError>>, GatewayError> {
        context.caller()?;
        let backend = Arc::clone(context.backend()?);
        let job_id: JobId = parse_id("jobId", &job_id)?;
        // Listening begins before the first look, so that no change falls between them.
        let changes = backend.service.changes();
        let first = access::job(context, Action::View, job_id).await?;
        Ok(JobFeed::new(backend, changes, first).into_stream())
    }

    /// All jobs of a cluster, of a project, or of every project that the caller sees: first those that have not ended, then every job
    /// after each of its changes. Does not end by itself.
    async fn job_updates(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Only of this cluster.")] cluster_id: Option<ID>,
        #[graphql(desc = "Only of this project.")] project_id: Option<ID>,
    ) -> Result<impl Stream<Item = Result<Job, GatewayError>>, GatewayError> {
        let caller = context.caller()?.clone();
        let backend = Arc::clone(context.backend()?);
        let cluster_id: Option<ClusterId> = cluster_id.map(|id| parse_id("clusterId", &id)).transpose()?;
        if let Some(cluster_id) = cluster_id {
            access::cluster(context, Action::View, cluster_id).await?;
        }
        let project_id: Option<ProjectId> = project_id.map(|id| parse_id("projectId", &id)).transpose()?;
        if let Some(project_id) = project_id.filter(|project_id| !caller.sees(*project_id)) {
            return Err(GatewayError::not_found("project", project_id));
        }
        let changes = backend.service.changes();
        Ok(ClusterFeed::new(backend, changes, caller, cluster_id, project_id).into_stream())
    }
}
