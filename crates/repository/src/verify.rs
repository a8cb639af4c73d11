//! Checking a backup: that its files are there, that packs say the same as the manifest, that every byte is right.

mod content;
pub(crate) mod files;
mod report;
mod run;

use crate::backups::framed::FramedReader;
use crate::backups::survey::Survey;
use crate::backups::{hashes, open_manifest, packs};
use crate::copy::ByteLimit;
use crate::layout;
use crate::place::Place;
use content::Checked;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::job::VerifyLevel;
use milvault_domain::manifest::{Item, PackEntry};
use milvault_domain::object::{ContentHash, Encoding, Location, ObjectId, PackId, StoredObject};
use milvault_domain::ports::VerifyReport;
use milvault_domain::progress::{Progress, ProgressCounters};
use report::Findings;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// How many files are worked on at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Concurrency(pub(crate) usize);

/// Everything that the checks of single files share.
struct Check {
    place: Arc<dyn Place>,
    level: VerifyLevel,
    /// Sorted so that what lies in one file is together, in the order of the file.
    objects: Vec<StoredObject>,
    pack_sizes: HashMap<PackId, u64>,
    survey: Survey,
    progress: Arc<ProgressCounters>,
    limit: Option<ByteLimit>,
}

/// Checks a backup. What is wrong with it goes into the report.
///
/// # Errors
/// `NotFound` when there is no such backup, `Unsupported` when a newer program wrote it; errors of the store that
/// say nothing about the backup.
pub(crate) async fn verify(
    place: Arc<dyn Place>,
    backup_id: BackupId,
    level: VerifyLevel,
    progress: Arc<ProgressCounters>,
    Concurrency(at_once): Concurrency,
) -> PortResult<VerifyReport> {
    let mut findings = Findings::default();
    let Some(mut manifest) = read_manifest(place.as_ref(), backup_id, &mut findings).await? else {
        return Ok(findings.into_report());
    };
    add_recorded_hashes(place.as_ref(), backup_id, &mut manifest.objects, &mut findings).await?;
    manifest.objects.sort_unstable_by_key(file_order);
    progress.start(totals(&manifest.objects));
    let survey = Survey::of(place.as_ref(), &manifest.objects).await?;
    let files = files(&manifest.objects);
    let check = Arc::new(Check {
        place: Arc::clone(&place),
        level,
        objects: manifest.objects,
        pack_sizes: manifest.pack_sizes,
        survey,
        progress,
        limit: None,
    });
    let mut checked = stream::iter(files)
        .map(|file| {
            let check = Arc::clone(&check);
            async move { check_file(&check, file).await }
        })
        .buffer_unordered(at_once);
    let mut recorded = Vec::new();
    while let Some(file) = checked.try_next().await? {
        recorded.extend(findings.add(file));
    }
    hashes::record(place.as_ref(), backup_id, recorded).await?;
    Ok(findings.into_report())
}

struct Manifest {
    objects: Vec<StoredObject>,
    pack_sizes: HashMap<PackId, u64>,
}

/// Reads the whole manifest; `None` when it is damaged, which is then among the findings.
async fn read_manifest(
    place: &dyn Place,
    backup_id: BackupId,
    findings: &mut Findings,
) -> PortResult<Option<Manifest>> {
    let read = async {
        let (_, reader) = open_manifest(place, backup_id).await?;
        read_objects(reader).await
    };
    match read.await {
        Ok(manifest) => Ok(Some(manifest)),
        Err(error) if error.kind() == PortErrorKind::NotFound => Err(error),
        Err(error) if says_something_about_the_file(&error) => {
            findings.fail(&layout::manifest(backup_id), None, error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn read_objects(mut reader: FramedReader) -> PortResult<Manifest> {
    let mut manifest = Manifest { objects: Vec::new(), pack_sizes: HashMap::new() };
    while let Some(item) = reader.next().await? {
        match item {
            Item::Objects(objects) => manifest.objects.extend(objects),
            Item::Packs(packs) => {
                manifest.pack_sizes.extend(packs.into_iter().map(|pack| (pack.pack_id, pack.size_bytes)));
            }
            Item::End(_) => {}
            other => return Err(reader.refuse(&other)),
        }
    }
    Ok(manifest)
}

async fn add_recorded_hashes(
    place: &dyn Place,
    backup_id: BackupId,
    objects: &mut [StoredObject],
    findings: &mut Findings,
) -> PortResult<()> {
    if objects.iter().all(|object| object.hash.is_some()) {
        return Ok(());
    }
    match hashes::load(place, backup_id).await {
        Ok(recorded) => {
            for object in objects.iter_mut().filter(|object| object.hash.is_none()) {
                object.hash = recorded.get(&object.id).copied();
            }
            Ok(())
        }
        Err(error) if says_something_about_the_file(&error) => {
            findings.fail(&layout::backup_file(backup_id, layout::HASHES_PREFIX), None, error.to_string());
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Whether a failure to read a file is a finding. The others mean that the place could not be asked at all.
fn says_something_about_the_file(error: &PortError) -> bool {
    matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::NotFound | PortErrorKind::Internal)
}

fn totals(objects: &[StoredObject]) -> Progress {
    Progress {
        bytes_total: objects.iter().map(|object| object.source.size_bytes).sum(),
        objects_total: objects.len() as u64,
        ..Progress::default()
    }
}

fn file_order(object: &StoredObject) -> (Option<PackId>, u64, ObjectId) {
    match object.location {
        Location::Pack { pack_id, offset_bytes } => (Some(pack_id), offset_bytes, object.id),
        Location::Object => (None, 0, object.id),
    }
}

/// Positions of the objects of each file.
fn files(objects: &[StoredObject]) -> Vec<Range<usize>> {
    let mut files: Vec<Range<usize>> = Vec::new();
    let mut start = 0;
    let same_file = |first: &StoredObject, second: &StoredObject| match (first.location, second.location) {
        (Location::Pack { pack_id: first, .. }, Location::Pack { pack_id: second, .. }) => first == second,
        _ => false,
    };
    for file in objects.chunk_by(same_file) {
        files.push(start..start + file.len());
        start += file.len();
    }
    files
}

/// What was found in one file.
#[derive(Default)]
struct FileFindings {
    failures: Vec<Failure>,
    objects_checked: u64,
    bytes_read: u64,
    recorded: Vec<(ObjectId, ContentHash)>,
}

/// What is wrong with a file, or with one object in it.
struct Failure {
    file: String,
    /// The object; `None` when it is the file as a whole.
    object: Option<ObjectId>,
    source_key: Option<String>,
    reason: String,
}

impl FileFindings {
    fn fail(&mut self, file: &str, object: Option<&StoredObject>, reason: impl Into<String>) {
        self.failures.push(Failure {
            file: file.to_owned(),
            object: object.map(|object| object.id),
            source_key: object.map(|object| object.source.key.to_string()),
            reason: reason.into(),
        });
    }

    /// A failure of the whole file that shows one of the objects in it.
    fn fail_whole(&mut self, file: &str, shown: Option<&StoredObject>, reason: String) {
        let source_key = shown.map(|object| object.source.key.to_string());
        self.failures.push(Failure { file: file.to_owned(), object: None, source_key, reason });
    }
}

async fn check_file(check: &Arc<Check>, file: Range<usize>) -> PortResult<FileFindings> {
    let objects = &check.objects[file.clone()];
    let mut findings = FileFindings { objects_checked: objects.len() as u64, ..FileFindings::default() };
    let Some(first) = objects.first() else {
        return Ok(findings);
    };
    let path = layout::file_of(first);
    for object in objects {
        let Encoding::Raw = object.encoding;
        if object.stored_bytes != object.source.size_bytes {
            let (stored, size) = (object.stored_bytes, object.source.size_bytes);
            let reason = format!("the manifest states {stored} stored bytes of {size}");
            findings.fail(&path, Some(object), reason);
        }
    }
    let readable = match first.location {
        Location::Pack { pack_id, .. } => check_pack(check, pack_id, &path, objects, &mut findings).await?,
        Location::Object => check_object(check, first, &path, &mut findings),
    };
    if check.level == VerifyLevel::Content && readable {
        for Checked { object, failure, recorded } in content::check(check, &path, file, &mut findings).await?
        {
            let object = &check.objects[object];
            if let Some(failure) = failure {
                findings.fail(&path, Some(object), failure);
            }
            findings.recorded.extend(recorded.map(|hash| (object.id, hash)));
        }
    } else {
        for object in objects {
            check.progress.add_bytes(object.source.size_bytes);
            check.progress.add_object();
        }
    }
    Ok(findings)
}

/// Checks a pack from outside and by its index. Gives whether it is worth reading.
async fn check_pack(
    check: &Check,
    pack_id: PackId,
    path: &str,
    objects: &[StoredObject],
    findings: &mut FileFindings,
) -> PortResult<bool> {
    let Some(size_bytes) = check.survey.packs.get(&pack_id).copied() else {
        findings.fail_whole(path, objects.first(), missing(objects.len()));
        return Ok(false);
    };
    match check.pack_sizes.get(&pack_id) {
        None => findings.fail(path, None, "the manifest does not state the size of this pack"),
        Some(expected) if *expected != size_bytes => {
            findings.fail(path, None, format!("the file has {size_bytes} bytes instead of {expected}"));
        }
        Some(_) => {}
    }
    if check.level == VerifyLevel::Existence {
        return Ok(true);
    }
    match packs::read_index(check.place.as_ref(), path, size_bytes).await {
        Ok(entries) => compare_index(&entries, path, objects, findings),
        Err(error) if says_something_about_the_file(&error) => findings.fail(path, None, error.to_string()),
        Err(error) => return Err(error),
    }
    Ok(true)
}

fn missing(object_count: usize) -> String {
    if object_count == 1 {
        String::from("the file is missing")
    } else {
        format!("the file is missing; {object_count} objects of this backup lie in it")
    }
}

fn compare_index(entries: &[PackEntry], path: &str, objects: &[StoredObject], findings: &mut FileFindings) {
    let by_id: HashMap<ObjectId, &PackEntry> = entries.iter().map(|entry| (entry.id, entry)).collect();
    for object in objects {
        let offset = match object.location {
            Location::Pack { offset_bytes, .. } => offset_bytes,
            Location::Object => continue,
        };
        match by_id.get(&object.id) {
            None => findings.fail(path, Some(object), "the pack's index does not list the object"),
            Some(entry) if entry.offset_bytes != offset || entry.stored_bytes != object.stored_bytes => {
                findings.fail(path, Some(object), "the pack's index places the object elsewhere");
            }
            Some(entry) if object.hash.is_some_and(|hash| hash != entry.hash) => {
                findings.fail(path, Some(object), "the pack's index has another hash of the object");
            }
            Some(_) => {}
        }
    }
}

/// Checks a file of one object from outside. Gives whether it is worth reading: one that is not what the store made
/// must not have its hash recorded as the right one.
fn check_object(check: &Check, object: &StoredObject, path: &str, findings: &mut FileFindings) -> bool {
    let Some((size_bytes, tag)) = check.survey.objects.get(&object.id) else {
        findings.fail(path, Some(object), missing(1));
        return false;
    };
    if *size_bytes != object.stored_bytes {
        let reason = format!("the file has {size_bytes} bytes instead of {}", object.stored_bytes);
        findings.fail(path, Some(object), reason);
        return false;
    }
    if let (Some(expected), Some(tag)) = (&object.store_tag, tag)
        && expected != tag
    {
        findings.fail(path, Some(object), format!("the store's tag is `{tag}` instead of `{expected}`"));
        return false;
    }
    true
}
