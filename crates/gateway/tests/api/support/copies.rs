//! Copies in the catalog of the tests: the real ones.

use super::catalog::TestCatalog;
use async_trait::async_trait;
use milvault_domain::backup::Backup;
use milvault_domain::ids::BackupId;
use milvault_domain::ports::{CopyCatalog, DueCopy, InsertCopyOutcome, NewCopy, PortResult};

#[async_trait]
impl CopyCatalog for TestCatalog {
    async fn insert_copy(&self, new: &NewCopy) -> PortResult<InsertCopyOutcome> {
        self.counted("insert_copy").insert_copy(new).await
    }

    async fn copies(&self, backup_id: BackupId) -> PortResult<Vec<Backup>> {
        self.counted("copies").copies(backup_id).await
    }

    async fn due_copies(&self, limit: u32) -> PortResult<Vec<DueCopy>> {
        self.counted("due_copies").due_copies(limit).await
    }

    async fn forget_due_copy(&self, backup_id: BackupId) -> PortResult<()> {
        self.counted("forget_due_copy").forget_due_copy(backup_id).await
    }
}
