//! Stores that keep nothing but manifests.

use super::milvus::whole_cut;
use super::{OBJECT_BYTES, Outside, SEGMENT_FIELDS, Sealed};
use async_trait::async_trait;
use milvault_domain::backup::{BackupScope, CreationMethod, ManifestHeader};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::milvus::Cut;
use milvault_domain::object::{Encoding, Fingerprint, Location, SourceObject, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyRoute, CopyUnit, Holdings};
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, CheckFinding, Copier, ForeignBackup, GoAhead, PortError,
    PortErrorKind, PortResult, SealReceipt, SourceStore, Stager, Stores, UnfinishedBackup, VerifyFailure,
    VerifyReport, WantedDirectories,
};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::any::Any;
use std::collections::HashSet;
use std::sync::Arc;
use uuid::Uuid;

/// Id of the backup in the repository that can be attached.
pub(crate) const ATTACHED_BACKUP: &str = "bkp_00000000000000000000000000aaaaaa";

pub(crate) struct PretendedStores(pub(crate) Arc<Outside>);

struct PretendedSource;

pub(super) struct PretendedRepository(pub(super) RepositoryId, pub(super) Arc<Outside>);

struct PretendedCopier;

struct PretendedStager;

fn attached_id() -> RepositoryId {
    RepositoryId::from_uuid(Uuid::from_u128(0xbb_bbbb))
}

/// What another Milvault left in its repository.
fn attached_header() -> ManifestHeader {
    ManifestHeader {
        backup_id: ATTACHED_BACKUP.parse().unwrap(),
        cluster_id: ClusterId::from_uuid(Uuid::from_u128(0xcc_cccc)),
        cluster_name: String::from("elsewhere"),
        project_id: ProjectId::from_uuid(Uuid::from_u128(0xdd_dddd)),
        name: String::from("found"),
        description: String::new(),
        scope: BackupScope::Cluster,
        creation_method: CreationMethod::Manual,
        created_by: String::from("somebody else"),
        created_at_ms: 1_740_000_000_000,
        expires_at_ms: None,
        source_url: String::from("file:///elsewhere"),
        copied_from: None,
        cut: whole_cut(),
    }
}

#[async_trait]
impl Stores for PretendedStores {
    async fn open_source(
        &self,
        _storage: &StorageConfig,
        _layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>> {
        Ok(Arc::new(PretendedSource))
    }

    async fn list_foreign_backups(
        &self,
        _storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>> {
        let backup = |directory: &str, problem: Option<&str>| ForeignBackup {
            directory: directory.to_owned(),
            created_at_ms: Some(1_750_000_000_000),
            milvus_version: String::from("v2.3.5"),
            collection_count: 3,
            size_bytes: 9000,
            problem: problem.map(str::to_owned),
        };
        let listed = vec![backup("broken", Some("full_meta.json is missing")), backup("nightly", None)];
        Ok(wanted.of(listed, |listed| &listed.directory))
    }

    async fn read_foreign_backup(&self, _storage: &StorageConfig, directory: &str) -> PortResult<Cut> {
        match directory {
            "nightly" => Ok(whole_cut()),
            _ => Err(PortError::new(PortErrorKind::NotFound, "there is no such directory")),
        }
    }

    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository> {
        if !storage.display_url().contains("elsewhere") {
            return Err(PortError::new(PortErrorKind::NotFound, "there is no repository in this place"));
        }
        let header = attached_header();
        let key = (attached_id(), header.backup_id);
        self.0.sealed.lock().unwrap().entry(key).or_insert((header, Vec::new()));
        Ok(AttachedRepository { repository_id: attached_id(), capabilities: StoreCapabilities::default() })
    }

    async fn open_stager(
        &self,
        _repository: Arc<dyn BackupRepository>,
        _target: &StorageConfig,
        _max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>> {
        Ok(Arc::new(PretendedStager))
    }

    async fn create_repository(
        &self,
        _repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities> {
        if storage.display_url().contains("occupied") {
            return Err(PortError::new(
                PortErrorKind::Conflict,
                "the place is not empty; choose an empty one",
            ));
        }
        Ok(StoreCapabilities { conditional_put: true, ..StoreCapabilities::default() })
    }

    async fn open_repository(
        &self,
        repository_id: RepositoryId,
        _storage: &StorageConfig,
        _capabilities: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        Ok(Arc::new(PretendedRepository(repository_id, Arc::clone(&self.0))))
    }

    async fn open_copier(
        &self,
        _source: &StorageConfig,
        _layout: &SourceLayout,
        _repository: Arc<dyn BackupRepository>,
        _max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        Ok(Arc::new(PretendedCopier))
    }

    async fn open_backup_copier(
        &self,
        _source: Arc<dyn BackupRepository>,
        _objects: &[StoredObject],
        _repository: Arc<dyn BackupRepository>,
        _max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        Ok(Arc::new(PretendedCopier))
    }
}

#[async_trait]
impl SourceStore for PretendedSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let object = |segment_id: i64, field_id: i64| SourceObject {
            key: BinlogKey {
                kind: BinlogKind::Insert,
                collection_id,
                partition_id: 7,
                segment_id,
                field_id,
                log_id: 1,
            },
            size_bytes: OBJECT_BYTES,
            fingerprint: Fingerprint::ModifiedAtNanos(1),
        };
        let segments = segment_ids.iter();
        Ok(segments.flat_map(|segment_id| SEGMENT_FIELDS.map(|field| object(*segment_id, field))).collect())
    }

    async fn list_delta_logs(
        &self,
        _collection_id: i64,
        _segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        Ok(Vec::new())
    }

    async fn read_binlog(&self, _key: &BinlogKey) -> PortResult<Vec<u8>> {
        Ok(vec![0; 1000])
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![CheckFinding { subject: String::from("storage"), ok: true, message: String::from("readable") }]
    }
}

impl PretendedRepository {
    pub(super) fn read<T>(&self, backup_id: BackupId, look: impl FnOnce(&Sealed) -> T) -> PortResult<T> {
        let sealed = self.1.sealed.lock().unwrap();
        let found = sealed.get(&(self.0, backup_id)).map(look);
        found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no such manifest"))
    }
}

#[async_trait]
impl BackupRepository for PretendedRepository {
    fn id(&self) -> RepositoryId {
        self.0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![CheckFinding {
            subject: String::from("repository"),
            ok: true,
            message: String::from("writable"),
        }]
    }

    async fn save_unfinished(&self, _header: &ManifestHeader, _plan: &CopyPlan) -> PortResult<()> {
        Ok(())
    }

    async fn load_unfinished(&self, _backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>> {
        Ok(None)
    }

    async fn remove_unfinished(&self, _backup_id: BackupId) -> PortResult<()> {
        Ok(())
    }

    async fn load_index(
        &self,
        _cluster_id: ClusterId,
        _complete: &[BackupId],
        _unfinished: &[BackupId],
        _current: Option<&ManifestHeader>,
    ) -> PortResult<Holdings> {
        Ok(Holdings::default())
    }

    async fn seal_after(
        &self,
        go_ahead: GoAhead<'_>,
        header: &ManifestHeader,
        objects: Vec<StoredObject>,
    ) -> PortResult<SealReceipt> {
        go_ahead.await?;
        self.1.sealed.lock().unwrap().insert((self.0, header.backup_id), (header.clone(), objects));
        Ok(SealReceipt { manifest_bytes: 500 })
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        self.read(backup_id, |(header, _)| header.clone())
    }

    async fn read_objects(
        &self,
        backup_id: BackupId,
        collection_ids: Option<&HashSet<i64>>,
    ) -> PortResult<Vec<StoredObject>> {
        let wanted = |object: &&StoredObject| {
            collection_ids.is_none_or(|ids| ids.contains(&object.source.key.collection_id))
        };
        self.read(backup_id, |(_, objects)| objects.iter().filter(wanted).cloned().collect())
    }

    async fn read_object(&self, _object: &StoredObject) -> PortResult<Vec<u8>> {
        Ok(vec![0; 1000])
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        let sealed = self.1.sealed.lock().unwrap();
        Ok(sealed.keys().filter(|(owner, _)| *owner == self.0).map(|(_, backup_id)| *backup_id).collect())
    }

    async fn verify(
        &self,
        _backup_id: BackupId,
        level: VerifyLevel,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<VerifyReport> {
        progress.start(Progress { objects_total: 3, ..Progress::default() });
        (0..3).for_each(|_| progress.add_object());
        // The deepest level finds something, so that a report with failures is seen too.
        let failures = match level {
            VerifyLevel::Existence | VerifyLevel::Structure => Vec::new(),
            VerifyLevel::Content => vec![VerifyFailure {
                file: String::from("packs/aa/bb"),
                key: Some(String::from("insert_log/3/7/30/100/1")),
                reason: String::from("the hash differs"),
            }],
        };
        Ok(VerifyReport {
            objects_checked: 3,
            failure_count: failures.len() as u64,
            failures,
            ..VerifyReport::default()
        })
    }
}

#[async_trait]
impl Copier for PretendedCopier {
    fn route(&self) -> CopyRoute {
        CopyRoute::ServerSide
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        let copied = unit.objects().iter().map(|object| {
            progress.add_bytes(object.source.size_bytes);
            progress.add_object();
            StoredObject {
                id: object.id,
                source: object.source.clone(),
                location: Location::Object,
                encoding: Encoding::Raw,
                stored_bytes: object.source.size_bytes,
                hash: None,
                store_tag: None,
            }
        });
        Ok(copied.collect())
    }
}

#[async_trait]
impl Stager for PretendedStager {
    fn route(&self) -> CopyRoute {
        CopyRoute::Packs
    }

    fn import_path(&self, relative_path: &str) -> String {
        format!("/milvus/{relative_path}")
    }

    async fn stage(
        &self,
        objects: &[StoredObject],
        _directory: &str,
        progress: &ProgressCounters,
    ) -> PortResult<()> {
        for object in objects {
            progress.add_bytes(object.source.size_bytes);
            progress.add_object();
        }
        Ok(())
    }

    async fn remove(&self, _directory: &str) -> PortResult<u64> {
        Ok(0)
    }
}
