//! Attaching a repository that another Milvault wrote, or that this one has lost its catalog of.

use super::super::Service;
use super::unusable;
use crate::error::ServiceError;
use crate::found::{HEADERS_AT_ONCE, bounded, read_backup, read_head};
use crate::rebuild::hold_of_found;
use crate::request::{AttachedBackups, NewRepository};
use crate::retry::Retry;
use chrono::TimeDelta;
use futures::StreamExt;
use milvault_domain::error::check_name;
use milvault_domain::ids::{BackupId, ProjectId};
use milvault_domain::ports::{AttachedRepository, BackupRepository};
use milvault_domain::repository::Repository;
use std::sync::Arc;

/// How long nothing that was found expires: as long as after a rebuild of the catalog, unless that is told otherwise.
const GRACE: TimeDelta = TimeDelta::days(3);

impl Service {
    /// Registers a repository that exists, and adds its backups to the catalog. Nothing in it is changed. Backups that
    /// cannot be read are named and left out. Those whose time is over, or soon, are held for some days: the rules that
    /// may keep them are not known here, and it may be another Milvault that still has them.
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
            async move { (backup_id, read_head(opened.as_ref(), retry, backup_id).await) }
        };
        let mut heads = futures::stream::iter(backup_ids).map(read).buffer_unordered(HEADERS_AT_ONCE).boxed();
        while let Some((backup_id, head)) = heads.next().await {
            let (project_id, id) = (repository.project_id, repository.id);
            let backup = match head {
                Ok(head) => {
                    let record_is_lost = head.record_failure.is_some();
                    let found = read_backup(opened.as_ref(), retry, head, project_id, id).await;
                    found.map(|found| (found, record_is_lost))
                }
                Err(error) => Err(error),
            };
            match backup {
                Ok((mut backup, record_is_lost)) => {
                    let hold = hold_of_found(self.deps(), &backup, record_is_lost, GRACE);
                    backup.holds.extend(hold);
                    let insert = || self.deps().catalog.insert_found_backups(std::slice::from_ref(&backup));
                    added += retry.run("add a backup that was found", insert).await?;
                }
                Err(error) => {
                    tracing::warn!(%backup_id, %error, "a backup of an attached repository cannot be read");
                    unreadable.push(format!("{backup_id}: {error}"));
                }
            }
        }
        drop(heads);
        tracing::info!(repository_id = %repository.id, found, added, "a repository is attached");
        Ok(AttachedBackups { repository, found, added, unreadable: bounded(unreadable) })
    }
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
