//! Whether a listing holds everything that the cut needs.

use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::milvus::CollectionCut;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The fields that Milvus adds to every row: its id and its timestamp.
const SYSTEM_FIELDS: [i64; 2] = [0, 1];

/// Checks that every segment with rows has insert logs of all fields, and of all the same number: Milvus writes one log
/// per field at every flush. Fields that may be null can be younger than a segment. Settled segments were checked when
/// they were listed.
///
/// # Errors
/// Names the segment and the path.
pub(super) fn check_complete(
    collection: &CollectionCut,
    settled: &HashSet<i64>,
    keys: impl IntoIterator<Item = BinlogKey>,
) -> PortResult<()> {
    let mut logs_by_segment: HashMap<i64, BTreeMap<i64, usize>> = HashMap::new();
    for key in keys.into_iter().filter(|key| key.kind == BinlogKind::Insert) {
        *logs_by_segment.entry(key.segment_id).or_default().entry(key.field_id).or_default() += 1;
    }
    let of_schema =
        collection.fields.iter().filter(|field| !field.flags.nullable).map(|field| field.field_id);
    let needed: Vec<i64> = match collection.fields.as_slice() {
        [] => Vec::new(),
        [_, ..] => SYSTEM_FIELDS.into_iter().chain(of_schema).collect(),
    };
    let listed = collection.segments.iter().filter(|segment| !settled.contains(&segment.segment_id));
    for segment in listed.filter(|segment| segment.row_count > 0) {
        let path = format!(
            "insert_log/{}/{}/{}/",
            collection.collection_id, segment.partition_id, segment.segment_id
        );
        let Some(logs_by_field) = logs_by_segment.get(&segment.segment_id) else {
            return Err(incomplete(segment.segment_id, &format!("{path} holds no files")));
        };
        if let Some(field_id) = needed.iter().find(|field_id| !logs_by_field.contains_key(*field_id)) {
            let what = format!(
                "{path} holds files, but none of field {field_id} (Milvus 2.6 can write the fields of a group into one \
                 file, \"storage v2\", which cannot be backed up)"
            );
            return Err(incomplete(segment.segment_id, &what));
        }
        let most = logs_by_field.values().copied().max().unwrap_or(0);
        if let Some((field_id, count)) = logs_by_field.iter().find(|(_, count)| **count < most) {
            let what = format!(
                "{path}{field_id}/ holds {count} files where other fields of the segment have {most}"
            );
            return Err(incomplete(segment.segment_id, &what));
        }
    }
    Ok(())
}

fn incomplete(segment_id: i64, what: &str) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("files of segment {segment_id} are missing: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use milvault_domain::milvus::{FieldDescription, FieldFlags, LoadState, SegmentCut};

    fn collection(row_counts: &[(i64, u64)]) -> CollectionCut {
        CollectionCut {
            collection_id: 7,
            name: "cities".to_owned(),
            description: String::new(),
            shard_count: 1,
            consistency_level: 0,
            schema_proto: vec![],
            fields: vec![],
            dynamic_field: false,
            properties: vec![],
            partitions: vec![],
            indexes: vec![],
            aliases: vec![],
            load_state: LoadState::NotLoaded,
            replica_count: 0,
            segments: row_counts
                .iter()
                .map(|(segment_id, row_count)| SegmentCut {
                    segment_id: *segment_id,
                    partition_id: 8,
                    row_count: *row_count,
                })
                .collect(),
        }
    }

    fn log(kind: BinlogKind, segment_id: i64, field_id: i64, log_id: i64) -> BinlogKey {
        BinlogKey { kind, collection_id: 7, partition_id: 8, segment_id, field_id, log_id }
    }

    #[test]
    fn a_complete_listing_passes_and_empty_segments_need_nothing() {
        let objects = [
            log(BinlogKind::Insert, 1, 0, 1),
            log(BinlogKind::Insert, 1, 100, 2),
            log(BinlogKind::Delta, 2, 0, 3),
        ];
        check_complete(&collection(&[(1, 5), (2, 0)]), &HashSet::new(), objects).unwrap();
    }

    #[test]
    fn settled_segments_need_not_be_listed() {
        let objects = [log(BinlogKind::Insert, 1, 0, 1)];
        check_complete(&collection(&[(1, 5), (2, 4)]), &HashSet::from([2]), objects).unwrap();
        check_complete(&collection(&[(1, 5), (2, 4)]), &HashSet::from([1]), objects).unwrap_err();
    }

    #[test]
    fn a_segment_without_insert_logs_is_named_even_if_it_has_delta_logs() {
        let objects = [log(BinlogKind::Insert, 1, 0, 1), log(BinlogKind::Delta, 2, 0, 3)];
        let error = check_complete(&collection(&[(1, 5), (2, 4)]), &HashSet::new(), objects).unwrap_err();
        let message = error.to_string();
        assert_eq!(error.kind(), PortErrorKind::NotFound);
        assert!(message.contains("segment 2") && message.contains("insert_log/7/8/2/"), "{message}");
    }

    #[test]
    fn a_field_of_the_schema_without_logs_is_named() {
        let field = |field_id, nullable| FieldDescription {
            field_id,
            name: String::new(),
            description: String::new(),
            data_type: "Int64".to_owned(),
            element_type: String::new(),
            type_params: vec![],
            flags: FieldFlags { nullable, ..FieldFlags::default() },
        };
        let mut collection = collection(&[(1, 5)]);
        collection.fields = vec![field(100, false), field(101, false), field(102, true)];
        let logs = |fields: &[i64]| -> Vec<_> {
            fields.iter().map(|field_id| log(BinlogKind::Insert, 1, *field_id, 7 + field_id)).collect()
        };
        check_complete(&collection, &HashSet::new(), logs(&[0, 1, 100, 101])).unwrap();
        for (present, missing) in [([0, 1, 100], 101), ([0, 100, 101], 1), ([1, 100, 101], 0)] {
            let error = check_complete(&collection, &HashSet::new(), logs(&present)).unwrap_err();
            assert_eq!(error.kind(), PortErrorKind::NotFound);
            assert!(error.to_string().contains(&format!("none of field {missing} ")), "{error}");
        }
    }

    #[test]
    fn a_field_with_fewer_logs_is_named() {
        let objects = [
            log(BinlogKind::Insert, 1, 0, 1),
            log(BinlogKind::Insert, 1, 0, 2),
            log(BinlogKind::Insert, 1, 100, 3),
        ];
        let message =
            check_complete(&collection(&[(1, 5)]), &HashSet::new(), objects).unwrap_err().to_string();
        assert!(message.contains("insert_log/7/8/1/100/ holds 1 files"), "{message}");
    }
}
