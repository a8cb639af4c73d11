//! The files of backups: manifests, saved plans, recorded hashes, summaries.

pub(crate) mod framed;
pub(crate) mod hashes;
pub(crate) mod index;
pub(crate) mod packs;
pub(crate) mod seal;
pub(crate) mod summary;
pub(crate) mod survey;
pub(crate) mod unfinished;

use crate::layout;
use crate::place::Place;
use framed::FramedReader;
use futures::TryStreamExt;
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

/// Ids of all backups with a manifest, oldest first.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn list(place: &dyn Place) -> PortResult<Vec<BackupId>> {
    let mut backups: Vec<BackupId> = place
        .list(layout::BACKUPS)
        .try_filter_map(|file| async move { Ok(backup_of_manifest(&file.path)) })
        .try_collect()
        .await?;
    backups.sort_unstable();
    Ok(backups)
}

fn backup_of_manifest(path: &str) -> Option<BackupId> {
    let id = path.strip_prefix(layout::BACKUPS)?.strip_prefix('/')?.strip_suffix("/manifest")?;
    id.parse().ok()
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
