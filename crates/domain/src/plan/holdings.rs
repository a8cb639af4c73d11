//! What a repository holds of a cluster, as far as the next backup can use it.

use super::ObjectIndex;
use crate::backup::ManifestHeader;
use crate::binlog::BinlogKind;
use crate::milvus::{CollectionCut, SegmentCut};
use crate::object::{ContentHash, Location, ObjectId, PackId, StoredObject};
use std::collections::{HashMap, HashSet};

/// What a repository holds of a cluster.
///
/// The insert logs of a segment that an earlier backup showed just as the cut shows it now are taken from that backup
/// whole, without a look at the source: a segment of a cut is flushed, its insert logs never change after that, and
/// what replaces it has another id (docs/adr/010). Everything else is found by identity.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// Objects by identity, but those of the settled segments.
    pub index: ObjectIndex,
    /// All insert logs of the settled segments, as one earlier backup has them.
    pub settled: Vec<StoredObject>,
    /// Ids of the segments whose insert logs are settled.
    pub settled_segments: HashSet<i64>,
    /// Sizes of the packs that hold them, as far as they are known.
    pub pack_sizes: HashMap<PackId, u64>,
}

impl Holdings {
    /// The segments that are settled by an earlier backup, before any of its objects is taken: those of the cut that
    /// it shows with the same fields, partition and number of rows, if it was made from the same place.
    #[must_use]
    pub fn settle(&mut self, current: &ManifestHeader, earlier: &ManifestHeader) -> HashSet<i64> {
        if (current.cluster_id, &current.source_url) != (earlier.cluster_id, &earlier.source_url) {
            return HashSet::new();
        }
        let collections: HashMap<i64, &CollectionCut> =
            earlier.cut.collections().map(|(_, collection)| (collection.collection_id, collection)).collect();
        let mut newly_settled = HashSet::new();
        for (_, collection) in current.cut.collections() {
            let before = collections.get(&collection.collection_id);
            let Some(before) = before.filter(|before| before.fields == collection.fields) else { continue };
            let shown: HashSet<SegmentCut> = before.segments.iter().copied().collect();
            let same = collection.segments.iter().filter(|segment| shown.contains(segment));
            newly_settled.extend(same.map(|segment| segment.segment_id));
        }
        newly_settled.retain(|segment_id| !self.settled_segments.contains(segment_id));
        self.settled_segments.extend(&newly_settled);
        newly_settled
    }

    /// Takes over an object of an earlier backup; `newly_settled` are the segments that this backup settled.
    pub fn take(&mut self, object: StoredObject, newly_settled: &HashSet<i64>) {
        let key = object.source.key;
        let is_in =
            |segments: &HashSet<i64>| key.kind == BinlogKind::Insert && segments.contains(&key.segment_id);
        if is_in(newly_settled) {
            self.settled.push(object);
        } else if !is_in(&self.settled_segments) {
            // What another backup shows of a settled segment is the same once more, and left out.
            self.index.insert(object);
        }
    }

    /// Takes in the size of a pack of which all objects are given.
    pub fn note_pack(&mut self, objects: &[StoredObject]) {
        if let Some(Location::Pack { pack_id, .. }) = objects.first().map(|object| object.location) {
            let size_bytes = objects.iter().map(|object| object.stored_bytes).sum();
            self.pack_sizes.entry(pack_id).or_insert(size_bytes);
        }
    }

    /// Takes back that segments are settled, because the backup that settled them could not be read to its end. What was
    /// read is found by identity.
    pub fn unsettle(&mut self, segments: &HashSet<i64>) {
        self.settled_segments.retain(|segment_id| !segments.contains(segment_id));
        let unsettled = |object: &mut StoredObject| segments.contains(&object.source.key.segment_id);
        self.index.extend(self.settled.extract_if(.., unsettled));
    }

    /// Adds content hashes that a verify found for objects copied by the store.
    pub fn record_hashes(&mut self, hashes: &HashMap<ObjectId, ContentHash>) {
        if hashes.is_empty() {
            return;
        }
        for (id, hash) in hashes {
            self.index.record_hash(*id, *hash);
        }
        for object in &mut self.settled {
            if object.hash.is_none() {
                object.hash = hashes.get(&object.id).copied();
            }
        }
    }

    /// Whether every segment of the cut is settled, so that older backups have nothing to add.
    #[must_use]
    pub fn settles_all(&self, current: &ManifestHeader) -> bool {
        let mut segments = current.cut.collections().flat_map(|(_, collection)| &collection.segments);
        segments.all(|segment| self.settled_segments.contains(&segment.segment_id))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]
    use super::*;
    use crate::backup::{BackupScope, CreationMethod};
    use crate::binlog::BinlogKey;
    use crate::ids::{BackupId, ClusterId, ProjectId};
    use crate::milvus::{Capabilities, Cut, DatabaseCut, LoadState, ServerInfo, TimestampUnit};
    use crate::object::{Encoding, Fingerprint, SourceObject};
    use uuid::Uuid;

    const COLLECTION: i64 = 7;

    fn segment(segment_id: i64, row_count: u64) -> SegmentCut {
        SegmentCut { segment_id, partition_id: 8, row_count }
    }

    fn header(segments: Vec<SegmentCut>) -> ManifestHeader {
        let collection = CollectionCut {
            collection_id: COLLECTION,
            name: String::from("cities"),
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
            segments,
        };
        let databases = vec![DatabaseCut {
            name: String::from("default"),
            properties: vec![],
            collections: vec![collection],
        }];
        let capabilities = Capabilities {
            verified: true,
            databases: true,
            gc_pause: false,
            l0_segments: false,
            import_end_timestamp: TimestampUnit::Milliseconds,
        };
        let server = ServerInfo { version: String::from("v2.3.5"), capabilities };
        ManifestHeader {
            backup_id: BackupId::from_uuid(Uuid::from_u128(1)),
            cluster_id: ClusterId::from_uuid(Uuid::from_u128(2)),
            cluster_name: String::new(),
            project_id: ProjectId::from_uuid(Uuid::from_u128(3)),
            name: String::new(),
            description: String::new(),
            scope: BackupScope::Cluster,
            creation_method: CreationMethod::Manual,
            created_by: String::new(),
            created_at_ms: 0,
            expires_at_ms: None,
            source_url: String::from("file:///milvus"),
            copied_from: None,
            cut: Cut { cut_at_ms: 0, server, databases, access_control: None },
        }
    }

    fn stored(kind: BinlogKind, segment_id: i64, log_id: i64) -> StoredObject {
        let key =
            BinlogKey { kind, collection_id: COLLECTION, partition_id: 8, segment_id, field_id: 0, log_id };
        let source = SourceObject { key, size_bytes: 9, fingerprint: Fingerprint::ModifiedAtNanos(1) };
        StoredObject {
            id: ObjectId::derive(ClusterId::from_uuid(Uuid::from_u128(2)), &source),
            stored_bytes: 9,
            source,
            location: Location::Object,
            encoding: Encoding::Raw,
            hash: None,
            store_tag: None,
        }
    }

    fn settled_by(current: &ManifestHeader, earlier: &ManifestHeader) -> Vec<i64> {
        let mut settled: Vec<i64> = Holdings::default().settle(current, earlier).into_iter().collect();
        settled.sort_unstable();
        settled
    }

    #[test]
    fn only_segments_that_look_the_same_are_settled() {
        let earlier = header(vec![segment(1, 10), segment(2, 20), segment(3, 30)]);
        let current = header(vec![segment(1, 10), segment(2, 21), segment(4, 40)]);
        assert_eq!(settled_by(&current, &earlier), [1]);
        let moved = SegmentCut { partition_id: 9, ..segment(1, 10) };
        assert_eq!(settled_by(&header(vec![moved]), &earlier), [0_i64; 0]);
    }

    #[test]
    fn another_cluster_another_place_or_other_fields_settle_nothing() {
        let earlier = header(vec![segment(1, 10)]);
        let cluster_id = ClusterId::from_uuid(Uuid::from_u128(99));
        let elsewhere = ManifestHeader { source_url: String::from("file:///other"), ..earlier.clone() };
        let mut altered = earlier.clone();
        altered.cut.databases[0].collections[0].fields = vec![crate::milvus::FieldDescription {
            field_id: 100,
            name: String::from("added"),
            description: String::new(),
            data_type: String::from("Int64"),
            element_type: String::new(),
            type_params: vec![],
            flags: crate::milvus::FieldFlags::default(),
        }];
        let mut other_collection = earlier.clone();
        other_collection.cut.databases[0].collections[0].collection_id = 70;
        for current in
            [ManifestHeader { cluster_id, ..earlier.clone() }, elsewhere, altered, other_collection]
        {
            assert_eq!(settled_by(&current, &earlier), [0_i64; 0]);
        }
    }

    #[test]
    fn insert_logs_of_settled_segments_are_taken_whole_and_once_and_the_rest_by_identity() {
        let current = header(vec![segment(1, 10), segment(2, 20)]);
        let mut holdings = Holdings::default();
        let newest = holdings.settle(&current, &header(vec![segment(1, 10)]));
        let delta = stored(BinlogKind::Delta, 1, 5);
        for object in [stored(BinlogKind::Insert, 1, 3), stored(BinlogKind::Insert, 1, 4), delta.clone()] {
            holdings.take(object, &newest);
        }
        assert!(!holdings.settles_all(&current));
        let older = holdings.settle(&current, &header(vec![segment(1, 10), segment(2, 20)]));
        assert_eq!(older, HashSet::from([2]));
        for object in [stored(BinlogKind::Insert, 1, 3), stored(BinlogKind::Insert, 2, 6)] {
            holdings.take(object, &older);
        }
        let logs: Vec<i64> = holdings.settled.iter().map(|object| object.source.key.log_id).collect();
        assert_eq!(logs, [3, 4, 6]);
        assert_eq!(holdings.index.len(), 1);
        assert!(holdings.index.contains(delta.id));
        assert!(holdings.settles_all(&current));
        holdings.unsettle(&older);
        assert_eq!((holdings.settled.len(), holdings.index.len()), (2, 2));
        assert!(!holdings.settles_all(&current));
    }

    #[test]
    fn hashes_found_later_reach_settled_objects_too() {
        let current = header(vec![segment(1, 10)]);
        let mut holdings = Holdings::default();
        let settled = holdings.settle(&current, &current);
        let (insert, delta) = (stored(BinlogKind::Insert, 1, 3), stored(BinlogKind::Delta, 1, 5));
        let hash = ContentHash::from_bytes([4; 32]);
        holdings.take(insert.clone(), &settled);
        holdings.take(delta.clone(), &settled);
        holdings.record_hashes(&HashMap::from([(insert.id, hash), (delta.id, hash)]));
        assert_eq!(holdings.settled[0].hash, Some(hash));
        assert_eq!(holdings.index.stored(delta.id, &delta.source).unwrap().hash, Some(hash));
    }
}
