//! Copying again what is known to be damaged.
//!
//! A file of a repository is never overwritten, so a sound copy gets another name: an object that a damaged file has
//! the name of goes into a pack, and a pack whose name a damaged one has gets a name that derives from that one.

use super::{CopyUnit, Holdings, ObjectIndex};
use crate::checks::Damaged;
use crate::object::{ObjectId, PackId, StoredObject};
use std::collections::HashSet;

impl Holdings {
    /// Takes out the objects that are known to be damaged where they lie, so that they are copied again. Their segments
    /// are not settled any more: the source says what is in them.
    pub fn exclude(&mut self, damaged: Damaged) {
        let is_damaged = |object: &StoredObject| damaged.reason(object.id, object.location).is_some();
        let hit = self.settled.iter().filter(|object| is_damaged(object));
        let segments: HashSet<i64> = hit.map(|object| object.source.key.segment_id).collect();
        if !segments.is_empty() {
            self.unsettle(&segments);
        }
        self.index.exclude(damaged);
    }
}

impl ObjectIndex {
    /// Takes out the objects that are known to be damaged where they lie.
    pub fn exclude(&mut self, damaged: Damaged) {
        if !damaged.is_empty() {
            let placements = &self.placements;
            self.positions.retain(|id, position| {
                let placement = usize::try_from(*position).ok().and_then(|position| placements.get(position));
                placement.is_some_and(|placement| damaged.reason(*id, placement.location).is_none())
            });
        }
        self.damaged = damaged;
    }

    /// Whether an object cannot get a file of its own, because a damaged one has the name.
    pub(super) fn needs_pack(&self, id: ObjectId) -> bool {
        self.damaged.touches_object_file(id)
    }

    /// Gives packs other names than damaged ones have.
    pub(super) fn avoid_damaged_names(&self, units: &mut [CopyUnit]) {
        for unit in units {
            let CopyUnit::Pack { pack_id, objects } = unit else { continue };
            while self.damaged.touches_pack(*pack_id) {
                let damaged = ObjectId::from_bytes(*pack_id.as_bytes());
                *pack_id = PackId::derive(objects.iter().map(|object| object.id).chain([damaged]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]
    use super::super::{CopyRoute, plan_copy, plan_transfer};
    use super::*;
    use crate::binlog::{BinlogKey, BinlogKind};
    use crate::checks::{Damage, DamageKey};
    use crate::ids::ClusterId;
    use crate::job::VerifyLevel;
    use crate::object::{Encoding, Fingerprint, Location, SourceObject};
    use crate::sweep::DataFile;
    use uuid::Uuid;

    fn cluster() -> ClusterId {
        ClusterId::from_uuid(Uuid::from_u128(7))
    }

    fn source(log_id: i64) -> SourceObject {
        let key = BinlogKey {
            kind: BinlogKind::Insert,
            collection_id: 1,
            partition_id: 2,
            segment_id: log_id / 10,
            field_id: 100,
            log_id,
        };
        SourceObject { key, size_bytes: 5, fingerprint: Fingerprint::ModifiedAtNanos(5) }
    }

    fn stored(source: SourceObject, location: Location) -> StoredObject {
        StoredObject {
            id: ObjectId::derive(cluster(), &source),
            stored_bytes: source.size_bytes,
            source,
            location,
            encoding: Encoding::Raw,
            hash: None,
            store_tag: None,
        }
    }

    fn damage(file: DataFile, object: Option<ObjectId>) -> Damage {
        Damage {
            key: DamageKey { file, object },
            source_key: None,
            reason: String::from("flipped"),
            level: VerifyLevel::Content,
        }
    }

    #[test]
    fn an_object_in_a_damaged_place_is_copied_again_into_a_pack_of_another_name() {
        let ids = [0, 1].map(|log_id| ObjectId::derive(cluster(), &source(log_id)));
        let pack_id = PackId::derive(ids);
        let packed = |log_id| stored(source(log_id), Location::Pack { pack_id, offset_bytes: 0 });
        let mut index: ObjectIndex = [packed(0), packed(1)].into_iter().collect();
        index.exclude(Damaged::from_iter(&[damage(DataFile::Pack(pack_id), Some(ids[0]))]));
        assert_eq!(index.len(), 1);
        let plan = plan_copy(cluster(), vec![source(0), source(1)], &index, CopyRoute::Packs);
        assert_eq!((plan.reused.len(), plan.units.len()), (1, 1));
        assert_eq!(plan.units[0].objects()[0].id, ids[0]);

        // The same objects again would make a pack of the damaged one's name, and so would a second copy.
        let mut names = vec![pack_id];
        let mut known = vec![damage(DataFile::Pack(pack_id), None)];
        for _ in 0..3 {
            let mut index: ObjectIndex = [packed(0), packed(1)].into_iter().collect();
            index.exclude(Damaged::from_iter(&known));
            let plan = plan_copy(cluster(), vec![source(0), source(1)], &index, CopyRoute::Packs);
            assert!(plan.reused.is_empty());
            let Some(CopyUnit::Pack { pack_id, .. }) = plan.units.first() else { panic!("{plan:?}") };
            assert!(!names.contains(pack_id));
            // docs/format.md states this, for readers that check names.
            let before = ObjectId::from_bytes(*names[names.len() - 1].as_bytes());
            assert_eq!(*pack_id, PackId::derive(ids.into_iter().chain([before])));
            names.push(*pack_id);
            known.push(damage(DataFile::Pack(*pack_id), None));
        }
    }

    #[test]
    fn an_object_whose_own_file_is_damaged_goes_into_a_pack_although_the_store_could_copy_it() {
        let object = stored(source(0), Location::Object);
        let mut index: ObjectIndex =
            [object.clone(), stored(source(1), Location::Object)].into_iter().collect();
        index.exclude(Damaged::from_iter(&[damage(DataFile::Object(object.id), None)]));
        let wanted = vec![source(0), source(1), source(2)];
        let plan = plan_copy(cluster(), wanted, &index, CopyRoute::ServerSide);
        assert_eq!((plan.reused.len(), plan.units.len()), (1, 2));
        let packed = plan.units.iter().find(|unit| matches!(unit, CopyUnit::Pack { .. }));
        assert_eq!(packed.map(|unit| unit.objects()[0].id), Some(object.id));
    }

    #[test]
    fn copies_from_elsewhere_do_not_get_the_names_of_damaged_files() {
        let ids = [0, 1].map(|log_id| ObjectId::derive(cluster(), &source(log_id)));
        let pack_id = PackId::derive(ids);
        let packed = |log_id| {
            let offset_bytes = u64::try_from(log_id * 5).unwrap();
            stored(source(log_id), Location::Pack { pack_id, offset_bytes })
        };
        let single = stored(source(2), Location::Object);
        let wanted = vec![packed(0), packed(1), single.clone()];
        let mut index: ObjectIndex = wanted.iter().cloned().collect();
        assert!(plan_transfer(wanted.clone(), &index, CopyRoute::ServerSide).units.is_empty());
        index.exclude(Damaged::from_iter(&[
            damage(DataFile::Pack(pack_id), None),
            damage(DataFile::Object(single.id), None),
        ]));
        let plan = plan_transfer(wanted, &index, CopyRoute::ServerSide);
        assert!(plan.reused.is_empty());
        let mut copied = Vec::new();
        for unit in &plan.units {
            let CopyUnit::Pack { pack_id: name, objects } = unit else { panic!("{unit:?}") };
            assert_ne!(*name, pack_id);
            copied.extend(objects.iter().map(|object| object.source.key.log_id));
        }
        copied.sort_unstable();
        assert_eq!(copied, [0, 1, 2]);
    }

    #[test]
    fn a_segment_with_a_damaged_object_is_not_settled() {
        let mut holdings = Holdings::default();
        let pack_id = PackId::from_bytes([9; 16]);
        for log_id in [0, 1, 10] {
            let location = Location::Pack { pack_id, offset_bytes: 0 };
            holdings.settled.push(stored(source(log_id), location));
            holdings.settled_segments.insert(log_id / 10);
        }
        let hit = holdings.settled[0].id;
        holdings.exclude(Damaged::from_iter(&[damage(DataFile::Pack(pack_id), Some(hit))]));
        assert_eq!(holdings.settled_segments, HashSet::from([1]));
        assert_eq!((holdings.settled.len(), holdings.index.len()), (1, 1));
        assert!(!holdings.index.contains(hit));
    }
}
