//! What of a backup is restored.

use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::milvus::{CollectionCut, Cut, DatabaseCut, PartitionDescription};
use crate::restore::{ChosenItem, RestoreSelection};
use std::collections::{BTreeMap, BTreeSet};

/// Names that a message lists at most.
const NEAR_NAMES_MAX: usize = 3;
/// From this likeness on (Jaro-Winkler, 0 to 1) a name is taken for a misspelling of another.
const NEAR_NAME_LIKENESS: f64 = 0.8;

/// Parts of a backup, without overlaps, in the order of their names.
#[derive(Debug)]
pub(super) struct Selection<'a> {
    /// Databases that have a part in it.
    pub(super) databases: BTreeMap<&'a str, SelectedDatabase<'a>>,
    /// Collections.
    pub(super) collections: Vec<Selected<'a>>,
}

#[derive(Debug)]
pub(super) struct SelectedDatabase<'a> {
    pub(super) cut: &'a DatabaseCut,
    /// It is restored even when it has no collections.
    pub(super) whole: bool,
}

#[derive(Debug)]
pub(super) struct Selected<'a> {
    pub(super) database: &'a str,
    pub(super) collection: &'a CollectionCut,
    /// In the order of the backup.
    pub(super) partitions: Vec<&'a PartitionDescription>,
}

impl Selected<'_> {
    pub(super) fn name(&self) -> CollectionName {
        CollectionName { database: self.database.to_owned(), collection: self.collection.name.clone() }
    }
}

pub(super) fn select<'a>(selection: &RestoreSelection, cut: &'a Cut) -> Result<Selection<'a>, InvalidInput> {
    let mut builder = Builder::new(cut);
    match selection {
        RestoreSelection::NewCluster | RestoreSelection::Everything => {
            cut.databases.iter().for_each(|database| builder.add_database(database));
        }
        RestoreSelection::Chosen(items) => items.iter().try_for_each(|item| builder.add(item))?,
    }
    Ok(builder.build())
}

/// Chosen partitions of a collection; `None` is all of them.
type Partitions = Option<BTreeSet<String>>;

struct Builder<'a> {
    catalog: BTreeMap<&'a str, (&'a DatabaseCut, BTreeMap<&'a str, &'a CollectionCut>)>,
    databases: BTreeMap<&'a str, SelectedDatabase<'a>>,
    collections: BTreeMap<(&'a str, &'a str), (&'a CollectionCut, Partitions)>,
}

impl<'a> Builder<'a> {
    fn new(cut: &'a Cut) -> Self {
        let by_name = |database: &'a DatabaseCut| {
            let collections =
                database.collections.iter().map(|collection| (collection.name.as_str(), collection));
            (database.name.as_str(), (database, collections.collect()))
        };
        Self {
            catalog: cut.databases.iter().map(by_name).collect(),
            databases: BTreeMap::new(),
            collections: BTreeMap::new(),
        }
    }

    fn add(&mut self, item: &ChosenItem) -> Result<(), InvalidInput> {
        let Some((database, collections)) = self.catalog.get(item.database.as_str()) else {
            return Err(unknown("database", &item.database, self.catalog.keys().copied()));
        };
        let Some(name) = &item.collection else {
            let database = *database;
            self.add_database(database);
            return Ok(());
        };
        let Some(collection) = collections.get(name.as_str()).copied() else {
            let what = format!("collection in database `{}`", item.database);
            return Err(unknown(&what, name, collections.keys().copied()));
        };
        for wanted in item.partitions.iter().flatten() {
            if !collection.partitions.iter().any(|partition| partition.name == *wanted) {
                let what = format!("partition in collection `{}.{name}`", item.database);
                let names = collection.partitions.iter().map(|partition| partition.name.as_str());
                return Err(unknown(&what, wanted, names));
            }
        }
        let database = *database;
        self.add_collection(database, collection, item.partitions.as_deref());
        Ok(())
    }

    fn add_database(&mut self, database: &'a DatabaseCut) {
        self.databases.insert(&database.name, SelectedDatabase { cut: database, whole: true });
        for collection in &database.collections {
            self.add_collection(database, collection, None);
        }
    }

    fn add_collection(
        &mut self,
        database: &'a DatabaseCut,
        collection: &'a CollectionCut,
        partitions: Option<&[String]>,
    ) {
        self.databases.entry(&database.name).or_insert(SelectedDatabase { cut: database, whole: false });
        let key = (database.name.as_str(), collection.name.as_str());
        let (_, chosen) = self.collections.entry(key).or_insert((collection, Some(BTreeSet::new())));
        match (chosen.as_mut(), partitions) {
            (Some(chosen), Some(more)) => chosen.extend(more.iter().cloned()),
            (_, None) => *chosen = None,
            (None, Some(_)) => {}
        }
    }

    fn build(self) -> Selection<'a> {
        let collections = self.collections.into_iter().map(|((database, _), (collection, chosen))| {
            let is_chosen = |partition: &&PartitionDescription| {
                chosen.as_ref().is_none_or(|names| names.contains(&partition.name))
            };
            Selected {
                database,
                collection,
                partitions: collection.partitions.iter().filter(is_chosen).collect(),
            }
        });
        Selection { collections: collections.collect(), databases: self.databases }
    }
}

fn unknown<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n str>) -> InvalidInput {
    InvalidInput::new(
        "items",
        format!("the backup has no {what} named `{}`{}", cropped(name), near(name, known)),
    )
}

/// Names that somebody may have meant, as the end of a message; some of those there are when none is like it.
pub(super) fn near<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> String {
    let mut known: Vec<_> = known.map(|known| (strsim::jaro_winkler(name, known), known)).collect();
    known.sort_by(|(left, left_name), (right, right_name)| {
        right.total_cmp(left).then_with(|| left_name.cmp(right_name))
    });
    let quoted = |names: &[(f64, &str)]| {
        let names: Vec<_> = names.iter().take(NEAR_NAMES_MAX).map(|(_, name)| format!("`{name}`")).collect();
        names.join(", ")
    };
    let like_it = known.partition_point(|(likeness, _)| *likeness >= NEAR_NAME_LIKENESS);
    match (known.len(), like_it) {
        (0, _) => String::from("; there is none"),
        (count, 0) if count <= NEAR_NAMES_MAX => format!("; choose among {}", quoted(&known)),
        (count, 0) => format!("; there are {count}, among them {}", quoted(&known)),
        (_, like_it) => format!("; did you mean {}?", quoted(&known[..like_it])),
    }
}

/// Names come from callers; a message does not repeat an endless one.
pub(super) fn cropped(name: &str) -> String {
    name.chars().take(255).collect()
}
