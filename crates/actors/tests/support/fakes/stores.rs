//! Sources, and the places of repositories, that outlive the servers of a test.

use super::disks::{Disk, Disks, name_of};
use super::gates::Gates;
use super::repository::{FakeCopier, FakeRepository, RepositoryState};
use super::stager::FakeStager;
use async_trait::async_trait;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::ids::RepositoryId;
use milvault_domain::milvus::Cut;
use milvault_domain::object::{Fingerprint, SourceObject, StoredObject};
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, CheckFinding, Copier, ForeignBackup, PortError, PortErrorKind,
    PortResult, SourceStore, Stager, Stores, WantedDirectories,
};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Size of every object of [`FakeStores::source`]: each makes a pack of its own.
pub const OBJECT_BYTES: u64 = 40 << 20;

#[derive(Default)]
pub struct FakeStores {
    pub gates: Arc<Gates>,
    /// Files without content, of every storage that [`FakeStores::disks`] does not know.
    pub source: Mutex<HashMap<BinlogKey, SourceObject>>,
    /// Storages with real rows.
    pub disks: Arc<Disks>,
    pub repository: Arc<RepositoryState>,
    /// Repositories that have a place of their own; all others share [`FakeStores::repository`].
    pub others: Mutex<HashMap<RepositoryId, Arc<RepositoryState>>>,
}

impl FakeStores {
    /// Gives a repository a place of its own.
    pub fn separate(&self, id: RepositoryId) -> Arc<RepositoryState> {
        Arc::clone(self.others.lock().unwrap().entry(id).or_default())
    }

    fn state(&self, id: RepositoryId) -> Arc<RepositoryState> {
        let other = self.others.lock().unwrap().get(&id).cloned();
        other.unwrap_or_else(|| Arc::clone(&self.repository))
    }

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

    fn files(&self, storage: &StorageConfig, layout: &SourceLayout) -> SourceFiles {
        let name = name_of(storage, layout);
        if self.disks.snapshot(&name).is_some() {
            return SourceFiles::OnDisk { disks: Arc::clone(&self.disks), name };
        }
        SourceFiles::WithoutContent(self.source.lock().unwrap().clone())
    }

    fn disk(&self, storage: &StorageConfig) -> Disk {
        self.disks.snapshot(&storage.display_url()).unwrap_or_default()
    }
}

/// The files of an opened source.
pub enum SourceFiles {
    OnDisk { disks: Arc<Disks>, name: String },
    WithoutContent(HashMap<BinlogKey, SourceObject>),
    InRepository(Arc<RepositoryState>),
}

impl SourceFiles {
    pub fn list(&self) -> Vec<SourceObject> {
        match self {
            Self::OnDisk { disks, name } => {
                disks.edit(name, |disk| disk.binlogs.values().map(|file| file.object.clone()).collect())
            }
            Self::WithoutContent(objects) => objects.values().cloned().collect(),
            Self::InRepository(state) => {
                state.stored.lock().unwrap().values().map(|object| object.source.clone()).collect()
            }
        }
    }

    /// The content, empty where there is none.
    pub fn read(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        let content = match self {
            Self::OnDisk { disks, name } => {
                disks.edit(name, |disk| disk.binlogs.get(key).map(|file| file.content.clone()))
            }
            Self::WithoutContent(objects) => objects.contains_key(key).then(Vec::new),
            Self::InRepository(state) => {
                let stored =
                    state.stored.lock().unwrap().values().find(|object| object.source.key == *key).cloned();
                let Some(stored) = stored else {
                    let message = format!("the copy of {key} is damaged: the file does not exist");
                    return Err(PortError::new(PortErrorKind::Corrupt, message));
                };
                return state.read(&stored);
            }
        };
        content.ok_or_else(|| PortError::new(PortErrorKind::NotFound, format!("{key} does not exist")))
    }
}

#[async_trait]
impl Stores for FakeStores {
    async fn open_source(
        &self,
        storage: &StorageConfig,
        layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>> {
        self.gates.pass("open_source").await?;
        Ok(Arc::new(FakeSource { gates: Arc::clone(&self.gates), files: self.files(storage, layout) }))
    }

    async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>> {
        self.gates.pass("list_foreign_backups").await?;
        let listed = self.disk(storage).foreign.into_iter().map(|directory| directory.listed).collect();
        Ok(wanted.of(listed, |listed: &ForeignBackup| &listed.directory))
    }

    async fn read_foreign_backup(&self, storage: &StorageConfig, directory: &str) -> PortResult<Cut> {
        self.gates.pass("read_foreign_backup").await?;
        let found = self.disk(storage).foreign.into_iter().find(|found| found.listed.directory == directory);
        let found =
            found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, format!("no {directory}")))?;
        found.cut.map_err(|(kind, message)| PortError::new(kind, message))
    }

    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository> {
        self.gates.pass("attach_repository").await?;
        let attached = self.repository.marker.lock().unwrap().get(&storage.display_url()).copied();
        attached.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "there is no repository"))
    }

    async fn open_stager(
        &self,
        _: Arc<dyn BackupRepository>,
        target: &StorageConfig,
        _: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>> {
        self.gates.pass("open_stager").await?;
        Ok(Arc::new(FakeStager {
            gates: Arc::clone(&self.gates),
            state: Arc::clone(&self.repository),
            disks: Arc::clone(&self.disks),
            disk: target.display_url(),
        }))
    }

    async fn create_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities> {
        self.gates.pass("create_repository").await?;
        self.repository.created.lock().unwrap().insert(repository_id);
        let capabilities = StoreCapabilities { conditional_put: true, ..StoreCapabilities::default() };
        let marker = AttachedRepository { repository_id, capabilities };
        self.repository.marker.lock().unwrap().insert(storage.display_url(), marker);
        Ok(capabilities)
    }

    async fn open_repository(
        &self,
        id: RepositoryId,
        _: &StorageConfig,
        _: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        self.gates.pass("open_repository").await?;
        Ok(Arc::new(FakeRepository { id, gates: Arc::clone(&self.gates), state: self.state(id) }))
    }

    async fn open_copier(
        &self,
        source: &StorageConfig,
        layout: &SourceLayout,
        repository: Arc<dyn BackupRepository>,
        _: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        self.gates.pass("open_copier").await?;
        Ok(Arc::new(FakeCopier {
            gates: Arc::clone(&self.gates),
            source: self.files(source, layout),
            state: self.state(repository.id()),
        }))
    }

    async fn open_backup_copier(
        &self,
        source: Arc<dyn BackupRepository>,
        _: &[StoredObject],
        repository: Arc<dyn BackupRepository>,
        _: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        self.gates.pass("open_backup_copier").await?;
        Ok(Arc::new(FakeCopier {
            gates: Arc::clone(&self.gates),
            source: SourceFiles::InRepository(self.state(source.id())),
            state: self.state(repository.id()),
        }))
    }
}

struct FakeSource {
    gates: Arc<Gates>,
    files: SourceFiles,
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
        Ok(self.files.list().into_iter().filter(|object| wanted(&object.key)).collect())
    }

    async fn list_delta_logs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let mut logs = self.list_binlogs(collection_id, segment_ids).await?;
        logs.retain(|object| object.key.kind == BinlogKind::Delta);
        Ok(logs)
    }

    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        self.gates.pass("read_binlog").await?;
        self.files.read(key)
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![finding("storage")]
    }
}

pub fn finding(subject: &str) -> CheckFinding {
    CheckFinding { subject: subject.to_owned(), ok: true, message: "fine".to_owned() }
}
