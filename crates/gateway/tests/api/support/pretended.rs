//! The world outside: Milvus servers that remember what they hold, and stores that keep nothing but manifests. Cuts and
//! imports wait until the test lets them through.

mod binlogs;
mod checks;
mod lifecycle;
mod milvus;
mod recovery;
mod stores;
mod target;

pub(crate) use binlogs::PretendedBinlogs;
pub(crate) use milvus::PretendedMilvus;
pub(crate) use stores::{ATTACHED_BACKUP, PretendedStores};

use milvault_domain::backup::ManifestHeader;
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::lifecycle::Tombstone;
use milvault_domain::object::StoredObject;
use milvus::World;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Size of every pretended binlog.
pub(crate) const OBJECT_BYTES: u64 = 1000;
/// Rows of every pretended segment.
pub(crate) const SEGMENT_ROWS: u64 = 10;
/// Fields with binlogs in every pretended segment: row id, timestamp, primary key.
pub(crate) const SEGMENT_FIELDS: [i64; 3] = [0, 1, 100];
/// Objects of a backup of the whole pretended cluster: three collections of one segment.
pub(crate) const OBJECTS: u64 = 9;

/// A manifest with its objects.
type Sealed = (ManifestHeader, Vec<StoredObject>);

/// The world outside, and the gate that cuts and imports wait at.
pub(crate) struct Outside {
    gate: watch::Sender<bool>,
    sealed: Mutex<HashMap<(RepositoryId, BackupId), Sealed>>,
    buried: Mutex<HashMap<(RepositoryId, BackupId), Tombstone>>,
    /// What each Milvus holds, by its address.
    worlds: Mutex<HashMap<String, World>>,
    imports_fail: AtomicBool,
}

impl Outside {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            gate: watch::Sender::new(true),
            sealed: Mutex::default(),
            buried: Mutex::default(),
            worlds: Mutex::default(),
            imports_fail: AtomicBool::new(false),
        })
    }

    /// From now on cuts and imports wait.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    /// Lets waiting and further cuts and imports through.
    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }

    /// Whether imports end badly from now on.
    pub(crate) fn fail_imports(&self, fail: bool) {
        self.imports_fail.store(fail, Ordering::Relaxed);
    }

    /// Collections and aliases of a Milvus, as `database.name`, sorted.
    pub(crate) fn names(&self, uri: &str) -> Vec<String> {
        self.with_world(uri, |world| world.names())
    }

    /// Removes rows from a collection, as somebody who writes to it would.
    pub(crate) fn lose_rows(&self, uri: &str, database: &str, collection: &str) {
        self.with_world(uri, |world| world.collection_mut(database, collection).unwrap().segments.clear());
    }

    fn with_world<T>(&self, uri: &str, look: impl FnOnce(&mut World) -> T) -> T {
        let mut worlds = self.worlds.lock().unwrap();
        look(worlds.entry(uri.to_owned()).or_insert_with(|| World::of(uri)))
    }
}
