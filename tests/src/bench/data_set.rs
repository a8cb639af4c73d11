//! Files in Milvus's layout, and the cut that a Milvus with these files would show.

use anyhow::{Context as _, ensure};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::milvus::{
    Capabilities, CollectionCut, Cut, DatabaseCut, LoadState, PartitionDescription, SegmentCut, ServerInfo,
    TimestampUnit,
};
use rand::rngs::SmallRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Files of 1 to 100 KiB: scalar fields, row ids, timestamps and deletes.
const SMALL_FILES: u64 = 20_000;
/// Fields of a segment, as Milvus numbers them; the last one is the vector.
const FIELDS: [i64; 8] = [0, 1, 100, 101, 102, 103, 104, 105];
/// Logs per field of a segment that holds small files only.
const LOGS_PER_FIELD: u64 = 16;
/// Ids have 18 digits, as Milvus's own.
const FIRST_ID: i64 = 446_000_000_000_000_000;
const COLLECTION_ID: i64 = FIRST_ID;
const PARTITION_ID: i64 = FIRST_ID + 1;
/// Changes whenever the same options would make other files.
const LAYOUT_VERSION: u32 = 1;

/// A data set on disk.
#[derive(Debug, Clone)]
pub(super) struct DataSet {
    /// The directory that holds `insert_log/` and `delta_log/`.
    pub(super) root: PathBuf,
    /// The file with its cut, as JSON.
    pub(super) cut_file: PathBuf,
    /// Its files.
    pub(super) files: u64,
    /// Their sizes together.
    pub(super) bytes: u64,
}

impl DataSet {
    /// Takes the data set of this size from an earlier run, or makes it.
    pub(super) fn open_or_make(work: &Path, size_mib: u64) -> anyhow::Result<Self> {
        let directory = work.join(format!("data-v{LAYOUT_VERSION}-{size_mib}-mib"));
        let (root, cut_file) = (directory.join("files"), directory.join("cut.json"));
        // The cut is written last: where it is, the files are complete.
        if !cut_file.exists() {
            if directory.exists() {
                fs::remove_dir_all(&directory)?;
            }
            eprintln!("making {size_mib} MiB of data in {}", root.display());
            let cut = make(&root, size_mib << 20)?;
            fs::write(&cut_file, serde_json::to_vec(&cut)?)?;
        }
        let mut data_set = Self { root, cut_file, files: 0, bytes: 0 };
        for file in files_below(&data_set.root)? {
            data_set.files += 1;
            data_set.bytes += fs::metadata(file)?.len();
        }
        Ok(data_set)
    }

    /// Reads every file, so that all runs that follow find them in the page cache.
    pub(super) fn warm_up(&self) -> anyhow::Result<()> {
        for file in files_below(&self.root)? {
            std::io::copy(&mut File::open(file)?, &mut std::io::sink())?;
        }
        Ok(())
    }
}

/// All regular files below a directory.
pub(super) fn files_below(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut directories = vec![root.to_path_buf()];
    while let Some(directory) = directories.pop() {
        let entries = fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))?;
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

/// Makes the files: segments with one large log of the vector field each until the size is reached, and segments with
/// many small logs. All fields of a segment have the same number of logs, as Milvus writes them.
fn make(root: &Path, total_bytes: u64) -> anyhow::Result<Cut> {
    let mut maker = Maker::new(root);
    let small_per_large = FIELDS.len() as u64 - 1;
    let small_bytes = SMALL_FILES * (50 << 10);
    ensure!(small_bytes < total_bytes, "the data set needs at least {} MiB", (small_bytes >> 20) + 64);
    let mut large_bytes_left = total_bytes - small_bytes;
    let mut small_left = SMALL_FILES;
    while 0 < large_bytes_left && small_per_large <= small_left {
        let size = maker.random.random_range(16 << 20..=64_u64 << 20).min(large_bytes_left.max(16 << 20));
        maker.segment(1, Some(size))?;
        large_bytes_left = large_bytes_left.saturating_sub(size);
        small_left -= small_per_large;
    }
    while FIELDS.len() as u64 <= small_left {
        let logs = LOGS_PER_FIELD.min(small_left / FIELDS.len() as u64);
        maker.segment(logs, None)?;
        small_left -= logs * FIELDS.len() as u64;
    }
    for _ in 0..small_left {
        maker.delete_log()?;
    }
    Ok(maker.into_cut())
}

struct Maker<'a> {
    root: &'a Path,
    random: SmallRng,
    next_id: i64,
    segments: Vec<SegmentCut>,
    buffer: Vec<u8>,
}

impl<'a> Maker<'a> {
    fn new(root: &'a Path) -> Self {
        let random = SmallRng::seed_from_u64(7);
        Self { root, random, next_id: FIRST_ID + 2, segments: Vec::new(), buffer: Vec::new() }
    }

    /// A segment with so many logs of each field; the vector's are of the given size, all others are small.
    fn segment(&mut self, logs_per_field: u64, vector_bytes: Option<u64>) -> anyhow::Result<()> {
        let segment_id = self.take_id();
        for field_id in FIELDS {
            for _ in 0..logs_per_field {
                let is_vector = Some(&field_id) == FIELDS.last();
                let size = match vector_bytes {
                    Some(size) if is_vector => size,
                    _ => self.small_size(),
                };
                self.file(BinlogKind::Insert, segment_id, field_id, size)?;
            }
        }
        self.segments.push(SegmentCut { segment_id, partition_id: PARTITION_ID, row_count: 1_000 });
        Ok(())
    }

    /// Deletes in the newest segment.
    fn delete_log(&mut self) -> anyhow::Result<()> {
        let segment_id = self.segments.last().context("no segment to delete in")?.segment_id;
        let size = self.small_size();
        self.file(BinlogKind::Delta, segment_id, 0, size)
    }

    fn file(&mut self, kind: BinlogKind, segment_id: i64, field_id: i64, size: u64) -> anyhow::Result<()> {
        let log_id = self.take_id();
        let key = BinlogKey {
            kind,
            collection_id: COLLECTION_ID,
            partition_id: PARTITION_ID,
            segment_id,
            field_id,
            log_id,
        };
        let path = self.root.join(key.to_string());
        fs::create_dir_all(path.parent().context("a binlog lies in no directory")?)?;
        self.buffer.resize(usize::try_from(size)?, 0);
        self.random.fill_bytes(&mut self.buffer);
        File::create(&path)?.write_all(&self.buffer)?;
        Ok(())
    }

    fn small_size(&mut self) -> u64 {
        self.random.random_range(1 << 10..=100 << 10)
    }

    fn take_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    fn into_cut(self) -> Cut {
        cut_of(vec![collection_cut("bench", COLLECTION_ID, PARTITION_ID, self.segments)])
    }
}

/// A cut that shows these collections in one database.
pub(super) fn cut_of(collections: Vec<CollectionCut>) -> Cut {
    Cut {
        cut_at_ms: 1_764_000_000_000,
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
        databases: vec![DatabaseCut { name: String::from("default"), properties: Vec::new(), collections }],
        access_control: None,
    }
}

/// A collection with these segments, and nothing else that a copy would look at.
pub(super) fn collection_cut(
    name: &str,
    collection_id: i64,
    partition_id: i64,
    segments: Vec<SegmentCut>,
) -> CollectionCut {
    CollectionCut {
        collection_id,
        name: name.to_owned(),
        description: String::new(),
        shard_count: 1,
        consistency_level: 2,
        schema_proto: Vec::new(),
        fields: Vec::new(),
        dynamic_field: false,
        properties: Vec::new(),
        partitions: vec![PartitionDescription { partition_id, name: String::from("_default") }],
        indexes: Vec::new(),
        aliases: Vec::new(),
        load_state: LoadState::NotLoaded,
        replica_count: 0,
        segments,
    }
}
