//! Files that somebody damaged, by accident or not.

use super::fixture::{FIXTURES, KEY_FIELD, Segment, Side, TIMESTAMP_FIELD, collection};
use crate::binlog::MilvusBinlogReader;
use milvault_domain::error::{PortErrorKind, PortResult};
use milvault_domain::ports::{BinlogReader, FieldDigest, KeyFiles, RowChoice, SegmentKeys};
use proptest::prelude::*;
use std::sync::LazyLock;

static SIDES: LazyLock<Vec<Side>> =
    LazyLock::new(|| FIXTURES.iter().map(|keys| Side::load(keys, "source")).collect());

/// Reads a segment with one of its files replaced: 0 to 2 timestamps, keys, deletes, then the other fields.
fn read(
    side: &Side,
    segment: &Segment,
    place: usize,
    file: &[u8],
) -> PortResult<(SegmentKeys, Option<FieldDigest>)> {
    let mut files = segment.key_files();
    match place {
        0 => files.timestamps = vec![file.to_vec()],
        1 => files.keys = vec![file.to_vec()],
        2 => files.deletes = vec![file.to_vec()],
        _ => {}
    }
    let keys = MilvusBinlogReader.segment_keys(&side.collection, &files, i64::MAX)?;
    let Some(field) = place.checked_sub(2).filter(|field| *field > 0) else { return Ok((keys, None)) };
    let field = &side.collection.fields[field];
    let digest = MilvusBinlogReader.field_values(&keys, field, 0, file, RowChoice::All)?;
    Ok((keys, Some(digest)))
}

const PLACES: usize = 16;

fn original(segment: &Segment, place: usize) -> Vec<u8> {
    match place {
        0 => segment.fields[&TIMESTAMP_FIELD][0].clone(),
        1 => segment.fields[&KEY_FIELD][0].clone(),
        2 => segment.deletes[0].clone(),
        field => segment.fields[&(KEY_FIELD + i64::try_from(field - 2).unwrap())][0].clone(),
    }
}

fn is_refused(result: PortResult<(SegmentKeys, Option<FieldDigest>)>) -> bool {
    result.is_err_and(|error| matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported))
}

/// Magic number, descriptor with its extras, and the first event up to its Parquet file.
fn header_bytes(file: &[u8]) -> usize {
    file.windows(4).position(|window| window == b"PAR1").unwrap()
}

#[test]
fn a_bit_flipped_in_a_header_is_noticed_or_of_no_importance() {
    for side in SIDES.iter() {
        let segment = &side.segments[0];
        for place in 0..4 {
            let intact = original(segment, place);
            let expected = read(side, segment, place, &intact).unwrap();
            for bit in 0..header_bytes(&intact) * 8 {
                let mut file = intact.clone();
                file[bit / 8] ^= 1 << (bit % 8);
                match read(side, segment, place, &file) {
                    Ok(found) => assert_eq!(found, expected, "bit {bit} of file {place}"),
                    Err(error) => assert_eq!(error.kind(), PortErrorKind::Corrupt, "bit {bit}: {error}"),
                }
            }
        }
    }
}

#[test]
fn a_file_cut_off_anywhere_is_refused() {
    let side = &SIDES[0];
    let segment = &side.segments[0];
    for place in 0..PLACES {
        let intact = original(segment, place);
        // A file of a descriptor alone is whole: it has no rows, or no deletes.
        let descriptor_end = header_bytes(&intact) - 33;
        for length in (0..intact.len()).filter(|length| place != 2 || *length != descriptor_end) {
            let result = read(side, segment, place, &intact[..length]);
            if length == descriptor_end && place > 2 {
                assert_eq!(result.unwrap().1, Some(FieldDigest::default()));
            } else {
                assert!(is_refused(result), "{length} bytes of file {place}");
            }
        }
    }
}

#[test]
fn files_of_something_else_are_refused() {
    let side = &SIDES[0];
    let segment = &side.segments[0];
    for place in 0..PLACES {
        for other in (0..PLACES).filter(|other| *other != place) {
            assert!(is_refused(read(side, segment, place, &original(segment, other))), "{other} for {place}");
        }
    }
    for place in [0, 1] {
        let other_segment = original(&side.segments[1], place);
        assert!(is_refused(read(side, segment, place, &other_segment)), "other number of rows");
    }
}

#[test]
fn files_of_keys_and_timestamps_come_in_pairs() {
    let side = &SIDES[0];
    let mut files = side.segments[0].key_files();
    files.keys.clear();
    let refused = MilvusBinlogReader.segment_keys(&side.collection, &files, 0).unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Corrupt);
}

#[test]
fn keys_of_other_types_are_not_supported() {
    let mut other = collection("int64");
    other.fields[0].data_type = String::from("Double");
    let refused = MilvusBinlogReader.segment_keys(&other, &KeyFiles::default(), 0).unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Unsupported);
    other.fields.remove(0);
    let refused = MilvusBinlogReader.segment_keys(&other, &KeyFiles::default(), 0).unwrap_err();
    assert_eq!(refused.kind(), PortErrorKind::Corrupt);
}

proptest! {
    #[test]
    fn random_bytes_are_refused(place in 0..PLACES, bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let side = &SIDES[0];
        prop_assert!(is_refused(read(side, &side.segments[0], place, &bytes)));
    }

    #[test]
    fn random_bytes_after_a_real_beginning_are_refused(
        place in 0..PLACES,
        keep in 0.0..1.0,
        bytes in prop::collection::vec(any::<u8>(), 1..600),
    ) {
        let side = &SIDES[0];
        let mut file = original(&side.segments[0], place);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "some place in a short file")]
        file.truncate((file.len() as f64 * keep) as usize);
        file.extend(bytes);
        prop_assert!(is_refused(read(side, &side.segments[0], place, &file)));
    }

    /// Values may come out wrong where a bit of them is flipped, but nothing panics and nothing is read beyond the end.
    #[test]
    fn flipped_bits_do_no_harm(
        side in 0..2_usize,
        place in 0..PLACES,
        bits in prop::collection::vec(any::<prop::sample::Index>(), 1..6),
    ) {
        let side = &SIDES[side];
        let mut file = original(&side.segments[0], place);
        for bit in bits {
            let bit = bit.index(file.len() * 8);
            file[bit / 8] ^= 1 << (bit % 8);
        }
        let result = read(side, &side.segments[0], place, &file);
        prop_assert!(result.is_ok() || is_refused(result));
    }

    /// The same inside the Parquet file, whose checks see what the container lets through.
    #[test]
    fn changed_bytes_of_headers_and_footers_do_no_harm(
        place in 0..PLACES,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        at_the_end: bool,
    ) {
        let side = &SIDES[1];
        let mut file = original(&side.segments[0], place);
        let start = if at_the_end { file.len() - 200 } else { header_bytes(&file) };
        for (at, byte) in changes {
            let at = start + at.index(60.min(file.len() - start));
            file[at] = byte;
        }
        let result = read(side, &side.segments[0], place, &file);
        prop_assert!(result.is_ok() || is_refused(result));
    }
}
