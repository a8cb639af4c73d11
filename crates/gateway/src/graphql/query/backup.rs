//! Backups.

use super::{check_search, empty_page, listed_projects};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::backup::{Backup, BackupStatus, BackupType, CreationMethod};
use crate::graphql::model::checks::VerificationState;
use crate::graphql::page::{self, CreationPosition, ListConnection};
use crate::graphql::scalar::parse_id;
use async_graphql::connection::{CursorType, Edge, EmptyFields, OpaqueCursor, PageInfo};
use async_graphql::{Context, ID, InputObject, Object};
use chrono::{DateTime, Utc};
use milvault_domain::access::Action;
use milvault_domain::ids::ProjectId;
use milvault_domain::ports::{BackupFilter, SortKey};

/// Queries about backups.
#[derive(Default)]
pub(crate) struct BackupQuery;

/// Which backups to list. Conditions that are absent leave nothing out, but backups with status `DELETED` are listed
/// only when asked for by status.
#[derive(InputObject, Default)]
#[graphql(name = "BackupFilter")]
pub(crate) struct BackupFilterInput {
    /// Only of this project.
    project_id: Option<ID>,
    /// Only of this cluster.
    cluster_id: Option<ID>,
    /// Only with this status.
    status: Option<BackupStatus>,
    /// Only of this kind.
    #[graphql(name = "type")]
    backup_type: Option<BackupType>,
    /// Only made this way.
    creation_method: Option<CreationMethod>,
    /// Only of which verifies have found this.
    verification: Option<VerificationState>,
    /// Only asked for at this time or later.
    created_from: Option<DateTime<Utc>>,
    /// Only asked for before this time.
    created_before: Option<DateTime<Utc>>,
    /// Only whose name contains this, without regard to case. For one page at most 10,000 backups that fulfil the other
    /// conditions are looked through: it may be short, even empty, while `hasNextPage` is true. Go on after its
    /// `endCursor`.
    name_contains: Option<String>,
}

impl BackupFilterInput {
    fn check(self, projects: Vec<ProjectId>) -> Result<BackupFilter, GatewayError> {
        check_search(self.name_contains.as_deref())?;
        let cluster_id = self.cluster_id.map(|id| parse_id("filter.clusterId", &id)).transpose()?;
        Ok(BackupFilter {
            project_ids: Some(projects),
            cluster_id,
            status: self.status.map(Into::into),
            backup_type: self.backup_type.map(Into::into),
            creation_method: self.creation_method.map(Into::into),
            verification: self.verification.map(Into::into),
            created_from: self.created_from,
            created_before: self.created_before,
            name_contains: self.name_contains,
        })
    }
}

#[Object]
impl BackupQuery {
    /// A backup.
    async fn backup(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Identity of the backup.")] id: ID,
    ) -> Result<Option<Backup>, GatewayError> {
        context.caller()?;
        let record = access::backup(context, Action::View, parse_id("id", &id)?).await?;
        Ok(Some(record.into()))
    }

    /// Backups, newest first.
    #[graphql(complexity = "page::complexity(first, child_complexity)")]
    async fn backups(
        &self,
        context: &Context<'_>,
        #[graphql(desc = "Which backups.")] filter: Option<BackupFilterInput>,
        #[graphql(desc = "Backups wanted, 1 to 200; 50 by default.")] first: Option<i32>,
        #[graphql(desc = "The `endCursor` of the page before.")] after: Option<String>,
    ) -> Result<BackupConnection, GatewayError> {
        let backend = context.backend()?;
        let filter = filter.unwrap_or_default();
        let projects = listed_projects(context, filter.project_id.as_ref())?;
        let request = page::page_request(first, after.as_deref())?;
        let hidden = projects.is_empty();
        let filter = filter.check(projects)?;
        let found = if hidden { empty_page() } else { backend.catalog.backups(&filter, request).await? };
        let sort_key = |record: &milvault_domain::backup::Backup| SortKey {
            created_at: record.created_at,
            id: record.id.as_uuid(),
        };
        let stopped_at = found.stopped_at;
        Ok(BackupConnection {
            listed: page::connection(found, request.after, sort_key, Into::into),
            stopped_at,
        })
    }
}

/// A page of backups. Unlike pages of other lists it may end behind its last entry.
pub(crate) struct BackupConnection {
    listed: ListConnection<Backup>,
    stopped_at: Option<SortKey>,
}

type BackupEdge = Edge<OpaqueCursor<CreationPosition>, Backup, EmptyFields>;

impl BackupConnection {
    fn ends(&self) -> PageInfo {
        let cursor = |edge: &BackupEdge| edge.cursor.encode_cursor();
        let stopped_at = self.stopped_at.map(|place| OpaqueCursor(CreationPosition::from(place)));
        let last = || self.listed.edges.last().map(cursor);
        PageInfo {
            has_previous_page: self.listed.has_previous_page,
            has_next_page: self.listed.has_next_page,
            start_cursor: self.listed.edges.first().map(cursor),
            end_cursor: stopped_at.map(|place| place.encode_cursor()).or_else(last),
        }
    }
}

#[Object]
impl BackupConnection {
    /// Information to aid in pagination.
    async fn page_info(&self) -> PageInfo {
        self.ends()
    }

    /// A list of edges.
    async fn edges(&self) -> &[BackupEdge] {
        &self.listed.edges
    }

    /// A list of nodes.
    async fn nodes(&self) -> Vec<&Backup> {
        self.listed.edges.iter().map(|edge| &edge.node).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::ports::Page;
    use uuid::Uuid;

    #[test]
    fn a_page_without_entries_can_be_gone_on_after() {
        let place = SortKey { created_at: DateTime::UNIX_EPOCH, id: Uuid::from_u128(7) };
        for stopped_at in [None, Some(place)] {
            let page = Page { has_more: stopped_at.is_some(), stopped_at, ..Page::<Backup>::empty() };
            let listed = page::connection(page, None, |_| place, |backup| backup);
            let ends = BackupConnection { listed, stopped_at }.ends();
            assert_eq!(ends.has_next_page, stopped_at.is_some());
            let after = ends.end_cursor.map(|cursor| page::page_request(None, Some(&cursor)).unwrap().after);
            assert_eq!(after, stopped_at.map(Some));
        }
    }
}
