//! Backups of the catalog itself.

use crate::error::GatewayError;
use crate::graphql::access::ContextExt;
use crate::graphql::model::repository::Repository;
use crate::graphql::scalar::{Bytes, print_id};
use async_graphql::{ComplexObject, Context, Enum, ID, SimpleObject};
use chrono::{DateTime, Utc};
use milvault_actors::catalog_backup_is_at_work;
use milvault_domain::ids::RepositoryId;
use milvault_domain::ports as domain;

/// How a backup of the catalog stands.
#[derive(Enum, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CatalogBackupState {
    /// It is being made.
    InProgress,
    /// It was made.
    Made,
    /// It was not.
    Failed,
}

/// A backup of the catalog: of people, keys, schedules, jobs and the audit log. `milvault catalog restore` reads it.
#[derive(SimpleObject)]
#[graphql(complex)]
pub(crate) struct CatalogBackup {
    /// Its name below `catalog/` of the repository. Old files are removed (`catalog.backup_keep`), their entries stay
    /// longer.
    name: String,
    /// Identity of the repository.
    repository_id: ID,
    /// Whether it is a daily one; else somebody asked for it.
    automatic: bool,
    /// How it stands.
    state: CatalogBackupState,
    /// The moment that it shows.
    started_at: DateTime<Utc>,
    /// When it ended; null while it is being made.
    ended_at: Option<DateTime<Utc>>,
    /// Bytes of its file; null unless it was made.
    size_bytes: Option<Bytes>,
    /// Why it was not made; null unless it failed.
    error: Option<String>,
    #[graphql(skip)]
    repository_key: RepositoryId,
}

impl CatalogBackup {
    /// A backup as it stands at a moment.
    pub(crate) fn at(backup: domain::CatalogBackup, now: DateTime<Utc>) -> Self {
        let at_work = catalog_backup_is_at_work(&backup, now);
        let state = match backup.size_bytes {
            Some(_) => CatalogBackupState::Made,
            None if at_work => CatalogBackupState::InProgress,
            None => CatalogBackupState::Failed,
        };
        let broke_off = || String::from("the server that made it went away");
        let error = (state == CatalogBackupState::Failed).then(|| backup.failure.unwrap_or_else(broke_off));
        Self {
            name: backup.name,
            repository_id: print_id(backup.repository_id),
            automatic: backup.day.is_some(),
            state,
            started_at: backup.started_at,
            ended_at: backup.ended_at,
            size_bytes: backup.size_bytes.map(Bytes),
            error,
            repository_key: backup.repository_id,
        }
    }
}

#[ComplexObject]
impl CatalogBackup {
    /// The repository that it lies in; null when the caller may not see it.
    async fn repository(&self, context: &Context<'_>) -> Result<Option<Repository>, GatewayError> {
        let found = context.records()?.load_one(self.repository_key).await?;
        Ok(context.caller()?.visible(found).map(Into::into))
    }
}
