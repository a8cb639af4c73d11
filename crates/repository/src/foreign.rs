//! Backups that milvus-backup made: its directories are found, read and taken for what they are.
//!
//! Layout: `<root>/<directory>/meta/full_meta.json` describes everything, `<root>/<directory>/binlogs/` holds the
//! copied files. The level files beside the description (`backup_meta.json`, `collection_meta.json`, ...) say the same
//! again, but without the segments that hold deletes of all partitions: deleted rows would come back. So they serve to
//! recognize a directory and for nothing else.

mod cut;
mod meta;
mod schema;

use crate::error::from_join;
use crate::place::Place;
use crate::source::check_directory;
use cut::{Problem, flushed_at_ms, listed_segments, to_cut};
use futures::stream::{self, StreamExt, TryStreamExt};
use meta::{BackupMeta, CollectionMeta};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{ForeignBackup, SourceStore, WantedDirectories};
use std::collections::HashSet;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Longest description that is read. A million files need less.
const META_BYTES_MAX: u64 = 256 << 20;
/// Directories that are looked for the tool's files at once.
const CANDIDATES_AT_ONCE: usize = 16;
/// Directories that are looked at at once. Each may hold a description in memory.
const LOOKS_AT_ONCE: usize = 4;
/// Descriptions above this size are in memory one at a time, whoever asks: the caller names the place.
const LARGE_BYTES: u64 = 8 << 20;

static LARGE: Semaphore = Semaphore::const_new(1);

/// What file systems keep at their root for themselves.
const LOST_FOUND: &str = "lost+found";

fn full_meta(directory: &str) -> String {
    format!("{directory}/meta/full_meta.json")
}

/// Lists directories that milvus-backup wrote, by name. Their descriptions are read only of those that are wanted.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn list(place: &dyn Place, wanted: &WantedDirectories) -> PortResult<Vec<ForeignBackup>> {
    let names = place.directories("").await?;
    let may_be = |name: &String| name != LOST_FOUND && check_directory(name).is_ok();
    let names: Vec<String> = names.into_iter().filter(may_be).collect();
    let candidates = stream::iter(0..names.len()).map(|position| may_be_foreign(place, &names[position]));
    let candidates: Vec<bool> = candidates.buffered(CANDIDATES_AT_ONCE).try_collect().await?;
    let names = names.iter().zip(candidates).filter_map(|(name, is_one)| is_one.then_some(name));
    let mut names: Vec<&String> = names.collect();
    names.sort_unstable();
    let names = wanted.of(names, |name| name.as_str());
    let looks = stream::iter(0..names.len()).map(|position| look(place, names[position]));
    let found: Vec<Option<ForeignBackup>> = looks.buffered(LOOKS_AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Reads what a directory says about the cluster it shows, and checks that `binlogs` has every file that it names.
///
/// # Errors
/// As the port says.
pub(crate) async fn read(place: &dyn Place, directory: &str, binlogs: &dyn SourceStore) -> PortResult<Cut> {
    check_directory(directory)?;
    let Some(Description { meta, written_at_ms, .. }) = read_meta(place, directory).await? else {
        let shown = place.display(directory);
        if is_foreign(place, directory).await? {
            return Err(PortError::new(PortErrorKind::Corrupt, without_description(&shown)));
        }
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("`{shown}` is no directory of milvus-backup: it has no `meta/full_meta.json`"),
        ));
    };
    let cut = to_cut(&meta, written_at_ms).map_err(|problem| {
        let (kind, problem) = match problem {
            Problem::Corrupt(problem) => (PortErrorKind::Corrupt, problem),
            Problem::Unsupported(problem) => (PortErrorKind::Unsupported, problem),
        };
        PortError::new(kind, format!("`{}`: {problem}", place.display(directory)))
    })?;
    for collection in &meta.collection_backups {
        check_files(place, directory, binlogs, collection).await?;
    }
    Ok(cut)
}

fn without_description(shown: &str) -> String {
    format!(
        "`{shown}` has no `meta/full_meta.json`; the level files beside it lose L0 segments, so deleted rows would come \
         back: copy that file too, or back up again with a version of milvus-backup that writes it"
    )
}

/// Whether a directory without description was written by the tool all the same.
async fn is_foreign(place: &dyn Place, directory: &str) -> PortResult<bool> {
    Ok(place.facts(&format!("{directory}/meta/backup_meta.json")).await?.is_some())
}

/// Whether a directory has one of the tool's files. One that cannot be looked at may, and is told of.
async fn may_be_foreign(place: &dyn Place, directory: &str) -> PortResult<bool> {
    let looked = async {
        let described = place.facts(&full_meta(directory)).await?.is_some();
        Ok(described || is_foreign(place, directory).await?)
    };
    match looked.await {
        Err(error) if is_about_the_directory(&error) => Ok(true),
        looked => looked,
    }
}

/// Whether a failure says something about one directory: the others are to be seen all the same.
fn is_about_the_directory(error: &PortError) -> bool {
    matches!(
        error.kind(),
        PortErrorKind::Corrupt
            | PortErrorKind::Unsupported
            | PortErrorKind::PermissionDenied
            | PortErrorKind::Internal
    )
}

/// Describes a directory; `None` for one that is not the tool's.
async fn look(place: &dyn Place, directory: &str) -> PortResult<Option<ForeignBackup>> {
    let nothing_known = |problem| ForeignBackup {
        directory: directory.to_owned(),
        created_at_ms: None,
        milvus_version: String::new(),
        collection_count: 0,
        size_bytes: 0,
        problem: Some(problem),
    };
    let looked = async {
        Ok::<_, PortError>(match read_meta(place, directory).await? {
            Some(Description { meta, written_at_ms, .. }) => Some(describe(directory, &meta, written_at_ms)),
            None if is_foreign(place, directory).await? => {
                Some(nothing_known(without_description(&place.display(directory))))
            }
            None => None,
        })
    };
    match looked.await {
        Err(error) if is_about_the_directory(&error) => Ok(Some(nothing_known(error.to_string()))),
        looked => looked,
    }
}

fn describe(directory: &str, meta: &BackupMeta, written_at_ms: i64) -> ForeignBackup {
    let collections = &meta.collection_backups;
    let bytes = |size: i64| u64::try_from(size).unwrap_or(0);
    let of_collections = collections.iter().fold(0, |sum: u64, next| sum.saturating_add(bytes(next.size)));
    let created_at_ms = if 0 < meta.start_time {
        Some(meta.start_time)
    } else {
        collections.iter().filter_map(flushed_at_ms).min()
    };
    ForeignBackup {
        directory: directory.to_owned(),
        created_at_ms,
        milvus_version: meta.milvus_version.clone(),
        collection_count: u32::try_from(collections.len()).unwrap_or(u32::MAX),
        size_bytes: if 0 < meta.size { bytes(meta.size) } else { of_collections },
        problem: match to_cut(meta, written_at_ms) {
            Ok(_) => None,
            Err(Problem::Corrupt(problem) | Problem::Unsupported(problem)) => Some(problem),
        },
    }
}

/// A description that was read.
struct Description {
    meta: BackupMeta,
    written_at_ms: i64,
    /// Held while a large one is in memory.
    _large: Option<SemaphorePermit<'static>>,
}

/// Reads a description; `None` when there is none.
async fn read_meta(place: &dyn Place, directory: &str) -> PortResult<Option<Description>> {
    let path = full_meta(directory);
    let Some(facts) = place.facts(&path).await? else { return Ok(None) };
    let shown = place.display(&path);
    if META_BYTES_MAX < facts.size_bytes {
        return Err(PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "`{shown}` has {} bytes; descriptions above {META_BYTES_MAX} bytes are not read",
                facts.size_bytes
            ),
        ));
    }
    // Nobody closes the semaphore.
    let large = if LARGE_BYTES < facts.size_bytes { LARGE.acquire().await.ok() } else { None };
    let json = place.read(&path, 0..facts.size_bytes).await?;
    let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice::<BackupMeta>(&json));
    let meta = parsed.await.map_err(from_join)?.map_err(|error| {
        let message = format!("`{shown}` cannot be understood: {error}");
        PortError::with_source(PortErrorKind::Corrupt, message, error)
    })?;
    Ok(Some(Description { meta, written_at_ms: facts.modified_at.timestamp_millis(), _large: large }))
}

/// Checks that every file that the description names is there. Versions of milvus-backup passed over files that were
/// gone when they came to copy them, and called the backup a success.
async fn check_files(
    place: &dyn Place,
    directory: &str,
    binlogs: &dyn SourceStore,
    collection: &CollectionMeta,
) -> PortResult<()> {
    let expected = expected_files(collection);
    if expected.is_empty() {
        return Ok(());
    }
    let segments: HashSet<i64> = expected.iter().map(|key| key.segment_id).collect();
    let listed = binlogs.list_binlogs(collection.collection_id, &segments).await?;
    let there: HashSet<BinlogKey> = listed.into_iter().map(|object| object.key).collect();
    let missing: Vec<&BinlogKey> = expected.iter().filter(|key| !there.contains(key)).collect();
    let Some(first) = missing.iter().min() else { return Ok(()) };
    Err(PortError::new(
        PortErrorKind::Corrupt,
        format!(
            "`{}`: {} of the files that the description names are missing, `{first}` among them; rows would be lost",
            place.display(directory),
            missing.len()
        ),
    ))
}

fn expected_files(collection: &CollectionMeta) -> Vec<BinlogKey> {
    let mut expected = Vec::new();
    for (partition_id, segment) in listed_segments(collection) {
        for (kind, fields) in
            [(BinlogKind::Insert, &segment.binlogs), (BinlogKind::Delta, &segment.deltalogs)]
        {
            for field in fields {
                for log in &field.binlogs {
                    let by_path = log.log_path.rsplit('/').next().and_then(|name| name.parse().ok());
                    expected.push(BinlogKey {
                        kind,
                        collection_id: collection.collection_id,
                        partition_id,
                        segment_id: segment.segment_id,
                        field_id: if kind == BinlogKind::Insert { field.field_id } else { 0 },
                        log_id: by_path.unwrap_or(log.log_id),
                    });
                }
            }
        }
    }
    expected
}

#[cfg(test)]
mod tests;
