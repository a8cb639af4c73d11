//! Hashing objects that lie one after another in a file, whatever pieces the file is read in.

use milvault_domain::object::{ContentHash, StoredObject};
use std::ops::Range;

/// Splits a stretch of a file into its objects and hashes each.
pub(super) struct RunHasher {
    lengths: Vec<u64>,
    position: usize,
    left_bytes: u64,
    hasher: blake3::Hasher,
    hashes: Vec<ContentHash>,
}

impl RunHasher {
    /// Expects these objects, without a gap between them.
    pub(super) fn new(objects: &[StoredObject]) -> Self {
        let lengths: Vec<u64> = objects.iter().map(|object| object.stored_bytes).collect();
        let left_bytes = lengths.first().copied().unwrap_or(0);
        let mut hasher =
            Self { lengths, position: 0, left_bytes, hasher: blake3::Hasher::new(), hashes: Vec::new() };
        hasher.complete_objects();
        hasher
    }

    /// Takes the next bytes. What goes beyond the last object is ignored.
    pub(super) fn push(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.position < self.lengths.len() {
            let length = usize::try_from(self.left_bytes).unwrap_or(usize::MAX).min(bytes.len());
            self.hasher.update(&bytes[..length]);
            self.left_bytes -= length as u64;
            bytes = &bytes[length..];
            self.complete_objects();
        }
    }

    /// Hashes of the objects that are complete, in their order.
    pub(super) fn hashes(&self) -> &[ContentHash] {
        &self.hashes
    }

    fn complete_objects(&mut self) {
        while self.left_bytes == 0 && self.position < self.lengths.len() {
            self.hashes.push(ContentHash::from_bytes(*self.hasher.finalize().as_bytes()));
            self.hasher.reset();
            self.position += 1;
            self.left_bytes = self.lengths.get(self.position).copied().unwrap_or(0);
        }
    }
}

/// A stretch of a file without gaps, and the objects in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Run {
    /// Positions of its objects.
    pub(super) objects: Range<usize>,
    /// Where it lies in the file.
    pub(super) bytes: Range<u64>,
}

/// The stretches that hold these objects, given as (offset, length) in the order of their offsets. Bytes between
/// them belong to other backups and need not be read.
pub(super) fn runs(extents: impl IntoIterator<Item = (u64, u64)>, first_position: usize) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (position, (offset, length)) in (first_position..).zip(extents) {
        match runs.last_mut() {
            Some(run) if run.bytes.end == offset => {
                run.bytes.end = offset.saturating_add(length);
                run.objects.end = position + 1;
            }
            _ => runs
                .push(Run { objects: position..position + 1, bytes: offset..offset.saturating_add(length) }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::binlog::{BinlogKey, BinlogKind};
    use milvault_domain::object::{Encoding, Fingerprint, Location, ObjectId, SourceObject};
    use proptest::prelude::*;

    fn object(stored_bytes: u64) -> StoredObject {
        StoredObject {
            id: ObjectId::from_bytes([0; 16]),
            source: SourceObject {
                key: BinlogKey {
                    kind: BinlogKind::Insert,
                    collection_id: 1,
                    partition_id: 1,
                    segment_id: 1,
                    field_id: 1,
                    log_id: 1,
                },
                size_bytes: stored_bytes,
                fingerprint: Fingerprint::ModifiedAtNanos(1),
            },
            location: Location::Object,
            encoding: Encoding::Raw,
            stored_bytes,
            hash: None,
            store_tag: None,
        }
    }

    proptest! {
        #[test]
        fn every_object_gets_the_hash_of_its_own_bytes(
            lengths in prop::collection::vec(0_usize..200, 0..20),
            step in 1_usize..100,
        ) {
            let total: usize = lengths.iter().sum();
            let bytes: Vec<u8> = (0..total).map(|position| (position * 31 % 256).to_le_bytes()[0]).collect();
            let objects: Vec<_> = lengths.iter().map(|length| object(*length as u64)).collect();
            let mut hasher = RunHasher::new(&objects);
            bytes.chunks(step).for_each(|piece| hasher.push(piece));
            let mut start = 0;
            let expected: Vec<_> = lengths.iter().map(|length| {
                let hash = blake3::hash(&bytes[start..start + length]);
                start += length;
                ContentHash::from_bytes(*hash.as_bytes())
            }).collect();
            prop_assert_eq!(hasher.hashes(), expected);
        }
    }

    #[test]
    fn gaps_and_overlaps_begin_a_new_run() {
        let found = runs([(0, 10), (10, 0), (10, 5), (20, 5), (22, 5)], 7);
        assert_eq!(
            found,
            vec![
                Run { objects: 7..10, bytes: 0..15 },
                Run { objects: 10..11, bytes: 20..25 },
                Run { objects: 11..12, bytes: 22..27 },
            ]
        );
    }
}
