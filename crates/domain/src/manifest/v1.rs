//! Version 1 of the stored types. Frozen: postcard is not self-describing, so any change here (a field, an order, an
//! enum variant in the middle) makes existing repositories unreadable. A change of the domain's types is answered
//! with a version 2 beside this one and a conversion upward; `tests/fixtures/v1` holds bytes that must keep decoding.

mod collection;
mod header;
mod list;
mod object;

pub(super) use collection::CollectionV1;
pub(super) use header::HeaderV1;
pub(super) use list::{decode_objects, encode_objects, object_count};
pub(super) use object::{HashesV1, PackEntryV1, PackIndexV1, PackSizeV1, UnitV1};

use serde::{Deserialize, Serialize};

/// Closing frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct EndV1 {
    /// Frames before this one.
    pub(super) frames: u64,
    /// Objects (or hashes) in them.
    pub(super) objects: u64,
    /// BLAKE3 of all bytes of the file before this frame.
    pub(super) hash: [u8; 32],
}
