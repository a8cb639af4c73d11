//! Which collections belong to the cut, from a list before the boundary and one after it.

use crate::client::HybridTimestamp;
use crate::listing::ListedCollection;
use milvault_domain::backup::BackupScope;
use std::collections::HashMap;
use std::fmt;

/// Something that makes an attempt ambiguous.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hazard {
    /// `database.collection`.
    pub(crate) collection: String,
    pub(crate) kind: HazardKind,
}

/// What happened to a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HazardKind {
    /// It was dropped.
    Dropped,
    /// It got another name.
    Renamed,
    /// It came from elsewhere: it is older than the attempt, but was not there at its beginning.
    MovedIn,
    /// Segments were replaced, by compaction or because a partition was dropped.
    SegmentsReplaced,
    /// A segment belongs to a partition that nobody knows.
    UnknownPartition,
}

impl Hazard {
    pub(crate) fn new(collection: &ListedCollection, kind: HazardKind) -> Self {
        Self { collection: collection.full_name(), kind }
    }

    /// Whether the cut can do without the collection, or with either of its names.
    pub(crate) fn may_be_left_out(&self, scope: &BackupScope) -> bool {
        let named = matches!(scope, BackupScope::Collections(_));
        !named && matches!(self.kind, HazardKind::Dropped | HazardKind::Renamed)
    }
}

impl fmt::Display for Hazard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            HazardKind::Dropped => "was dropped",
            HazardKind::Renamed => "was renamed",
            HazardKind::MovedIn => "was moved to this database or name",
            HazardKind::SegmentsReplaced => "was compacted or lost a partition",
            HazardKind::UnknownPartition => "got or lost a partition",
        };
        write!(formatter, "collection `{}` {what}", self.collection)
    }
}

/// What the two lists say together.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolution {
    /// Ids of collections of the first list that belong to the cut, with the name that the second list shows.
    pub(crate) kept: Vec<ListedCollection>,
    /// Collections that were created after the first list and before the boundary.
    pub(crate) late: Vec<ListedCollection>,
    pub(crate) hazards: Vec<Hazard>,
}

/// Compares the lists. `first` is of the scope; `second` of all collections in the databases that the scope touches.
/// `started_at` is a moment before the first list.
pub(crate) fn resolve(
    first: &[ListedCollection],
    second: &[ListedCollection],
    scope: &BackupScope,
    started_at: HybridTimestamp,
    cut_at_ms: i64,
) -> Resolution {
    let mut resolution = Resolution::default();
    let mut now: HashMap<i64, &ListedCollection> = second.iter().map(|other| (other.id, other)).collect();
    for collection in first {
        let current = now.remove(&collection.id);
        if collection.created_at.physical_ms() > cut_at_ms {
            continue;
        }
        let Some(current) = current else {
            resolution.hazards.push(Hazard::new(collection, HazardKind::Dropped));
            continue;
        };
        if (&current.database, &current.name) != (&collection.database, &collection.name) {
            resolution.hazards.push(Hazard::new(collection, HazardKind::Renamed));
        }
        resolution.kept.push(current.clone());
    }
    // In the order of the second list, so that the result does not depend on the hasher.
    for newcomer in second.iter().filter(|newcomer| now.contains_key(&newcomer.id)) {
        let in_scope = scope.includes_collection(&newcomer.database, &newcomer.name);
        if !in_scope || newcomer.created_at.physical_ms() > cut_at_ms {
            continue;
        }
        if newcomer.created_at < started_at {
            resolution.hazards.push(Hazard::new(newcomer, HazardKind::MovedIn));
        } else {
            resolution.late.push(newcomer.clone());
        }
    }
    resolution
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::backup::CollectionName;

    const START_MS: i64 = 1000;
    const CUT_MS: i64 = 1050;

    fn at(ms: i64) -> HybridTimestamp {
        HybridTimestamp(ms.cast_unsigned() << 18)
    }

    fn collection(id: i64, name: &str, created_ms: i64) -> ListedCollection {
        ListedCollection {
            database: String::from("default"),
            name: name.to_owned(),
            id,
            created_at: at(created_ms),
        }
    }

    fn cluster(first: &[ListedCollection], second: &[ListedCollection]) -> Resolution {
        resolve(first, second, &BackupScope::Cluster, at(START_MS), CUT_MS)
    }

    fn kinds(resolution: &Resolution) -> Vec<HazardKind> {
        resolution.hazards.iter().map(|hazard| hazard.kind).collect()
    }

    #[test]
    fn lists_that_agree_are_the_answer() {
        let lists = [collection(1, "a", 10), collection(2, "b", 20)];
        let resolution = cluster(&lists, &lists);
        assert_eq!((resolution.kept.as_slice(), resolution.late.len()), (lists.as_slice(), 0));
        assert_eq!(resolution.hazards, []);
    }

    #[test]
    fn what_was_created_before_the_boundary_is_in_and_later_is_out() {
        let second = [
            collection(1, "a", 10),
            collection(2, "b", START_MS),
            collection(3, "c", CUT_MS),
            collection(4, "d", CUT_MS + 1),
        ];
        let resolution = cluster(second.get(..1).unwrap_or_default(), &second);
        assert_eq!(resolution.late, [collection(2, "b", START_MS), collection(3, "c", CUT_MS)]);
        assert_eq!(resolution.hazards, []);
        // Also when it had made it into the first list.
        let resolution = cluster(&second, &second);
        assert_eq!((resolution.kept.len(), resolution.late.len(), resolution.hazards.len()), (3, 0, 0));
    }

    #[test]
    fn dropped_and_renamed_ones_are_noticed() {
        let first = [collection(1, "a", 10), collection(2, "b", 20)];
        let resolution = cluster(&first, &[collection(2, "c", 20)]);
        assert_eq!(kinds(&resolution), [HazardKind::Dropped, HazardKind::Renamed]);
        assert_eq!(resolution.kept, [collection(2, "c", 20)]);
        for hazard in &resolution.hazards {
            assert!(hazard.may_be_left_out(&BackupScope::Cluster));
        }
    }

    #[test]
    fn one_that_is_dropped_and_made_anew_is_not_the_same() {
        let resolution = cluster(&[collection(1, "a", 10)], &[collection(2, "a", START_MS + 1)]);
        assert_eq!(kinds(&resolution), [HazardKind::Dropped]);
        assert_eq!(resolution.late, [collection(2, "a", START_MS + 1)]);
    }

    #[test]
    fn names_that_are_swapped_are_noticed() {
        let first = [collection(1, "a", 10), collection(2, "b", 20)];
        let second = [collection(2, "a", 20), collection(1, "b", 10)];
        assert_eq!(kinds(&cluster(&first, &second)), [HazardKind::Renamed, HazardKind::Renamed]);
    }

    #[test]
    fn an_old_collection_that_turns_up_makes_the_attempt_void() {
        let resolution = cluster(&[], &[collection(1, "a", 10)]);
        assert_eq!(kinds(&resolution), [HazardKind::MovedIn]);
        assert!(resolution.hazards.iter().all(|hazard| !hazard.may_be_left_out(&BackupScope::Cluster)));
    }

    #[test]
    fn what_the_scope_names_is_never_left_out() {
        let name = CollectionName { database: String::from("default"), collection: String::from("a") };
        let scope = BackupScope::Collections(vec![name]);
        let first = [collection(1, "a", 10)];
        let second = [collection(1, "b", 10), collection(7, "other", 10)];
        let resolution = resolve(&first, &second, &scope, at(START_MS), CUT_MS);
        assert_eq!(kinds(&resolution), [HazardKind::Renamed]);
        assert!(resolution.hazards.iter().all(|hazard| !hazard.may_be_left_out(&scope)));
    }
}
