//! What makes a lost catalog replaceable, in the fake catalog and the fake repository. The fake catalog counts no
//! changes: its records are never due.

use super::catalog::MemoryCatalog;
use super::repository::{FakeRepository, RepositoryState};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{BackupId, OrganizationId};
use milvault_domain::ports::{
    ByteSink, ByteSource, CatalogBackup, CatalogBackupClaim, DueRecord, FileSink, PortError, PortErrorKind,
    PortResult, RecoveryCatalog, RepositoryRecords,
};
use milvault_domain::recovery::{BackupRecord, NamedOrganization};
use std::collections::btree_map::Entry;
use std::sync::Arc;

#[async_trait]
impl RecoveryCatalog for MemoryCatalog {
    async fn due_records(&self, _: Option<BackupId>, _: u32) -> PortResult<Vec<DueRecord>> {
        Ok(Vec::new())
    }

    async fn due_record(&self, _: BackupId) -> PortResult<Option<DueRecord>> {
        Ok(None)
    }

    async fn note_record(&self, _: BackupId, _: u64) -> PortResult<()> {
        Ok(())
    }

    async fn organization(&self) -> PortResult<Option<NamedOrganization>> {
        let id = OrganizationId::from_uuid(uuid::Uuid::nil());
        Ok(Some(NamedOrganization { id, name: String::from("default") }))
    }

    async fn insert_unregistered_cluster(&self, cluster: &Cluster) -> PortResult<bool> {
        match self.tables().clusters.entry(cluster.id) {
            Entry::Vacant(row) => {
                row.insert((cluster.clone(), false));
                Ok(true)
            }
            Entry::Occupied(_) => Ok(false),
        }
    }

    async fn take_record(&self, _: &BackupRecord) -> PortResult<bool> {
        Ok(false)
    }

    async fn claim_catalog_backup(&self, _: &CatalogBackupClaim) -> PortResult<bool> {
        Ok(false)
    }

    async fn end_catalog_backup(&self, _: &str, _: Result<u64, String>, _: DateTime<Utc>) -> PortResult<()> {
        Ok(())
    }

    async fn catalog_backups(&self, _: u32) -> PortResult<Vec<CatalogBackup>> {
        Ok(Vec::new())
    }

    async fn catalog_backed_up_at(&self) -> PortResult<Option<DateTime<Utc>>> {
        Ok(None)
    }

    async fn export(&self, _: DateTime<Utc>, sink: &mut dyn ByteSink) -> PortResult<u64> {
        sink.write(b"everything".to_vec()).await?;
        Ok(10)
    }

    async fn import(&self, _: &mut dyn ByteSource, _: DateTime<Utc>) -> PortResult<u64> {
        Ok(0)
    }
}

#[async_trait]
impl RepositoryRecords for FakeRepository {
    async fn write_record(&self, record: &BackupRecord) -> PortResult<()> {
        self.gates.pass("write_record").await?;
        self.state.records.lock().unwrap().insert(record.backup_id, record.clone());
        Ok(())
    }

    async fn read_record(&self, backup_id: BackupId) -> PortResult<Option<BackupRecord>> {
        if self.state.unreadable_records.lock().unwrap().contains(&backup_id) {
            return Err(PortError::new(PortErrorKind::Corrupt, "the record is damaged"));
        }
        Ok(self.state.records.lock().unwrap().get(&backup_id).cloned())
    }

    async fn create_catalog_backup(&self, name: &str) -> PortResult<Box<dyn FileSink>> {
        self.gates.pass("create_catalog_backup").await?;
        let state = Arc::clone(&self.state);
        Ok(Box::new(FakeFile { state, name: name.to_owned(), content: Vec::new() }))
    }

    async fn catalog_backups(&self) -> PortResult<Vec<String>> {
        Ok(self.state.catalog_backups.lock().unwrap().keys().cloned().collect())
    }

    async fn open_catalog_backup(&self, name: &str) -> PortResult<Box<dyn ByteSource>> {
        let content = self.state.catalog_backups.lock().unwrap().get(name).cloned();
        let missing = || PortError::new(PortErrorKind::NotFound, "no such backup of the catalog");
        Ok(Box::new(Once(Some(content.ok_or_else(missing)?))))
    }

    async fn remove_catalog_backup(&self, name: &str) -> PortResult<()> {
        self.state.catalog_backups.lock().unwrap().remove(name);
        Ok(())
    }
}

struct FakeFile {
    state: Arc<RepositoryState>,
    name: String,
    content: Vec<u8>,
}

#[async_trait]
impl ByteSink for FakeFile {
    async fn write(&mut self, bytes: Vec<u8>) -> PortResult<()> {
        self.content.extend(bytes);
        Ok(())
    }
}

#[async_trait]
impl FileSink for FakeFile {
    async fn finish(self: Box<Self>) -> PortResult<()> {
        self.state.catalog_backups.lock().unwrap().insert(self.name, self.content);
        Ok(())
    }
}

struct Once(Option<Vec<u8>>);

#[async_trait]
impl ByteSource for Once {
    async fn read(&mut self) -> PortResult<Option<Vec<u8>>> {
        Ok(self.0.take())
    }
}
