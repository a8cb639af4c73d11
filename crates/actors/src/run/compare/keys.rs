//! Which rows are there: the pass over timestamps, primary keys and deletes.

use super::budget::{decode, reserve};
use super::side::{SegmentFiles, Side};
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::milvus::CollectionCut;
use milvault_domain::ports::{KeyFiles, PortResult, RowDigest, SegmentKeys};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

/// Segments of one collection that are read at once. What they hold in memory is bounded besides.
pub(super) const SEGMENTS_AT_ONCE: usize = 4;
/// Segments of the backup whose rows make up a sample.
const SAMPLED_SEGMENTS: usize = 8;
/// Rows of a sample, about.
const SAMPLED_ROWS: u64 = 1000;
/// Rows that may be remembered for a sample, of which those of a few segments are taken.
const CANDIDATES_MAX: u64 = 200_000;

/// The rows of a collection that are there at an instant: number and checksum of the primary keys by name of the
/// partition, and where some of them lie.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::run) struct ExpectedRows {
    /// Every partition that was asked for, empty ones included.
    pub(in crate::run) partitions: BTreeMap<String, RowDigest>,
    rate: SampleRate,
    /// Rows that a sample may consist of, by segment.
    candidates: Vec<RowsOfSegment>,
}

/// One in so many rows is a candidate, chosen by the primary key's hash: the same on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SampleRate(u64);

/// Some rows of a segment, with the hashes of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RowsOfSegment {
    pub(super) segment_id: i64,
    row_count: usize,
    rows: Vec<(usize, u64)>,
}

impl Default for SampleRate {
    fn default() -> Self {
        Self(1)
    }
}

impl SampleRate {
    /// So that the sampled segments have about as many candidates as a sample needs.
    pub(super) fn for_collection(collection: &CollectionCut) -> Self {
        let segments = collection.segments.iter().filter(|segment| segment.row_count > 0).count().max(1);
        let rows = collection.row_count();
        let sampled_rows = rows / segments as u64 * segments.min(SAMPLED_SEGMENTS) as u64;
        Self((sampled_rows / SAMPLED_ROWS).max(rows / CANDIDATES_MAX).max(1))
    }
}

impl ExpectedRows {
    /// Rows of a partition; 0 for one that was not asked for.
    pub(in crate::run) fn rows(&self, partition: &str) -> u64 {
        self.partitions.get(partition).map_or(0, |digest| digest.rows)
    }

    /// Rows by partition.
    pub(super) fn row_counts(&self) -> BTreeMap<String, u64> {
        self.partitions.iter().map(|(name, digest)| (name.clone(), digest.rows)).collect()
    }

    pub(super) const fn sample_rate(&self) -> SampleRate {
        self.rate
    }

    /// Hashes of the primary keys of a sample: the candidates of some segments, spread over all.
    pub(super) fn sampled_keys(&self) -> HashSet<u64> {
        let count = self.candidates.len().min(SAMPLED_SEGMENTS);
        let spread =
            (0..count).filter_map(|number| self.candidates.get(number * self.candidates.len() / count));
        spread.flat_map(|segment| segment.rows.iter().map(|(_, hash)| *hash)).collect()
    }

    /// The rows with these keys, wherever they lie: a key may be there more than once.
    pub(super) fn with_keys(&self, keys: &HashSet<u64>) -> Vec<RowsOfSegment> {
        let chosen = self.candidates.iter().map(|segment| RowsOfSegment {
            rows: segment.rows.iter().copied().filter(|(_, hash)| keys.contains(hash)).collect(),
            ..*segment
        });
        chosen.filter(|segment| !segment.rows.is_empty()).collect()
    }
}

impl RowsOfSegment {
    fn candidates(segment_id: i64, keys: &SegmentKeys, rate: SampleRate) -> Self {
        let there = keys.rows.iter().enumerate().filter_map(|(position, key)| Some((position, (*key)?)));
        let rows = there.filter(|(_, hash)| hash % rate.0 == 0).collect();
        Self { segment_id, row_count: keys.rows.len(), rows }
    }

    /// The segment as if it had no other rows.
    pub(super) fn keys(&self) -> SegmentKeys {
        let mut rows = vec![None; self.row_count];
        for (position, hash) in &self.rows {
            if let Some(row) = rows.get_mut(*position) {
                *row = Some(*hash);
            }
        }
        SegmentKeys { rows }
    }
}

/// Reads the keys of some partitions.
pub(super) async fn read_keys(
    side: &Side<'_>,
    partitions: &[String],
    rate: SampleRate,
) -> PortResult<ExpectedRows> {
    let shared = side.read_shared_deletes().await?;
    let mut reads = Vec::new();
    for segment in &side.segments {
        let partition = side.partition_name(segment.partition_id);
        let Some(partition) = partition.filter(|name| partitions.iter().any(|wanted| wanted == name)) else {
            continue;
        };
        let shared = &shared;
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        let read = async move {
            let keys = segment_keys(side, segment, shared).await?;
            Ok((partition, keys.digest(), RowsOfSegment::candidates(segment.segment_id, &keys, rate)))
        };
        reads.push(read.boxed());
    }
    let mut all = ExpectedRows {
        partitions: partitions.iter().map(|name| (name.clone(), RowDigest::default())).collect(),
        rate,
        candidates: Vec::new(),
    };
    let mut reads = futures::stream::iter(reads).buffered(SEGMENTS_AT_ONCE);
    while let Some((partition, digest, candidates)) = reads.try_next().await? {
        let sum = all.partitions.entry(partition.to_owned()).or_default();
        *sum = sum.plus(digest);
        if !candidates.rows.is_empty() {
            all.candidates.push(candidates);
        }
    }
    Ok(all)
}

/// Reads which rows of a segment are there.
pub(super) async fn segment_keys(
    side: &Side<'_>,
    segment: &SegmentFiles<'_>,
    shared_deletes: &HashMap<i64, Vec<Vec<u8>>>,
) -> PortResult<SegmentKeys> {
    let key_files = segment.of_field(side.primary_key()?.field_id);
    let shared = || {
        let concerned = [-1, segment.partition_id];
        concerned.into_iter().filter_map(|id| shared_deletes.get(&id)).flatten()
    };
    let own_bytes: u64 = [segment.timestamps(), key_files, &segment.deletes]
        .into_iter()
        .flatten()
        .map(|file| file.size_bytes)
        .sum();
    let shared_bytes: u64 = shared().map(|deletes| deletes.len() as u64).sum();
    let reserved = reserve(own_bytes + shared_bytes).await?;
    let mut files = KeyFiles {
        timestamps: side.read_all(segment.timestamps()).await?,
        keys: side.read_all(key_files).await?,
        deletes: side.read_all(&segment.deletes).await?,
    };
    files.deletes.extend(shared().cloned());
    let (binlogs, collection) = (Arc::clone(&side.run.core.deps.binlogs), Arc::clone(&side.collection));
    let cut_at_ms = side.cut_at_ms;
    let decoded = decode(reserved, move || binlogs.segment_keys(&collection, &files, cut_at_ms)).await;
    decoded.map_err(|error| {
        error.context(format!("segment {} of collection {}", segment.segment_id, side.collection.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(segments: &[&[u64]], rate: SampleRate) -> ExpectedRows {
        let candidates = (0..).zip(segments).map(|(segment_id, hashes)| {
            let keys = SegmentKeys { rows: hashes.iter().map(|hash| (*hash > 0).then_some(*hash)).collect() };
            RowsOfSegment::candidates(segment_id, &keys, rate)
        });
        ExpectedRows { rate, candidates: candidates.collect(), ..ExpectedRows::default() }
    }

    #[test]
    fn a_sample_is_the_same_rows_on_both_sides_duplicates_included() {
        let rate = SampleRate(2);
        let backup = rows(&[&[2, 3, 4], &[0, 6, 4]], rate);
        let target = rows(&[&[6, 4, 8, 4, 2, 3, 5]], rate);
        let keys = backup.sampled_keys();
        assert_eq!(keys, HashSet::from([2, 4, 6]));
        let of_backup: Vec<_> = backup.with_keys(&keys).iter().map(RowsOfSegment::keys).collect();
        assert_eq!(of_backup[1].rows, [None, Some(6), Some(4)]);
        let of_target = target.with_keys(&keys)[0].keys();
        assert_eq!(of_target.rows, [Some(6), Some(4), None, Some(4), Some(2), None, None]);
        let sum = of_backup[0].digest().plus(of_backup[1].digest());
        assert_eq!(sum, of_target.digest());
    }

    #[test]
    fn a_sample_is_spread_over_few_segments() {
        let segments: Vec<Vec<u64>> =
            (0..40).map(|segment| vec![segment * 10 + 1, segment * 10 + 2]).collect();
        let segments: Vec<&[u64]> = segments.iter().map(Vec::as_slice).collect();
        let mut keys: Vec<u64> = rows(&segments, SampleRate(1)).sampled_keys().into_iter().collect();
        keys.sort_unstable();
        assert_eq!(keys.len(), 2 * SAMPLED_SEGMENTS);
        assert_eq!((keys[0], keys[15]), (1, 352));
    }
}
