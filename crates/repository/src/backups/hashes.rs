//! Content hashes that a verify found for objects which the store had copied itself. A manifest is never rewritten, so
//! they lie beside it, in files that are written once and named by their content.

use super::framed::{FramedReader, FramedWriter};
use crate::layout;
use crate::place::{Overwrite, Place};
use futures::TryStreamExt;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::manifest::{FileKind, Item};
use milvault_domain::object::{ContentHash, ObjectId};
use std::collections::HashMap;

/// Records hashes of a backup's objects.
pub(crate) async fn record(
    place: &dyn Place,
    backup_id: BackupId,
    mut hashes: Vec<(ObjectId, ContentHash)>,
) -> PortResult<()> {
    if hashes.is_empty() {
        return Ok(());
    }
    // Sorted, so that two verifies that find the same write the same file.
    hashes.sort_unstable_by_key(|(id, _)| *id);
    let mut name = blake3::Hasher::new();
    for (id, hash) in &hashes {
        name.update(id.as_bytes()).update(hash.as_bytes());
    }
    let name = format!("{}{}", layout::HASHES_PREFIX, &name.finalize().to_hex()[..16]);
    let path = layout::backup_file(backup_id, &name);
    let mut writer = FramedWriter::create(place, &path, FileKind::Hashes, Overwrite::Never).await?;
    writer.encode(|encoder| encoder.hashes(backup_id, &hashes)).await?;
    writer.finish().await.map(drop)
}

/// Loads all hashes recorded for a backup.
///
/// # Errors
/// `Corrupt` when a file is damaged or two files disagree; errors of the store.
pub(crate) async fn load(
    place: &dyn Place,
    backup_id: BackupId,
) -> PortResult<HashMap<ObjectId, ContentHash>> {
    let directory = layout::backup_file(backup_id, "");
    let prefix = layout::backup_file(backup_id, layout::HASHES_PREFIX);
    let files: Vec<_> = place.list(directory.trim_end_matches('/')).try_collect().await?;
    let mut found = HashMap::new();
    for file in files.into_iter().filter(|file| file.path.starts_with(&prefix)) {
        let Some(mut reader) = FramedReader::open(place, &file.path, FileKind::Hashes).await? else {
            continue;
        };
        while let Some(item) = reader.next().await? {
            match item {
                Item::Hashes(id, hashes) if id == backup_id => {
                    for (object, hash) in hashes {
                        if found.insert(object, hash).is_some_and(|other| other != hash) {
                            return Err(disagreement(place, &file.path, object));
                        }
                    }
                }
                Item::End(_) => {}
                other => return Err(reader.refuse(&other)),
            }
        }
    }
    Ok(found)
}

fn disagreement(place: &dyn Place, path: &str, object: ObjectId) -> PortError {
    PortError::new(
        PortErrorKind::Corrupt,
        format!("`{}` has another hash for object {object} than another file beside it", place.display(path)),
    )
}
