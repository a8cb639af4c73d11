//! Backups.

use super::{check_search, empty_page, listed_projects};
use crate::error::GatewayError;
use crate::graphql::access::{self, ContextExt};
use crate::graphql::model::backup::{Backup, BackupStatus, BackupType, CreationMethod};
use crate::graphql::model::checks::VerificationState;
use crate::graphql::page::{self, ListConnection};
use crate::graphql::scalar::parse_id;
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
    /// Only whose name contains this, without regard to case.
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
    ) -> Result<ListConnection<Backup>, GatewayError> {
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
        Ok(page::connection(found, request.after, sort_key, Into::into))
    }
}
