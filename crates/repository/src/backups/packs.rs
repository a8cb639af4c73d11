//! Packs, seen from their tails.

use crate::error::from_format;
use crate::layout;
use crate::place::Place;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::manifest::{FormatError, PACK_TRAILER_BYTES, PackEntry, PackSize, PackTrailer};
use milvault_domain::object::{Encoding, Location, PackId, StoredObject};
use milvault_domain::plan::PlannedObject;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is read at first. Holds the index of most packs, so that one read is enough.
const TAIL_BYTES: u64 = 64 << 10;

/// Sizes that manifests state of packs that may be reused: such a pack is not written again, so nobody else sees whether
/// it is still whole.
#[derive(Default)]
pub(crate) struct PackSizes(Mutex<HashMap<PackId, u64>>);

impl PackSizes {
    /// Remembers what a manifest states.
    pub(crate) fn add(&self, packs: Vec<PackSize>) {
        self.lock().extend(packs.into_iter().map(|pack| (pack.pack_id, pack.size_bytes)));
    }

    /// The size that a pack must have, where a manifest was read that has it.
    pub(crate) fn of(&self, pack_id: PackId) -> Option<u64> {
        self.lock().get(&pack_id).copied()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PackId, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies under a pack's name.
pub(crate) enum PackState {
    /// Nothing.
    Missing,
    /// A pack with exactly these objects.
    Complete(Vec<StoredObject>),
    /// Something else: its tail does not decode, or lists other objects. Why.
    Damaged(String),
}

/// Looks whether a unit's pack is there already, by reading its tail.
///
/// # Errors
/// Errors of the store.
pub(crate) async fn inspect(
    place: &dyn Place,
    pack_id: PackId,
    objects: &[PlannedObject],
) -> PortResult<PackState> {
    let path = layout::pack(pack_id);
    let Some(facts) = place.facts(&path).await? else {
        return Ok(PackState::Missing);
    };
    let entries = match read_index(place, &path, facts.size_bytes).await {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), PortErrorKind::Corrupt) => {
            return Ok(PackState::Damaged(error.to_string()));
        }
        Err(error) => return Err(error),
    };
    let same = entries.len() == objects.len()
        && entries
            .iter()
            .zip(objects)
            .all(|(entry, object)| entry.id == object.id && entry.stored_bytes == object.source.size_bytes);
    if !same {
        return Ok(PackState::Damaged(format!(
            "`{}` holds other objects than its name says",
            place.display(&path)
        )));
    }
    Ok(PackState::Complete(stored_objects(pack_id, objects, &entries)))
}

/// The objects of a pack that was just written or found, by its entries in order.
pub(crate) fn stored_objects(
    pack_id: PackId,
    objects: &[PlannedObject],
    entries: &[PackEntry],
) -> Vec<StoredObject> {
    let stored = |(object, entry): (&PlannedObject, &PackEntry)| StoredObject {
        id: object.id,
        source: object.source.clone(),
        location: Location::Pack { pack_id, offset_bytes: entry.offset_bytes },
        encoding: Encoding::Raw,
        stored_bytes: entry.stored_bytes,
        hash: Some(entry.hash),
        store_tag: None,
    };
    objects.iter().zip(entries).map(stored).collect()
}

/// Reads the index of a pack whose file has this size.
///
/// # Errors
/// `Corrupt`, `Unsupported`; errors of the store.
pub(crate) async fn read_index(place: &dyn Place, path: &str, size_bytes: u64) -> PortResult<Vec<PackEntry>> {
    let shown = place.display(path);
    let tail_start = size_bytes.saturating_sub(TAIL_BYTES);
    let tail = place.read(path, tail_start..size_bytes).await?;
    let trailer = tail.last_chunk::<PACK_TRAILER_BYTES>().ok_or_else(|| {
        from_format(&shown, FormatError::Corrupt("the file is too short for a pack; it may be truncated"))
    })?;
    let trailer = PackTrailer::decode(trailer, size_bytes).map_err(|error| from_format(&shown, error))?;
    let range = trailer.index_range();
    let index = if tail_start <= range.start {
        let position = |offset: u64| {
            usize::try_from(offset - tail_start).map_err(|error| {
                PortError::with_source(PortErrorKind::Internal, "a pack's tail is too long", error)
            })
        };
        tail.slice(position(range.start)?..position(range.end)?)
    } else {
        place.read(path, range).await?
    };
    trailer.decode_index(&index).map_err(|error| from_format(&shown, error))
}
