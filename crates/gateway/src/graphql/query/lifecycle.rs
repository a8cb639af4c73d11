//! What retention and sweeps would do.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::lifecycle::{RetentionVerdict, SweepPreview};
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;

/// Queries about what becomes of backups.
#[derive(Default)]
pub(crate) struct LifecycleQuery;

#[Object]
impl LifecycleQuery {
    /// What retention would make of every available backup of a cluster at a moment, newest first: by age, by holds, and
    /// by what the cluster's policy keeps. Nothing is changed.
    #[graphql(complexity = "1_000 + 100 * child_complexity")]
    async fn preview_retention(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of which cluster.")] cluster_id: ID,
        #[graphql(desc = "At which moment; absent for now.")] at: Option<DateTime<Utc>>,
    ) -> Result<Vec<RetentionVerdict>, GatewayError> {
        context.caller()?;
        let cluster_id = parse_id("clusterId", &cluster_id)?;
        access::cluster(context, Action::View, cluster_id).await?;
        let verdicts = context.backend()?.service.preview_retention(cluster_id, at).await?;
        Ok(verdicts.into_iter().map(Into::into).collect())
    }

    /// What a sweep of a cluster would remove now. Reads every manifest of the cluster in its repositories, and changes
    /// nothing.
    #[graphql(complexity = "10_000 + child_complexity")]
    async fn preview_sweep(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of which cluster.")] cluster_id: ID,
    ) -> Result<SweepPreview, GatewayError> {
        context.caller()?;
        let cluster_id = parse_id("clusterId", &cluster_id)?;
        access::cluster(context, Action::ManageBackups, cluster_id).await?;
        Ok(context.backend()?.service.preview_sweep(cluster_id).await?.into())
    }
}
