//! A cluster with any number of binlog objects that take no space: a listing made by counting, and packs that are
//! sparse files of zeros with a real index and trailer. Everything else is the product's own.

use super::data_set::{collection_cut, cut_of};
use anyhow::ensure;
use async_trait::async_trait;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::manifest::{PackEntry, encode_pack_tail};
use milvault_domain::milvus::{Cut, SegmentCut};
use milvault_domain::object::{
    ContentHash, Encoding, Fingerprint, Location, PackId, SourceObject, StoredObject,
};
use milvault_domain::plan::{CopyRoute, CopyUnit, PlannedObject};
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, CheckFinding, Copier, ForeignBackup, PortError, PortErrorKind,
    PortResult, SourceStore, Stager, Stores, WantedDirectories,
};
use milvault_domain::progress::ProgressCounters;
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

/// Size of every object.
const OBJECT_BYTES: u64 = 1 << 20;
/// Collections that the objects are spread over.
const COLLECTIONS: i64 = 16;
/// Fields of a segment, and logs of each.
const FIELDS: i64 = 5;
const LOGS_PER_FIELD: i64 = 10;
const LOGS_PER_SEGMENT: i64 = FIELDS * LOGS_PER_FIELD;
/// Ids have 18 digits, as Milvus's own; each collection's begin a thousand million after the one before.
const FIRST_ID: i64 = 446_000_000_000_000_000;
const IDS_PER_COLLECTION: i64 = 1_000_000_000;

/// The shape of a synthetic cluster.
#[derive(Debug, Clone, Copy)]
pub(super) struct SyntheticCluster {
    segments_per_collection: i64,
}

impl SyntheticCluster {
    /// A cluster with this number of objects.
    pub(super) fn with_objects(objects: u64) -> anyhow::Result<Self> {
        let objects = i64::try_from(objects)?;
        let step = COLLECTIONS * LOGS_PER_SEGMENT;
        ensure!(0 < objects && objects <= 1_000_000_000, "the number of objects must be 1 to 1,000,000,000");
        // Whole segments only; a million is one of the numbers that fit after rounding up.
        Ok(Self { segments_per_collection: (objects + step - 1) / step })
    }

    /// Objects it has: the number asked for, rounded up to whole segments in every collection.
    pub(super) fn object_count(self) -> u64 {
        (self.segments_per_collection * LOGS_PER_SEGMENT * COLLECTIONS).cast_unsigned()
    }

    /// What its Milvus shows.
    pub(super) fn cut(self) -> Cut {
        let collection = |number: i64| {
            let collection_id = FIRST_ID + number * IDS_PER_COLLECTION;
            let segments = (0..self.segments_per_collection)
                .map(|segment| SegmentCut {
                    segment_id: segment_id(collection_id, segment),
                    partition_id: collection_id + 1,
                    row_count: 100_000,
                })
                .collect();
            collection_cut(&format!("collection_{number:02}"), collection_id, collection_id + 1, segments)
        };
        cut_of((0..COLLECTIONS).map(collection).collect())
    }
}

fn segment_id(collection_id: i64, segment: i64) -> i64 {
    collection_id + 2 + segment * (LOGS_PER_SEGMENT + 1)
}

/// Stores whose sources are synthetic and whose repositories are real.
pub(super) struct SyntheticStores {
    inner: Arc<dyn Stores>,
    repository: PathBuf,
    zeros: ContentHash,
}

impl SyntheticStores {
    /// Wraps the product's stores; the repository lies in this local directory.
    pub(super) fn new(inner: Arc<dyn Stores>, repository: PathBuf) -> Self {
        let mut hasher = blake3::Hasher::new();
        let block = [0; 4096];
        for _ in 0..OBJECT_BYTES / 4096 {
            hasher.update(&block);
        }
        Self { inner, repository, zeros: ContentHash::from_bytes(*hasher.finalize().as_bytes()) }
    }
}

#[async_trait]
impl Stores for SyntheticStores {
    async fn open_source(
        &self,
        _storage: &StorageConfig,
        _layout: &SourceLayout,
    ) -> PortResult<Arc<dyn SourceStore>> {
        Ok(Arc::new(SyntheticSource))
    }

    async fn list_foreign_backups(
        &self,
        storage: &StorageConfig,
        wanted: &WantedDirectories,
    ) -> PortResult<Vec<ForeignBackup>> {
        self.inner.list_foreign_backups(storage, wanted).await
    }

    async fn read_foreign_backup(&self, storage: &StorageConfig, directory: &str) -> PortResult<Cut> {
        self.inner.read_foreign_backup(storage, directory).await
    }

    async fn attach_repository(&self, storage: &StorageConfig) -> PortResult<AttachedRepository> {
        self.inner.attach_repository(storage).await
    }

    async fn open_stager(
        &self,
        repository: Arc<dyn BackupRepository>,
        target: &StorageConfig,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Stager>> {
        self.inner.open_stager(repository, target, max_bytes_per_second).await
    }

    async fn create_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
    ) -> PortResult<StoreCapabilities> {
        self.inner.create_repository(repository_id, storage).await
    }

    async fn open_repository(
        &self,
        repository_id: RepositoryId,
        storage: &StorageConfig,
        capabilities: StoreCapabilities,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        self.inner.open_repository(repository_id, storage, capabilities).await
    }

    async fn open_copier(
        &self,
        _source: &StorageConfig,
        _layout: &SourceLayout,
        _repository: Arc<dyn BackupRepository>,
        _max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        Ok(Arc::new(SparseCopier { packs: self.repository.join("packs"), zeros: self.zeros }))
    }

    async fn open_backup_copier(
        &self,
        source: Arc<dyn BackupRepository>,
        objects: &[StoredObject],
        repository: Arc<dyn BackupRepository>,
        max_bytes_per_second: Option<u64>,
    ) -> PortResult<Arc<dyn Copier>> {
        self.inner.open_backup_copier(source, objects, repository, max_bytes_per_second).await
    }
}

struct SyntheticSource;

#[async_trait]
impl SourceStore for SyntheticSource {
    async fn list_binlogs(
        &self,
        collection_id: i64,
        segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        let mut objects =
            Vec::with_capacity(segment_ids.len() * usize::try_from(LOGS_PER_SEGMENT).unwrap_or(0));
        for &segment_id in segment_ids {
            objects.extend((0..LOGS_PER_SEGMENT).map(|log| SourceObject {
                key: BinlogKey {
                    kind: BinlogKind::Insert,
                    collection_id,
                    partition_id: collection_id + 1,
                    segment_id,
                    field_id: 100 + log / LOGS_PER_FIELD,
                    log_id: segment_id + 1 + log,
                },
                size_bytes: OBJECT_BYTES,
                fingerprint: Fingerprint::ModifiedAtNanos(1_764_000_000_000_000_000 + log),
            }));
        }
        Ok(objects)
    }

    async fn list_delta_logs(
        &self,
        _collection_id: i64,
        _segment_ids: &HashSet<i64>,
    ) -> PortResult<Vec<SourceObject>> {
        Ok(Vec::new())
    }

    async fn read_binlog(&self, key: &BinlogKey) -> PortResult<Vec<u8>> {
        Err(PortError::new(PortErrorKind::Unsupported, format!("{key} has no bytes")))
    }

    async fn check(&self) -> Vec<CheckFinding> {
        Vec::new()
    }
}

/// Makes packs as the product does, except that the objects' bytes are holes.
struct SparseCopier {
    packs: PathBuf,
    zeros: ContentHash,
}

#[async_trait]
impl Copier for SparseCopier {
    fn route(&self) -> CopyRoute {
        CopyRoute::Packs
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        let CopyUnit::Pack { pack_id, objects } = unit else {
            return Err(PortError::new(PortErrorKind::Unsupported, "synthetic objects go to packs only"));
        };
        let stored = self.place(*pack_id, objects);
        self.write_pack(*pack_id, &stored).map_err(|error| {
            PortError::with_source(PortErrorKind::Internal, "a sparse pack cannot be written", error)
        })?;
        for object in &stored {
            progress.add_bytes(object.stored_bytes);
            progress.add_object();
        }
        Ok(stored)
    }
}

impl SparseCopier {
    fn place(&self, pack_id: PackId, objects: &[PlannedObject]) -> Vec<StoredObject> {
        let mut offset_bytes = 0;
        let place = |object: &PlannedObject| {
            let stored = StoredObject {
                id: object.id,
                source: object.source.clone(),
                location: Location::Pack { pack_id, offset_bytes },
                encoding: Encoding::Raw,
                stored_bytes: object.source.size_bytes,
                hash: Some(self.zeros),
                store_tag: None,
            };
            offset_bytes += stored.stored_bytes;
            stored
        };
        objects.iter().map(place).collect()
    }

    fn write_pack(&self, pack_id: PackId, objects: &[StoredObject]) -> anyhow::Result<()> {
        let mut offset_bytes = 0;
        let mut entries = Vec::with_capacity(objects.len());
        for object in objects {
            let stored_bytes = object.stored_bytes;
            entries.push(PackEntry { id: object.id, offset_bytes, stored_bytes, hash: self.zeros });
            offset_bytes += stored_bytes;
        }
        let name = pack_id.to_string();
        let directory = self.packs.join(&name[..2]);
        fs::create_dir_all(&directory)?;
        let mut file = File::create(directory.join(&name))?;
        file.seek(SeekFrom::Start(offset_bytes))?;
        file.write_all(&encode_pack_tail(&entries)?)?;
        Ok(())
    }
}

/// Size of a backup's manifest.
pub(super) fn manifest_bytes(repository: &std::path::Path, backup_id: BackupId) -> anyhow::Result<u64> {
    Ok(fs::metadata(repository.join("backups").join(backup_id.to_string()).join("manifest"))?.len())
}
