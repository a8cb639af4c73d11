//! Which objects are staged and imported together.

use milvault_domain::binlog::BinlogKind;
use milvault_domain::milvus::CollectionCut;
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Bytes at which a group is closed. Milvus gives a whole import job 900 seconds (importTaskExpiration) and takes about
/// two seconds to begin each, so a job must be small enough to end in time on a slow server, and large enough that
/// there are few of them.
const GROUP_BYTES: u64 = 1 << 30;
/// Segments at which a group is closed. From 2.4 on Milvus refuses an import of more than 1024 segments below its path,
/// unless told otherwise (dataCoord.import.maxImportFileNumPerReq); half of that leaves room where it was told less.
const GROUP_SEGMENTS: usize = 512;

/// Milvus's id of the partition whose segments hold deletes of all partitions.
const ALL_PARTITIONS: i64 = -1;

/// What is imported, in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ImportGroups {
    /// Segments with rows, each with its own deletes.
    pub(super) rows: Vec<ImportGroup>,
    /// Segments of nothing but deletes. Milvus has an import of their own for them: beside rows it takes a segment's
    /// deletes only if that segment has rows, and leaves out all others without a word (`ListBinlogsAndGroupBySegment`).
    pub(super) deletes: Vec<ImportGroup>,
}

/// Objects of one partition that are imported by one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportGroup {
    /// Partition by name and by its id in the backup; no name and [`ALL_PARTITIONS`] for deletes that concern all.
    pub(super) partition: String,
    pub(super) partition_id: i64,
    /// Segments with their deletes.
    pub(super) objects: Vec<StoredObject>,
    segment_count: usize,
    pub(super) bytes: u64,
}

impl ImportGroup {
    /// Whether there are objects of this kind.
    pub(super) fn has(&self, kind: BinlogKind) -> bool {
        self.objects.iter().any(|object| object.source.key.kind == kind)
    }
}

/// What the two servers do with deletes.
#[derive(Debug, Clone, Copy)]
pub(super) struct DeleteSegments {
    /// The source may have had segments that hold nothing but deletes of other segments.
    pub(super) at_source: bool,
    /// The target can import them.
    pub(super) at_target: bool,
}

/// Groups the objects of the given partitions, segment by segment in the order of their ids.
///
/// # Errors
/// `Unsupported` when there are segments of deletes and the target cannot import them.
pub(super) fn group_objects(
    collection: &CollectionCut,
    partitions: &[String],
    objects: &[StoredObject],
    servers: DeleteSegments,
) -> PortResult<ImportGroups> {
    let with_rows: HashSet<i64> = objects
        .iter()
        .map(|object| object.source.key)
        .filter(|key| key.kind == BinlogKind::Insert)
        .map(|key| key.segment_id)
        .collect();
    let (mut rows, mut deletes) = (Segments::new(), Segments::new());
    for object in objects {
        let key = object.source.key;
        // Before there were segments of deletes, a segment's deletes concerned that segment only: without rows they
        // mean nothing.
        let segments = match with_rows.contains(&key.segment_id) {
            true => &mut rows,
            false if servers.at_source => &mut deletes,
            false => continue,
        };
        segments.entry((key.partition_id, key.segment_id)).or_default().push(object);
    }
    let wanted: BTreeSet<&str> = partitions.iter().map(String::as_str).collect();
    let mut groups = ImportGroups::default();
    for partition in collection.partitions.iter().filter(|partition| wanted.contains(partition.name.as_str()))
    {
        let (name, id) = (partition.name.as_str(), partition.partition_id);
        let of_partition = pack(name, id, &rows);
        if !of_partition.is_empty() {
            groups.deletes.extend(pack(name, id, &deletes));
        }
        groups.rows.extend(of_partition);
    }
    if !groups.rows.is_empty() {
        groups.deletes.extend(pack("", ALL_PARTITIONS, &deletes));
    }
    match groups.deletes.first() {
        Some(group) if !servers.at_target => Err(no_delete_segments(&group.partition)),
        _ => Ok(groups),
    }
}

/// Objects by partition and segment.
type Segments<'a> = BTreeMap<(i64, i64), Vec<&'a StoredObject>>;

/// Groups the segments of a partition.
fn pack(partition: &str, partition_id: i64, segments: &Segments<'_>) -> Vec<ImportGroup> {
    let mut groups: Vec<ImportGroup> = Vec::new();
    for segment in
        segments.range((partition_id, i64::MIN)..=(partition_id, i64::MAX)).map(|(_, objects)| objects)
    {
        let bytes: u64 = segment.iter().map(|object| object.source.size_bytes).sum();
        let is_full =
            |group: &ImportGroup| group.bytes + bytes > GROUP_BYTES || group.segment_count >= GROUP_SEGMENTS;
        if groups.last().is_none_or(is_full) {
            groups.push(ImportGroup {
                partition: partition.to_owned(),
                partition_id,
                objects: Vec::new(),
                segment_count: 0,
                bytes: 0,
            });
        }
        let Some(group) = groups.last_mut() else { continue };
        group.segment_count += 1;
        group.bytes += bytes;
        group.objects.extend(segment.iter().copied().cloned());
    }
    groups
}

fn no_delete_segments(partition: &str) -> PortError {
    let whose = match partition {
        "" => String::from("the collection has"),
        partition => format!("partition `{partition}` has"),
    };
    PortError::new(
        PortErrorKind::Unsupported,
        format!(
            "{whose} deletes in segments of their own (L0), which the target's version of Milvus cannot import; restore \
             into Milvus 2.4 or later"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::milvus;
    use milvault_domain::binlog::BinlogKey;
    use milvault_domain::ids::ClusterId;
    use milvault_domain::milvus::PartitionDescription;
    use milvault_domain::object::{Encoding, Fingerprint, Location, ObjectId, SourceObject};

    const OLD: DeleteSegments = DeleteSegments { at_source: false, at_target: false };
    const NEW: DeleteSegments = DeleteSegments { at_source: true, at_target: true };

    fn collection() -> CollectionCut {
        let partition =
            |partition_id, name: &str| PartitionDescription { partition_id, name: name.to_owned() };
        CollectionCut {
            partitions: vec![partition(1, "_default"), partition(2, "other")],
            ..milvus::collection(7, "cities", 0)
        }
    }

    fn object(kind: BinlogKind, partition_id: i64, segment_id: i64, megabytes: u64) -> StoredObject {
        let key = BinlogKey { kind, collection_id: 7, partition_id, segment_id, field_id: 0, log_id: 1 };
        let source =
            SourceObject { key, size_bytes: megabytes << 20, fingerprint: Fingerprint::ModifiedAtNanos(1) };
        StoredObject {
            id: ObjectId::derive(ClusterId::from_uuid(uuid::Uuid::nil()), &source),
            stored_bytes: source.size_bytes,
            source,
            location: Location::Object,
            encoding: Encoding::Raw,
            hash: None,
            store_tag: None,
        }
    }

    fn grouped(objects: &[StoredObject], servers: DeleteSegments) -> PortResult<ImportGroups> {
        group_objects(&collection(), &["_default".to_owned(), "other".to_owned()], objects, servers)
    }

    fn segments(group: &ImportGroup) -> Vec<i64> {
        group.objects.iter().map(|object| object.source.key.segment_id).collect()
    }

    #[test]
    fn segments_of_a_partition_go_together_up_to_a_limit() {
        let insert = |partition, segment, size| object(BinlogKind::Insert, partition, segment, size);
        let objects = [insert(1, 10, 400), insert(1, 11, 400), insert(1, 12, 400), insert(2, 20, 2000)];
        let groups = grouped(&objects, OLD).unwrap().rows;
        let shape: Vec<_> = groups.iter().map(|group| (group.partition.as_str(), segments(group))).collect();
        assert_eq!(shape, [("_default", vec![10, 11]), ("_default", vec![12]), ("other", vec![20])]);
        assert_eq!(groups[0].bytes, 800 << 20);
        assert!(!groups.iter().any(|group| group.has(BinlogKind::Delta)));
    }

    #[test]
    fn many_small_segments_are_several_groups() {
        let segments = i64::try_from(GROUP_SEGMENTS).unwrap() + 1;
        let objects: Vec<_> = (1..=segments)
            .flat_map(|segment| {
                [object(BinlogKind::Insert, 1, segment, 0), object(BinlogKind::Delta, 1, segment, 0)]
            })
            .collect();
        let groups = grouped(&objects, NEW).unwrap().rows;
        let counts: Vec<_> = groups.iter().map(|group| (group.segment_count, group.objects.len())).collect();
        assert_eq!(counts, [(GROUP_SEGMENTS, 2 * GROUP_SEGMENTS), (1, 2)]);
    }

    #[test]
    fn only_wanted_partitions_are_grouped() {
        let objects = [object(BinlogKind::Insert, 1, 10, 1), object(BinlogKind::Insert, 2, 20, 1)];
        let groups = group_objects(&collection(), &["other".to_owned()], &objects, OLD).unwrap().rows;
        assert_eq!(groups.iter().map(|group| group.partition_id).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn deletes_stay_with_their_segment() {
        let objects = [
            object(BinlogKind::Insert, 1, 10, 1000),
            object(BinlogKind::Insert, 1, 11, 1000),
            object(BinlogKind::Delta, 1, 11, 1),
            object(BinlogKind::Delta, 1, 12, 1),
        ];
        let groups = grouped(&objects, OLD).unwrap();
        assert_eq!(groups.rows.iter().map(segments).collect::<Vec<_>>(), [vec![10], vec![11, 11]]);
        let with_deletes: Vec<_> = groups.rows.iter().map(|group| group.has(BinlogKind::Delta)).collect();
        assert_eq!((with_deletes, groups.deletes), (vec![false, true], vec![]));
    }

    #[test]
    fn segments_of_deletes_are_groups_of_their_own_after_the_rows() {
        let objects = [
            object(BinlogKind::Insert, 1, 10, 1),
            object(BinlogKind::Insert, 2, 20, 1),
            object(BinlogKind::Delta, 2, 20, 1),
            object(BinlogKind::Delta, 2, 25, 1),
            object(BinlogKind::Delta, 2, 26, 1),
            object(BinlogKind::Delta, ALL_PARTITIONS, 30, 1),
        ];
        let groups = grouped(&objects, NEW).unwrap();
        assert_eq!(groups.rows.iter().map(segments).collect::<Vec<_>>(), [vec![10], vec![20, 20]]);
        let shape = |group: &ImportGroup| (group.partition.clone(), group.partition_id, segments(group));
        let expected = [("other".to_owned(), 2, vec![25, 26]), (String::new(), ALL_PARTITIONS, vec![30])];
        assert_eq!(groups.deletes.iter().map(shape).collect::<Vec<_>>(), expected);

        // Those of a partition that is not restored, or has no rows, are not needed.
        let first = group_objects(&collection(), &["_default".to_owned()], &objects, NEW).unwrap();
        assert_eq!(first.deletes.iter().map(shape).collect::<Vec<_>>(), expected[1..]);
        let no_rows = grouped(&objects[2..], NEW).unwrap();
        assert_eq!(no_rows, ImportGroups::default());

        let servers = DeleteSegments { at_source: true, at_target: false };
        let error = grouped(&objects, servers).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Unsupported);
        assert!(error.to_string().contains("`other`"), "{error}");
    }
}
