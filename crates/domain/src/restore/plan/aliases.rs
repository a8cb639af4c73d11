//! Which aliases of the backup come back.

use super::names::Naming;
use super::selection::Selection;
use super::target::{Existing, Findings, Holder, list_some};
use super::{Planned, shown};
use crate::backup::CollectionName;
use crate::restore::{ConflictPolicy, RestoreAction};
use std::collections::HashSet;

/// The aliases of each collection, in the order of the selection.
pub(super) fn assign(
    policy: ConflictPolicy,
    selection: &Selection<'_>,
    planned: &[Planned],
    existing: &Existing<'_>,
    findings: &mut Findings,
) -> Vec<Vec<String>> {
    let mut assigner = Assigner {
        policy,
        existing,
        targets: planned.iter().map(|planned| &planned.target).collect(),
        replaced: of_action(planned, RestoreAction::Replace),
        given: HashSet::new(),
        left_out: Vec::new(),
    };
    let aliases: Vec<_> = selection
        .collections
        .iter()
        .zip(planned)
        .map(|(selected, planned)| assigner.assign(&selected.collection.aliases, planned, findings))
        .collect();
    let Assigner { given, left_out, .. } = assigner;
    if let Some(left_out) = list_some(left_out) {
        findings.warn(format!("aliases that are left out, because they would redirect readers: {left_out}"));
    }
    warn_of_lost_aliases(planned, existing, &given, findings);
    aliases
}

fn of_action(planned: &[Planned], action: RestoreAction) -> HashSet<&CollectionName> {
    planned.iter().filter(|planned| planned.action == action).map(|planned| &planned.target).collect()
}

struct Assigner<'a> {
    policy: ConflictPolicy,
    existing: &'a Existing<'a>,
    targets: HashSet<&'a CollectionName>,
    replaced: HashSet<&'a CollectionName>,
    given: HashSet<CollectionName>,
    left_out: Vec<String>,
}

impl Assigner<'_> {
    fn assign(&mut self, aliases: &[String], planned: &Planned, findings: &mut Findings) -> Vec<String> {
        if planned.action == RestoreAction::Skip || planned.blocked {
            return Vec::new();
        }
        let mut assigned = Vec::with_capacity(aliases.len());
        for alias in aliases {
            let name =
                CollectionName { database: planned.target.database.clone(), collection: alias.clone() };
            let obstacle = self.obstacle(&name);
            match (planned.naming, obstacle) {
                (Naming::Kept | Naming::Chosen, None) => {
                    self.given.insert(name);
                    assigned.push(alias.clone());
                }
                (Naming::Kept, Some(obstacle)) if self.policy == ConflictPolicy::Fail => {
                    let what = format!(
                        "{obstacle} has the name of an alias of {}; drop it, restore under another name, or choose another policy to leave the alias out",
                        shown(&planned.target)
                    );
                    findings.conflict(&name.database, &name.collection, what);
                }
                // A collection under a new name is restored beside the one that readers use.
                (Naming::Kept | Naming::Chosen | Naming::Derived, _) => {
                    self.left_out.push(format!("`{alias}` of {}", shown(&planned.target)));
                }
            }
        }
        assigned
    }

    /// What has the name already, or will have it; `None` when the alias may be set.
    fn obstacle(&self, name: &CollectionName) -> Option<String> {
        if self.targets.contains(name) || self.given.contains(name) {
            return Some(String::from("another collection that is restored, or an alias of it,"));
        }
        match self.existing.holder(&name.database, &name.collection)? {
            Holder::Collection(_) => Some(String::from("an existing collection")),
            Holder::AliasOf(collection) => {
                let holder =
                    CollectionName { database: name.database.clone(), collection: collection.to_owned() };
                (!self.replaced.contains(&holder)).then(|| format!("an alias of `{collection}`"))
            }
        }
    }
}

/// Aliases of a replaced collection that the backup does not know end with it.
fn warn_of_lost_aliases(
    planned: &[Planned],
    existing: &Existing<'_>,
    given: &HashSet<CollectionName>,
    findings: &mut Findings,
) {
    let mut lost = Vec::new();
    for planned in planned.iter().filter(|planned| planned.action == RestoreAction::Replace) {
        let database = &planned.target.database;
        if let Some(Holder::Collection(collection)) = existing.holder(database, &planned.target.collection) {
            let is_lost = |alias: &&String| {
                !given.contains(&CollectionName { database: database.clone(), collection: (*alias).clone() })
            };
            let names = collection.aliases.iter().filter(is_lost);
            lost.extend(names.map(|alias| format!("`{alias}` of {}", shown(&planned.target))));
        }
    }
    if let Some(lost) = list_some(lost) {
        findings.warn(format!(
            "aliases of replaced collections that the backup does not have end with them: {lost}"
        ));
    }
}
