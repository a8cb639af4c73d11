//! One side of a comparison: the files of a collection, and how to read them.

use super::super::Run;
use super::super::completeness::check_complete;
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::milvus::{CollectionCut, FieldDescription, FieldFlags};
use milvault_domain::object::{SourceObject, StoredObject};
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind, PortResult, SourceStore};
use milvault_domain::progress::ProgressCounters;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Files of one segment that are fetched at once: object stores answer slowly and in parallel.
const FILES_AT_ONCE: usize = 8;
/// First id of a field that users define; below it are row ids and timestamps.
const USER_FIELD_MIN: i64 = 100;
/// Field of the timestamps.
const TIMESTAMP_FIELD: i64 = 1;
/// Name of the field that Milvus adds for values outside the schema. Descriptions of some versions leave it out.
const DYNAMIC_FIELD_NAME: &str = "$meta";

/// A collection whose rows are read, at an instant.
pub(super) struct Side<'a> {
    pub(super) run: &'a Run,
    store: Store,
    pub(super) collection: Arc<CollectionCut>,
    pub(super) cut_at_ms: i64,
    /// Those with rows, sorted by id.
    pub(super) segments: Vec<SegmentFiles<'a>>,
    /// Delta logs of segments that hold nothing else, with their partition: they concern all its segments.
    deletes_only: Vec<(i64, File<'a>)>,
    meter: Option<&'a Meter>,
}

/// What files are read from.
pub(super) enum Store {
    Repository(Arc<dyn BackupRepository>),
    Cluster(Arc<dyn SourceStore>),
}

/// A binlog of either store.
#[derive(Clone, Copy)]
pub(super) struct File<'a> {
    pub(super) key: BinlogKey,
    pub(super) size_bytes: u64,
    /// What a repository has to be told.
    stored: Option<&'a StoredObject>,
}

/// The files of a segment, each list sorted by log id.
pub(super) struct SegmentFiles<'a> {
    pub(super) segment_id: i64,
    pub(super) partition_id: i64,
    /// Insert logs by field.
    pub(super) fields: BTreeMap<i64, Vec<File<'a>>>,
    pub(super) deletes: Vec<File<'a>>,
}

impl From<&SourceObject> for File<'_> {
    fn from(object: &SourceObject) -> Self {
        Self { key: object.key, size_bytes: object.size_bytes, stored: None }
    }
}

impl<'a> From<&'a StoredObject> for File<'a> {
    fn from(object: &'a StoredObject) -> Self {
        Self { key: object.source.key, size_bytes: object.source.size_bytes, stored: Some(object) }
    }
}

impl SegmentFiles<'_> {
    pub(super) fn of_field(&self, field_id: i64) -> &[File<'_>] {
        self.fields.get(&field_id).map_or(&[], Vec::as_slice)
    }

    pub(super) fn timestamps(&self) -> &[File<'_>] {
        self.of_field(TIMESTAMP_FIELD)
    }
}

impl<'a> Side<'a> {
    /// The collection as a backup shows it.
    pub(super) fn of_backup(
        run: &'a Run,
        repository: &Arc<dyn BackupRepository>,
        collection: &CollectionCut,
        objects: &'a [StoredObject],
        cut_at_ms: i64,
    ) -> PortResult<Self> {
        let store = Store::Repository(Arc::clone(repository));
        let side = Self::new(run, store, collection, objects.iter().map(Into::into), cut_at_ms);
        side.map_err(|error| error.context(format!("collection {} in the backup", collection.name)))
    }

    /// # Errors
    /// `NotFound` when files of a segment with rows are missing.
    pub(super) fn new(
        run: &'a Run,
        store: Store,
        collection: &CollectionCut,
        files: impl Iterator<Item = File<'a>>,
        cut_at_ms: i64,
    ) -> PortResult<Self> {
        let mut segments: BTreeMap<i64, SegmentFiles<'a>> = BTreeMap::new();
        let partition_of: HashMap<i64, i64> =
            collection.segments.iter().map(|segment| (segment.segment_id, segment.partition_id)).collect();
        for file in files.filter(|file| file.key.collection_id == collection.collection_id) {
            let segment_id = file.key.segment_id;
            let Some(partition_id) = partition_of.get(&segment_id).copied() else { continue };
            let segment = segments.entry(segment_id).or_insert_with(|| SegmentFiles {
                segment_id,
                partition_id,
                fields: BTreeMap::new(),
                deletes: Vec::new(),
            });
            match file.key.kind {
                BinlogKind::Insert => segment.fields.entry(file.key.field_id).or_default().push(file),
                BinlogKind::Delta => segment.deletes.push(file),
            }
        }
        let insert_keys = segments.values().flat_map(|segment| segment.fields.values().flatten());
        check_complete(collection, &std::collections::HashSet::new(), insert_keys.map(|file| file.key))?;
        let (mut with_rows, mut deletes_only) = (Vec::new(), Vec::new());
        for mut segment in segments.into_values() {
            segment.fields.values_mut().for_each(|files| files.sort_unstable_by_key(|file| file.key.log_id));
            segment.deletes.sort_unstable_by_key(|file| file.key.log_id);
            if segment.fields.is_empty() {
                deletes_only.extend(segment.deletes.into_iter().map(|file| (segment.partition_id, file)));
            } else {
                with_rows.push(segment);
            }
        }
        let collection = Arc::new(collection.clone());
        Ok(Self { run, store, collection, cut_at_ms, segments: with_rows, deletes_only, meter: None })
    }

    /// Counts what is read.
    pub(super) fn metered(self, meter: Option<&'a Meter>) -> Self {
        Self { meter, ..self }
    }

    /// All partitions, empty ones included.
    pub(super) fn partition_names(&self) -> Vec<String> {
        self.collection.partitions.iter().map(|partition| partition.name.clone()).collect()
    }

    /// Name of a segment's partition; `None` for one that the cut does not know.
    pub(super) fn partition_name(&self, partition_id: i64) -> Option<&str> {
        let mut partitions = self.collection.partitions.iter();
        partitions.find(|partition| partition.partition_id == partition_id).map(|p| p.name.as_str())
    }

    /// # Errors
    /// `Unsupported` for a schema without one.
    pub(super) fn primary_key(&self) -> PortResult<&FieldDescription> {
        self.collection.fields.iter().find(|field| field.flags.primary_key).ok_or_else(|| {
            let message =
                format!("collection {} has no primary key that is known here", self.collection.name);
            PortError::new(PortErrorKind::Unsupported, message)
        })
    }

    /// All fields that users see, those included that the schema does not describe but files exist of.
    pub(super) fn fields(&self) -> Vec<Arc<FieldDescription>> {
        let described = self.collection.fields.iter();
        let mut fields: Vec<_> =
            described.filter(|field| field.field_id >= USER_FIELD_MIN).cloned().collect();
        let known: BTreeSet<i64> = fields.iter().map(|field| field.field_id).collect();
        let of_files = self.segments.iter().flat_map(|segment| segment.fields.keys().copied());
        let unknown: BTreeSet<i64> =
            of_files.filter(|field_id| *field_id >= USER_FIELD_MIN && !known.contains(field_id)).collect();
        let last = unknown.last().copied();
        fields.extend(unknown.iter().map(|field_id| self.undescribed(*field_id, Some(*field_id) == last)));
        fields.into_iter().map(Arc::new).collect()
    }

    /// Milvus makes the field of dynamic values after all others.
    fn undescribed(&self, field_id: i64, is_last: bool) -> FieldDescription {
        let dynamic = is_last && self.collection.dynamic_field;
        FieldDescription {
            field_id,
            name: if dynamic { DYNAMIC_FIELD_NAME.to_owned() } else { format!("field {field_id}") },
            description: String::new(),
            data_type: if dynamic { "JSON".to_owned() } else { String::new() },
            element_type: String::new(),
            type_params: Vec::new(),
            flags: FieldFlags { dynamic, ..FieldFlags::default() },
        }
    }

    /// Reads the delta logs that lie in segments of their own, by partition; -1 stands for all.
    pub(super) async fn read_shared_deletes(&self) -> PortResult<HashMap<i64, Vec<Vec<u8>>>> {
        let files: Vec<File<'_>> = self.deletes_only.iter().map(|(_, file)| *file).collect();
        let mut by_partition: HashMap<i64, Vec<Vec<u8>>> = HashMap::new();
        for ((partition_id, _), deletes) in self.deletes_only.iter().zip(self.read_all(&files).await?) {
            by_partition.entry(*partition_id).or_default().push(deletes);
        }
        Ok(by_partition)
    }

    pub(super) async fn read_all(&self, files: &[File<'_>]) -> PortResult<Vec<Vec<u8>>> {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        let reads: Vec<_> = files.iter().map(|file| self.read(*file).boxed()).collect();
        futures::stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await
    }

    pub(super) async fn read(&self, file: File<'_>) -> PortResult<Vec<u8>> {
        let read = || async {
            match (&self.store, file.stored) {
                (Store::Repository(repository), Some(stored)) => repository.read_object(stored).await,
                (Store::Cluster(store), _) => store.read_binlog(&file.key).await,
                (Store::Repository(_), None) => Err(PortError::new(
                    PortErrorKind::Internal,
                    format!("{} is not described as an object of a repository", file.key),
                )),
            }
        };
        let content = self.run.retry().run("read a file of rows", read).await?;
        if let Some(meter) = self.meter {
            meter.count(file.size_bytes);
        }
        Ok(content)
    }
}

/// Adds what is read of one collection's objects to the job's progress, in all exactly as much as the collection has:
/// shallow comparisons read less, and deep ones read some files twice.
pub(super) struct Meter {
    counters: Arc<ProgressCounters>,
    bytes: Share,
    objects: Share,
}

/// A part of a total, of which no more is given out than there is.
struct Share {
    total: u64,
    used: AtomicU64,
}

impl Share {
    fn take(&self, amount: u64) -> u64 {
        let before = self.used.fetch_add(amount, Ordering::Relaxed);
        amount.min(self.total.saturating_sub(before))
    }

    fn take_rest(&self) -> u64 {
        self.take(self.total)
    }
}

impl Meter {
    pub(super) fn new(counters: Arc<ProgressCounters>, bytes: u64, objects: u64) -> Self {
        let share = |total| Share { total, used: AtomicU64::new(0) };
        Self { counters, bytes: share(bytes), objects: share(objects) }
    }

    fn count(&self, size_bytes: u64) {
        self.counters.add_bytes(self.bytes.take(size_bytes));
        self.counters.add_through_server(size_bytes);
        if self.objects.take(1) == 1 {
            self.counters.add_object();
        }
    }

    /// The collection is done with.
    pub(super) fn finish(&self) {
        self.counters.add_bytes(self.bytes.take_rest());
        for _ in 0..self.objects.take_rest() {
            self.counters.add_object();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::progress::Progress;

    #[test]
    fn a_meter_gives_out_exactly_what_the_collection_has() {
        for reads in [0, 1, 5] {
            let counters = Arc::new(ProgressCounters::default());
            let meter = Meter::new(Arc::clone(&counters), 25, 3);
            (0..reads).for_each(|_| meter.count(10));
            assert!(counters.snapshot().bytes_done <= 25);
            meter.finish();
            let done = Progress {
                bytes_done: 25,
                objects_done: 3,
                bytes_through_server: reads * 10,
                ..Progress::default()
            };
            assert_eq!(counters.snapshot(), done, "{reads}");
        }
    }
}
