//! Whether what was seen of a collection's segments adds up to a cut.

use super::resolve::HazardKind;
use super::segments::{ListedSegment, ListedState};
use milvault_domain::milvus::{PartitionDescription, SegmentCut};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Where a server keeps deletes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeletePlacement {
    /// With the segment that holds the row (before 2.4).
    WithRows,
    /// In segments of their own (2.4 and later).
    LevelZero,
}

/// All that was seen of a collection's segments in one attempt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Evidence {
    /// Listed before the boundary.
    pub(crate) before: Vec<ListedSegment>,
    /// Sealed by the flush.
    pub(crate) sealed: Vec<i64>,
    /// Flushed already when the flush came.
    pub(crate) flushed: Vec<i64>,
    /// Listed while the flush was under way, the newest entry of each segment.
    pub(crate) during: HashMap<i64, ListedSegment>,
    /// Listed when all was written.
    pub(crate) after: Vec<ListedSegment>,
}

/// Partition of L0 segments whose deletes concern all partitions.
const ALL_PARTITIONS: i64 = -1;

/// Decides on the segments of the cut, sorted by id.
pub(crate) fn segments_of_cut(
    evidence: &Evidence,
    placement: DeletePlacement,
    partitions: &[PartitionDescription],
) -> Result<Vec<SegmentCut>, HazardKind> {
    let segments = match placement {
        DeletePlacement::WithRows => with_rows(evidence)?,
        DeletePlacement::LevelZero => level_zero(evidence)?,
    };
    let known: HashSet<i64> = partitions.iter().map(|partition| partition.partition_id).collect();
    let is_known = |segment: &SegmentCut| {
        segment.partition_id == ALL_PARTITIONS || known.contains(&segment.partition_id)
    };
    if segments.iter().all(is_known) { Ok(segments) } else { Err(HazardKind::UnknownPartition) }
}

/// Deletes lie with their rows: nothing that was seen may be missing at the end.
fn with_rows(evidence: &Evidence) -> Result<Vec<SegmentCut>, HazardKind> {
    let after: HashSet<i64> = evidence.after.iter().map(|segment| segment.id).collect();
    let expected = evidence.expected();
    let missing: Vec<i64> = expected.difference(&after.iter().copied().collect()).copied().collect();
    let appeared = evidence.after.iter().any(|segment| !expected.contains(&segment.id));
    for id in missing {
        // A sealed segment without a row disappears by itself. But a count of 0 may also be one that was not known
        // yet, and then what appeared may be its successor.
        if evidence.rows_seen(id) > 0 || appeared {
            return Err(HazardKind::SegmentsReplaced);
        }
    }
    // What was sealed after the flush, by somebody else, holds nothing of the cut and may not be written yet.
    let of_cut =
        |segment: &&ListedSegment| segment.state == ListedState::Flushed || expected.contains(&segment.id);
    Ok(sorted(evidence.after.iter().filter(of_cut)))
}

/// Deletes lie in L0 segments: what the flush named is the cut, even if it is replaced afterwards; from before the
/// boundary until the flush nothing may have been replaced.
fn level_zero(evidence: &Evidence) -> Result<Vec<SegmentCut>, HazardKind> {
    let named: BTreeSet<i64> = evidence.sealed.iter().chain(&evidence.flushed).copied().collect();
    let replaced = |segment: &&ListedSegment| {
        !segment.level_zero && segment.row_count > 0 && !named.contains(&segment.id)
    };
    if evidence.before.iter().any(|segment| replaced(&segment)) {
        return Err(HazardKind::SegmentsReplaced);
    }
    let seen = evidence.seen();
    let after: HashSet<i64> = evidence.after.iter().map(|segment| segment.id).collect();
    let none_replaced = named.iter().all(|id| after.contains(id) || evidence.rows_seen(*id) == 0);
    let of_cut = |segment: &&ListedSegment| {
        let appeared = none_replaced && after.contains(&segment.id) && segment.state == ListedState::Flushed;
        segment.level_zero || named.contains(&segment.id) || appeared
    };
    Ok(sorted(seen.values().filter(of_cut)))
}

impl Evidence {
    /// Adds a list that was made while the flush was under way.
    pub(crate) fn saw(&mut self, listed: Vec<ListedSegment>) {
        self.during.extend(listed.into_iter().map(|segment| (segment.id, segment)));
    }

    /// Leaves out the segments of partitions that were made after the boundary: they hold nothing of the cut, so nothing
    /// that becomes of them makes it ambiguous.
    pub(crate) fn without_partitions(mut self, later: &HashSet<i64>) -> Self {
        let listed = self.during.values().chain(&self.after);
        let left_out: HashSet<i64> = listed
            .filter(|segment| later.contains(&segment.partition_id))
            .map(|segment| segment.id)
            .collect();
        self.sealed.retain(|id| !left_out.contains(id));
        self.flushed.retain(|id| !left_out.contains(id));
        self.during.retain(|id, _| !left_out.contains(id));
        self.after.retain(|segment| !left_out.contains(&segment.id));
        self
    }

    /// Segments that were there before or that the flush named.
    fn expected(&self) -> BTreeSet<i64> {
        let before = self.before.iter().map(|segment| segment.id);
        before.chain(self.sealed.iter().copied()).chain(self.flushed.iter().copied()).collect()
    }

    /// Every segment that was listed, as it was listed last.
    fn seen(&self) -> BTreeMap<i64, ListedSegment> {
        let lists = self.before.iter().chain(self.during.values()).chain(&self.after);
        lists.map(|segment| (segment.id, *segment)).collect()
    }

    /// The largest count of rows that a list showed for a segment; 0 when no list showed it.
    fn rows_seen(&self, id: i64) -> u64 {
        let before = self.before.iter().find(|segment| segment.id == id);
        let after = self.after.iter().find(|segment| segment.id == id);
        let lists = [before, self.during.get(&id), after];
        lists.into_iter().flatten().map(|segment| segment.row_count).max().unwrap_or(0)
    }
}

impl From<&ListedSegment> for SegmentCut {
    fn from(segment: &ListedSegment) -> Self {
        let ListedSegment { id, partition_id, row_count, .. } = *segment;
        Self { segment_id: id, partition_id, row_count }
    }
}

fn sorted<'a>(segments: impl Iterator<Item = &'a ListedSegment>) -> Vec<SegmentCut> {
    let mut segments: Vec<_> = segments.map(SegmentCut::from).collect();
    segments.sort_unstable_by_key(|segment| segment.segment_id);
    segments
}

#[cfg(test)]
mod tests;
