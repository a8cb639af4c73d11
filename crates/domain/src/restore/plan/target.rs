//! What the target has, and what is found about it.

use crate::ports::{CollectionInventory, Inventory};
use crate::restore::RestoreConflict;
use std::collections::HashMap;

/// Conflicts that a plan lists at most.
pub(super) const CONFLICTS_MAX: usize = 1_000;
/// Names that a warning lists at most.
const LISTED_NAMES_MAX: usize = 20;

/// Names that are taken at the target.
#[derive(Debug)]
pub(super) struct Existing<'a> {
    databases: HashMap<&'a str, HashMap<&'a str, Holder<'a>>>,
}

/// What a name belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holder<'a> {
    /// A collection.
    Collection(&'a CollectionInventory),
    /// An alias of the collection of this name.
    AliasOf(&'a str),
}

impl<'a> Existing<'a> {
    pub(super) fn new(inventory: &'a Inventory) -> Self {
        let mut databases: HashMap<&str, HashMap<&str, Holder<'_>>> = HashMap::new();
        for database in &inventory.databases {
            let names = databases.entry(&database.name).or_default();
            for collection in &database.collections {
                names.insert(&collection.name, Holder::Collection(collection));
                names.extend(
                    collection
                        .aliases
                        .iter()
                        .map(|alias| (alias.as_str(), Holder::AliasOf(&collection.name))),
                );
            }
        }
        Self { databases }
    }

    pub(super) fn has_database(&self, name: &str) -> bool {
        self.databases.contains_key(name)
    }

    /// What has the name; `None` when it is free.
    pub(super) fn holder(&self, database: &str, name: &str) -> Option<Holder<'a>> {
        self.databases.get(database)?.get(name).copied()
    }
}

/// Conflicts and warnings, as they come up.
#[derive(Debug, Default)]
pub(super) struct Findings {
    conflicts: Vec<RestoreConflict>,
    conflict_count: usize,
    warnings: Vec<String>,
}

impl Findings {
    pub(super) fn conflict(&mut self, database: &str, name: &str, reason: String) {
        self.conflict_count += 1;
        if self.conflicts.len() < CONFLICTS_MAX {
            self.conflicts.push(RestoreConflict {
                database: database.to_owned(),
                name: name.to_owned(),
                reason,
            });
        }
    }

    /// Counts conflicts that are not described one by one.
    pub(super) fn unlisted_conflicts(&mut self, count: usize) {
        self.conflict_count += count;
    }

    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    pub(super) fn finish(mut self) -> (Vec<RestoreConflict>, Vec<String>) {
        let listed = self.conflicts.len();
        if self.conflict_count > listed {
            let total = self.conflict_count;
            self.warnings.push(format!("there are {total} conflicts; the first {listed} are listed"));
        }
        (self.conflicts, self.warnings)
    }
}

/// Names in one line, the first of many only; `None` when there are none.
pub(super) fn list_some(names: impl IntoIterator<Item = String>) -> Option<String> {
    let mut names = names.into_iter();
    let listed: Vec<_> = names.by_ref().take(LISTED_NAMES_MAX).collect();
    match (listed.is_empty(), names.count()) {
        (true, _) => None,
        (false, 0) => Some(listed.join(", ")),
        (false, more) => Some(format!("{} and {more} more", listed.join(", "))),
    }
}
