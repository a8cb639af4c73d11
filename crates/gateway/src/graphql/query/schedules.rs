//! Schedules.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::mutation::schedules::SetBackupPolicyInput;
use crate::graphql::scalar::parse_id;
use async_graphql::{Context, ID, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids::ClusterId;

/// Queries about schedules.
#[derive(Default)]
pub(crate) struct ScheduleQuery;

/// Starts that a preview shows when nobody says how many.
const COUNT_DEFAULT: i32 = 10;
/// Most starts that a preview shows.
const COUNT_MAX: usize = 50;

/// Each start counts as a field.
fn complexity(count: Option<i32>) -> usize {
    usize::try_from(count.unwrap_or(COUNT_DEFAULT)).unwrap_or(0).clamp(1, COUNT_MAX)
}

#[Object]
impl ScheduleQuery {
    /// The next starts of a cluster's automatic backups: by its policy in force, or as `setBackupPolicy` with that input
    /// would make it, whose backup at once is not among them. Empty when there is no policy or it is switched off. For
    /// those who may set the policy.
    #[graphql(complexity = "complexity(count)")]
    async fn backup_policy_preview(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "The cluster whose policy is in force; not together with `input`.")]
        cluster_id: Option<ID>,
        #[graphql(desc = "The change to be tried.")] input: Option<SetBackupPolicyInput>,
        #[graphql(desc = "Starts wanted, 1 to 50; 10 by default.")] count: Option<i32>,
    ) -> Result<Vec<DateTime<Utc>>, GatewayError> {
        context.caller()?;
        let backend = context.backend()?;
        let named = match (&cluster_id, &input) {
            (Some(cluster_id), None) => cluster_id,
            (None, Some(input)) => input.cluster_id(),
            (None, None) | (Some(_), Some(_)) => {
                return Err(GatewayError::bad_request("give either `clusterId` or `input`"));
            }
        };
        let cluster_id: ClusterId = parse_id("clusterId", named)?;
        access::cluster(context, Action::ManageBackups, cluster_id).await?;
        let change = input.map(SetBackupPolicyInput::check).transpose()?;
        let count = u32::try_from(count.unwrap_or(COUNT_DEFAULT))
            .map_err(|_| GatewayError::bad_field("count", "must not be negative"))?;
        Ok(backend.service.preview_backup_policy(cluster_id, change, count).await?)
    }
}
