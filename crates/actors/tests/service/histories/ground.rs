//! What outlives the servers of a history: catalog, source and repositories, with a look at what lies in them.

use crate::on_sqlite::open_in;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::{World, directory};
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::milvus::SegmentCut;
use milvault_domain::object::{Location, StoredObject};
use milvault_domain::plan::CopyUnit;
use milvault_domain::ports::Catalog;
use milvault_domain::storage::StorageConfig;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// The collection that all files are of.
const COLLECTION: i64 = 1;

/// What lies in a repository.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) manifests: BTreeMap<BackupId, Vec<Listed>>,
    /// Files that saved plans speak of, whether they are there or not.
    pub(super) plans: BTreeMap<BackupId, BTreeSet<String>>,
    pub(super) tombstones: BTreeSet<BackupId>,
    /// Packs and objects.
    pub(super) files: BTreeSet<String>,
}

/// An object of a manifest.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) segment_id: i64,
    pub(super) field_id: i64,
    /// The file that it lies in.
    pub(super) file: String,
}

impl Listed {
    fn new(object: &StoredObject) -> Self {
        let key = object.source.key;
        Self { segment_id: key.segment_id, field_id: key.field_id, file: file_of(object) }
    }
}

fn file_of(object: &StoredObject) -> String {
    match object.location {
        Location::Pack { pack_id, .. } => pack_id.to_string(),
        Location::Object => object.id.to_string(),
    }
}

/// A place in the work of a job at which it waits.
pub(super) struct Pause {
    point: &'static str,
    calls: usize,
    gate: Arc<Semaphore>,
}

pub(super) struct Ground {
    pub(super) world: World,
    pub(super) catalog: Arc<dyn Catalog>,
    _directory: TempDir,
}

impl Ground {
    pub(super) async fn new() -> Self {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        world.settings.retention_interval = Duration::from_millis(5);
        world.settings.reconcile_interval = Duration::from_millis(5);
        world.settings.schedule_interval = Duration::from_millis(2);
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        Self { world, catalog, _directory: directory }
    }

    /// Where something of this name is kept.
    pub(super) fn storage(name: &str) -> StorageConfig {
        directory(&format!("/{name}"))
    }

    /// Makes these the segments of all clusters.
    pub(super) fn show(&self, segments: &BTreeSet<i64>) {
        let mut shown = collection(COLLECTION, "cities", 0);
        let segment = |id: &i64| SegmentCut { segment_id: *id, partition_id: 1, row_count: 10 };
        shown.segments = segments.iter().map(segment).collect();
        // What was dropped is deleted, so a backup that still counts on it fails.
        self.world.stores.source.lock().unwrap().clear();
        self.world.show(cut(vec![shown]));
    }

    /// Looks at a repository as it lies there. Manifests are read first: what a sweep removes meanwhile goes before
    /// the manifest that names it.
    pub(super) fn look(&self, repository_id: RepositoryId) -> Sight {
        let state = self.world.stores.separate(repository_id);
        let mut sight = Sight::default();
        for (id, (_, objects)) in state.sealed.lock().unwrap().iter() {
            sight.manifests.insert(*id, objects.iter().map(Listed::new).collect());
        }
        for (id, unfinished) in state.unfinished.lock().unwrap().iter() {
            let reused = unfinished.plan.reused.iter().map(file_of);
            let planned = unfinished.plan.units.iter().flat_map(CopyUnit::objects);
            sight.plans.insert(*id, reused.chain(planned.map(|object| object.id.to_string())).collect());
        }
        sight.tombstones = state.tombstones.lock().unwrap().keys().copied().collect();
        sight.files = state.stored.lock().unwrap().values().map(file_of).collect();
        sight
    }

    /// Gives a repository a place of its own.
    pub(super) fn found(&self, repository_id: RepositoryId) {
        self.world.stores.separate(repository_id);
    }

    /// Stops the next job that comes to the point.
    pub(super) fn pause(&self, point: &'static str) -> Pause {
        let gates = &self.world.gates;
        Pause { point, calls: gates.calls(point), gate: gates.hold_once(point) }
    }

    /// Waits until a job has come there.
    pub(super) async fn reached(&self, pause: &Pause) {
        self.world.gates.reached(pause.point, pause.calls + 1).await;
    }

    /// Lets whoever waits there go on.
    pub(super) fn go_on(&self, pause: &Pause) {
        self.world.gates.clear(pause.point);
        pause.gate.add_permits(1);
    }
}
