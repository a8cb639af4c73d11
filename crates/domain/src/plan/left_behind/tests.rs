//! What is left behind, and that it comes to rest.

#![allow(clippy::unwrap_used, reason = "these are tests")]
use super::super::{CopyUnit, PACK_OBJECTS_MAX, plan_copy};
use super::*;
use crate::manifest::{PackEntry, encode_pack_tail};
use crate::object::{ContentHash, Encoding, Fingerprint};
use crate::sweep::{DataFile, References, condemned};
use proptest::prelude::*;
use uuid::Uuid;

const MIB: u64 = 1 << 20;

fn cluster() -> ClusterId {
    ClusterId::from_uuid(Uuid::from_u128(7))
}

fn source(log_id: i64, size_bytes: u64) -> SourceObject {
    let key = BinlogKey {
        kind: BinlogKind::Insert,
        collection_id: log_id % 2,
        partition_id: 2,
        segment_id: log_id,
        field_id: 100,
        log_id,
    };
    SourceObject { key, size_bytes, fingerprint: Fingerprint::ModifiedAtNanos(5) }
}

/// A repository of one cluster: the objects in its packs, and what its backups refer to, oldest first.
#[derive(Debug, Clone, Default)]
struct Safe {
    packs: HashMap<PackId, Vec<ObjectId>>,
    sizes: HashMap<PackId, u64>,
    backups: Vec<Vec<StoredObject>>,
    deleted: Vec<Vec<StoredObject>>,
}

impl Safe {
    /// Plans as a backup does: the newest backup's places go before those of older ones.
    fn plan(&self, listed: &[SourceObject], whole: bool) -> CopyPlan {
        let newest = self.backups.iter().rev().take(3);
        let index: ObjectIndex = newest.flatten().cloned().collect();
        let mut plan = plan_copy(cluster(), listed.to_vec(), &index, CopyRoute::Packs);
        if whole {
            let settled = listed.iter().map(|object| object.key.segment_id).collect();
            let mut left = LeftBehind::choose(&plan, &self.sizes, &settled);
            left.confirm(cluster(), listed);
            plan.copy_again(&left, &index, CopyRoute::Packs);
        }
        plan
    }

    /// Copies the first units of a plan; what is there under a name is what was copied before.
    fn copy(&mut self, plan: &CopyPlan, units: usize) -> Vec<StoredObject> {
        let mut objects = plan.reused.clone();
        for unit in plan.units.iter().take(units) {
            let CopyUnit::Pack { pack_id, objects: planned } = unit else { panic!("{unit:?}") };
            let ids: Vec<ObjectId> = planned.iter().map(|object| object.id).collect();
            let there = self.packs.insert(*pack_id, ids.clone());
            assert!(there.is_none_or(|there| there == ids), "a pack got the name of another one");
            let mut offset_bytes = 0;
            for PlannedObject { id, source } in planned.clone() {
                let stored_bytes = source.size_bytes;
                let location = Location::Pack { pack_id: *pack_id, offset_bytes };
                let (encoding, hash) = (Encoding::Raw, None);
                objects.push(StoredObject {
                    id,
                    source,
                    location,
                    encoding,
                    stored_bytes,
                    hash,
                    store_tag: None,
                });
                offset_bytes += stored_bytes;
            }
            self.sizes.insert(*pack_id, offset_bytes + 57 * planned.len() as u64 + 70);
        }
        objects
    }

    fn back_up(&mut self, listed: &[SourceObject], whole: bool) -> CopyPlan {
        let plan = self.plan(listed, whole);
        let objects = self.copy(&plan, usize::MAX);
        self.backups.push(objects);
        plan
    }

    fn delete(&mut self, position: usize) {
        if position < self.backups.len() {
            self.deleted.push(self.backups.remove(position));
        }
    }

    fn sweep(&mut self) {
        let (mut due, mut kept) = (References::default(), References::default());
        self.deleted.drain(..).flatten().for_each(|object| due.add_object(&object));
        self.backups.iter().flatten().for_each(|object| kept.add_object(object));
        for file in condemned(&due, &kept) {
            let DataFile::Pack(pack_id) = file else { continue };
            self.packs.remove(&pack_id);
            self.sizes.remove(&pack_id);
        }
    }

    /// Whether every object of every backup lies where the backup says.
    fn is_whole(&self) -> bool {
        self.backups.iter().flatten().all(|object| {
            let pack = pack_of(object).and_then(|pack_id| self.packs.get(&pack_id));
            pack.is_some_and(|ids| ids.contains(&object.id))
        })
    }

    fn bytes(&self) -> u64 {
        self.sizes.values().sum()
    }
}

fn bytes_of(units: &[CopyUnit]) -> u64 {
    units.iter().map(CopyUnit::size_bytes).sum()
}

#[derive(Debug, Clone)]
enum Step {
    Write(Vec<u64>),
    /// Segments of which the number leaves no such rest go, and one takes their place.
    Compact(i64, i64, u64),
    BackUp,
    BackUpOneCollection,
    /// A backup that ends after so many units.
    CutOff(usize),
    Delete(usize),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![0_u64..4096, 0_u64..(4 * MIB), MIB..(40 * MIB)];
    let step = prop_oneof![
        3 => prop::collection::vec(size, 1..20).prop_map(Step::Write),
        4 => (2_i64..9, 0_i64..9, 1_u64..(20 * MIB)).prop_map(|(of, rest, size)| Step::Compact(of, rest % of, size)),
        4 => Just(Step::BackUp),
        1 => Just(Step::BackUpOneCollection),
        1 => (0_usize..3).prop_map(Step::CutOff),
        2 => (0_usize..4).prop_map(Step::Delete),
        2 => Just(Step::Sweep),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn nothing_is_lost_and_waste_stays_bounded(steps in steps()) {
        let mut safe = Safe::default();
        let mut listed: Vec<SourceObject> = Vec::new();
        let mut next = 0_i64;
        for step in steps {
            match step {
                Step::Write(sizes) => {
                    for size in sizes {
                        next += 1;
                        listed.push(source(next, size));
                    }
                }
                Step::Compact(of, rest, size) => {
                    listed.retain(|object| object.key.log_id % of == rest);
                    next += 1;
                    listed.push(source(next, size));
                }
                Step::BackUp => {
                    let reusable: HashSet<ObjectId> =
                        safe.backups.iter().rev().take(3).flatten().map(|object| object.id).collect();
                    let plan = safe.back_up(&listed, true);
                    let again: u64 = plan.units.iter().flat_map(CopyUnit::objects)
                        .filter(|object| reusable.contains(&object.id))
                        .map(|object| object.source.size_bytes).sum();
                    let most = COPIED_AGAIN_BYTES.max(plan.progress().bytes_total / 10);
                    prop_assert!(again <= most);
                }
                Step::BackUpOneCollection => {
                    let part: Vec<_> =
                        listed.iter().filter(|object| object.key.collection_id == 1).cloned().collect();
                    safe.back_up(&part, false);
                }
                Step::CutOff(units) => {
                    let plan = safe.plan(&listed, true);
                    let part = safe.copy(&plan, units);
                    // A failed backup: its packs go with the next sweep.
                    safe.deleted.push(part);
                }
                Step::Delete(position) => safe.delete(position),
                Step::Sweep => safe.sweep(),
            }
            prop_assert!(safe.is_whole());
            let mut keys: Vec<_> = safe.plan(&listed, true).units.iter().flat_map(CopyUnit::objects)
                .map(|object| object.source.key).collect();
            keys.extend(safe.plan(&listed, true).reused.iter().map(|object| object.source.key));
            keys.sort_unstable();
            let mut wanted: Vec<_> = listed.iter().map(|object| object.key).collect();
            wanted.sort_unstable();
            prop_assert_eq!(keys, wanted);
        }
        // The cluster rests: no object is copied again twice, and soon nothing is copied at all.
        safe.back_up(&listed, true);
        let mut copied = HashSet::new();
        let mut rest = safe.back_up(&listed, true);
        while !rest.units.is_empty() {
            for object in rest.units.iter().flat_map(CopyUnit::objects) {
                prop_assert!(copied.insert(object.id), "copied twice of a cluster at rest");
            }
            rest = safe.back_up(&listed, true);
        }
        while 1 < safe.backups.len() {
            safe.delete(0);
        }
        safe.sweep();
        prop_assert!(safe.is_whole());
        let needed: u64 = listed.iter().map(|object| object.size_bytes).sum();
        let index_bytes = listed.len() as u64 * (ENTRY_BYTES_MAX + PACK_TRAILER_BYTES as u64);
        let bound = (needed + index_bytes) * 100 / LIVE_PERCENT_MIN + DEAD_BYTES_MIN + 100;
        prop_assert!(safe.bytes() <= bound, "{} bytes for {needed}", safe.bytes());
    }
}

#[test]
fn a_pack_of_which_little_is_needed_is_left_behind_and_the_next_backup_copies_nothing() {
    let mut safe = Safe::default();
    let all: Vec<_> = (0..12).map(|log_id| source(log_id, 4 * MIB)).collect();
    safe.back_up(&all, true);
    let some = &all[..2];
    let part = safe.plan(some, false);
    assert_eq!((part.reused.len(), part.units.len()), (2, 0), "dead is what the whole cluster does not need");
    let plan = safe.back_up(some, true);
    assert_eq!((plan.reused.len(), bytes_of(&plan.units)), (0, 8 * MIB));
    let next = safe.back_up(some, true);
    assert_eq!((next.reused.len(), next.units.len()), (2, 0));
    safe.delete(0);
    safe.sweep();
    assert!(safe.is_whole() && safe.bytes() < 9 * MIB);
}

#[test]
fn packs_that_are_small_or_in_use_stay() {
    let mut safe = Safe::default();
    let small: Vec<_> = (0..10).map(|log_id| source(log_id, MIB / 2)).collect();
    safe.back_up(&small, true);
    assert!(safe.plan(&small[..1], true).units.is_empty(), "five dead MiB are not worth it");
    let mut safe = Safe::default();
    let all: Vec<_> = (0..12).map(|log_id| source(log_id, 4 * MIB)).collect();
    safe.back_up(&all, true);
    assert!(safe.plan(&all[..4], true).units.is_empty(), "a third is in use");
    safe.sizes.clear();
    assert!(safe.plan(&all[..1], true).units.is_empty(), "nobody knows how large the pack is");
}

#[test]
fn what_the_source_does_not_show_stays_where_it_is() {
    let mut safe = Safe::default();
    let all: Vec<_> = (0..12).map(|log_id| source(log_id, 4 * MIB)).collect();
    safe.back_up(&all, true);
    let plan = safe.plan(&all[..2], false);
    let settled = HashSet::from([0, 1]);
    let choose = || LeftBehind::choose(&plan, &safe.sizes, &settled);
    assert_eq!(
        choose().unseen_segments(),
        BTreeMap::from([(0, HashSet::from([0])), (1, HashSet::from([1]))])
    );
    let changed = SourceObject { size_bytes: 1, ..all[1].clone() };
    for (shown, stays) in [
        (vec![], true),
        (all[..1].to_vec(), true),
        (vec![all[0].clone(), changed], true),
        (all[..2].to_vec(), false),
    ] {
        let mut left = choose();
        left.confirm(cluster(), &shown);
        assert_eq!(left.is_empty(), stays, "{shown:?}");
    }
}

#[test]
fn a_pack_that_is_needed_whole_is_never_mostly_dead() {
    for count in [1, 2, PACK_OBJECTS_MAX as u64] {
        let entries: Vec<PackEntry> = (0..count)
            .map(|number| PackEntry {
                id: ObjectId::from_bytes([7; 16]),
                offset_bytes: number,
                stored_bytes: 1,
                hash: ContentHash::from_bytes([0xff; 32]),
            })
            .collect();
        let tail = encode_pack_tail(&entries).unwrap().len() as u64;
        assert!(tail <= count * ENTRY_BYTES_MAX + PACK_TRAILER_BYTES as u64, "{count}: {tail}");
    }
}
