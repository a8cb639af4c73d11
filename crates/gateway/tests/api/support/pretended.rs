//! A Milvus of two databases, and stores that keep nothing but manifests' headers. The cut waits until the test lets
//! it through.

use async_trait::async_trait;
use milvault_domain::backup::{BackupScope, ManifestHeader};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::milvus::{
    AccessControl, Capabilities, CollectionCut, Cut, DatabaseCut, FieldDescription, FieldFlags, Grant,
    IndexDescription, LoadState, PartitionDescription, Property, RoleDescription, SegmentCut, ServerInfo,
    TimestampUnit,
};
use milvault_domain::object::{Encoding, Fingerprint, Location, SourceObject, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyRoute, CopyUnit, ObjectIndex};
use milvault_domain::ports::{
    BackupRepository, CheckFinding, Copier, MilvusCluster, MilvusConnector, PortError, PortErrorKind,
    PortResult, SealReceipt, SourceStore, Stores, UnfinishedBackup, VerifyFailure, VerifyReport,
};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::repository::StoreCapabilities;
use milvault_domain::storage::StorageConfig;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Size of every pretended binlog.
pub(crate) const OBJECT_BYTES: u64 = 1000;
/// Rows of every pretended segment.
pub(crate) const SEGMENT_ROWS: u64 = 10;

/// The world outside, and the gate that cuts wait at.
pub(crate) struct Outside {
    gate: watch::Sender<bool>,
    sealed: Mutex<HashMap<BackupId, ManifestHeader>>,
}

impl Outside {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { gate: watch::Sender::new(true), sealed: Mutex::default() })
    }

    /// From now on cuts wait.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    /// Lets waiting and further cuts through.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

fn property(key: &str, value: &str) -> Property {
    Property { key: key.to_owned(), value: value.to_owned() }
}

fn collection(collection_id: i64, name: &str) -> CollectionCut {
    CollectionCut {
        collection_id,
        name: name.to_owned(),
        description: String::from("pretended"),
        shard_count: 2,
        consistency_level: 2,
        schema_proto: Vec::new(),
        fields: vec![FieldDescription {
            field_id: 100,
            name: String::from("id"),
            description: String::new(),
            data_type: String::from("Int64"),
            element_type: String::new(),
            type_params: vec![property("max_length", "8")],
            flags: FieldFlags { primary_key: true, ..FieldFlags::default() },
        }],
        dynamic_field: true,
        properties: vec![property("collection.ttl.seconds", "60")],
        partitions: vec![PartitionDescription { partition_id: 7, name: String::from("_default") }],
        indexes: vec![IndexDescription {
            name: String::from("vector_index"),
            field_name: String::from("vector"),
            params: vec![property("index_type", "HNSW")],
        }],
        aliases: vec![String::from("alias")],
        load_state: LoadState::Loaded,
        replica_count: 1,
        segments: vec![SegmentCut {
            segment_id: collection_id * 10,
            partition_id: 7,
            row_count: SEGMENT_ROWS,
        }],
    }
}

fn cut() -> Cut {
    let database = |name: &str, collections| DatabaseCut {
        name: name.to_owned(),
        properties: vec![property("database.replica.number", "1")],
        collections,
    };
    Cut {
        cut_at_ms: 1_750_000_000_000,
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
        databases: vec![
            database("archive", vec![collection(3, "old")]),
            database("default", vec![collection(451_234_567_890_123_456, "books"), collection(2, "people")]),
        ],
        access_control: Some(AccessControl {
            users: vec![String::from("root")],
            roles: vec![RoleDescription { name: String::from("admin"), users: vec![String::from("root")] }],
            grants: vec![Grant {
                role: String::from("admin"),
                object_type: String::from("Global"),
                object_name: String::from("*"),
                database: String::from("default"),
                privilege: String::from("All"),
                grantor: String::from("root"),
            }],
        }),
    }
}

pub(crate) struct PretendedMilvus(pub(crate) Arc<Outside>);

struct PretendedCluster(Arc<Outside>, ServerInfo);

#[async_trait]
impl MilvusConnector for PretendedMilvus {
    async fn connect(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
        if endpoint.uri.contains("unreachable") {
            return Err(PortError::new(
                PortErrorKind::Unavailable,
                "milvus does not answer; look at its address",
            ));
        }
        Ok(Arc::new(PretendedCluster(Arc::clone(&self.0), cut().server)))
    }
}

#[async_trait]
impl MilvusCluster for PretendedCluster {
    fn server(&self) -> &ServerInfo {
        &self.1
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        let _ = self.0.gate.subscribe().wait_for(|open| *open).await;
        let mut cut = cut();
        cut.databases.retain(|database| scope.includes_database(&database.name));
        for database in &mut cut.databases {
            let name = database.name.clone();
            database.collections.retain(|collection| scope.includes_collection(&name, &collection.name));
        }
        if *scope != BackupScope::Cluster {
            cut.access_control = None;
        }
        Ok(cut)
    }
}

pub(crate) struct PretendedStores(pub(crate) Arc<Outside>);

struct PretendedSource;

struct PretendedRepository(RepositoryId, Arc<Outside>);

struct PretendedCopier;

#[async_trait]
impl Stores for PretendedStores {
    async fn open_source(&self, _storage: &StorageConfig) -> PortResult<Arc<dyn SourceStore>> {
        Ok(Arc::new(PretendedSource))
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
        let object = |segment_id: &i64| SourceObject {
            key: BinlogKey {
                kind: BinlogKind::Insert,
                collection_id,
                partition_id: 7,
                segment_id: *segment_id,
                field_id: 100,
                log_id: 1,
            },
            size_bytes: OBJECT_BYTES,
            fingerprint: Fingerprint::ModifiedAtNanos(1),
        };
        Ok(segment_ids.iter().map(object).collect())
    }

    async fn check(&self) -> Vec<CheckFinding> {
        vec![CheckFinding { subject: String::from("storage"), ok: true, message: String::from("readable") }]
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

    async fn load_index(
        &self,
        _cluster_id: ClusterId,
        _complete: &[BackupId],
        _unfinished: &[BackupId],
    ) -> PortResult<ObjectIndex> {
        Ok(ObjectIndex::default())
    }

    async fn seal(&self, header: &ManifestHeader, _objects: Vec<StoredObject>) -> PortResult<SealReceipt> {
        self.1.sealed.lock().unwrap().insert(header.backup_id, header.clone());
        Ok(SealReceipt { manifest_bytes: 500 })
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        let found = self.1.sealed.lock().unwrap().get(&backup_id).cloned();
        found.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no such manifest"))
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        Ok(self.1.sealed.lock().unwrap().keys().copied().collect())
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
