//! A repository that outlives the servers of a test.

use super::gates::Gates;
use super::stores::{SourceFiles, finding};
use async_trait::async_trait;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::binlog::BinlogKey;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::VerifyLevel;
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::object::{Encoding, Location, ObjectId, PackId, StoredObject};
use milvault_domain::plan::{CopyPlan, CopyRoute, CopyUnit, Holdings};
use milvault_domain::ports::{
    AttachedRepository, BackupRepository, CheckFinding, CheckOrder, Copier, GoAhead, PortError,
    PortErrorKind, PortResult, SealReceipt, UnfinishedBackup, VerifyReport,
};
use milvault_domain::progress::{Progress, ProgressCounters};
use milvault_domain::recovery::{BackupRecord, PolicyRecord};
use milvault_domain::sweep::DataFile;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// Size of every manifest.
pub const MANIFEST_BYTES: u64 = 77;

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
    /// Checks that were made, with the files that each looked at.
    pub checks: Mutex<Vec<(CheckOrder, Vec<DataFile>)>>,
    /// Bytes of the stored objects, as far as the source had any.
    pub contents: Mutex<HashMap<ObjectId, Vec<u8>>>,
    /// Objects whose bytes are no longer what was backed up.
    pub damaged: Mutex<HashSet<ObjectId>>,
    /// Sizes of packs; `None` as long as every object gets a file of its own.
    pub packs: Mutex<Option<HashMap<PackId, u64>>>,
    /// Backups whose manifest cannot be read.
    pub unreadable: Mutex<HashSet<BackupId>>,
    /// Tombstones of deleted backups.
    pub tombstones: Mutex<HashMap<BackupId, Tombstone>>,
    /// Records beside manifests.
    pub records: Mutex<HashMap<BackupId, BackupRecord>>,
    /// Backups whose records cannot be read.
    pub unreadable_records: Mutex<HashSet<BackupId>>,
    /// Records of policies.
    pub policies: Mutex<HashMap<ClusterId, PolicyRecord>>,
    /// Clusters whose policies cannot be read.
    pub unreadable_policies: Mutex<HashSet<ClusterId>>,
    /// Backups of catalogs, by name.
    pub catalog_backups: Mutex<BTreeMap<String, Vec<u8>>>,
    /// Markers of repositories, by place.
    pub marker: Mutex<HashMap<String, AttachedRepository>>,
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
    }

    /// Damages the stored objects that were made of such files.
    pub fn damage(&self, such: impl Fn(&BinlogKey) -> bool) {
        let stored = self.stored.lock().unwrap();
        let hit = stored.values().filter(|object| such(&object.source.key)).map(|object| object.id);
        self.damaged.lock().unwrap().extend(hit);
    }

    /// The bytes of an object.
    pub fn read(&self, object: &StoredObject) -> PortResult<Vec<u8>> {
        let key = object.source.key;
        if self.damaged.lock().unwrap().contains(&object.id) {
            return Err(PortError::new(PortErrorKind::Corrupt, format!("{key} is damaged")));
        }
        let content = self.contents.lock().unwrap().get(&object.id).cloned();
        content.ok_or_else(|| PortError::new(PortErrorKind::NotFound, format!("{key} is gone")))
    }
}

pub struct FakeRepository {
    pub id: RepositoryId,
    pub gates: Arc<Gates>,
    pub state: Arc<RepositoryState>,
}

impl FakeRepository {
    pub fn check_readable(&self, backup_id: BackupId) -> PortResult<()> {
        if self.state.unreadable.lock().unwrap().contains(&backup_id) {
            return Err(PortError::new(PortErrorKind::Corrupt, "the manifest is damaged"));
        }
        Ok(())
    }
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

    async fn remove_unfinished(&self, backup_id: BackupId) -> PortResult<()> {
        self.state.unfinished.lock().unwrap().remove(&backup_id);
        Ok(())
    }

    async fn load_index(
        &self,
        _: ClusterId,
        complete: &[BackupId],
        unfinished: &[BackupId],
        current: Option<&ManifestHeader>,
    ) -> PortResult<Holdings> {
        self.gates.pass("load_index").await?;
        let sealed = self.state.sealed.lock().unwrap();
        let plans = self.state.unfinished.lock().unwrap();
        let stored = self.state.stored.lock().unwrap();
        let pack_sizes = self.state.packs.lock().unwrap().clone().unwrap_or_default();
        let mut holdings = Holdings { pack_sizes, ..Holdings::default() };
        for (header, objects) in complete.iter().filter_map(|id| sealed.get(id)) {
            let settled = current.map(|current| holdings.settle(current, header)).unwrap_or_default();
            for object in objects {
                holdings.take(object.clone(), &settled);
            }
        }
        let of_unfinished = unfinished
            .iter()
            .filter_map(|id| plans.get(id))
            .flat_map(|unfinished| unfinished.plan.units.iter().flat_map(CopyUnit::objects))
            .filter_map(|planned| stored.get(&planned.id));
        holdings.index.extend(of_unfinished.cloned());
        Ok(holdings)
    }

    async fn seal_after(
        &self,
        go_ahead: GoAhead<'_>,
        header: &ManifestHeader,
        objects: Vec<StoredObject>,
    ) -> PortResult<SealReceipt> {
        go_ahead.await?;
        self.gates.pass("seal").await?;
        self.state.write_manifest(header, objects);
        self.gates.pass("manifest_visible").await?;
        self.state.unfinished.lock().unwrap().remove(&header.backup_id);
        self.gates.pass("sealed").await?;
        Ok(SealReceipt { manifest_bytes: MANIFEST_BYTES })
    }

    async fn read_header(&self, backup_id: BackupId) -> PortResult<ManifestHeader> {
        self.gates.pass("read_header").await?;
        self.check_readable(backup_id)?;
        let header = self.state.sealed.lock().unwrap().get(&backup_id).map(|(header, _)| header.clone());
        header.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no manifest"))
    }

    async fn read_objects(
        &self,
        backup_id: BackupId,
        collection_ids: Option<&HashSet<i64>>,
    ) -> PortResult<Vec<StoredObject>> {
        self.gates.pass("read_objects").await?;
        self.check_readable(backup_id)?;
        let objects = self.state.sealed.lock().unwrap().get(&backup_id).map(|(_, objects)| objects.clone());
        let mut objects = objects.ok_or_else(|| PortError::new(PortErrorKind::NotFound, "no manifest"))?;
        objects
            .retain(|object| collection_ids.is_none_or(|ids| ids.contains(&object.source.key.collection_id)));
        Ok(objects)
    }

    async fn read_object(&self, object: &StoredObject) -> PortResult<Vec<u8>> {
        self.gates.pass("read_object").await?;
        self.state.read(object)
    }

    async fn list_backups(&self) -> PortResult<Vec<BackupId>> {
        let tombstones = self.state.tombstones.lock().unwrap();
        let sealed = self.state.sealed.lock().unwrap();
        Ok(sealed.keys().filter(|id| !tombstones.contains_key(id)).copied().collect())
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

pub struct FakeCopier {
    pub gates: Arc<Gates>,
    pub source: SourceFiles,
    pub state: Arc<RepositoryState>,
}

#[async_trait]
impl Copier for FakeCopier {
    fn route(&self) -> CopyRoute {
        CopyRoute::Packs
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        self.gates.pass("copy").await?;
        let pack = match unit {
            CopyUnit::Pack { pack_id, .. } if self.state.packs.lock().unwrap().is_some() => Some(*pack_id),
            _ => None,
        };
        let lies_here = |object: &&StoredObject| match object.location {
            Location::Pack { pack_id, .. } => Some(pack_id) == pack,
            Location::Object => pack.is_none(),
        };
        let there: Option<Vec<StoredObject>> = {
            let stored = self.state.stored.lock().unwrap();
            let damaged = self.state.damaged.lock().unwrap();
            let sound = |id| stored.get(id).filter(lies_here).filter(|_| !damaged.contains(id)).cloned();
            unit.objects().iter().map(|object| sound(&object.id)).collect()
        };
        if let Some(there) = there {
            progress.add_reused(there.len() as u64, unit.size_bytes());
            return Ok(there);
        }
        let mut result = Vec::new();
        let mut offset_bytes = 0;
        for object in unit.objects() {
            let content = self.source.read(&object.source.key)?;
            let stored = StoredObject {
                id: object.id,
                source: object.source.clone(),
                location: pack.map_or(Location::Object, |pack_id| Location::Pack { pack_id, offset_bytes }),
                encoding: Encoding::Raw,
                stored_bytes: object.source.size_bytes,
                hash: None,
                store_tag: None,
            };
            offset_bytes += object.source.size_bytes;
            progress.add_bytes(object.source.size_bytes);
            progress.add_object();
            *self.state.copies.lock().unwrap().entry(object.source.key).or_default() += 1;
            self.state.contents.lock().unwrap().insert(stored.id, content);
            // What is written now is sound, though a real repository gives it another place.
            self.state.damaged.lock().unwrap().remove(&stored.id);
            result.push(stored);
        }
        if let (Some(pack_id), Some(sizes)) = (pack, self.state.packs.lock().unwrap().as_mut()) {
            sizes.insert(pack_id, offset_bytes);
        }
        self.state.stored.lock().unwrap().extend(result.iter().map(|object| (object.id, object.clone())));
        self.gates.pass("copied").await?;
        Ok(result)
    }
}
