//! Backups of the catalog that somebody asks for, and whether they are made at all.

use super::Service;
use crate::catalog_backups;
use crate::error::ServiceError;
use milvault_domain::ids::RepositoryId;
use milvault_domain::ports::CatalogBackup;
use std::sync::atomic::Ordering;

impl Service {
    /// Begins a backup of the catalog into this repository, or into the one that the daily ones go to. It goes on when this
    /// returns; while one is at work, that is the answer.
    ///
    /// # Errors
    /// `NotFound` for the repository; `Conflict` while there is none; `Unavailable`.
    pub async fn create_catalog_backup(
        &self,
        repository_id: Option<RepositoryId>,
    ) -> Result<CatalogBackup, ServiceError> {
        self.admit()?;
        let service = self.clone();
        self.to_the_end(async move { catalog_backups::begin(service.core(), repository_id).await }).await
    }

    /// Whether backups of the catalog are to be made and none was for more than two days.
    #[must_use]
    pub fn catalog_backup_is_overdue(&self) -> bool {
        self.core().catalog_backup_overdue.load(Ordering::Relaxed)
    }
}
