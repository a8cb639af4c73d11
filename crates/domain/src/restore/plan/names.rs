//! Names at the target: final ones and working ones.

use super::selection::{Selected, Selection, cropped, near};
use super::target::Existing;
use super::validate::NAME_BYTES_MAX;
use super::{Planned, shown};
use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::ids::JobId;
use crate::restore::TargetNames;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// Where a collection's name (without its database) comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Naming {
    /// As in the backup.
    Kept,
    /// The request names it otherwise.
    Chosen,
    /// Made from the backup's name, by a suffix or because that name is taken.
    Derived,
}

/// A name that was asked for.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: CollectionName,
    pub(super) naming: Naming,
}

/// The name of each collection of the selection, in its order.
pub(super) fn targets(names: &TargetNames, selection: &Selection<'_>) -> Result<Vec<Target>, InvalidInput> {
    check_renames_match(names, selection)?;
    let rules = Rules::new(names);
    let mut targets = Vec::with_capacity(selection.collections.len());
    let mut taken: HashMap<CollectionName, &Selected<'_>> = HashMap::new();
    for selected in &selection.collections {
        let target = rules.target(selected);
        if target.name.collection.len() > NAME_BYTES_MAX {
            return Err(InvalidInput::new(
                "suffix",
                format!(
                    "makes the name of {} longer than {NAME_BYTES_MAX} characters",
                    shown(&selected.name())
                ),
            ));
        }
        match taken.entry(target.name.clone()) {
            Entry::Vacant(slot) => {
                slot.insert(selected);
            }
            Entry::Occupied(other) => {
                return Err(InvalidInput::new(
                    "collectionNames",
                    format!(
                        "{} and {} would both be restored as {}; give one of them another name",
                        shown(&other.get().name()),
                        shown(&selected.name()),
                        shown(&target.name)
                    ),
                ));
            }
        }
        targets.push(target);
    }
    Ok(targets)
}

/// Name of a database at the target.
pub(super) fn target_database<'a>(names: &'a TargetNames, source: &'a str) -> &'a str {
    names.databases.iter().find(|rename| rename.from == source).map_or(source, |rename| &rename.to)
}

/// A rename that matches nothing is a misspelling: the collection that was meant would come back under a name that
/// nobody wanted.
fn check_renames_match(names: &TargetNames, selection: &Selection<'_>) -> Result<(), InvalidInput> {
    let unmatched = |field, name: &str, known: Vec<&str>| {
        let near = near(name, known.into_iter());
        InvalidInput::new(field, format!("`{}` is not among what is restored{near}", cropped(name)))
    };
    for rename in &names.databases {
        if !selection.databases.contains_key(rename.from.as_str()) {
            let known = selection.databases.keys().copied().collect();
            return Err(unmatched("databaseNames", &rename.from, known));
        }
    }
    let known: HashSet<_> = selection.collections.iter().map(Selected::name).collect();
    for rename in &names.collections {
        if !known.contains(&rename.from) {
            let mut known: Vec<_> =
                known.iter().map(|name| format!("{}.{}", name.database, name.collection)).collect();
            known.sort_unstable();
            let name = format!("{}.{}", rename.from.database, rename.from.collection);
            return Err(unmatched("collectionNames", &name, known.iter().map(String::as_str).collect()));
        }
    }
    Ok(())
}

struct Rules<'a> {
    databases: HashMap<&'a str, &'a str>,
    collections: HashMap<&'a CollectionName, &'a CollectionName>,
    suffix: &'a str,
}

impl<'a> Rules<'a> {
    fn new(names: &'a TargetNames) -> Self {
        Self {
            databases: names
                .databases
                .iter()
                .map(|rename| (rename.from.as_str(), rename.to.as_str()))
                .collect(),
            collections: names.collections.iter().map(|rename| (&rename.from, &rename.to)).collect(),
            suffix: &names.suffix,
        }
    }

    fn target(&self, selected: &Selected<'_>) -> Target {
        let source = selected.name();
        if let Some(to) = self.collections.get(&source) {
            let naming = if to.collection == source.collection { Naming::Kept } else { Naming::Chosen };
            return Target { name: CollectionName::clone(to), naming };
        }
        let database = self.databases.get(selected.database).copied().unwrap_or(selected.database);
        let name = CollectionName {
            database: database.to_owned(),
            collection: format!("{}{}", source.collection, self.suffix),
        };
        Target { name, naming: if self.suffix.is_empty() { Naming::Kept } else { Naming::Derived } }
    }
}

/// A working name for each collection, in the order of the selection: free, and no name or alias that the restore is
/// going to give.
pub(super) fn working_names(
    job_id: JobId,
    selection: &Selection<'_>,
    planned: &[Planned],
    existing: &Existing<'_>,
) -> Vec<String> {
    let targets = planned.iter().map(|planned| planned.target.collection.as_str());
    let aliases = selection.collections.iter().flat_map(|selected| &selected.collection.aliases);
    let reserved: HashSet<&str> = targets.chain(aliases.map(String::as_str)).collect();
    let job = job_id.as_uuid().simple().to_string();
    // The head of an id is its time, so the tails of two jobs differ and their heads may not.
    let tail = job.get(job.len().saturating_sub(8)..).unwrap_or_default();
    let is_free =
        |database: &str, name: &str| !reserved.contains(name) && existing.holder(database, name).is_none();
    let free_name = |position: usize, database: &str| {
        let first = format!("milvault_{tail}_{position}");
        let mut name = first.clone();
        let mut attempt = 2_u64;
        // Ends: each round meets another of a finite number of names.
        while !is_free(database, &name) {
            name = format!("{first}_{attempt}");
            attempt += 1;
        }
        name
    };
    planned
        .iter()
        .enumerate()
        .map(|(position, planned)| free_name(position, &planned.target.database))
        .collect()
}
