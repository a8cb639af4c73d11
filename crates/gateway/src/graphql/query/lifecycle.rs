//! What retention and sweeps would do.

use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::lifecycle::{RetentionVerdict, SweepPreview};
use crate::graphql::page;
use crate::graphql::scalar::parse_id;
use async_graphql::connection::{Connection, CursorType, Edge, OpaqueCursor};
use async_graphql::{Context, ID, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids::BackupId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a verdict stands: at its backup.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(crate) struct BackupPosition {
    #[serde(rename = "i")]
    id: Uuid,
}

fn position(cursor: &str) -> Result<BackupId, GatewayError> {
    let position = OpaqueCursor::<BackupPosition>::decode_cursor(cursor).map_err(|_| page::bad_cursor())?;
    Ok(BackupId::from_uuid(position.0.id))
}

fn gone() -> GatewayError {
    GatewayError::bad_field(
        "after",
        "the backup at the end of the page before is not available any more; begin anew",
    )
}

/// Queries about what becomes of backups.
#[derive(Default)]
pub(crate) struct LifecycleQuery;

#[Object]
impl LifecycleQuery {
    /// What retention would make of every available backup of a cluster at a moment, newest first: by age, by holds, and
    /// by what the cluster's policy keeps. Nothing is changed.
    #[graphql(complexity = "1_000 + page::complexity(first, child_complexity)")]
    async fn preview_retention(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Of which cluster.")] cluster_id: ID,
        #[graphql(desc = "At which moment; absent for now.")] at: Option<DateTime<Utc>>,
        #[graphql(desc = "Backups wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<Connection<OpaqueCursor<BackupPosition>, RetentionVerdict>, GatewayError> {
        context.caller()?;
        let cluster_id = parse_id("clusterId", &cluster_id)?;
        access::cluster(context, Action::View, cluster_id).await?;
        let verdicts = context.backend()?.service.preview_retention(cluster_id, at).await?;
        let size = page::page_size(first)? as usize;
        let start = match after.as_deref().map(position).transpose()? {
            Some(last) => {
                1 + verdicts.iter().position(|verdict| verdict.backup_id == last).ok_or_else(gone)?
            }
            None => 0,
        };
        let mut connection = Connection::new(0 < start, start + size < verdicts.len());
        connection.edges.extend(verdicts.into_iter().skip(start).take(size).map(|verdict| {
            let position = BackupPosition { id: verdict.backup_id.as_uuid() };
            Edge::new(OpaqueCursor(position), RetentionVerdict::from(verdict))
        }));
        Ok(connection)
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
