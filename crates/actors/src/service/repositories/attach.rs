//! Attaching a repository that another Milvault wrote, or that this one has lost its catalog of.

use super::super::Service;
use super::unusable;
use crate::error::ServiceError;
use crate::request::{AttachedBackups, NewRepository};
use crate::retry::Retry;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus, ManifestHeader};
use milvault_domain::error::check_name;
use milvault_domain::ids::{BackupId, ProjectId};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, FoundBackup, PortError, PortErrorKind, PortResult,
};
use milvault_domain::repository::Repository;
use std::sync::Arc;

/// Manifests whose heads are read at once.
const HEADERS_AT_ONCE: usize = 4;
/// Unreadable backups that are named one by one.
const NAMED_MAX: usize = 100;

impl Service {
    /// Registers a repository that exists, and adds its backups to the catalog. Nothing in it is changed. Backups that
    /// cannot be read are named and left out. Expiry times that are over stay: retention decides about them.
    ///
    /// One that is registered already is only accepted when it has backups that the catalog does not know: an earlier
    /// call may have been cut off. It keeps its name then.
    ///
    /// # Errors
    /// `InvalidInput` for a bad name or a place that holds no repository; `Conflict` when the name is taken or the
    /// repository is registered already; `Unavailable` when it cannot be reached.
    pub async fn attach_repository(&self, new: NewRepository) -> Result<AttachedBackups, ServiceError> {
        self.admit()?;
        check_name("name", &new.name)?;
        let service = self.clone();
        self.to_the_end(async move { service.attach(new).await }).await
    }

    async fn attach(&self, new: NewRepository) -> Result<AttachedBackups, ServiceError> {
        let deps = self.deps();
        let attached = deps.stores.attach_repository(&new.storage).await.map_err(|error| unusable(&error))?;
        let id = attached.repository_id;
        let known = deps.catalog.repository(id).await?;
        if let Some(known) = known.as_ref().filter(|known| !is_same(known, &new)) {
            return Err(registered_already(known, new.project_id));
        }
        let opened = deps.stores.open_repository(id, &new.storage, attached.capabilities).await;
        let opened = opened.map_err(|error| unusable(&error))?;
        // Listed before it is registered: a place that does not answer is not worth a row.
        let backup_ids = opened.list_backups().await.map_err(|error| unusable(&error))?;
        let repository = match known {
            Some(known) if self.all_known(&backup_ids).await? => {
                return Err(registered_already(&known, new.project_id));
            }
            Some(known) => known,
            None => self.register_found(new, &attached).await?,
        };
        self.add_backups(repository, opened, backup_ids).await
    }

    async fn register_found(
        &self,
        new: NewRepository,
        attached: &AttachedRepository,
    ) -> Result<Repository, ServiceError> {
        self.check_name_is_free(new.project_id, &new.name).await?;
        let repository = Repository {
            id: attached.repository_id,
            project_id: new.project_id,
            name: new.name,
            storage: new.storage,
            capabilities: attached.capabilities,
            created_at: self.deps().clock.now(),
        };
        self.deps().catalog.insert_repository(&repository).await?;
        Ok(repository)
    }

    async fn all_known(&self, backup_ids: &[BackupId]) -> Result<bool, ServiceError> {
        for backup_id in backup_ids {
            if self.deps().catalog.backup(*backup_id).await?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds one backup after the other, so that memory is bounded by the largest of them.
    async fn add_backups(
        &self,
        repository: Repository,
        opened: Arc<dyn BackupRepository>,
        backup_ids: Vec<BackupId>,
    ) -> Result<AttachedBackups, ServiceError> {
        let retry = Retry::of(&self.core().settings);
        let found = u32::try_from(backup_ids.len()).unwrap_or(u32::MAX);
        let (mut added, mut unreadable) = (0, Vec::new());
        let read = |backup_id| {
            let opened = Arc::clone(&opened);
            async move { (backup_id, retry.run("read a manifest", || opened.read_header(backup_id)).await) }
        };
        let mut headers =
            futures::stream::iter(backup_ids).map(read).buffer_unordered(HEADERS_AT_ONCE).boxed();
        while let Some((backup_id, header)) = headers.next().await {
            let backup = match header {
                Ok(header) => found_backup(&repository, opened.as_ref(), retry, backup_id, header).await,
                Err(error) => Err(error),
            };
            match backup {
                Ok(backup) => {
                    let insert = || self.deps().catalog.insert_found_backups(std::slice::from_ref(&backup));
                    added += retry.run("add a backup that was found", insert).await?;
                }
                Err(error) => {
                    tracing::warn!(%backup_id, %error, "a backup of an attached repository cannot be read");
                    unreadable.push(format!("{backup_id}: {error}"));
                }
            }
        }
        drop(headers);
        tracing::info!(repository_id = %repository.id, found, added, "a repository is attached");
        Ok(AttachedBackups { repository, found, added, unreadable: bounded(unreadable) })
    }
}

/// The row of a backup, from its manifest.
async fn found_backup(
    repository: &Repository,
    opened: &dyn BackupRepository,
    retry: Retry,
    backup_id: BackupId,
    header: ManifestHeader,
) -> PortResult<FoundBackup> {
    if header.backup_id != backup_id {
        let message = format!("its manifest is that of {}", header.backup_id);
        return Err(PortError::new(PortErrorKind::Corrupt, message));
    }
    let objects = retry.run("read a list of objects", || opened.read_objects(backup_id, None)).await?;
    let object_count = objects.len() as u64;
    let logical_bytes = objects.iter().map(|object| object.source.size_bytes).sum();
    drop(objects);
    let created_at = time(header.created_at_ms)?;
    let mut contents = header.cut;
    let facts = BackupFacts {
        cut_at: time(contents.cut_at_ms)?,
        milvus_version: contents.server.version.clone(),
        logical_bytes,
        // Nothing was stored on this occasion: all of it was there.
        newly_stored_bytes: 0,
        object_count,
        reused_object_count: object_count,
        row_count: contents.row_count(),
        collection_count: u32::try_from(contents.collections().count()).unwrap_or(u32::MAX),
    };
    forget_schemas(&mut contents);
    let backup = Backup {
        id: backup_id,
        project_id: repository.project_id,
        cluster_id: header.cluster_id,
        cluster_name: header.cluster_name,
        repository_id: repository.id,
        name: header.name,
        description: header.description,
        scope: header.scope,
        creation_method: header.creation_method,
        status: BackupStatus::Available,
        created_by: header.created_by,
        created_at,
        // The manifest does not say when it was complete.
        completed_at: Some(created_at),
        expires_at: header.expires_at_ms.map(time).transpose()?,
        facts: Some(facts),
    };
    Ok(FoundBackup { backup, contents })
}

/// The catalog answers queries from the descriptions; the schemas for a restore stay in the manifest.
fn forget_schemas(contents: &mut Cut) {
    for collection in contents.databases.iter_mut().flat_map(|database| &mut database.collections) {
        collection.schema_proto = Vec::new();
    }
}

fn time(milliseconds: i64) -> PortResult<DateTime<Utc>> {
    DateTime::from_timestamp_millis(milliseconds).ok_or_else(|| {
        let message = format!("the time {milliseconds} ms in its manifest is outside the calendar");
        PortError::new(PortErrorKind::Corrupt, message)
    })
}

/// Whether a registered repository is the one that is meant, and not a copy of it in another place.
fn is_same(known: &Repository, new: &NewRepository) -> bool {
    known.project_id == new.project_id && known.storage.display_url() == new.storage.display_url()
}

/// Names the repository only to those who can see it anyway.
fn registered_already(known: &Repository, project_id: ProjectId) -> ServiceError {
    let message = if known.project_id == project_id {
        format!("the repository there is {}, which is registered already as \"{}\"", known.id, known.name)
    } else {
        format!("the repository there is {}, which is registered already in another project", known.id)
    };
    ServiceError::Conflict { message, job_id: None }
}

fn bounded(mut unreadable: Vec<String>) -> Vec<String> {
    if unreadable.len() > NAMED_MAX {
        let more = unreadable.len() - NAMED_MAX;
        unreadable.truncate(NAMED_MAX);
        unreadable.push(format!("and {more} more"));
    }
    unreadable
}
