//! What the tests of this crate share: a source with binlogs in it, a repository, and a backup from one to the other.

#![allow(clippy::unwrap_used, dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod contract;
pub(crate) mod copies;
pub(crate) mod foreign;
pub(crate) mod lifecycle;
pub(crate) mod staging;

use async_trait::async_trait;
use milvault_domain::backup::{BackupScope, CreationMethod, ManifestHeader};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, ClusterId, ProjectId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::milvus::{
    Capabilities, CollectionCut, Cut, DatabaseCut, LoadState, SegmentCut, ServerInfo, TimestampUnit,
};
use milvault_domain::object::{PackId, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyUnit, ObjectIndex, plan_copy};
use milvault_domain::ports::{BackupRepository, Copier, SecretSource, Stores, VerifyReport};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::{LocalStorage, SourceLayout, StorageConfig};
use milvault_repository::RepositoryStores;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;

pub(crate) const COLLECTION: i64 = 449_000_000_000_000_100;
pub(crate) const PARTITION: i64 = 449_000_000_000_000_101;
pub(crate) const SEGMENTS: [i64; 2] = [449_000_000_000_000_201, 449_000_000_000_000_202];

/// Takes values as they are.
pub(crate) struct PlainSecrets;

impl SecretSource for PlainSecrets {
    fn reveal(&self, secret: &Secret) -> PortResult<SecretValue> {
        match secret {
            Secret::Value(value) => Ok(value.clone()),
            Secret::Environment(name) | Secret::File(name) => {
                Err(PortError::new(PortErrorKind::NotFound, format!("there is no secret `{name}`")))
            }
        }
    }
}

pub(crate) fn stores() -> RepositoryStores {
    RepositoryStores::new(Arc::new(PlainSecrets))
}

pub(crate) fn local(path: &Path) -> StorageConfig {
    StorageConfig::Local(LocalStorage { path: path.to_str().unwrap().to_owned() })
}

pub(crate) fn repository_id(number: u128) -> RepositoryId {
    RepositoryId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn backup_id(number: u128) -> BackupId {
    BackupId::from_uuid(Uuid::from_u128(number))
}

pub(crate) fn cluster_id() -> ClusterId {
    ClusterId::from_uuid(Uuid::from_u128(0xc1))
}

/// A cluster's storage that tests write to.
#[async_trait]
pub(crate) trait TestSource: Send + Sync {
    fn config(&self) -> StorageConfig;
    async fn put(&self, key: &str, content: &[u8]);
    async fn remove(&self, key: &str);
    /// All files with their content.
    async fn files(&self) -> BTreeMap<String, Vec<u8>>;
}

pub(crate) struct LocalTestSource {
    pub(crate) directory: tempfile::TempDir,
}

impl LocalTestSource {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.directory.path().join(key)
    }
}

#[async_trait]
impl TestSource for LocalTestSource {
    fn config(&self) -> StorageConfig {
        local(self.directory.path())
    }

    async fn put(&self, key: &str, content: &[u8]) {
        let path = self.path(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn remove(&self, key: &str) {
        std::fs::remove_file(self.path(key)).unwrap();
    }

    async fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let root = self.directory.path();
        let name = |path: &Path| path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        files_below(root).iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
    }
}

/// A cluster's storage in a pretended store, whose files are put there directly.
pub(crate) struct StoredSource(pub(crate) StorageConfig);

#[async_trait]
impl TestSource for StoredSource {
    fn config(&self) -> StorageConfig {
        self.0.clone()
    }

    async fn put(&self, _: &str, _: &[u8]) {
        unreachable!()
    }

    async fn remove(&self, _: &str) {
        unreachable!()
    }

    async fn files(&self) -> BTreeMap<String, Vec<u8>> {
        unreachable!()
    }
}

/// All files below a directory, sorted.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files_below(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A source and an empty repository.
pub(crate) struct Lab {
    pub(crate) stores: RepositoryStores,
    pub(crate) source: Box<dyn TestSource>,
    pub(crate) repository: Arc<dyn BackupRepository>,
    /// Kept while the lab is in use.
    pub(crate) directory: Option<tempfile::TempDir>,
    /// Where the repository lies on the local disk.
    pub(crate) root: Option<PathBuf>,
}

/// A lab with a repository on the local disk.
pub(crate) async fn local_lab() -> Lab {
    let directory = tempfile::tempdir().unwrap();
    let mut lab = local_lab_in(directory.path()).await;
    lab.directory = Some(directory);
    lab
}

/// A lab with a repository in a directory of somebody else's.
pub(crate) async fn local_lab_in(directory: &Path) -> Lab {
    let stores = stores();
    let root = directory.join("a/repository");
    let capabilities = stores.create_repository(repository_id(1), &local(&root)).await.unwrap();
    let repository = stores.open_repository(repository_id(1), &local(&root), capabilities).await.unwrap();
    Lab { stores, source: Box::new(LocalTestSource::new()), repository, directory: None, root: Some(root) }
}

/// What a backup did.
pub(crate) struct Made {
    pub(crate) plan: CopyPlan,
    pub(crate) objects: Vec<StoredObject>,
    pub(crate) progress: Progress,
}

impl Lab {
    pub(crate) fn root(&self) -> PathBuf {
        self.root.clone().unwrap()
    }

    /// Puts a few binlogs of all sizes into the source, an empty one and one longer than a buffer among them.
    pub(crate) async fn fill(&self) {
        for (number, size) in (1_i64..).zip([0_usize, 1, 100, 4096, 70_000, 5_000_000, 300_000, 12]) {
            self.source.put(&insert_key(SEGMENTS[0], 100, number).to_string(), &content(number, size)).await;
            self.source
                .put(&insert_key(SEGMENTS[1], 101, number).to_string(), &content(-number, size / 2))
                .await;
        }
        self.source.put(&delta_key(SEGMENTS[0], 50).to_string(), &content(50, 900)).await;
    }

    pub(crate) async fn copier(&self) -> Arc<dyn Copier> {
        let repository = Arc::clone(&self.repository);
        self.stores.open_copier(&self.source.config(), &SourceLayout::Milvus, repository, None).await.unwrap()
    }

    /// The plan of a backup, in units of a few objects so that there are several.
    pub(crate) async fn plan(&self, index: &ObjectIndex) -> CopyPlan {
        let source = self.stores.open_source(&self.source.config(), &SourceLayout::Milvus).await.unwrap();
        let segments: HashSet<i64> = SEGMENTS.into_iter().collect();
        let listed = source.list_binlogs(COLLECTION, &segments).await.unwrap();
        split(plan_copy(cluster_id(), listed, index, self.copier().await.route()))
    }

    pub(crate) async fn index(&self, complete: &[BackupId], unfinished: &[BackupId]) -> ObjectIndex {
        self.repository.load_index(cluster_id(), complete, unfinished, None).await.unwrap().index
    }

    /// A whole backup.
    pub(crate) async fn back_up(&self, id: BackupId, earlier: &[BackupId]) -> Made {
        let index = self.index(earlier, &[]).await;
        let plan = self.plan(&index).await;
        let header = header(id);
        self.repository.save_unfinished(&header, &plan).await.unwrap();
        let progress = ProgressCounters::default();
        progress.start(plan.progress());
        let mut objects = plan.reused.clone();
        let copier = self.copier().await;
        for unit in &plan.units {
            objects.extend(copier.copy(unit, &progress).await.unwrap());
        }
        self.repository.seal(&header, objects.clone()).await.unwrap();
        Made { plan, objects, progress: progress.snapshot() }
    }

    pub(crate) async fn verify(&self, id: BackupId, level: VerifyLevel) -> VerifyReport {
        self.repository.verify(id, level, Arc::default()).await.unwrap()
    }
}

/// Units of at most five objects instead of 64 MiB.
pub(crate) fn split(mut plan: CopyPlan) -> CopyPlan {
    let units = std::mem::take(&mut plan.units);
    for unit in units {
        for objects in unit.objects().chunks(5) {
            let objects = objects.to_vec();
            plan.units.push(match unit {
                CopyUnit::Pack { .. } => CopyUnit::Pack {
                    pack_id: PackId::derive(objects.iter().map(|object| object.id)),
                    objects,
                },
                CopyUnit::ServerSide { .. } => CopyUnit::ServerSide { objects },
            });
        }
    }
    plan
}

pub(crate) fn insert_key(segment_id: i64, field_id: i64, log_id: i64) -> BinlogKey {
    BinlogKey {
        kind: BinlogKind::Insert,
        collection_id: COLLECTION,
        partition_id: PARTITION,
        segment_id,
        field_id,
        log_id,
    }
}

pub(crate) fn delta_key(segment_id: i64, log_id: i64) -> BinlogKey {
    BinlogKey { kind: BinlogKind::Delta, field_id: 0, ..insert_key(segment_id, 0, log_id) }
}

/// Bytes that differ from file to file.
pub(crate) fn content(seed: i64, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

pub(crate) fn header(backup_id: BackupId) -> ManifestHeader {
    let segments =
        SEGMENTS.map(|segment_id| SegmentCut { segment_id, partition_id: PARTITION, row_count: 10 }).to_vec();
    let collection = CollectionCut {
        collection_id: COLLECTION,
        name: String::from("articles"),
        description: String::new(),
        shard_count: 1,
        consistency_level: 2,
        schema_proto: vec![1, 2, 3],
        fields: vec![],
        dynamic_field: false,
        properties: vec![],
        partitions: vec![],
        indexes: vec![],
        aliases: vec![],
        load_state: LoadState::Loaded,
        replica_count: 1,
        segments,
    };
    ManifestHeader {
        backup_id,
        cluster_id: cluster_id(),
        cluster_name: String::from("production"),
        project_id: ProjectId::from_uuid(Uuid::from_u128(1)),
        name: String::from("nightly"),
        description: String::new(),
        scope: BackupScope::Cluster,
        creation_method: CreationMethod::Manual,
        created_by: String::from("owner"),
        created_at_ms: 1_700_000_000_000,
        expires_at_ms: None,
        source_url: String::from("file:///milvus"),
        copied_from: None,
        cut: Cut {
            cut_at_ms: 1_700_000_000_500,
            server: ServerInfo {
                version: String::from("v2.3.5"),
                capabilities: Capabilities {
                    verified: true,
                    databases: true,
                    gc_pause: false,
                    l0_segments: false,
                    import_end_timestamp: TimestampUnit::Milliseconds,
                },
            },
            databases: vec![DatabaseCut {
                name: String::from("default"),
                properties: vec![],
                collections: vec![collection],
            }],
            access_control: None,
        },
    }
}

pub(crate) fn copied(units: &[CopyUnit]) -> u64 {
    units.iter().map(|unit| unit.objects().len() as u64).sum()
}
