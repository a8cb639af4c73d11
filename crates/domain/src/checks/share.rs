//! Parts of a repository, by the names of its files.
//!
//! Names of packs and of objects are hashes, so they are spread evenly over a ring of 2^64 positions, and a part of the
//! ring is a part of the repository. A verify that goes around the ring, each day from where it was left, reads every
//! file once in each turn, whatever is added or removed meanwhile: what lies behind it comes in the next turn. All that
//! has to be remembered is one position, however many files there are.

use crate::sweep::DataFile;
use serde::{Deserialize, Serialize};

/// Where a file lies on the ring.
#[must_use]
pub fn position(file: DataFile) -> u64 {
    let bytes = match &file {
        DataFile::Pack(id) => id.as_bytes(),
        DataFile::Object(id) => id.as_bytes(),
    };
    bytes.first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
}

/// A part of the ring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Its first position.
    pub from: u64,
    /// Positions in it after the first one.
    pub further: u64,
}

impl Share {
    /// The whole ring.
    pub const ALL: Self = Self { from: 0, further: u64::MAX };

    /// `count` of `of` equal parts of the ring, rounded up, so that `of` of them in a row leave nothing out.
    #[must_use]
    pub fn parts(from: u64, count: u32, of: u32) -> Self {
        let ring = 1_u128 << 64;
        let length = (ring * u128::from(count)).div_ceil(u128::from(of.max(1))).clamp(1, ring);
        Self { from, further: u64::try_from(length - 1).unwrap_or(u64::MAX) }
    }

    /// The first position behind it.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.from.wrapping_add(self.further).wrapping_add(1)
    }

    /// Whether a file lies in it.
    #[must_use]
    pub fn contains(self, file: DataFile) -> bool {
        self.contains_position(position(file))
    }

    pub(super) const fn contains_position(self, position: u64) -> bool {
        position.wrapping_sub(self.from) <= self.further
    }
}
