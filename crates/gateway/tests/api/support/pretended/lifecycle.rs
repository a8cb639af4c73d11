//! The end of backups in repositories that keep nothing but manifests.

use super::stores::PretendedRepository;
use async_trait::async_trait;
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::ports::{BackupRemains, PortResult, RepositoryGraves};
use milvault_domain::sweep::{DataFile, ListedFile, References};

/// Size of every file.
const FILE_BYTES: u64 = 100;

#[async_trait]
impl RepositoryGraves for PretendedRepository {
    async fn bury(&self, tombstone: &Tombstone) -> PortResult<()> {
        self.1
            .buried
            .lock()
            .unwrap()
            .entry((self.0, tombstone.backup_id))
            .or_insert_with(|| tombstone.clone());
        Ok(())
    }

    async fn exhume(&self, backup_id: BackupId) -> PortResult<()> {
        self.1.buried.lock().unwrap().remove(&(self.0, backup_id));
        Ok(())
    }

    async fn tombstone(&self, backup_id: BackupId) -> PortResult<Option<Tombstone>> {
        Ok(self.1.buried.lock().unwrap().get(&(self.0, backup_id)).cloned())
    }

    async fn backup_remains(&self) -> PortResult<Vec<BackupRemains>> {
        let buried = self.1.buried.lock().unwrap();
        let sealed = self.1.sealed.lock().unwrap();
        let here = sealed.keys().filter(|(repository_id, _)| *repository_id == self.0);
        let remains = here.map(|(_, backup_id)| BackupRemains {
            backup_id: *backup_id,
            manifest: true,
            plan: false,
            tombstone: buried.contains_key(&(self.0, *backup_id)),
        });
        Ok(remains.collect())
    }

    async fn owner(&self, backup_id: BackupId) -> PortResult<Option<ClusterId>> {
        Ok(self.read(backup_id, |(header, _)| header.cluster_id).ok())
    }

    async fn referenced_files(&self, backup_id: BackupId) -> PortResult<References> {
        self.read(backup_id, |(_, objects)| {
            let mut references = References::default();
            for object in objects {
                references.add_object(object);
            }
            references
        })
    }

    async fn existing_files(&self, files: &[DataFile]) -> PortResult<Vec<ListedFile>> {
        Ok(files.iter().map(|file| ListedFile { file: *file, size_bytes: FILE_BYTES }).collect())
    }

    async fn remove_file(&self, _file: DataFile) -> PortResult<()> {
        Ok(())
    }

    async fn remove_backup(&self, backup_id: BackupId) -> PortResult<()> {
        self.1.sealed.lock().unwrap().remove(&(self.0, backup_id));
        self.1.buried.lock().unwrap().remove(&(self.0, backup_id));
        Ok(())
    }
}
