//! Reading and hashing.

use super::run::{Run, RunHasher, runs};
use super::{Check, FileFindings, says_something_about_the_file};
use crate::error::from_join;
use futures::TryStreamExt;
use milvault_domain::error::{PortError, PortResult};
use milvault_domain::object::{ContentHash, Location, StoredObject};
use std::ops::Range;

/// Pieces from this size on are hashed on a blocking thread; smaller ones cost less than the handing over.
const HASH_ELSEWHERE_BYTES: usize = 256 << 10;

/// An object whose bytes were read.
pub(super) struct Checked {
    /// Its position.
    pub(super) object: usize,
    /// What is wrong with it.
    pub(super) failure: Option<String>,
    /// Its hash, where none was known.
    pub(super) recorded: Option<ContentHash>,
}

/// Reads the objects of a file and compares their hashes.
pub(super) async fn check(
    check: &Check,
    path: &str,
    file: Range<usize>,
    findings: &mut FileFindings,
) -> PortResult<Vec<Checked>> {
    let extents = check.objects[file.clone()].iter().map(|object| match object.location {
        Location::Pack { offset_bytes, .. } => (offset_bytes, object.stored_bytes),
        Location::Object => (0, object.stored_bytes),
    });
    let mut checked = Vec::new();
    for run in runs(extents, file.start) {
        let objects = &check.objects[run.objects.clone()];
        let mut hasher = RunHasher::new(objects);
        let read = read_run(check, path, &run, &mut hasher, findings).await;
        let failure = match read {
            Ok(()) => None,
            Err(error) if says_something_about_the_file(&error) => Some(error),
            Err(error) => return Err(error),
        };
        checked.extend(compare(run.objects.start, objects, hasher.hashes(), failure.as_ref()));
        (0..objects.len()).for_each(|_| check.progress.add_object());
    }
    Ok(checked)
}

async fn read_run(
    check: &Check,
    path: &str,
    run: &Run,
    hasher: &mut RunHasher,
    findings: &mut FileFindings,
) -> PortResult<()> {
    let mut pieces = check.place.stream(path, run.bytes.clone()).await?;
    while let Some(piece) = pieces.try_next().await? {
        let length = piece.len() as u64;
        if HASH_ELSEWHERE_BYTES <= piece.len() {
            let mut moved = std::mem::replace(hasher, RunHasher::new(&[]));
            let hashing = tokio::task::spawn_blocking(move || {
                moved.push(&piece);
                moved
            });
            *hasher = hashing.await.map_err(from_join)?;
        } else {
            hasher.push(&piece);
        }
        findings.bytes_read += length;
        check.progress.add_bytes(length);
        check.progress.add_through_server(length);
        if let Some(limit) = &check.limit {
            limit.wait(length).await;
        }
    }
    Ok(())
}

/// Objects that were not reached because reading failed carry that failure.
fn compare<'a>(
    first_position: usize,
    objects: &'a [StoredObject],
    hashes: &'a [ContentHash],
    failure: Option<&'a PortError>,
) -> impl Iterator<Item = Checked> + 'a {
    let hashes = hashes.iter().map(Some).chain(std::iter::repeat(None));
    (first_position..).zip(objects).zip(hashes).map(move |((position, object), hash)| {
        let (failure, recorded) = match (hash, object.hash) {
            (Some(found), Some(expected)) if *found == expected => (None, None),
            (Some(_), Some(_)) => {
                (Some(String::from("the content does not have the hash it must have")), None)
            }
            (Some(found), None) => (None, Some(*found)),
            (None, _) => {
                let reason = failure.map_or_else(
                    || String::from("the file ends before the object does"),
                    ToString::to_string,
                );
                (Some(reason), None)
            }
        };
        Checked { object: position, failure, recorded }
    })
}
