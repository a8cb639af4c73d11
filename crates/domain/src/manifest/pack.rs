//! The tail of a pack: an index of its objects, and a trailer of fixed length by which the index is found.
//!
//! Trailer: index length (8) | BLAKE3 of the index (32) | version (4) | number of objects (4) | first 8 bytes of
//! BLAKE3 of those 48 | magic (8). Numbers are little endian.

use super::frame::decode_payload;
use super::v1::{PackEntryV1, PackIndexV1};
use super::{FORMAT_VERSION, FormatError};
use crate::object::{ContentHash, ObjectId};
use crate::plan::PACK_OBJECTS_MAX;

/// Length of the trailer.
pub const PACK_TRAILER_BYTES: usize = 64;

const MAGIC: [u8; 8] = *b"MILVPACK";
/// A pack's index has at most [`PACK_OBJECTS_MAX`] entries of at most 69 bytes, and their number.
const INDEX_BYTES_MAX: u64 = PACK_OBJECTS_MAX as u64 * 69 + 3;

/// An object in a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackEntry {
    /// Identity.
    pub id: ObjectId,
    /// Offset of its first byte.
    pub offset_bytes: u64,
    /// Length of its stored form.
    pub stored_bytes: u64,
    /// BLAKE3 of its content.
    pub hash: ContentHash,
}

/// What a trailer states about the index before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackTrailer {
    index_bytes: u64,
    index_hash: [u8; 32],
    object_count: u32,
    file_bytes: u64,
}

/// Index and trailer of a pack with these objects, to be written after their bytes. The same objects give the same
/// bytes.
///
/// # Errors
/// More than [`PACK_OBJECTS_MAX`] objects.
pub fn encode_pack_tail(entries: &[PackEntry]) -> Result<Vec<u8>, FormatError> {
    const WHAT: &str = "the index of a pack";
    let object_count = u32::try_from(entries.len()).map_err(|_| FormatError::TooLarge(WHAT))?;
    if PACK_OBJECTS_MAX < entries.len() {
        return Err(FormatError::TooLarge(WHAT));
    }
    let entries = entries
        .iter()
        .map(|entry| PackEntryV1::raw(entry.id, entry.offset_bytes, entry.stored_bytes, entry.hash));
    let index = PackIndexV1 { objects: entries.collect() };
    let mut tail = postcard::to_stdvec(&index).map_err(|_| FormatError::TooLarge(WHAT))?;
    let mut trailer = Vec::with_capacity(PACK_TRAILER_BYTES);
    trailer.extend_from_slice(&(tail.len() as u64).to_le_bytes());
    trailer.extend_from_slice(blake3::hash(&tail).as_bytes());
    trailer.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    trailer.extend_from_slice(&object_count.to_le_bytes());
    let checksum = blake3::hash(&trailer);
    trailer.extend_from_slice(&checksum.as_bytes()[..8]);
    trailer.extend_from_slice(&MAGIC);
    tail.extend_from_slice(&trailer);
    Ok(tail)
}

impl PackTrailer {
    /// Reads the last bytes of a pack file that is `file_bytes` long.
    ///
    /// # Errors
    /// They are not a trailer, or not one that fits the file.
    pub fn decode(bytes: &[u8; PACK_TRAILER_BYTES], file_bytes: u64) -> Result<Self, FormatError> {
        if bytes[56..] != MAGIC {
            return Err(FormatError::Corrupt("the file does not end as packs do; it may be truncated"));
        }
        if bytes[48..56] != blake3::hash(&bytes[..48]).as_bytes()[..8] {
            return Err(FormatError::Corrupt("the checksum of the pack's trailer does not match"));
        }
        let number =
            |from: usize| bytes[from..].first_chunk::<4>().map_or(0, |number| u32::from_le_bytes(*number));
        match number(40) {
            0 => return Err(FormatError::Corrupt("format version 0 does not exist")),
            version if FORMAT_VERSION < version => return Err(FormatError::Newer(version)),
            _ => {}
        }
        let index_bytes = bytes.first_chunk::<8>().map_or(0, |number| u64::from_le_bytes(*number));
        let index_hash = bytes[8..].first_chunk::<32>().copied().unwrap_or_default();
        let fits = index_bytes <= INDEX_BYTES_MAX
            && index_bytes.checked_add(PACK_TRAILER_BYTES as u64).is_some_and(|tail| tail <= file_bytes);
        if !fits {
            return Err(FormatError::Corrupt("the pack's index is longer than it can be"));
        }
        Ok(Self { index_bytes, index_hash, object_count: number(44), file_bytes })
    }

    /// Where the index lies in the file.
    #[must_use]
    pub const fn index_range(&self) -> std::ops::Range<u64> {
        let end = self.file_bytes - PACK_TRAILER_BYTES as u64;
        end - self.index_bytes..end
    }

    /// Reads the index.
    ///
    /// # Errors
    /// The bytes are not the index that the trailer speaks of, or it does not describe the file.
    pub fn decode_index(&self, bytes: &[u8]) -> Result<Vec<PackEntry>, FormatError> {
        if *blake3::hash(bytes).as_bytes() != self.index_hash {
            return Err(FormatError::Corrupt("the hash of the pack's index does not match"));
        }
        let PackIndexV1 { objects } = decode_payload(bytes)?;
        if u32::try_from(objects.len()) != Ok(self.object_count) {
            return Err(FormatError::Corrupt("the pack's index counts other objects than its trailer"));
        }
        let mut end_bytes: u64 = 0;
        let mut entries = Vec::with_capacity(objects.len());
        for entry in objects {
            if entry.offset_bytes != end_bytes {
                return Err(FormatError::Corrupt("the objects of a pack do not follow one another"));
            }
            end_bytes = end_bytes
                .checked_add(entry.stored_bytes)
                .ok_or(FormatError::Corrupt("an object ends beyond any file"))?;
            entries.push(PackEntry {
                id: ObjectId::from_bytes(entry.id),
                offset_bytes: entry.offset_bytes,
                stored_bytes: entry.stored_bytes,
                hash: ContentHash::from_bytes(entry.hash),
            });
        }
        if end_bytes != self.index_range().start {
            return Err(FormatError::Corrupt("the pack's index describes another length than the file has"));
        }
        Ok(entries)
    }
}
