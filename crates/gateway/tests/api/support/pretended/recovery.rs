//! Records in repositories that keep nothing but manifests: none.

use super::stores::PretendedRepository;
use async_trait::async_trait;
use milvault_domain::ids::BackupId;
use milvault_domain::ports::{
    ByteSink, ByteSource, FileSink, FoundPolicy, PortError, PortErrorKind, PortResult, RepositoryPolicies,
    RepositoryRecords,
};
use milvault_domain::recovery::{BackupRecord, PolicyRecord};

#[async_trait]
impl RepositoryRecords for PretendedRepository {
    async fn write_record(&self, _record: &BackupRecord) -> PortResult<()> {
        Ok(())
    }

    async fn read_record(&self, _backup_id: BackupId) -> PortResult<Option<BackupRecord>> {
        Ok(None)
    }

    async fn create_catalog_backup(&self, _name: &str) -> PortResult<Box<dyn FileSink>> {
        Ok(Box::new(Nowhere))
    }

    async fn catalog_backups(&self) -> PortResult<Vec<String>> {
        Ok(Vec::new())
    }

    async fn open_catalog_backup(&self, _name: &str) -> PortResult<Box<dyn ByteSource>> {
        Err(PortError::new(PortErrorKind::NotFound, "there are no backups of the catalog"))
    }

    async fn remove_catalog_backup(&self, _name: &str) -> PortResult<()> {
        Ok(())
    }
}

struct Nowhere;

#[async_trait]
impl ByteSink for Nowhere {
    async fn write(&mut self, _bytes: Vec<u8>) -> PortResult<()> {
        Ok(())
    }
}

#[async_trait]
impl FileSink for Nowhere {
    async fn finish(self: Box<Self>) -> PortResult<()> {
        Ok(())
    }
}

#[async_trait]
impl RepositoryPolicies for PretendedRepository {
    async fn write_policy(&self, _record: &PolicyRecord) -> PortResult<()> {
        Ok(())
    }

    async fn read_policies(&self) -> PortResult<Vec<FoundPolicy>> {
        Ok(Vec::new())
    }
}
