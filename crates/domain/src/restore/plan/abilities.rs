//! What the target's version of Milvus cannot do.

use super::target::Findings;
use super::{ALL_PARTITIONS, PlanInput};
use crate::restore::{CollectionRestore, DatabaseRestore, RestoreAction};

/// Finds what would fail at the target whatever else is there.
pub(super) fn check(
    input: &PlanInput<'_>,
    databases: &[DatabaseRestore],
    collections: &[CollectionRestore],
    findings: &mut Findings,
) {
    let (source, target) = (&input.cut.server, input.server);
    let restored = || collections.iter().filter(|collection| collection.action != RestoreAction::Skip);
    if !target.capabilities.databases {
        for DatabaseRestore { name, .. } in databases.iter().filter(|database| database.create) {
            let reason = format!(
                "Milvus {} has no databases, so `{name}` cannot be created; restore into the database `default`",
                target.version
            );
            let inside: Vec<_> =
                restored().filter(|collection| collection.target.database == *name).collect();
            if inside.is_empty() {
                findings.conflict(name, "*", reason.clone());
            }
            for collection in inside {
                findings.conflict(name, &collection.target.collection, reason.clone());
            }
        }
    }
    if source.capabilities.l0_segments && !target.capabilities.l0_segments {
        // Deletes of one partition alone are told from rows by their files only, which a plan does not look at.
        let has_deletes_apart = |collection: &&CollectionRestore| {
            let key = (collection.source_collection_id, ALL_PARTITIONS);
            collection.stored_row_count > 0 && input.sizes.get(&key).is_some_and(|size| size.0 > 0)
        };
        for CollectionRestore { target: name, .. } in restored().filter(has_deletes_apart) {
            let reason = format!(
                "the backup has deletes in segments of their own, which Milvus {} cannot import; restore into Milvus \
                 2.4 or later",
                target.version
            );
            findings.conflict(&name.database, &name.collection, reason);
        }
    }
}
