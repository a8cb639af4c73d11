//! The plan of a copy from one repository to another.

use super::{CopyPlan, CopyRoute, CopyUnit, ObjectIndex, OpenUnit, PlannedObject};
use crate::object::{Location, PackId, StoredObject};
use std::collections::BTreeMap;

/// Plans the copy of a backup's objects into a repository that holds those of the index already.
///
/// A pack of which everything is wanted keeps its name and its bytes. What is left of other packs is packed anew, and so
/// are objects with files of their own unless the store copies those. An object that the index knows with another hash
/// is not the same, whatever its id says: it is copied. Names that damaged files have there are not given again.
#[must_use]
pub fn plan_transfer(mut objects: Vec<StoredObject>, index: &ObjectIndex, route: CopyRoute) -> CopyPlan {
    objects.sort_unstable_by_key(|object| object.source.key);
    objects.dedup_by_key(|object| object.source.key);
    let mut plan = CopyPlan::default();
    let mut packs: BTreeMap<PackId, Vec<StoredObject>> = BTreeMap::new();
    let mut single = OpenUnit::new(route);
    let mut loose = Vec::new();
    for object in objects {
        match reusable(&object, index) {
            Some(stored) => plan.reused.push(stored),
            None => match (object.location, route) {
                (Location::Pack { pack_id, .. }, _) => packs.entry(pack_id).or_default().push(object),
                (Location::Object, CopyRoute::ServerSide) if !index.needs_pack(object.id) => {
                    single.push(planned(object), &mut plan.units);
                }
                (Location::Object, _) => loose.push(planned(object)),
            },
        }
    }
    single.close(&mut plan.units);
    for (pack_id, mut objects) in packs {
        objects.sort_unstable_by_key(in_pack_order);
        let planned = objects.into_iter().map(planned).collect::<Vec<_>>();
        // The name of a pack says which objects are in it, in which order: equal names are equal packs.
        if PackId::derive(planned.iter().map(|object| object.id)) == pack_id {
            plan.units.push(CopyUnit::Pack { pack_id, objects: planned });
        } else {
            loose.extend(planned);
        }
    }
    loose.sort_unstable_by_key(|object| object.source.key);
    let mut open = OpenUnit::new(CopyRoute::Packs);
    for object in loose {
        open.push(object, &mut plan.units);
    }
    open.close(&mut plan.units);
    index.avoid_damaged_names(&mut plan.units);
    plan
}

/// The object as it lies there already, with the hash that is known on either side.
fn reusable(object: &StoredObject, index: &ObjectIndex) -> Option<StoredObject> {
    let stored = index.stored(object.id, &object.source)?;
    let contradicts = |hash| object.hash.is_some_and(|own| own != hash);
    if stored.hash.is_some_and(contradicts) {
        return None;
    }
    Some(StoredObject { hash: stored.hash.or(object.hash), ..stored })
}

/// Empty objects come before the one that begins at the same offset.
fn in_pack_order(object: &StoredObject) -> (u64, u64, crate::binlog::BinlogKey) {
    let offset_bytes = match object.location {
        Location::Pack { offset_bytes, .. } => offset_bytes,
        Location::Object => 0,
    };
    (offset_bytes, object.stored_bytes, object.source.key)
}

fn planned(object: StoredObject) -> PlannedObject {
    PlannedObject { id: object.id, source: object.source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::binlog::{BinlogKey, BinlogKind};
    use crate::ids::ClusterId;
    use crate::object::{ContentHash, Encoding, Fingerprint, ObjectId, SourceObject};
    use crate::plan::{PACK_TARGET_BYTES, plan_copy};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn source(log_id: i64, size_bytes: u64) -> SourceObject {
        let key = BinlogKey {
            kind: BinlogKind::Insert,
            collection_id: 1,
            partition_id: 2,
            segment_id: 3,
            field_id: 100,
            log_id,
        };
        SourceObject { key, size_bytes, fingerprint: Fingerprint::ModifiedAtNanos(5) }
    }

    /// What a backup of these objects looks like when all went through the server, and when the store copied some.
    fn backed_up(sources: Vec<SourceObject>, by_store: &[bool]) -> Vec<StoredObject> {
        let cluster = ClusterId::from_uuid(Uuid::from_u128(7));
        let (single, packed): (Vec<_>, Vec<_>) =
            sources.into_iter().enumerate().partition(|(at, _)| by_store[*at]);
        let stored = |object: PlannedObject, location, hash| StoredObject {
            id: object.id,
            stored_bytes: object.source.size_bytes,
            source: object.source,
            location,
            encoding: Encoding::Raw,
            hash,
            store_tag: None,
        };
        let plan = |sources: Vec<(usize, SourceObject)>, route| {
            plan_copy(cluster, sources.into_iter().map(|(_, one)| one).collect(), &ObjectIndex::new(), route)
                .units
        };
        let mut objects = Vec::new();
        for unit in plan(packed, CopyRoute::Packs).into_iter().chain(plan(single, CopyRoute::ServerSide)) {
            match unit {
                CopyUnit::Pack { pack_id, objects: packed } => {
                    let mut offset_bytes = 0;
                    for object in packed {
                        let hash = Some(ContentHash::from_bytes([1; 32]));
                        let size_bytes = object.source.size_bytes;
                        objects.push(stored(object, Location::Pack { pack_id, offset_bytes }, hash));
                        offset_bytes += size_bytes;
                    }
                }
                CopyUnit::ServerSide { objects: single } => {
                    objects.extend(single.into_iter().map(|object| stored(object, Location::Object, None)));
                }
            }
        }
        objects
    }

    fn pack_ids(objects: &[StoredObject]) -> Vec<PackId> {
        let ids = objects.iter().filter_map(|object| match object.location {
            Location::Pack { pack_id, .. } => Some(pack_id),
            Location::Object => None,
        });
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    proptest! {
        #[test]
        fn every_object_is_planned_exactly_once(
            sizes in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..80 << 20], 0..120),
            by_store in prop::collection::vec(any::<bool>(), 120),
            known in prop::collection::vec(any::<bool>(), 120),
            server_side in any::<bool>(),
        ) {
            let route = if server_side { CopyRoute::ServerSide } else { CopyRoute::Packs };
            let sources: Vec<_> = (0..).zip(&sizes).map(|(log_id, size)| source(log_id, *size)).collect();
            let objects = backed_up(sources.clone(), &by_store);
            let index: ObjectIndex =
                objects.iter().zip(&known).filter(|(_, known)| **known).map(|(object, _)| object.clone()).collect();
            let plan = plan_transfer(objects.iter().rev().chain(&objects).cloned().collect(), &index, route);

            let mut keys: Vec<_> = plan.reused.iter().map(|object| object.source.key)
                .chain(plan.units.iter().flat_map(CopyUnit::objects).map(|object| object.source.key)).collect();
            keys.sort_unstable();
            prop_assert_eq!(keys, sources.iter().map(|object| object.key).collect::<Vec<_>>());
            prop_assert_eq!(plan.reused.len(), index.len());
            for unit in &plan.units {
                prop_assert!(!unit.objects().is_empty());
                match unit {
                    CopyUnit::Pack { pack_id, objects } => {
                        prop_assert_eq!(*pack_id, PackId::derive(objects.iter().map(|object| object.id)));
                        prop_assert!(unit.size_bytes() <= PACK_TARGET_BYTES || objects.len() == 1);
                    }
                    CopyUnit::ServerSide { .. } => prop_assert!(server_side),
                }
            }
        }

        #[test]
        fn whole_packs_keep_their_names(sizes in prop::collection::vec(0_u64..80 << 20, 1..120)) {
            let sources: Vec<_> = (0..).zip(&sizes).map(|(log_id, size)| source(log_id, *size)).collect();
            let objects = backed_up(sources, &vec![false; sizes.len()]);
            let plan = plan_transfer(objects.clone(), &ObjectIndex::new(), CopyRoute::ServerSide);
            let mut kept: Vec<_> = plan.units.iter().map(|unit| match unit {
                CopyUnit::Pack { pack_id, .. } => *pack_id,
                CopyUnit::ServerSide { .. } => unreachable!(),
            }).collect();
            kept.sort_unstable();
            prop_assert_eq!(kept, pack_ids(&objects));
        }
    }

    #[test]
    fn an_object_with_another_hash_is_not_reused() {
        let object = backed_up(vec![source(1, 10)], &[false]).pop().unwrap();
        let other = StoredObject { hash: Some(ContentHash::from_bytes([2; 32])), ..object.clone() };
        let plan = plan_transfer(vec![object.clone()], &ObjectIndex::from_iter([other]), CopyRoute::Packs);
        assert_eq!((plan.reused.len(), plan.units.len()), (0, 1));

        let unread = StoredObject { hash: None, ..object.clone() };
        let plan = plan_transfer(vec![object.clone()], &ObjectIndex::from_iter([unread]), CopyRoute::Packs);
        assert_eq!(plan.reused, std::slice::from_ref(&object), "what one side knows of the content is kept");
        assert_eq!(object.id, ObjectId::derive(ClusterId::from_uuid(Uuid::from_u128(7)), &object.source));
    }
}
