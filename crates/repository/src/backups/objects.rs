//! A backup's objects: which they are, and the bytes of one.

use super::{hashes, open_manifest};
use crate::error::from_join;
use crate::layout;
use crate::place::Place;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::BackupId;
use milvault_domain::manifest::Item;
use milvault_domain::object::{ContentHash, Encoding, Location, StoredObject};
use milvault_domain::ports::READ_BYTES_MAX;
use std::collections::HashSet;
use std::ops::Range;

/// Reads the list of objects, of the given collections only when some are given, sorted by key. Hashes that a verify
/// recorded are among what is known of them.
///
/// # Errors
/// `NotFound`, `Corrupt`, `Unsupported`; errors of the store.
pub(crate) async fn list(
    place: &dyn Place,
    backup_id: BackupId,
    collection_ids: Option<&HashSet<i64>>,
) -> PortResult<Vec<StoredObject>> {
    let wanted = |object: &StoredObject| {
        collection_ids.is_none_or(|wanted| wanted.contains(&object.source.key.collection_id))
    };
    let (_, mut reader) = open_manifest(place, backup_id).await?;
    let mut objects = Vec::new();
    while let Some(item) = reader.next().await? {
        match item {
            Item::Objects(listed) => objects.extend(listed.into_iter().filter(wanted)),
            Item::Packs(_) | Item::End(_) => {}
            other => return Err(reader.refuse(&other)),
        }
    }
    if objects.iter().any(|object| object.hash.is_none()) {
        let recorded = hashes::load(place, backup_id).await.map_err(|error| match error.kind() {
            PortErrorKind::Corrupt => error.context(
                "hashes recorded beside the backup are damaged; remove that file to go on without them",
            ),
            _ => error,
        })?;
        for object in objects.iter_mut().filter(|object| object.hash.is_none()) {
            object.hash = recorded.get(&object.id).copied();
        }
    }
    objects.sort_unstable_by_key(|object| object.source.key);
    Ok(objects)
}

/// Reads an object whole and checks it.
///
/// # Errors
/// As the port says.
pub(crate) async fn read(place: &dyn Place, object: &StoredObject) -> PortResult<Vec<u8>> {
    if READ_BYTES_MAX < object.stored_bytes {
        return Err(PortError::new(
            PortErrorKind::Unsupported,
            format!(
                "the copy of `{}` has {} bytes; objects above {READ_BYTES_MAX} bytes are not read whole",
                object.source.key, object.stored_bytes
            ),
        ));
    }
    let range = extent(place, object)?;
    confirm_unhashed(place, object).await?;
    let bytes = place.read(&layout::file_of(object), range).await.map_err(|error| about(object, error))?;
    let (bytes, hash) = tokio::task::spawn_blocking(move || {
        let hash = ContentHash::from_bytes(*blake3::hash(&bytes).as_bytes());
        (bytes, hash)
    })
    .await
    .map_err(from_join)?;
    check_hash(place, object, hash)?;
    Ok(bytes.into())
}

/// Where an object lies in its file.
///
/// # Errors
/// `Corrupt` when that cannot be.
pub(crate) fn extent(place: &dyn Place, object: &StoredObject) -> PortResult<Range<u64>> {
    let Encoding::Raw = object.encoding;
    let start = match object.location {
        Location::Pack { offset_bytes, .. } => offset_bytes,
        Location::Object => 0,
    };
    match start.checked_add(object.stored_bytes) {
        Some(end) if object.stored_bytes == object.source.size_bytes => Ok(start..end),
        _ => Err(corrupt(place, object, "it does not have the length it had at the source")),
    }
}

/// Checks what can be checked of an object whose hash is not known, before its bytes are used: that its file still is
/// what the store said it had copied.
///
/// # Errors
/// `NotFound` when it is gone, `Corrupt` when it is another; errors of the store.
pub(crate) async fn confirm_unhashed(place: &dyn Place, object: &StoredObject) -> PortResult<()> {
    if object.hash.is_some() || object.location != Location::Object {
        return Ok(());
    }
    let path = layout::file_of(object);
    let Some(facts) = place.facts(&path).await? else {
        let shown = place.display(&path);
        let error = PortError::new(PortErrorKind::NotFound, format!("`{shown}` does not exist"));
        return Err(about(object, error));
    };
    if facts.size_bytes != object.stored_bytes {
        let reason = format!("it has {} bytes instead of {}", facts.size_bytes, object.stored_bytes);
        return Err(corrupt(place, object, &reason));
    }
    match (&object.store_tag, &facts.tag) {
        (Some(expected), Some(found)) if expected != found => {
            Err(corrupt(place, object, &format!("the store's tag is `{found}` instead of `{expected}`")))
        }
        _ => Ok(()),
    }
}

/// Compares what was read with what must have been.
///
/// # Errors
/// `Corrupt`.
pub(crate) fn check_hash(place: &dyn Place, object: &StoredObject, found: ContentHash) -> PortResult<()> {
    if object.hash.is_some_and(|expected| expected != found) {
        return Err(corrupt(place, object, "the content does not have the hash it must have"));
    }
    Ok(())
}

/// A damaged object.
pub(crate) fn corrupt(place: &dyn Place, object: &StoredObject, reason: &str) -> PortError {
    let file = place.display(&layout::file_of(object));
    PortError::new(
        PortErrorKind::Corrupt,
        format!("`{file}`, where the copy of `{}` lies, is damaged: {reason}", object.source.key),
    )
}

/// Says which object a failure is about.
pub(crate) fn about(object: &StoredObject, error: PortError) -> PortError {
    error.context(format!("cannot read the copy of `{}`", object.source.key))
}
