//! The files of a repository, as bytes: manifests, saved plans, recorded hashes, and the tail of a pack.
//!
//! Pure: bytes in, values out. `docs/format.md` specifies what is written here. Manifests, plans and hashes share one
//! framing: a head (magic, version), frames that each carry their own checksum, and a closing frame with counts and a
//! hash of everything before it. Both directions work frame by frame, so a backup of a million objects never exists
//! as one block of memory.

mod decode;
mod encode;
mod frame;
mod pack;
mod v1;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, FramedObjects, Item};
pub use encode::{Encoded, EncodedObjects, Encoder};
pub use pack::{PACK_TRAILER_BYTES, PackEntry, PackTrailer, encode_pack_tail};

use crate::object::PackId;

/// Most objects in one frame.
pub const FRAME_OBJECTS_MAX: usize = 4096;
/// Longest payload of a frame, in bytes. A decoder never waits for more than this before it judges.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// The format version that this program writes.
pub const FORMAT_VERSION: u32 = 1;

/// What a framed file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// `backups/<id>/manifest`.
    Manifest,
    /// `backups/<id>/unfinished`: a header and a plan.
    Plan,
    /// `backups/<id>/hashes-*`: content hashes found by a verify.
    Hashes,
}

impl FileKind {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Manifest => *b"MILVMANI",
            Self::Plan => *b"MILVPLAN",
            Self::Hashes => *b"MILVHASH",
        }
    }
}

/// A pack that a manifest references, with the size of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackSize {
    /// The pack.
    pub pack_id: PackId,
    /// Size of the whole file: objects, index and trailer.
    pub size_bytes: u64,
}

/// What the closing frame states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closing {
    /// Objects (or hashes) in the file.
    pub objects: u64,
    /// BLAKE3 of all bytes before the closing frame: equal files have equal hashes.
    pub hash: [u8; 32],
}

/// Bytes that are not what they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Damaged, truncated or something else altogether.
    #[error("the bytes are damaged: {0}")]
    Corrupt(&'static str),
    /// Written by a newer program.
    #[error("format version {0} is newer than this program understands; use a newer Milvault")]
    Newer(u32),
    /// A value does not fit into the format.
    #[error("{0} is too large for the format")]
    TooLarge(&'static str),
}
