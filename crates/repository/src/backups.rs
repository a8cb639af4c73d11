//! The files of backups: manifests, saved plans, recorded hashes, summaries.

pub(crate) mod framed;
pub(crate) mod hashes;
pub(crate) mod index;
pub(crate) mod lifecycle;
pub(crate) mod objects;
pub(crate) mod packs;
pub(crate) mod records;
pub(crate) mod seal;
pub(crate) mod summary;
pub(crate) mod survey;
pub(crate) mod unfinished;

use crate::layout;
use crate::place::Place;
use framed::FramedReader;
use milvault_domain::backup::ManifestHeader;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::manifest::{FileKind, Item};

/// Begins to read a backup's manifest and gives its header.
///
/// # Errors
/// `NotFound` when there is none, `Corrupt` when it is damaged or another backup's.
pub(crate) async fn open_manifest(
    place: &dyn Place,
    backup_id: BackupId,
) -> PortResult<(ManifestHeader, FramedReader)> {
    let path = layout::manifest(backup_id);
    let mut reader = FramedReader::open(place, &path, FileKind::Manifest).await?.ok_or_else(|| {
        PortError::new(
            PortErrorKind::NotFound,
            format!("backup {backup_id} is not in the repository: `{}` does not exist", place.display(&path)),
        )
    })?;
    let header = reader.header(backup_id).await?;
    Ok((header, reader))
}

/// Ids of all backups with a manifest and without a tombstone, oldest first.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn list(place: &dyn Place) -> PortResult<Vec<BackupId>> {
    let remains = lifecycle::remains(place).await?;
    let listed = remains.into_iter().filter(|remains| remains.manifest && !remains.tombstone);
    Ok(listed.map(|remains| remains.backup_id).collect())
}

/// What to say of an item that cannot be where it was found.
fn unexpected(shown: &str, item: &Item) -> PortError {
    let what = match item {
        Item::Header(_) => "a header",
        Item::Packs(_) => "a list of packs",
        Item::Objects(_) => "a list of objects",
        Item::Unit(_) => "a unit",
        Item::Hashes(..) => "a list of hashes",
        Item::End(_) => "its end",
    };
    PortError::new(PortErrorKind::Corrupt, format!("`{shown}` has {what} where none may be"))
}
