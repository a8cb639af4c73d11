//! A source and a repository that outlive the servers of a test.

use super::gates::Gates;
use async_trait::async_trait;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::milvus::Cut;
use milvault_domain::object::{Encoding, Fingerprint, Location, ObjectId, SourceObject, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyRoute, CopyUnit, ObjectIndex};
use milvault_domain::ports::{
    BackupRepository, CheckFinding, Copier, PortError, PortErrorKind, PortResult, SealReceipt, SourceStore,
    Stores, UnfinishedBackup, VerifyReport,
};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::StorageConfig;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Size of every object at the source: each makes a pack of its own.
pub const OBJECT_BYTES: u64 = 40 << 20;
/// Size of every manifest.
pub const MANIFEST_BYTES: u64 = 77;

#[derive(Default)]
pub struct FakeStores {
    pub gates: Arc<Gates>,
    pub source: Mutex<HashMap<BinlogKey, SourceObject>>,
    pub repository: Arc<RepositoryState>,
}

/// What lies in the repository.
#[derive(Default)]
pub struct RepositoryState {
    pub created: Mutex<HashSet<RepositoryId>>,
    pub unfinished: Mutex<HashMap<BackupId, UnfinishedBackup>>,
    pub sealed: Mutex<HashMap<BackupId, (ManifestHeader, Vec<StoredObject>)>>,
    pub stored: Mutex<HashMap<ObjectId, StoredObject>>,
    /// How often each object was copied.
    pub copies: Mutex<HashMap<BinlogKey, usize>>,
    pub report: Mutex<VerifyReport>,
}

impl FakeStores {
    /// Puts the files of a cut into the source: two fields with one log per segment.
    pub fn fill_source(&self, cut: &Cut) {
        let mut source = self.source.lock().unwrap();
        for (_, collection) in cut.collections() {
            for segment in &collection.segments {
                for field_id in [0, 100] {
                    let key = BinlogKey {
                        kind: BinlogKind::Insert,
                        collection_id: collection.collection_id,
                        partition_id: segment.partition_id,
                        segment_id: segment.segment_id,
                        field_id,
                        log_id: segment.segment_id * 1000 + field_id,
                    };
                    let fingerprint = Fingerprint::ModifiedAtNanos(9);
                    source.insert(key, SourceObject { key, size_bytes: OBJECT_BYTES, fingerprint });
                }
            }
        }
    }
}

impl RepositoryState {
    fn write_manifest(&self, header: &ManifestHeader, objects: Vec<StoredObject>) {
        let stored = self.stored.lock().unwrap();
        assert!(objects.iter().all(|object| stored.contains_key(&object.id)), "sealed what is not there");
        let manifest = (header.clone(), objects);
        let mut sealed = self.sealed.lock().unwrap();
        if let Some(before) = sealed.get(&header.backup_id) {
            assert_eq!(*before, manifest, "a manifest must never change");
        }
        sealed.insert(header.backup_id, manifest);
        self.unfinished.lock().unwrap().remove(&header.backup_id);
    }
}

#[async_trait]
impl Stores for FakeStores {
    async fn open_source(&self, _: &StorageConfig) -> PortResult<Arc<dyn SourceStore>> {
        self.gates.pass("open_source").await?;
        let objects = self.source.lock().unwrap().clone();
        Ok(Arc::new(FakeSource { gates: Arc::clone(&self.gates), objects }))
    }

    async fn create_repository(&self, id: RepositoryId, _: &StorageConfig) -> PortResult<StoreCapabilities> {
        self.gates.pass("create_repository").await?;
        self.repository.created.lock().unwrap().insert(id);
        Ok(StoreCapabilities { conditional_put: true, ..StoreCapabilities::default() })
    }

    async fn open_repository(
        &self,
        id: RepositoryId,
        _: &StorageConfig,
        _: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        self.gates.pass("open_repository").await?;
        Ok(Arc::new(FakeRepository {
            id,
            gates: Arc::clone(&self.gates),
            state: Arc::clone(&self.repository),
        }))
    }

    async fn open_copier(
        &self,
        _: &StorageConfig,
        _: Arc<dyn BackupRepository>,
        _: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        self.gates.pass("open_copier").await?;
        Ok(Arc::new(FakeCopier {
            gates: Arc::clone(&self.gates),
            source: self.source.lock().unwrap().clone(),
            state: Arc::clone(&self.repository),
        }))
    }
}

struct FakeSource {
    gates: Arc<Gates>,
    objects: HashMap<BinlogKey, SourceObject>,
}

#[async_trait]
impl SourceStore for FakeSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        self.gates.pass("list").await?;
        let wanted =
            |key: &BinlogKey| key.collection_id == collection_id && segment_ids.contains(&key.segment_id);
        Ok(self.objects.values().filter(|object| wanted(&object.key)).cloned().collect())
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![finding("storage")]
    }
}

fn finding(subject: &str) -> CheckFinding {
    CheckFinding { subject: subject.to_owned(), ok: true, message: "fine".to_owned() }
}

struct FakeRepository {
    id: RepositoryId,
    gates: Arc<Gates>,
    state: Arc<RepositoryState>,
}

#[async_trait]
impl BackupRepository for FakeRepository {
    fn id(&self) -> RepositoryId {
        self.id
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![finding("repository")]
    }

    async fn save_unfinished(&self, header: &ManifestHeader, plan: &CopyPlan) -> PortResult<()> {
        self.gates.pass("save_unfinished").await?;
        let unfinished = UnfinishedBackup { header: header.clone(), plan: plan.clone() };
        self.state.unfinished.lock().unwrap().insert(header.backup_id, unfinished);
        self.gates.pass("saved_unfinished").await
    }

    async fn load_unfinished(&self, backup_id: BackupId) -> PortResult<Option<UnfinishedBackup>> {
        self.gates.pass("load_unfinished").await?;
        Ok(self.state.unfinished.lock().unwrap().get(&backup_id).cloned())
    }

    async fn load_index(
        &self,
        _: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
    ) -> PortResult<ObjectIndex> {
        self.gates.pass("load_index").await?;
        let sealed = self.state.sealed.lock().unwrap();
        let plans = self.state.unfinished.lock().unwrap();
        let stored = self.state.stored.lock().unwrap();
        let of_complete = complete.iter().filter_map(|id| sealed.get(id)).flat_map(|(_, objects)| objects);
        let of_unfinished = unfinished
            .iter()
            .filter_map(|id| plans.get(id))
            .flat_map(|unfinished| unfinished.plan.units.iter().flat_map(CopyUnit::objects))
            .filter_map(|planned| stored.get(&planned.id));
        Ok(of_complete.chain(of_unfinished).cloned().collect())
    }

    async fn seal(&self, header: &ManifestHeader, objects: Vec<StoredObject>) -> PortResult<SealReceipt> {
        self.gates.pass("seal").await?;
        self.state.write_manifest(header, objects);
        self.gates.pass("sealed").await?;
        Ok(SealReceipt { manifest_bytes: MANIFEST_BYTES })
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        self.gates.pass("read_header").await?;
        let header = self.state.sealed.lock().unwrap().get(&backup_id).map(|(header, _)| header.clone());
        header.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no manifest"))
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        Ok(self.state.sealed.lock().unwrap().keys().copied().collect())
    }

    async fn verify(
        &self,
        backup_id: BackupId,
        _: VerifyLevel,
        progress: Arc<ProgressCounters>,
    ) -> PortResult<VerifyReport> {
        progress.start(Progress { bytes_total: 10, objects_total: 1, ..Progress::default() });
        self.gates.pass("verify").await?;
        progress.add_bytes(10);
        progress.add_object();
        let objects =
            self.state.sealed.lock().unwrap().get(&backup_id).map_or(0, |(_, objects)| objects.len());
        let report = self.state.report.lock().unwrap().clone();
        Ok(VerifyReport { objects_checked: objects as u64, ..report })
    }
}

struct FakeCopier {
    gates: Arc<Gates>,
    source: HashMap<BinlogKey, SourceObject>,
    state: Arc<RepositoryState>,
}

#[async_trait]
impl Copier for FakeCopier {
    fn route(&self) -> CopyRoute {
        CopyRoute::Packs
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        self.gates.pass("copy").await?;
        let there: Option<Vec<StoredObject>> = {
            let stored = self.state.stored.lock().unwrap();
            unit.objects().iter().map(|object| stored.get(&object.id).cloned()).collect()
        };
        if let Some(there) = there {
            progress.add_reused(there.len() as u64, unit.size_bytes());
            return Ok(there);
        }
        let mut result = Vec::new();
        for object in unit.objects() {
            if !self.source.contains_key(&object.source.key) {
                let message = format!("{} does not exist", object.source.key);
                return Err(PortError::new(PortErrorKind::NotFound, message));
            }
            let stored = StoredObject {
                id: object.id,
                source: object.source.clone(),
                location: Location::Object,
                encoding: Encoding::Raw,
                stored_bytes: object.source.size_bytes,
                hash: None,
                store_tag: None,
            };
            progress.add_bytes(object.source.size_bytes);
            progress.add_object();
            *self.state.copies.lock().unwrap().entry(object.source.key).or_default() += 1;
            result.push(stored);
        }
        self.state.stored.lock().unwrap().extend(result.iter().map(|object| (object.id, object.clone())));
        self.gates.pass("copied").await?;
        Ok(result)
    }
}
