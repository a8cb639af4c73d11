//! Storages of fake clusters, shared by whoever reads and writes them.

use milvault_domain::binlog::BinlogKey;
use milvault_domain::milvus::Cut;
use milvault_domain::object::{Fingerprint, SourceObject};
use milvault_domain::ports::{ForeignBackup, PortErrorKind};
use milvault_domain::storage::{SourceLayout, StorageConfig};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;

/// All storages, by what [`name_of`] gives.
#[derive(Default)]
pub struct Disks(Mutex<HashMap<String, Disk>>);

/// One storage.
#[derive(Default, Clone)]
pub struct Disk {
    pub binlogs: BTreeMap<BinlogKey, StoredFile>,
    /// Everything else, by path below the root: what a restore staged.
    pub staged: BTreeMap<String, Vec<u8>>,
    pub foreign: Vec<ForeignDirectory>,
}

#[derive(Clone)]
pub struct StoredFile {
    pub object: SourceObject,
    pub content: Vec<u8>,
}

/// A directory of milvus-backup. Its files are the binlogs of the disk that [`name_of`] gives for it.
#[derive(Clone)]
pub struct ForeignDirectory {
    pub listed: ForeignBackup,
    pub cut: Result<Cut, (PortErrorKind, &'static str)>,
}

impl Disks {
    pub fn edit<T>(&self, name: &str, edit: impl FnOnce(&mut Disk) -> T) -> T {
        edit(self.0.lock().unwrap().entry(name.to_owned()).or_default())
    }

    /// The disk as it is now; `None` when nothing was ever written to it.
    pub fn snapshot(&self, name: &str) -> Option<Disk> {
        self.0.lock().unwrap().get(name).cloned()
    }
}

impl Disk {
    pub fn write(&mut self, key: BinlogKey, content: Vec<u8>) {
        let object = SourceObject {
            key,
            size_bytes: content.len() as u64,
            fingerprint: Fingerprint::ModifiedAtNanos(9),
        };
        self.binlogs.insert(key, StoredFile { object, content });
    }
}

pub fn name_of(storage: &StorageConfig, layout: &SourceLayout) -> String {
    match layout {
        SourceLayout::Milvus => storage.display_url(),
        SourceLayout::MilvusBackup { directory } => format!("{}#{directory}", storage.display_url()),
    }
}
