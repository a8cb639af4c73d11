//! Packs that a backup leaves behind, because its cut needs little of them.
//!
//! A pack goes as a whole, when no backup refers to it any more. Compaction takes most of the objects of old packs out of
//! the cluster, and what is left would keep them for ever. So what a cut needs of such a pack is copied again, into packs
//! of its own; the old pack goes with the last of the older backups that refer to it (docs/adr/012).
//!
//! Nothing can be lost by a wrong choice: an object that is in the repository is copied although it need not be.

use super::{CopyPlan, CopyRoute, Grouping, ObjectIndex, PlannedObject};
use crate::binlog::{BinlogKey, BinlogKind};
use crate::ids::ClusterId;
use crate::manifest::PACK_TRAILER_BYTES;
use crate::object::{Location, ObjectId, PackId, SourceObject, StoredObject};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A pack is mostly dead when the cut needs less than so many percent of it. What is copied again then is less than half
/// of what becomes free.
pub const LIVE_PERCENT_MIN: u64 = 30;
/// Nothing is copied again for fewer dead bytes than that, in all packs together.
pub const DEAD_BYTES_MIN: u64 = 8 << 20;
/// At most so many percent of the cut are copied again by one backup,
pub const COPIED_AGAIN_PERCENT_MAX: u64 = 10;
/// or so many bytes, whichever is more.
pub const COPIED_AGAIN_BYTES: u64 = 256 << 20;
/// Most that an object adds to the index of its pack, its share in the length of the list included.
const ENTRY_BYTES_MAX: u64 = 80;

/// Packs that are left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftBehind {
    packs: HashSet<PackId>,
    /// What is needed of them and was taken from an earlier backup without a look at the source.
    unseen: Vec<Unseen>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unseen {
    id: ObjectId,
    key: BinlogKey,
    pack_id: PackId,
}

/// What a cut needs of a pack.
#[derive(Debug, Clone, Copy, Default)]
struct Needed {
    bytes: u64,
    objects: u64,
}

#[derive(Debug, Clone, Copy)]
struct MostlyDead {
    pack_id: PackId,
    size_bytes: u64,
    /// Of the file, for what the cut needs.
    used_bytes: u64,
    needed_bytes: u64,
}

impl LeftBehind {
    /// Chooses among the packs that a plan reuses, those with the smallest part in use first. Packs whose sizes are not
    /// known stay in use. The insert logs of the settled segments have not been seen at the source.
    #[must_use]
    pub fn choose(
        plan: &CopyPlan,
        pack_sizes: &HashMap<PackId, u64>,
        settled_segments: &HashSet<i64>,
    ) -> Self {
        if pack_sizes.is_empty() {
            return Self::default();
        }
        let mut mostly_dead = mostly_dead(&plan.reused, pack_sizes);
        let dead_bytes = mostly_dead
            .iter()
            .fold(0_u64, |sum, pack| sum.saturating_add(pack.size_bytes.saturating_sub(pack.used_bytes)));
        if dead_bytes < DEAD_BYTES_MIN {
            return Self::default();
        }
        mostly_dead.sort_unstable_by(|first, second| {
            let (left, right) =
                (product(first.used_bytes, second.size_bytes), product(second.used_bytes, first.size_bytes));
            left.cmp(&right).then(first.pack_id.cmp(&second.pack_id))
        });
        let mut budget_bytes = (plan.progress().bytes_total / 100)
            .saturating_mul(COPIED_AGAIN_PERCENT_MAX)
            .max(COPIED_AGAIN_BYTES);
        let mut packs = HashSet::new();
        for pack in mostly_dead {
            let Some(rest) = budget_bytes.checked_sub(pack.needed_bytes) else { break };
            budget_bytes = rest;
            packs.insert(pack.pack_id);
        }
        let unseen = plan.reused.iter().filter_map(|object| {
            let key = object.source.key;
            let pack_id = pack_of(object).filter(|pack_id| packs.contains(pack_id))?;
            let settled = key.kind == BinlogKind::Insert && settled_segments.contains(&key.segment_id);
            settled.then_some(Unseen { id: object.id, key, pack_id })
        });
        Self { unseen: unseen.collect(), packs }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Number of packs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.packs.len()
    }

    /// Segments, by collection, that have to be looked up at the source before anything of them is copied again.
    #[must_use]
    pub fn unseen_segments(&self) -> BTreeMap<i64, HashSet<i64>> {
        let mut segments: BTreeMap<i64, HashSet<i64>> = BTreeMap::new();
        for Unseen { key, .. } in &self.unseen {
            segments.entry(key.collection_id).or_default().insert(key.segment_id);
        }
        segments
    }

    /// Takes in what the source shows of these segments. A pack stays in use if the source does not have all that is
    /// needed of it, as it was when it was copied.
    pub fn confirm(&mut self, cluster_id: ClusterId, shown: &[SourceObject]) {
        let shown: HashSet<ObjectId> =
            shown.iter().map(|object| ObjectId::derive(cluster_id, object)).collect();
        for unseen in self.unseen.drain(..) {
            if !shown.contains(&unseen.id) {
                self.packs.remove(&unseen.pack_id);
            }
        }
    }

    fn holds(&self, object: &StoredObject) -> bool {
        pack_of(object).is_some_and(|pack_id| self.packs.contains(&pack_id))
    }
}

impl CopyPlan {
    /// Copies again what the plan reuses of packs that are left behind, after [`LeftBehind::confirm`]. What stays in use
    /// together is packed together.
    pub fn copy_again(&mut self, left: &LeftBehind, index: &ObjectIndex, route: CopyRoute) {
        if left.is_empty() {
            return;
        }
        let mut objects: Vec<StoredObject> =
            self.reused.extract_if(.., |object| left.holds(object)).collect();
        objects.sort_unstable_by_key(|object| object.source.key);
        let mut grouping = Grouping::new(index, route);
        for StoredObject { id, source, .. } in objects {
            grouping.push(PlannedObject { id, source });
        }
        self.units.extend(grouping.finish());
    }
}

fn mostly_dead(reused: &[StoredObject], pack_sizes: &HashMap<PackId, u64>) -> Vec<MostlyDead> {
    let mut needed: HashMap<PackId, Needed> = HashMap::new();
    // Neighbours mostly lie in one pack.
    for neighbours in reused.chunk_by(|first, second| pack_of(first) == pack_of(second)) {
        let Some(pack_id) = neighbours.first().and_then(pack_of) else { continue };
        let sum = needed.entry(pack_id).or_default();
        sum.objects += neighbours.len() as u64;
        sum.bytes += neighbours.iter().map(|object| object.stored_bytes).sum::<u64>();
    }
    let judge = |(pack_id, needed): (PackId, Needed)| {
        let size_bytes = *pack_sizes.get(&pack_id)?;
        let index_bytes = needed.objects.saturating_mul(ENTRY_BYTES_MAX) + PACK_TRAILER_BYTES as u64;
        let used_bytes = needed.bytes.saturating_add(index_bytes);
        let is_dead = product(used_bytes, 100) < product(size_bytes, LIVE_PERCENT_MIN);
        is_dead.then_some(MostlyDead { pack_id, size_bytes, used_bytes, needed_bytes: needed.bytes })
    };
    needed.into_iter().filter_map(judge).collect()
}

fn pack_of(object: &StoredObject) -> Option<PackId> {
    match object.location {
        Location::Pack { pack_id, .. } => Some(pack_id),
        Location::Object => None,
    }
}

fn product(first: u64, second: u64) -> u128 {
    u128::from(first) * u128::from(second)
}

#[cfg(test)]
mod tests;
