//! Which objects are staged and imported together.

use milvault_domain::binlog::BinlogKind;
use milvault_domain::milvus::CollectionCut;
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Bytes at which a group is closed. Milvus gives a whole import job 900 seconds (importTaskExpiration) and takes about
/// two seconds to begin each, so a job must be small enough to end in time on a slow server, and large enough that
/// there are few of them.
const GROUP_BYTES: u64 = 1 << 30;

/// Milvus's id of the partition whose segments hold deletes of all partitions.
pub(super) const ALL_PARTITIONS: i64 = -1;

/// Objects of one partition that are imported by one job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ImportGroup {
    /// Partition by name and by its id in the backup.
    pub(super) partition: String,
    pub(super) partition_id: i64,
    /// Segments with their deletes, and whatever other deletes concern the partition.
    pub(super) objects: Vec<StoredObject>,
    /// Objects and bytes that are in no other group.
    pub(super) own_objects: u64,
    pub(super) own_bytes: u64,
    pub(super) deletes: GroupDeletes,
}

/// Where the deletes of a group lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GroupDeletes {
    /// There are none.
    None,
    /// Below the partition's directory.
    OfPartition,
    /// Also below the directory for all partitions.
    OfCollection,
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
) -> PortResult<Vec<ImportGroup>> {
    let with_rows: HashSet<i64> = objects
        .iter()
        .map(|object| object.source.key)
        .filter(|key| key.kind == BinlogKind::Insert)
        .map(|key| key.segment_id)
        .collect();
    let mut segments: BTreeMap<(i64, i64), Vec<&StoredObject>> = BTreeMap::new();
    let mut loose_deletes: HashMap<i64, Vec<&StoredObject>> = HashMap::new();
    for object in objects {
        let key = object.source.key;
        if with_rows.contains(&key.segment_id) {
            segments.entry((key.partition_id, key.segment_id)).or_default().push(object);
        } else if servers.at_source {
            loose_deletes.entry(key.partition_id).or_default().push(object);
        }
        // Before there were segments of deletes, a segment's deletes concerned that segment only: without rows they
        // mean nothing.
    }
    let wanted: BTreeSet<&str> = partitions.iter().map(String::as_str).collect();
    let mut groups = Vec::new();
    for partition in collection.partitions.iter().filter(|partition| wanted.contains(partition.name.as_str()))
    {
        let own = loose_deletes.get(&partition.partition_id);
        let shared = loose_deletes.get(&ALL_PARTITIONS);
        let loose: Vec<&StoredObject> = own.into_iter().chain(shared).flatten().copied().collect();
        let range = (partition.partition_id, i64::MIN)..=(partition.partition_id, i64::MAX);
        let mut packer = Packer {
            partition: &partition.name,
            partition_id: partition.partition_id,
            loose: &loose,
            groups: Vec::new(),
        };
        for objects in segments.range(range).map(|(_, objects)| objects) {
            packer.add(objects);
        }
        if !loose.is_empty() && !packer.groups.is_empty() && !servers.at_target {
            return Err(no_delete_segments(&partition.name));
        }
        groups.append(&mut packer.groups);
    }
    Ok(groups)
}

struct Packer<'a> {
    partition: &'a str,
    partition_id: i64,
    /// Deletes that concern every segment of the partition.
    loose: &'a [&'a StoredObject],
    groups: Vec<ImportGroup>,
}

impl Packer<'_> {
    fn add(&mut self, segment: &[&StoredObject]) {
        let bytes: u64 = segment.iter().map(|object| object.source.size_bytes).sum();
        let is_full = |group: &ImportGroup| group.own_bytes + bytes > GROUP_BYTES;
        if self.groups.last().is_none_or(is_full) {
            self.groups.push(self.new_group());
        }
        let Some(group) = self.groups.last_mut() else { return };
        group.own_bytes += bytes;
        group.own_objects += segment.len() as u64;
        group.objects.extend(segment.iter().copied().cloned());
        let has_deletes = segment.iter().any(|object| object.source.key.kind == BinlogKind::Delta);
        if has_deletes && group.deletes == GroupDeletes::None {
            group.deletes = GroupDeletes::OfPartition;
        }
    }

    fn new_group(&self) -> ImportGroup {
        let is_shared = |object: &&StoredObject| object.source.key.partition_id == ALL_PARTITIONS;
        let deletes = match self.loose {
            [] => GroupDeletes::None,
            loose if loose.iter().any(is_shared) => GroupDeletes::OfCollection,
            _ => GroupDeletes::OfPartition,
        };
        ImportGroup {
            partition: self.partition.to_owned(),
            partition_id: self.partition_id,
            objects: self.loose.iter().copied().cloned().collect(),
            own_objects: 0,
            own_bytes: 0,
            deletes,
        }
    }
}

fn no_delete_segments(partition: &str) -> PortError {
    PortError::new(
        PortErrorKind::Unsupported,
        format!(
            "partition `{partition}` has deletes in segments of their own (L0), which the target's version of Milvus \
             cannot import; restore into Milvus 2.4 or later"
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

    fn grouped(objects: &[StoredObject], servers: DeleteSegments) -> PortResult<Vec<ImportGroup>> {
        group_objects(&collection(), &["_default".to_owned(), "other".to_owned()], objects, servers)
    }

    fn segments(group: &ImportGroup) -> Vec<i64> {
        group.objects.iter().map(|object| object.source.key.segment_id).collect()
    }

    #[test]
    fn segments_of_a_partition_go_together_up_to_a_limit() {
        let insert = |partition, segment, size| object(BinlogKind::Insert, partition, segment, size);
        let objects = [insert(1, 10, 400), insert(1, 11, 400), insert(1, 12, 400), insert(2, 20, 2000)];
        let groups = grouped(&objects, OLD).unwrap();
        let shape: Vec<_> = groups.iter().map(|group| (group.partition.as_str(), segments(group))).collect();
        assert_eq!(shape, [("_default", vec![10, 11]), ("_default", vec![12]), ("other", vec![20])]);
        assert_eq!((groups[0].own_objects, groups[0].own_bytes), (2, 800 << 20));
        assert!(groups.iter().all(|group| group.deletes == GroupDeletes::None));
    }

    #[test]
    fn only_wanted_partitions_are_grouped() {
        let objects = [object(BinlogKind::Insert, 1, 10, 1), object(BinlogKind::Insert, 2, 20, 1)];
        let groups = group_objects(&collection(), &["other".to_owned()], &objects, OLD).unwrap();
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
        assert_eq!(groups.iter().map(segments).collect::<Vec<_>>(), [vec![10], vec![11, 11]]);
        assert_eq!(groups[0].deletes, GroupDeletes::None);
        assert_eq!(groups[1].deletes, GroupDeletes::OfPartition);
    }

    #[test]
    fn segments_of_deletes_go_with_every_group_they_concern() {
        let objects = [
            object(BinlogKind::Insert, 1, 10, 1),
            object(BinlogKind::Insert, 2, 20, 1),
            object(BinlogKind::Delta, 2, 25, 1),
            object(BinlogKind::Delta, ALL_PARTITIONS, 30, 1),
        ];
        let groups = grouped(&objects, NEW).unwrap();
        assert_eq!(groups.iter().map(segments).collect::<Vec<_>>(), [vec![30, 10], vec![25, 30, 20]]);
        assert!(groups.iter().all(|group| group.deletes == GroupDeletes::OfCollection));
        assert!(groups.iter().all(|group| (group.own_objects, group.own_bytes) == (1, 1 << 20)));

        let servers = DeleteSegments { at_source: true, at_target: false };
        let error = grouped(&objects, servers).unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Unsupported);
    }
}
