//! What is read at once when objects are staged: stretches of the repository's files, with the objects in them.

use crate::backups::objects::extent;
use crate::layout;
use crate::place::Place;
use milvault_domain::error::PortResult;
use milvault_domain::object::{Location, ObjectId, PackId, StoredObject};
use std::ops::Range;

/// Stretches end here, so that one pack keeps several readers busy. A larger object is a stretch of its own.
const PIECE_BYTES: u64 = 16 << 20;
/// Objects of one stretch are written one after another, and in a store each of them is a request.
const PIECE_OBJECTS: usize = 64;

/// See the module.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    /// File of the repository.
    pub(super) path: String,
    /// The stretch, without gaps.
    pub(super) bytes: Range<u64>,
    /// Its objects, in the order of the file. Never empty.
    pub(super) objects: Vec<&'a StoredObject>,
}

/// The stretches that hold these objects.
///
/// # Errors
/// `Corrupt` for an object that cannot lie where it is said to.
pub(super) fn pieces<'a>(
    place: &dyn Place,
    objects: impl Iterator<Item = &'a StoredObject>,
) -> PortResult<Vec<Piece<'a>>> {
    let mut sorted: Vec<&StoredObject> = objects.collect();
    sorted.sort_unstable_by_key(|object| file_order(object));
    let mut pieces: Vec<Piece<'a>> = Vec::new();
    let mut last_pack = None;
    for object in sorted {
        let bytes = extent(place, object)?;
        let pack = match object.location {
            Location::Pack { pack_id, .. } => Some(pack_id),
            Location::Object => None,
        };
        let fits = |piece: &&mut Piece<'a>| {
            pack.is_some()
                && pack == last_pack
                && piece.bytes.end == bytes.start
                && bytes.end - piece.bytes.start <= PIECE_BYTES
                && piece.objects.len() < PIECE_OBJECTS
        };
        if let Some(piece) = pieces.last_mut().filter(fits) {
            piece.bytes.end = bytes.end;
            piece.objects.push(object);
        } else {
            pieces.push(Piece { path: layout::file_of(object), bytes, objects: vec![object] });
        }
        last_pack = pack;
    }
    Ok(pieces)
}

/// An empty object comes before the one that begins at the same offset.
fn file_order(object: &StoredObject) -> (Option<PackId>, u64, u64, ObjectId) {
    match object.location {
        Location::Pack { pack_id, offset_bytes } => {
            (Some(pack_id), offset_bytes, object.stored_bytes, object.id)
        }
        Location::Object => (None, 0, 0, object.id),
    }
}
