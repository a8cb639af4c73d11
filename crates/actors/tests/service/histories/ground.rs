//! What outlives the servers of a history: catalog, source and repositories in directories, with a look at what lies
//! there.

use super::gated::GatedStores;
use crate::on_sqlite::open_in;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::{World, directory};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::{BackupId, RepositoryId};
use milvault_domain::manifest::{Decoder, FileKind, Item};
use milvault_domain::milvus::SegmentCut;
use milvault_domain::object::{Location, StoredObject};
use milvault_domain::plan::CopyUnit;
use milvault_domain::ports::{Catalog, SecretSource};
use milvault_domain::secret::{Secret, SecretValue};
use milvault_domain::storage::StorageConfig;
use milvault_repository::RepositoryStores;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// The collection that all files are of.
const COLLECTION: i64 = 1;
/// Fields of every segment, each with one file.
const FIELDS: [i64; 2] = [0, 100];
/// What was half written stays a day, by the clock of the file system.
const PAST_ANY_USE: Duration = Duration::from_hours(25);

/// What lies in a repository.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) manifests: BTreeMap<BackupId, Vec<Listed>>,
    /// Files that saved plans speak of, whether they are there or not.
    pub(super) plans: BTreeMap<BackupId, BTreeSet<String>>,
    pub(super) tombstones: BTreeSet<BackupId>,
    /// Packs and objects.
    pub(super) files: BTreeSet<String>,
    /// What is half written.
    pub(super) temporary: BTreeSet<String>,
}

/// An object of a manifest.
#[derive(Debug)]
pub(super) struct Listed {
    pub(super) segment_id: i64,
    pub(super) field_id: i64,
    /// The file that it lies in.
    pub(super) file: String,
    /// Whether that file has the bytes that the source had.
    pub(super) is_right: bool,
}

impl Listed {
    fn new(root: &Path, object: &StoredObject) -> Self {
        let (key, file) = (object.source.key, file_of(object));
        let start = match object.location {
            Location::Pack { offset_bytes, .. } => usize::try_from(offset_bytes).unwrap(),
            Location::Object => 0,
        };
        let expected = content(&key);
        let found = fs::read(root.join(&file)).unwrap_or_default();
        let is_right = found.get(start..start + expected.len()) == Some(&expected);
        Self { segment_id: key.segment_id, field_id: key.field_id, file, is_right }
    }
}

fn file_of(object: &StoredObject) -> String {
    match object.location {
        Location::Pack { pack_id, .. } => below("packs", &pack_id.to_string()),
        Location::Object => below("objects", &object.id.to_string()),
    }
}

fn below(directory: &str, name: &str) -> String {
    format!("{directory}/{}/{name}", &name[..2])
}

struct NoSecrets;

impl SecretSource for NoSecrets {
    fn reveal(&self, _: &Secret) -> PortResult<SecretValue> {
        Err(PortError::new(PortErrorKind::NotFound, "there are no secrets"))
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
    directory: TempDir,
    /// Where each repository lies.
    roots: BTreeMap<RepositoryId, PathBuf>,
}

impl Ground {
    pub(super) async fn new() -> Self {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        world.settings.retention_interval = Duration::from_millis(5);
        world.settings.reconcile_interval = Duration::from_millis(5);
        world.settings.schedule_interval = Duration::from_millis(2);
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let stores = Arc::new(RepositoryStores::new(Arc::new(NoSecrets)));
        world.real_stores = Some(Arc::new(GatedStores { stores, gates: Arc::clone(&world.gates) }));
        Self { world, catalog, directory, roots: BTreeMap::new() }
    }

    fn source(&self) -> PathBuf {
        self.directory.path().join("source")
    }

    /// Where something of this name is kept.
    pub(super) fn storage(&self, name: &str) -> StorageConfig {
        directory(self.directory.path().join(name).to_str().unwrap())
    }

    /// Makes these the segments of all clusters.
    pub(super) fn show(&self, segments: &BTreeSet<i64>) {
        let mut shown = collection(COLLECTION, "cities", 0);
        let segment = |id: &i64| SegmentCut { segment_id: *id, partition_id: 1, row_count: 10 };
        shown.segments = segments.iter().map(segment).collect();
        self.world.show(cut(vec![shown]));
        let keys = segments.iter().flat_map(|segment_id| FIELDS.map(|field_id| key(*segment_id, field_id)));
        let wanted: BTreeMap<PathBuf, BinlogKey> =
            keys.map(|key| (self.source().join(key.to_string()), key)).collect();
        // What was dropped is deleted, so a backup that still counts on it fails.
        for file in files_below(&self.source()).iter().filter(|file| !wanted.contains_key(*file)) {
            fs::remove_file(file).unwrap();
        }
        for (file, key) in wanted.iter().filter(|(file, _)| !file.exists()) {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, content(key)).unwrap();
        }
    }

    /// Looks at a repository as it lies there. Manifests are read first: what a sweep removes meanwhile goes before
    /// the manifest that names it.
    pub(super) fn look(&self, repository_id: RepositoryId) -> Sight {
        let root = &self.roots[&repository_id];
        let mut sight = Sight::default();
        for file in files_below(&root.join("backups")) {
            let id: BackupId = name(file.parent().unwrap()).parse().unwrap();
            match name(&file) {
                "manifest" => {
                    let (listed, _) = decode(&file, FileKind::Manifest);
                    let listed = listed.iter().map(|object| Listed::new(root, object)).collect();
                    sight.manifests.insert(id, listed);
                }
                "unfinished" => {
                    let (reused, planned) = decode(&file, FileKind::Plan);
                    sight.plans.insert(id, reused.iter().map(file_of).chain(planned).collect());
                }
                "deleted.json" => {
                    sight.tombstones.insert(id);
                }
                _ => {}
            }
        }
        for directory in ["packs", "objects"] {
            let files = files_below(&root.join(directory));
            sight.files.extend(files.iter().map(|file| below(directory, name(file))));
        }
        let temporary = files_below(&root.join("tmp"));
        sight.temporary = temporary.iter().map(|file| name(file).to_owned()).collect();
        sight
    }

    /// Makes what is half written older than it is of use to anybody.
    pub(super) fn let_age(&self) {
        let files = self.roots.values().flat_map(|root| files_below(&root.join("tmp")));
        for file in files.filter_map(|file| fs::File::options().write(true).open(file).ok()) {
            file.set_modified(SystemTime::now() - PAST_ANY_USE).unwrap();
        }
    }

    /// Learns what the storage of a name has become.
    pub(super) fn found(&mut self, repository_id: RepositoryId, name: &str) {
        self.roots.insert(repository_id, self.directory.path().join(name));
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

fn key(segment_id: i64, field_id: i64) -> BinlogKey {
    BinlogKey {
        kind: BinlogKind::Insert,
        collection_id: COLLECTION,
        partition_id: 1,
        segment_id,
        field_id,
        log_id: segment_id * 1000 + field_id,
    }
}

/// Bytes of a file of the source.
fn content(key: &BinlogKey) -> Vec<u8> {
    key.to_string().repeat(40).into_bytes()
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// All files below a directory, if there is one. What is being removed meanwhile may be among them or not.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return vec![] };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// The objects that a file lists, and the files that its units make; of one that is gone meanwhile, nothing.
fn decode(file: &Path, kind: FileKind) -> (Vec<StoredObject>, BTreeSet<String>) {
    let (mut listed, mut planned) = (Vec::new(), BTreeSet::new());
    let Ok(bytes) = fs::read(file) else { return (listed, planned) };
    let mut decoder = Decoder::new(kind);
    decoder.push(&bytes);
    while let Some(item) = decoder.next_item().unwrap() {
        match item {
            Item::Objects(objects) => listed.extend(objects),
            Item::Unit(CopyUnit::Pack { pack_id, .. }) => {
                planned.insert(below("packs", &pack_id.to_string()));
            }
            Item::Unit(CopyUnit::ServerSide { objects }) => {
                planned.extend(objects.iter().map(|object| below("objects", &object.id.to_string())));
            }
            Item::Header(_) | Item::Packs(_) | Item::Hashes(..) | Item::End(_) => {}
        }
    }
    decoder.finish().unwrap();
    (listed, planned)
}
