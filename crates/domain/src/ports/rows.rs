//! Reading rows out of binlogs, to count and compare them.

use crate::error::PortResult;
use crate::milvus::{CollectionCut, FieldDescription};

/// Decodes binlog files. Pure and CPU-bound: callers fetch the bytes and run this off their event loop.
pub trait BinlogReader: Send + Sync {
    /// Finds out which rows of a segment are there at an instant: inserted at or before it, and not deleted by a
    /// delete at or before it that is later than the row.
    ///
    /// # Errors
    /// `Corrupt` when a file does not decode or the files of the fields disagree; `Unsupported` for a format or key
    /// type that is not known.
    fn segment_keys(
        &self,
        collection: &CollectionCut,
        files: &KeyFiles,
        cut_at_ms: i64,
    ) -> PortResult<SegmentKeys>;

    /// Digests the values of one field for the rows of a segment that are there. The files of a field come one after
    /// another: `first_row` is the position in the segment of the file's first row.
    ///
    /// # Errors
    /// As above.
    fn field_values(
        &self,
        keys: &SegmentKeys,
        field: &FieldDescription,
        first_row: usize,
        file: &[u8],
        wanted: RowChoice,
    ) -> PortResult<FieldDigest>;
}

/// The files of a segment that say which rows it has, each list sorted by log id.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// Timestamps (field 1).
    pub timestamps: Vec<Vec<u8>>,
    /// The primary key's field.
    pub keys: Vec<Vec<u8>>,
    /// Delta logs that concern the segment.
    pub deletes: Vec<Vec<u8>>,
}

/// Which rows to digest whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowChoice {
    /// All.
    All,
    /// About one in so many, chosen by the primary key: the same rows on both sides.
    OneIn(u64),
}

/// The rows of a segment at an instant, by position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentKeys {
    /// For each row of the segment a hash of its primary key, `None` when the row is not there at the instant.
    pub rows: Vec<Option<u64>>,
}

impl SegmentKeys {
    /// Number and checksum of the rows that are there.
    #[must_use]
    pub fn digest(&self) -> RowDigest {
        let mut digest = RowDigest::default();
        for key in self.rows.iter().flatten() {
            digest.rows += 1;
            digest.sum = digest.sum.wrapping_add(u128::from(*key));
        }
        digest
    }
}

/// Values of one file of a field.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FieldDigest {
    /// Rows in the file, there or not: how far to move on.
    pub rows_in_file: usize,
    /// Number and checksum of the chosen values.
    pub values: RowDigest,
}

/// A number of things and a checksum over them that does not depend on their order or on how they are spread over
/// files: segments are arranged anew when they are imported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RowDigest {
    /// How many.
    pub rows: u64,
    /// Sum of their hashes.
    pub sum: u128,
}

impl RowDigest {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { rows: self.rows + other.rows, sum: self.sum.wrapping_add(other.sum) }
    }
}
