use super::*;
use DeletePlacement::{LevelZero, WithRows};

const PARTITION: i64 = 50;

fn listed(id: i64, row_count: u64) -> ListedSegment {
    ListedSegment { id, partition_id: PARTITION, row_count, state: ListedState::Flushed, level_zero: false }
}

fn sealed(id: i64, row_count: u64) -> ListedSegment {
    ListedSegment { state: ListedState::Sealed, ..listed(id, row_count) }
}

fn deletes(id: i64) -> ListedSegment {
    ListedSegment { partition_id: ALL_PARTITIONS, level_zero: true, ..listed(id, 3) }
}

/// Segments 1 and 2 were there, 3 was growing and is sealed by the flush.
fn quiet() -> Evidence {
    let mut evidence = Evidence {
        before: vec![listed(1, 10), listed(2, 20)],
        sealed: vec![3],
        flushed: vec![1, 2],
        after: vec![listed(3, 30), listed(1, 10), listed(2, 20)],
        ..Evidence::default()
    };
    evidence.saw(vec![listed(1, 10), listed(2, 20), sealed(3, 0)]);
    evidence
}

fn decide(evidence: &Evidence, placement: DeletePlacement) -> Result<Vec<(i64, u64)>, HazardKind> {
    let partitions = [PartitionDescription { partition_id: PARTITION, name: String::from("_default") }];
    let segments = segments_of_cut(evidence, placement, &partitions)?;
    Ok(segments.iter().map(|segment| (segment.segment_id, segment.row_count)).collect())
}

#[test]
fn a_quiet_collection_is_what_the_flush_named() {
    assert_eq!(decide(&quiet(), WithRows), Ok(vec![(1, 10), (2, 20), (3, 30)]));
    assert_eq!(decide(&quiet(), LevelZero), Ok(vec![(1, 10), (2, 20), (3, 30)]));
    assert_eq!(decide(&Evidence::default(), WithRows), Ok(vec![]));
}

#[test]
fn a_compaction_before_the_flush_makes_it_void() {
    // 1 and 2 became 9.
    let evidence = Evidence { flushed: vec![9], after: vec![listed(9, 25), listed(3, 30)], ..quiet() };
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::SegmentsReplaced));
    assert_eq!(decide(&evidence, LevelZero), Err(HazardKind::SegmentsReplaced));
}

#[test]
fn a_compaction_after_the_flush_makes_it_void_only_where_deletes_lie_with_rows() {
    let evidence = Evidence { after: vec![listed(9, 25), listed(3, 30)], ..quiet() };
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::SegmentsReplaced));
    assert_eq!(decide(&evidence, LevelZero), Ok(vec![(1, 10), (2, 20), (3, 30)]));
}

#[test]
fn a_compaction_that_leaves_nothing_makes_it_void() {
    let evidence = Evidence { after: vec![listed(2, 20), listed(3, 30)], ..quiet() };
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::SegmentsReplaced));
}

#[test]
fn a_segment_that_somebody_else_flushed_meanwhile_belongs_to_the_cut() {
    // 4 was growing before, and sealed and flushed by another client before our flush came.
    let evidence = Evidence {
        flushed: vec![1, 2, 4],
        after: vec![listed(1, 10), listed(2, 20), listed(3, 30), listed(4, 40)],
        ..quiet()
    };
    assert_eq!(decide(&evidence, WithRows), Ok(vec![(1, 10), (2, 20), (3, 30), (4, 40)]));
}

#[test]
fn a_segment_that_the_flush_did_not_name_but_wrote_belongs_to_the_cut() {
    // An insert that was choosing its segment while the flush sealed the others.
    let mut evidence = quiet();
    evidence.after.push(listed(5, 7));
    assert_eq!(decide(&evidence, WithRows), Ok(vec![(1, 10), (2, 20), (3, 30), (5, 7)]));
    assert_eq!(decide(&evidence, LevelZero), Ok(vec![(1, 10), (2, 20), (3, 30), (5, 7)]));
}

#[test]
fn a_segment_that_is_sealed_later_is_out() {
    let mut evidence = quiet();
    evidence.after.push(sealed(5, 7));
    assert_eq!(decide(&evidence, WithRows), Ok(vec![(1, 10), (2, 20), (3, 30)]));
    assert_eq!(decide(&evidence, LevelZero), Ok(vec![(1, 10), (2, 20), (3, 30)]));
}

#[test]
fn an_empty_segment_may_disappear() {
    let mut evidence = quiet();
    evidence.sealed.push(8);
    evidence.saw(vec![sealed(8, 0)]);
    assert_eq!(decide(&evidence, WithRows), Ok(vec![(1, 10), (2, 20), (3, 30)]));
}

#[test]
fn a_segment_whose_count_was_not_known_may_not_be_succeeded() {
    // 8 was listed with 0 rows right after it was sealed; 9 may be what compaction made of it.
    let mut evidence = quiet();
    evidence.sealed.push(8);
    evidence.saw(vec![sealed(8, 0)]);
    evidence.after.push(listed(9, 5));
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::SegmentsReplaced));
}

#[test]
fn a_segment_that_was_seen_with_rows_may_not_disappear() {
    let mut evidence = quiet();
    evidence.sealed.push(8);
    evidence.saw(vec![sealed(8, 5)]);
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::SegmentsReplaced));
}

#[test]
fn segments_of_unknown_partitions_make_it_void() {
    let mut evidence = quiet();
    evidence.after.push(ListedSegment { partition_id: 51, ..listed(5, 7) });
    assert_eq!(decide(&evidence, WithRows), Err(HazardKind::UnknownPartition));
}

#[test]
fn segments_of_partitions_that_are_younger_than_the_cut_are_out() {
    const LATER: i64 = 51;
    let later = |id, row_count| ListedSegment { partition_id: LATER, ..listed(id, row_count) };
    // 5 is sealed by the flush, 6 by somebody else; 7 was seen with rows and is replaced by 8.
    let mut evidence = quiet();
    evidence.sealed.extend([5, 7]);
    evidence.flushed.push(6);
    evidence.saw(vec![later(7, 9)]);
    evidence.after.extend([later(5, 7), later(6, 0), later(8, 9)]);
    for placement in [WithRows, LevelZero] {
        assert!(decide(&evidence, placement).is_err(), "{placement:?}");
        let evidence = evidence.clone().without_partitions(&HashSet::from([LATER]));
        assert_eq!(decide(&evidence, placement), Ok(vec![(1, 10), (2, 20), (3, 30)]), "{placement:?}");
    }
    // Deletes that concern all partitions stay.
    let mut evidence = quiet();
    evidence.after.extend([deletes(22), ListedSegment { level_zero: true, ..later(23, 1) }]);
    let evidence = evidence.without_partitions(&HashSet::from([LATER]));
    assert_eq!(decide(&evidence, LevelZero), Ok(vec![(1, 10), (2, 20), (3, 30), (22, 3)]));
}

#[test]
fn every_level_zero_segment_that_was_seen_is_kept() {
    let mut evidence = quiet();
    evidence.before.push(deletes(20));
    evidence.saw(vec![deletes(21)]);
    evidence.after.push(deletes(22));
    let expected = vec![(1, 10), (2, 20), (3, 30), (20, 3), (21, 3), (22, 3)];
    assert_eq!(decide(&evidence, LevelZero), Ok(expected));
}
