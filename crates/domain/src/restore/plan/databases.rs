//! Which databases the target needs.

use super::Planned;
use super::names::target_database;
use super::selection::Selection;
use super::target::{Existing, Findings, list_some};
use crate::milvus::Property;
use crate::restore::{DatabaseRestore, RestoreAction, TargetNames};
use std::collections::BTreeMap;

/// The database that every Milvus has.
const DEFAULT_DATABASE: &str = "default";

/// The databases of all restored collections, and those that were chosen whole, in the order of their names.
pub(super) fn plan(
    names: &TargetNames,
    selection: &Selection<'_>,
    planned: &[Planned],
    existing: &Existing<'_>,
    findings: &mut Findings,
) -> Vec<DatabaseRestore> {
    let mut needed: BTreeMap<&str, Option<&[Property]>> = planned
        .iter()
        .filter(|planned| planned.action != RestoreAction::Skip)
        .map(|planned| (planned.target.database.as_str(), None))
        .collect();
    let whole = selection.databases.iter().filter(|(_, database)| database.whole);
    for (source, _) in whole {
        needed.entry(target_database(names, source)).or_default();
    }
    let mut unset = Vec::new();
    for (source, database) in &selection.databases {
        let target = target_database(names, source);
        let properties = database.cut.properties.as_slice();
        let Some(slot) = needed.get_mut(target) else { continue };
        let differs = slot.is_some_and(|other| other != properties);
        let kept = target == DEFAULT_DATABASE || existing.has_database(target);
        if differs || (kept && !properties.is_empty()) {
            unset.push(format!("`{source}`"));
        }
        slot.get_or_insert(properties);
    }
    if let Some(unset) = list_some(unset) {
        findings.warn(format!(
            "properties of these databases are not set, because their target exists or takes those of another: {unset}"
        ));
    }
    needed
        .into_iter()
        .map(|(name, properties)| {
            let create = name != DEFAULT_DATABASE && !existing.has_database(name);
            let properties = if create { properties.unwrap_or_default().to_vec() } else { Vec::new() };
            DatabaseRestore { name: name.to_owned(), create, properties, made: false }
        })
        .collect()
}
