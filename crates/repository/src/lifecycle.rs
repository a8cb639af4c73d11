//! What a repository offers once backups are to go.

use crate::backups::lifecycle;
use crate::backups::survey::Survey;
use crate::layout;
use crate::repository::FileRepository;
use async_trait::async_trait;
use milvault_domain::error::PortResult;
use milvault_domain::ids::{BackupId, ClusterId};
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::ports::{BackupRemains, RepositoryGraves};
use milvault_domain::sweep::{DataFile, ListedFile, References};

#[async_trait]
impl RepositoryGraves for FileRepository {
    async fn bury(&self, tombstone: &Tombstone) -> PortResult<()> {
        lifecycle::bury(self.place.as_ref(), tombstone).await
    }

    async fn exhume(&self, backup_id: BackupId) -> PortResult<()> {
        self.place.delete(&layout::tombstone(backup_id)).await
    }

    async fn tombstone(&self, backup_id: BackupId) -> PortResult<Option<Tombstone>> {
        lifecycle::tombstone(self.place.as_ref(), backup_id).await
    }

    async fn backup_remains(&self) -> PortResult<Vec<BackupRemains>> {
        lifecycle::remains(self.place.as_ref()).await
    }

    async fn owner(&self, backup_id: BackupId) -> PortResult<Option<ClusterId>> {
        lifecycle::owner(self.place.as_ref(), backup_id).await
    }

    async fn referenced_files(&self, backup_id: BackupId) -> PortResult<References> {
        lifecycle::references(self.place.as_ref(), backup_id).await
    }

    async fn existing_files(&self, files: &[DataFile]) -> PortResult<Vec<ListedFile>> {
        let survey = Survey::of_files(self.place.as_ref(), files).await?;
        let packs = survey.packs.into_iter().map(|(id, size)| (DataFile::Pack(id), size));
        let objects = survey.objects.into_iter().map(|(id, (size, _))| (DataFile::Object(id), size));
        let mut listed: Vec<_> =
            packs.chain(objects).map(|(file, size_bytes)| ListedFile { file, size_bytes }).collect();
        listed.sort_unstable();
        Ok(listed)
    }

    async fn remove_file(&self, file: DataFile) -> PortResult<()> {
        let path = match file {
            DataFile::Pack(id) => layout::pack(id),
            DataFile::Object(id) => layout::object(id),
        };
        self.place.delete(&path).await
    }

    async fn remove_backup(&self, backup_id: BackupId) -> PortResult<()> {
        lifecycle::remove(self.place.as_ref(), backup_id).await
    }
}
