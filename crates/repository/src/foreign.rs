//! Backups that milvus-backup made: its directories are found, read and taken for what they are.
//!
//! Layout: `<root>/<directory>/meta/full_meta.json` describes everything, `<root>/<directory>/binlogs/` holds the
//! copied files. The level files beside the description (`backup_meta.json`, `collection_meta.json`, ...) say the same
//! again. Versions before July 2023 wrote only them, so they are read where the description is missing, but not for a
//! Milvus from 2.4 on: they leave out the segments that hold deletes of all partitions, so deleted rows would come back.

mod cut;
mod levels;
mod meta;
mod schema;

use crate::error::from_join;
use crate::place::{FileFacts, Place};
use crate::source::check_directory;
use cut::{Problem, flushed_at_ms, has_l0_segments, listed_segments, to_cut};
use futures::stream::{self, StreamExt, TryStreamExt};
use levels::Levels;
use meta::{BackupMeta, CollectionMeta, LevelMeta};
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{ForeignBackup, SourceStore, WantedDirectories};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, HashSet};
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

/// The file that describes everything.
const FULL_META: &str = "full_meta.json";
/// The level files: the backup itself, and all that it has of each kind.
const LEVELS: [&str; 4] =
    ["backup_meta.json", "collection_meta.json", "partition_meta.json", "segment_meta.json"];

/// Field of the timestamps, which every binlog segment has.
const TIMESTAMP_FIELD: i64 = 1;

fn meta_path(directory: &str, file: &str) -> String {
    format!("{directory}/meta/{file}")
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
    let Some(description) = read_description(place, directory).await? else {
        let shown = place.display(directory);
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!(
                "`{shown}` is no directory of milvus-backup, or one that it did not finish: it has no `meta/{FULL_META}`"
            ),
        ));
    };
    let cut = description.to_cut().map_err(|problem| {
        let (kind, problem) = match problem {
            Problem::Corrupt(problem) => (PortErrorKind::Corrupt, problem),
            Problem::Unsupported(problem) => (PortErrorKind::Unsupported, problem),
        };
        PortError::new(kind, format!("`{}`: {problem}", place.display(directory)))
    })?;
    let meta = &description.meta;
    let group_count = meta.rbac_meta.as_ref().map_or(0, |access| access.privilege_groups.len());
    if 0 < group_count {
        tracing::warn!(
            directory,
            group_count,
            "groups of privileges are not taken over; grants of them will fail"
        );
    }
    for collection in &meta.collection_backups {
        check_files(place, directory, binlogs, collection).await?;
    }
    Ok(cut)
}

/// Whether a directory has one of the tool's files. One that cannot be looked at may, and is told of.
async fn may_be_foreign(place: &dyn Place, directory: &str) -> PortResult<bool> {
    let looked = async {
        for file in [FULL_META, LEVELS[0]] {
            if place.facts(&meta_path(directory, file)).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
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
    match read_description(place, directory).await {
        Ok(description) => Ok(description.map(|description| describe(directory, &description))),
        Err(error) if is_about_the_directory(&error) => Ok(Some(ForeignBackup {
            directory: directory.to_owned(),
            created_at_ms: None,
            milvus_version: String::new(),
            collection_count: 0,
            size_bytes: 0,
            problem: Some(error.to_string()),
        })),
        Err(error) => Err(error),
    }
}

fn describe(directory: &str, description: &Description) -> ForeignBackup {
    let meta = &description.meta;
    let collections = &meta.collection_backups;
    let bytes = |size: i64| u64::try_from(size).unwrap_or(0);
    let of_collections = collections.iter().fold(0, |sum: u64, next| sum.saturating_add(bytes(next.size)));
    let begun_at_ms = Some(meta.start_time).filter(|begun_at_ms| 0 < *begun_at_ms);
    let first_flush_ms = || collections.iter().filter_map(flushed_at_ms).min();
    ForeignBackup {
        directory: directory.to_owned(),
        // Where nothing is told of its age, it is as old as the file that ends it.
        created_at_ms: begun_at_ms.or_else(first_flush_ms).or(Some(description.written_at_ms)),
        milvus_version: meta.milvus_version.clone(),
        collection_count: u32::try_from(collections.len()).unwrap_or(u32::MAX),
        size_bytes: if 0 < meta.size { bytes(meta.size) } else { of_collections },
        problem: match description.to_cut() {
            Ok(_) => None,
            Err(Problem::Corrupt(problem) | Problem::Unsupported(problem)) => Some(problem),
        },
    }
}

/// A description that was read.
struct Description {
    meta: BackupMeta,
    written_at_ms: i64,
    /// What it was read from, for people.
    read_from: &'static str,
    /// Held while a large one is in memory.
    _large: Option<SemaphorePermit<'static>>,
}

impl Description {
    fn to_cut(&self) -> Result<Cut, Problem> {
        let named = |problem: String| format!("{}: {problem}", self.read_from);
        to_cut(&self.meta, self.written_at_ms).map_err(|problem| match problem {
            Problem::Corrupt(problem) => Problem::Corrupt(named(problem)),
            Problem::Unsupported(problem) => Problem::Unsupported(named(problem)),
        })
    }
}

/// Reads a description; `None` when there is none.
async fn read_description(place: &dyn Place, directory: &str) -> PortResult<Option<Description>> {
    let path = meta_path(directory, FULL_META);
    if let Some(facts) = place.facts(&path).await? {
        let large = large(facts.size_bytes).await;
        return Ok(Some(Description {
            meta: read_json(place, &path, &facts).await?,
            written_at_ms: facts.modified_at.timestamp_millis(),
            read_from: "`meta/full_meta.json`",
            _large: large,
        }));
    }
    read_levels(place, directory).await
}

/// Reads a description from the level files; `None` when the first is not there.
async fn read_levels(place: &dyn Place, directory: &str) -> PortResult<Option<Description>> {
    let paths = LEVELS.map(|file| meta_path(directory, file));
    let facts = place.facts_of(paths.to_vec()).await?;
    let Some(first) = facts.first().and_then(Option::as_ref) else { return Ok(None) };
    let large = large(facts.iter().flatten().map(|facts| facts.size_bytes).sum()).await;
    let backup: BackupMeta = read_json(place, &paths[0], first).await?;
    let shown = place.display(directory);
    let corrupt = |what: &str| PortError::new(PortErrorKind::Corrupt, format!("`{shown}` {what}"));
    // The oldest versions do not tell Milvus's.
    if !backup.milvus_version.is_empty() && has_l0_segments(&backup.milvus_version) {
        return Err(corrupt(
            "has no `meta/full_meta.json`; the level files beside it lose L0 segments, so deleted rows would come back: \
             copy that file too",
        ));
    }
    let [_, Some(collections), Some(partitions), Some(segments)] = facts.as_slice() else {
        let missing = LEVELS.iter().zip(&facts).find(|(_, facts)| facts.is_none());
        let missing = missing.map_or("", |(file, _)| *file);
        let what = format!(
            "has no `meta/full_meta.json`, and of the level files beside it `meta/{missing}` is missing too; copy them"
        );
        return Err(corrupt(&what));
    };
    let written_at = facts.iter().flatten().map(|facts| facts.modified_at).max().unwrap_or(first.modified_at);
    let levels = Levels {
        backup,
        collections: read_json::<LevelMeta<_>>(place, &paths[1], collections).await?.infos,
        partitions: read_json::<LevelMeta<_>>(place, &paths[2], partitions).await?.infos,
        segments: read_json::<LevelMeta<_>>(place, &paths[3], segments).await?.infos,
    };
    let meta = levels.join().map_err(|what| corrupt(&format!("does not hold together: {what}")))?;
    Ok(Some(Description {
        meta,
        written_at_ms: written_at.timestamp_millis(),
        read_from: "the level files in `meta/`",
        _large: large,
    }))
}

/// Waits for its turn where a description is large.
async fn large(size_bytes: u64) -> Option<SemaphorePermit<'static>> {
    // Nobody closes the semaphore.
    if LARGE_BYTES < size_bytes { LARGE.acquire().await.ok() } else { None }
}

async fn read_json<T: DeserializeOwned + Send + 'static>(
    place: &dyn Place,
    path: &str,
    facts: &FileFacts,
) -> PortResult<T> {
    let shown = place.display(path);
    if META_BYTES_MAX < facts.size_bytes {
        return Err(PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "`{shown}` has {} bytes; descriptions above {META_BYTES_MAX} bytes are not read",
                facts.size_bytes
            ),
        ));
    }
    let json = place.read(path, 0..facts.size_bytes).await?;
    let parsed = tokio::task::spawn_blocking(move || serde_json::from_slice(&json));
    parsed.await.map_err(from_join)?.map_err(|error| {
        let message = format!("`{shown}` cannot be understood: {error}");
        PortError::with_source(PortErrorKind::Corrupt, message, error)
    })
}

/// Checks that every file that the description names is there. Versions of milvus-backup passed over files that were
/// gone when they came to copy them, and called the backup a success.
async fn check_files(
    place: &dyn Place,
    directory: &str,
    binlogs: &dyn SourceStore,
    collection: &CollectionMeta,
) -> PortResult<()> {
    let segments: HashSet<i64> = listed_segments(collection).map(|(_, segment)| segment.segment_id).collect();
    if segments.is_empty() {
        return Ok(());
    }
    let listed = binlogs.list_binlogs(collection.collection_id, &segments).await?;
    let there: HashSet<BinlogKey> = listed.into_iter().map(|object| object.key).collect();
    let expected = expected_files(collection);
    let missing: Vec<&BinlogKey> = expected.iter().filter(|key| !there.contains(key)).collect();
    if let Some(first) = missing.iter().min() {
        return Err(PortError::new(
            PortErrorKind::Corrupt,
            format!(
                "`{}`: {} of the files that the description names are missing, `{first}` among them; rows would be lost",
                place.display(directory),
                missing.len()
            ),
        ));
    }
    check_fields(collection, &there).map_err(|problem| {
        PortError::new(PortErrorKind::Unsupported, format!("`{}`: {problem}", place.display(directory)))
    })
}

/// Checks that the files of each segment are binlogs. Versions of milvus-backup from before Milvus told of storage
/// versions copied the files of version 2 as well, where a file holds several fields and is named after none.
fn check_fields(collection: &CollectionMeta, there: &HashSet<BinlogKey>) -> Result<(), String> {
    let schema_fields = collection.schema.iter().flat_map(|schema| &schema.fields);
    let key_fields = schema_fields.filter(|field| field.is_primary_key).map(|field| field.field_id);
    let needed: Vec<i64> = key_fields.chain([TIMESTAMP_FIELD]).collect();
    let mut fields_of: BTreeMap<i64, HashSet<i64>> = BTreeMap::new();
    for key in there.iter().filter(|key| key.kind == BinlogKind::Insert) {
        fields_of.entry(key.segment_id).or_default().insert(key.field_id);
    }
    for (segment_id, fields) in fields_of {
        if let Some(field_id) = needed.iter().find(|field_id| !fields.contains(field_id)) {
            return Err(format!(
                "segment {segment_id} of collection {} has insert logs, but none of field {field_id}: they are no \
                 binlogs but of a newer storage version, which cannot be taken over, or some were lost",
                collection.collection_id
            ));
        }
    }
    Ok(())
}

fn expected_files(collection: &CollectionMeta) -> Vec<BinlogKey> {
    let mut expected = Vec::new();
    for (partition_id, segment) in listed_segments(collection) {
        for (kind, fields) in
            [(BinlogKind::Insert, &segment.binlogs), (BinlogKind::Delta, &segment.deltalogs)]
        {
            for field in fields {
                for log in &field.binlogs {
                    expected.push(BinlogKey {
                        kind,
                        collection_id: collection.collection_id,
                        partition_id,
                        segment_id: segment.segment_id,
                        field_id: if kind == BinlogKind::Insert { field.field_id } else { 0 },
                        log_id: log.id(),
                    });
                }
            }
        }
    }
    expected
}

#[cfg(test)]
mod tests;
