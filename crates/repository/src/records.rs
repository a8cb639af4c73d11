//! What a repository knows of its backups beyond their manifests.

use crate::backups::records;
use crate::catalog_backups;
use crate::repository::FileRepository;
use async_trait::async_trait;
use milvault_domain::error::PortResult;
use milvault_domain::ids::BackupId;
use milvault_domain::ports::{ByteSource, FileSink, RepositoryRecords};
use milvault_domain::recovery::BackupRecord;

#[async_trait]
impl RepositoryRecords for FileRepository {
    async fn write_record(&self, record: &BackupRecord) -> PortResult<()> {
        records::write(self.place.as_ref(), record).await
    }

    async fn read_record(&self, backup_id: BackupId) -> PortResult<Option<BackupRecord>> {
        records::read(self.place.as_ref(), backup_id).await
    }

    async fn create_catalog_backup(&self, name: &str) -> PortResult<Box<dyn FileSink>> {
        catalog_backups::create(self.place.as_ref(), name).await
    }

    async fn catalog_backups(&self) -> PortResult<Vec<String>> {
        catalog_backups::list(self.place.as_ref()).await
    }

    async fn open_catalog_backup(&self, name: &str) -> PortResult<Box<dyn ByteSource>> {
        catalog_backups::open(self.place.as_ref(), name).await
    }

    async fn remove_catalog_backup(&self, name: &str) -> PortResult<()> {
        catalog_backups::remove(self.place.as_ref(), name).await
    }
}
