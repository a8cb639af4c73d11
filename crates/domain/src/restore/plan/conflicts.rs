//! Names that are taken, and what the policy makes of them.

use super::names::{Naming, Target};
use super::target::{Existing, Findings, Holder, list_some};
use super::validate::NAME_BYTES_MAX;
use super::{Planned, shown};
use crate::backup::CollectionName;
use crate::ports::Inventory;
use crate::restore::{ConflictPolicy, RestoreAction};
use std::collections::HashSet;

/// Collections of a target that should be empty which are listed at most.
const OCCUPANTS_MAX: usize = 100;
/// Names that are tried at most before a free one is given up.
const RENAME_ATTEMPTS_MAX: u32 = 1_000;

/// A restore to a new cluster shows a cluster as it was; anything else in it would belong to neither.
pub(super) fn require_empty(inventory: &Inventory, findings: &mut Findings) {
    let mut occupants = inventory.databases.iter().flat_map(|database| {
        database.collections.iter().map(|collection| (&database.name, &collection.name))
    });
    for (database, name) in occupants.by_ref().take(OCCUPANTS_MAX) {
        let reason = "the cluster is not empty; choose an empty one, or restore beside what is there";
        findings.conflict(database, name, reason.to_owned());
    }
    findings.unlisted_conflicts(occupants.count());
}

/// Decides what is done about each collection. Without a policy the names are taken as they are.
pub(super) fn resolve(
    policy: Option<ConflictPolicy>,
    targets: Vec<Target>,
    existing: &Existing<'_>,
    findings: &mut Findings,
) -> Vec<Planned> {
    let wanted: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
    let mut reserved: HashSet<CollectionName> = wanted.iter().cloned().collect();
    let planned: Vec<_> = targets
        .into_iter()
        .map(|target| {
            let holder = existing.holder(&target.name.database, &target.name.collection);
            match (policy, holder) {
                (None, _) | (_, None) => Planned::new(target, RestoreAction::Create),
                (Some(policy), Some(holder)) => {
                    resolve_taken(policy, holder, target, existing, &mut reserved, findings)
                }
            }
        })
        .collect();
    let renamed = wanted.iter().zip(&planned).filter(|(wanted, planned)| **wanted != planned.target);
    let renamed = renamed.map(|(wanted, planned)| format!("{} as {}", shown(wanted), shown(&planned.target)));
    if let Some(renamed) = list_some(renamed) {
        findings.warn(format!("these names are taken, and the collections get others: {renamed}"));
    }
    planned
}

fn resolve_taken(
    policy: ConflictPolicy,
    holder: Holder<'_>,
    target: Target,
    existing: &Existing<'_>,
    reserved: &mut HashSet<CollectionName>,
    findings: &mut Findings,
) -> Planned {
    let reason = match (policy, holder) {
        (ConflictPolicy::Skip, _) => return Planned::new(target, RestoreAction::Skip),
        (ConflictPolicy::Replace, Holder::Collection(_)) => {
            return Planned::new(target, RestoreAction::Replace);
        }
        (ConflictPolicy::Rename, _) => match free_name(&target.name, existing, reserved) {
            Some(name) => {
                reserved.insert(name.clone());
                return Planned::new(Target { name, naming: Naming::Derived }, RestoreAction::Create);
            }
            None => String::from("no free name was found beside it; choose one"),
        },
        (ConflictPolicy::Replace, Holder::AliasOf(collection)) => format!(
            "an alias of collection `{collection}` has this name, and an alias cannot be replaced; drop it, or restore under another name"
        ),
        (ConflictPolicy::Fail, Holder::AliasOf(collection)) => format!(
            "an alias of collection `{collection}` has this name; drop it, or restore under another name"
        ),
        (ConflictPolicy::Fail, Holder::Collection(_)) => String::from(
            "a collection of this name exists; restore under another name, or choose to skip, rename or replace",
        ),
    };
    findings.conflict(&target.name.database, &target.name.collection, reason);
    Planned { blocked: true, ..Planned::new(target, RestoreAction::Create) }
}

fn free_name(
    name: &CollectionName,
    existing: &Existing<'_>,
    reserved: &HashSet<CollectionName>,
) -> Option<CollectionName> {
    (1..=RENAME_ATTEMPTS_MAX)
        .map(|attempt| match attempt {
            1 => String::from("_restored"),
            _ => format!("_restored_{attempt}"),
        })
        .map(|tail| format!("{}{tail}", head(&name.collection, NAME_BYTES_MAX - tail.len())))
        .map(|collection| CollectionName { database: name.database.clone(), collection })
        .find(|name| existing.holder(&name.database, &name.collection).is_none() && !reserved.contains(name))
}

/// The beginning of a name, in whole characters and at most so many bytes.
fn head(name: &str, bytes_max: usize) -> &str {
    &name[..name.floor_char_boundary(bytes_max)]
}
