//! Real stores, with points at which a history meets the work of a job.

use crate::support::fakes::gates::Gates;
use async_trait::async_trait;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::binlog::BinlogKey;
use milvault_domain::error::PortResult;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::milvus::Cut;
use milvault_domain::object::{SourceObject, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyRoute, CopyUnit, Holdings};
use milvault_domain::ports::{
    AttachedRepository, BackupRemains, BackupRepository, ByteSource, CheckFinding, CheckOrder, CheckReport,
    Copier, FileSink, ForeignBackup, FoundPolicy, GoAhead, RepositoryChecks, RepositoryGraves,
    RepositoryPolicies, RepositoryRecords, SealReceipt, SourceStore, Stager, Stores, UnfinishedBackup,
    VerifyReport, WantedDirectories,
};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::recovery::{BackupRecord, PolicyRecord};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::{SourceLayout, StorageConfig};
use milvault_domain::sweep::{DataFile, ListedFile, References};
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;

pub(super) struct GatedStores {
    pub(super) stores: Arc<dyn Stores>,
    pub(super) gates: Arc<Gates>,
}

struct GatedRepository {
    repository: Arc<dyn BackupRepository>,
    gates: Arc<Gates>,
}

struct GatedSource {
    source: Arc<dyn SourceStore>,
    gates: Arc<Gates>,
}

struct GatedCopier {
    copier: Arc<dyn Copier>,
    gates: Arc<Gates>,
}

impl GatedStores {
    fn gated(&self, copier: Arc<dyn Copier>) -> Arc<dyn Copier> {
        Arc::new(GatedCopier { copier, gates: Arc::clone(&self.gates) })
    }
}

#[async_trait]
impl Stores for GatedStores {
    async fn open_source(
        &self,
        storage: &StorageConfig,
        layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>> {
        let source = self.stores.open_source(storage, layout).await?;
        Ok(Arc::new(GatedSource { source, gates: Arc::clone(&self.gates) }))
    }

    async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>> {
        self.stores.list_foreign_backups(storage, wanted).await
    }

    async fn read_foreign_backup(&self, storage: &StorageConfig, directory: &str) -> PortResult<Cut> {
        self.stores.read_foreign_backup(storage, directory).await
    }

    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository> {
        self.stores.attach_repository(storage).await
    }

    async fn open_stager(
        &self,
        repository: Arc<dyn BackupRepository>,
        target: &StorageConfig,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>> {
        self.stores.open_stager(repository, target, max_bytes_per_second).await
    }

    async fn create_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities> {
        self.stores.create_repository(repository_id, storage).await
    }

    async fn open_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
        capabilities: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        let repository = self.stores.open_repository(repository_id, storage, capabilities).await?;
        Ok(Arc::new(GatedRepository { repository, gates: Arc::clone(&self.gates) }))
    }

    async fn open_copier(
        &self,
        source: &StorageConfig,
        layout: &SourceLayout,
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        let copier = self.stores.open_copier(source, layout, repository, max_bytes_per_second).await?;
        Ok(self.gated(copier))
    }

    async fn open_backup_copier(
        &self,
        source: Arc<dyn BackupRepository>,
        objects: &[StoredObject],
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        let copier =
            self.stores.open_backup_copier(source, objects, repository, max_bytes_per_second).await?;
        Ok(self.gated(copier))
    }
}

#[async_trait]
impl SourceStore for GatedSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        self.gates.pass("list").await?;
        self.source.list_binlogs(collection_id, segment_ids).await
    }

    async fn list_delta_logs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        self.source.list_delta_logs(collection_id, segment_ids).await
    }

    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        self.source.read_binlog(key).await
    }

    async fn check(&self) -> Vec<CheckFinding> {
        self.source.check().await
    }
}

#[async_trait]
impl Copier for GatedCopier {
    fn route(&self) -> CopyRoute {
        self.copier.route()
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        self.gates.pass("copy").await?;
        let stored = self.copier.copy(unit, progress).await?;
        self.gates.pass("copied").await?;
        Ok(stored)
    }
}

#[async_trait]
impl BackupRepository for GatedRepository {
    fn id(&self) -> RepositoryId {
        self.repository.id()
    }

    fn as_any(&self) -> &dyn Any {
        self.repository.as_any()
    }

    async fn check(&self) -> Vec<CheckFinding> {
        self.repository.check().await
    }

    async fn save_unfinished(&self, header: &ManifestHeader, plan: &CopyPlan) -> PortResult<()> {
        self.gates.pass("save_unfinished").await?;
        self.repository.save_unfinished(header, plan).await?;
        self.gates.pass("saved_unfinished").await
    }

    async fn load_unfinished(&self, backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>> {
        self.gates.pass("load_unfinished").await?;
        self.repository.load_unfinished(backup_id).await
    }

    async fn remove_unfinished(&self, backup_id: BackupId) -> PortResult<()> {
        self.repository.remove_unfinished(backup_id).await
    }

    async fn load_index(
        &self,
        cluster_id: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
        current: Option<&ManifestHeader>,
    ) -> PortResult<Holdings> {
        self.gates.pass("load_index").await?;
        self.repository.load_index(cluster_id, complete, unfinished, current).await
    }

    async fn seal_after(
        &self,
        go_ahead: GoAhead<'_>,
        header: &ManifestHeader,
        objects: Vec<StoredObject>,
    ) -> PortResult<SealReceipt> {
        self.gates.pass("seal").await?;
        let go_ahead: GoAhead<'_> = Box::pin(async {
            go_ahead.await?;
            self.gates.pass("sealing").await
        });
        let receipt = self.repository.seal_after(go_ahead, header, objects).await?;
        self.gates.pass("sealed").await?;
        Ok(receipt)
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        self.repository.read_header(backup_id).await
    }

    async fn read_objects(
        &self,
        backup_id: BackupId,
        collection_ids: Option<&HashSet<i64>>,
    ) -> PortResult<Vec<StoredObject>> {
        self.gates.pass("read_objects").await?;
        self.repository.read_objects(backup_id, collection_ids).await
    }

    async fn read_object(&self, object: &StoredObject) -> PortResult<Vec<u8>> {
        self.repository.read_object(object).await
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        self.repository.list_backups().await
    }

    async fn verify(
        &self,
        backup_id: BackupId,
        level: VerifyLevel,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<VerifyReport> {
        self.repository.verify(backup_id, level, progress).await
    }
}

#[async_trait]
impl RepositoryGraves for GatedRepository {
    async fn bury(&self, tombstone: &Tombstone) -> PortResult<()> {
        self.gates.pass("bury").await?;
        self.repository.bury(tombstone).await
    }

    async fn exhume(&self, backup_id: BackupId) -> PortResult<()> {
        self.gates.pass("exhume").await?;
        self.repository.exhume(backup_id).await?;
        self.gates.pass("exhumed").await
    }

    async fn tombstone(&self, backup_id: BackupId) -> PortResult<Option<Tombstone>> {
        self.repository.tombstone(backup_id).await
    }

    async fn backup_remains(&self) -> PortResult<Vec<BackupRemains>> {
        self.gates.pass("backup_remains").await?;
        self.repository.backup_remains().await
    }

    async fn owner(&self, backup_id: BackupId) -> PortResult<Option<ClusterId>> {
        self.repository.owner(backup_id).await
    }

    async fn referenced_files(&self, backup_id: BackupId) -> PortResult<References> {
        self.gates.pass("referenced_files").await?;
        self.repository.referenced_files(backup_id).await
    }

    async fn existing_files(&self, files: &[DataFile]) -> PortResult<Vec<ListedFile>> {
        self.repository.existing_files(files).await
    }

    async fn remove_file(&self, file: DataFile) -> PortResult<()> {
        self.gates.pass("remove_file").await?;
        self.repository.remove_file(file).await?;
        self.gates.pass("removed_file").await
    }

    async fn remove_backup(&self, backup_id: BackupId) -> PortResult<()> {
        self.gates.pass("remove_backup").await?;
        self.repository.remove_backup(backup_id).await?;
        self.gates.pass("removed_backup").await
    }
}

#[async_trait]
impl RepositoryRecords for GatedRepository {
    async fn write_record(&self, record: &BackupRecord) -> PortResult<()> {
        self.repository.write_record(record).await
    }

    async fn read_record(&self, backup_id: BackupId) -> PortResult<Option<BackupRecord>> {
        self.repository.read_record(backup_id).await
    }

    async fn create_catalog_backup(&self, name: &str) -> PortResult<Box<dyn FileSink>> {
        self.repository.create_catalog_backup(name).await
    }

    async fn catalog_backups(&self) -> PortResult<Vec<String>> {
        self.repository.catalog_backups().await
    }

    async fn open_catalog_backup(&self, name: &str) -> PortResult<Box<dyn ByteSource>> {
        self.repository.open_catalog_backup(name).await
    }

    async fn remove_catalog_backup(&self, name: &str) -> PortResult<()> {
        self.repository.remove_catalog_backup(name).await
    }
}

#[async_trait]
impl RepositoryPolicies for GatedRepository {
    async fn write_policy(&self, record: &PolicyRecord) -> PortResult<()> {
        self.repository.write_policy(record).await
    }

    async fn read_policies(&self) -> PortResult<Vec<FoundPolicy>> {
        self.repository.read_policies().await
    }
}

#[async_trait]
impl RepositoryChecks for GatedRepository {
    async fn check_files(
        &self,
        order: &CheckOrder,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<CheckReport> {
        self.repository.check_files(order, progress).await
    }
}
