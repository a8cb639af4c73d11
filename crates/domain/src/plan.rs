//! The copy plan: which objects of a cut are already in the repository, and in what units the others are copied.
//!
//! A pure function of the listing and the index. It is saved in the repository before the first byte is copied, so
//! a job that was cut off continues with the same units, and units that exist are not copied again.

use crate::ids::ClusterId;
use crate::object::{ObjectId, PackId, SourceObject, StoredObject};
use crate::progress::Progress;
use serde::{Deserialize, Serialize};

mod heal;
mod holdings;
mod index;
mod left_behind;
mod transfer;

pub use holdings::Holdings;
pub use index::ObjectIndex;
pub use left_behind::{
    COPIED_AGAIN_BYTES, COPIED_AGAIN_PERCENT_MAX, DEAD_BYTES_MIN, LIVE_PERCENT_MIN, LeftBehind,
};
pub use transfer::plan_transfer;

/// Size at which a pack is closed. The measured optimum of local disks; on object stores it is one upload.
pub const PACK_TARGET_BYTES: u64 = 64 << 20;
/// Most objects in one pack: bounds the index of a pack to about half a megabyte.
pub const PACK_OBJECTS_MAX: usize = 4096;
/// Objects that one unit of server-side copies holds.
pub const SERVER_SIDE_UNIT_OBJECTS: usize = 64;

/// How bytes get from a source to a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyRoute {
    /// Through this server: read, hashed, appended to packs.
    Packs,
    /// Inside the store: it copies objects on request, each under its own name.
    ServerSide,
}

/// An object to be copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedObject {
    /// Identity.
    pub id: ObjectId,
    /// Where it is.
    pub source: SourceObject,
}

/// A piece of the copy: done as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyUnit {
    /// Objects that are written as one pack.
    Pack {
        /// Name of the pack.
        pack_id: PackId,
        /// Its objects, in the order of the pack. Never empty.
        objects: Vec<PlannedObject>,
    },
    /// Objects that the store copies, each to a file of its own.
    ServerSide {
        /// The objects. Never empty.
        objects: Vec<PlannedObject>,
    },
}

impl CopyUnit {
    /// The objects of the unit.
    #[must_use]
    pub fn objects(&self) -> &[PlannedObject] {
        match self {
            Self::Pack { objects, .. } | Self::ServerSide { objects } => objects,
        }
    }

    /// Sum of the objects' sizes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.objects().iter().map(|object| object.source.size_bytes).sum()
    }
}

/// The plan of a backup's copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyPlan {
    /// Objects that are already in the repository.
    pub reused: Vec<StoredObject>,
    /// What has to be copied.
    pub units: Vec<CopyUnit>,
}

impl CopyPlan {
    /// Adds objects that are in the repository and were not among those that the plan was made of.
    pub fn reuse(&mut self, mut objects: Vec<StoredObject>) {
        objects.append(&mut self.reused);
        self.reused = objects;
    }

    /// The job's totals before the first unit: reused objects count as done.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let reused_bytes: u64 = self.reused.iter().map(|object| object.source.size_bytes).sum();
        let reused_objects = self.reused.len() as u64;
        let new_bytes: u64 = self.units.iter().map(CopyUnit::size_bytes).sum();
        let new_objects: u64 = self.units.iter().map(|unit| unit.objects().len() as u64).sum();
        Progress {
            bytes_total: reused_bytes + new_bytes,
            bytes_done: reused_bytes,
            bytes_reused: reused_bytes,
            objects_total: reused_objects + new_objects,
            objects_done: reused_objects,
            objects_reused: reused_objects,
            bytes_through_server: 0,
        }
    }
}

/// Makes the plan. The objects are sorted by key first, so neighbours in a segment become neighbours in a pack and
/// the same listing in another order gives the same plan. A key that appears twice (a listing may repeat itself)
/// counts once.
#[must_use]
pub fn plan_copy(
    cluster_id: ClusterId,
    mut objects: Vec<SourceObject>,
    index: &ObjectIndex,
    route: CopyRoute,
) -> CopyPlan {
    objects.sort_unstable_by_key(|object| object.key);
    objects.dedup_by_key(|object| object.key);
    let mut reused = Vec::new();
    let mut grouping = Grouping::new(index, route);
    for source in objects {
        let id = ObjectId::derive(cluster_id, &source);
        match index.stored(id, &source) {
            Some(stored) => reused.push(stored),
            None => grouping.push(PlannedObject { id, source }),
        }
    }
    CopyPlan { reused, units: grouping.finish() }
}

/// Objects on their way into units, in the order of their keys.
struct Grouping<'a> {
    index: &'a ObjectIndex,
    open_unit: OpenUnit,
    /// Objects that cannot get a file of their own.
    healing: OpenUnit,
    units: Vec<CopyUnit>,
}

impl<'a> Grouping<'a> {
    fn new(index: &'a ObjectIndex, route: CopyRoute) -> Self {
        Self {
            index,
            open_unit: OpenUnit::new(route),
            healing: OpenUnit::new(CopyRoute::Packs),
            units: Vec::new(),
        }
    }

    fn push(&mut self, object: PlannedObject) {
        let unit = if self.index.needs_pack(object.id) { &mut self.healing } else { &mut self.open_unit };
        unit.push(object, &mut self.units);
    }

    fn finish(mut self) -> Vec<CopyUnit> {
        self.open_unit.close(&mut self.units);
        self.healing.close(&mut self.units);
        self.index.avoid_damaged_names(&mut self.units);
        self.units
    }
}

struct OpenUnit {
    route: CopyRoute,
    objects: Vec<PlannedObject>,
    size_bytes: u64,
}

impl OpenUnit {
    const fn new(route: CopyRoute) -> Self {
        Self { route, objects: Vec::new(), size_bytes: 0 }
    }

    fn push(&mut self, object: PlannedObject, units: &mut Vec<CopyUnit>) {
        let fits = match self.route {
            CopyRoute::Packs => {
                self.size_bytes.saturating_add(object.source.size_bytes) <= PACK_TARGET_BYTES
                    && self.objects.len() < PACK_OBJECTS_MAX
            }
            CopyRoute::ServerSide => self.objects.len() < SERVER_SIDE_UNIT_OBJECTS,
        };
        if !fits {
            self.close(units);
        }
        self.size_bytes = self.size_bytes.saturating_add(object.source.size_bytes);
        self.objects.push(object);
    }

    fn close(&mut self, units: &mut Vec<CopyUnit>) {
        if self.objects.is_empty() {
            return;
        }
        self.size_bytes = 0;
        let objects = std::mem::take(&mut self.objects);
        units.push(match self.route {
            CopyRoute::Packs => {
                CopyUnit::Pack { pack_id: PackId::derive(objects.iter().map(|object| object.id)), objects }
            }
            CopyRoute::ServerSide => CopyUnit::ServerSide { objects },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::binlog::{BinlogKey, BinlogKind};
    use crate::object::{Encoding, Fingerprint, Location};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn cluster() -> ClusterId {
        ClusterId::from_uuid(Uuid::from_u128(7))
    }

    fn source(log_id: i64, size_bytes: u64) -> SourceObject {
        SourceObject {
            key: BinlogKey {
                kind: BinlogKind::Insert,
                collection_id: 1,
                partition_id: 2,
                segment_id: 3,
                field_id: 100,
                log_id,
            },
            size_bytes,
            fingerprint: Fingerprint::ModifiedAtNanos(5),
        }
    }

    fn stored(object: SourceObject) -> StoredObject {
        StoredObject {
            id: ObjectId::derive(cluster(), &object),
            stored_bytes: object.size_bytes,
            source: object,
            location: Location::Object,
            encoding: Encoding::Raw,
            hash: None,
            store_tag: None,
        }
    }

    proptest! {
        #[test]
        fn every_object_is_planned_exactly_once(
            sizes in prop::collection::vec(0_u64..80 << 20, 0..200),
            known in prop::collection::vec(any::<bool>(), 200),
            server_side in any::<bool>(),
        ) {
            let route = if server_side { CopyRoute::ServerSide } else { CopyRoute::Packs };
            let objects: Vec<_> = (0..).zip(&sizes).map(|(log_id, size)| source(log_id, *size)).collect();
            let index: ObjectIndex = objects.iter().zip(&known).filter(|(_, known)| **known)
                .map(|(object, _)| stored(object.clone())).collect();
            let plan = plan_copy(cluster(), objects.iter().rev().cloned().chain(objects.clone()).collect(), &index, route);

            let mut keys: Vec<_> = plan.reused.iter().map(|object| object.source.key)
                .chain(plan.units.iter().flat_map(CopyUnit::objects).map(|object| object.source.key)).collect();
            keys.sort_unstable();
            prop_assert_eq!(keys, objects.iter().map(|object| object.key).collect::<Vec<_>>());
            prop_assert_eq!(plan.reused.len(), index.len());
            for unit in &plan.units {
                prop_assert!(!unit.objects().is_empty());
                if let CopyUnit::Pack { objects, .. } = unit {
                    prop_assert!(unit.size_bytes() <= PACK_TARGET_BYTES || objects.len() == 1);
                }
            }
            prop_assert_eq!(plan.progress().bytes_total, sizes.iter().sum::<u64>());
        }
    }

    #[test]
    fn the_order_of_a_listing_changes_nothing() {
        let objects: Vec<_> = (0..50).map(|log_id| source(log_id, 3 << 20)).collect();
        let forward = plan_copy(cluster(), objects.clone(), &ObjectIndex::new(), CopyRoute::Packs);
        let backward =
            plan_copy(cluster(), objects.into_iter().rev().collect(), &ObjectIndex::new(), CopyRoute::Packs);
        assert_eq!(forward, backward);
    }

    #[test]
    fn a_changed_file_under_the_same_key_is_copied_again() {
        let old = stored(source(1, 10));
        let index = ObjectIndex::from_iter([old]);
        let plan = plan_copy(cluster(), vec![source(1, 11)], &index, CopyRoute::Packs);
        assert_eq!((plan.reused.len(), plan.units.len()), (0, 1));
    }
}
