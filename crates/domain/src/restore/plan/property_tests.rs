#![allow(clippy::unwrap_used)]

use super::samples::{collection, collection_rename, cut, database, database_rename, item, job_id, request};
use super::{PlanInput, plan_restore};
use crate::backup::CollectionName;
use crate::milvus::Cut;
use crate::ports::{CollectionInventory, DatabaseInventory, Inventory};
use crate::restore::{
    ConflictPolicy, RestoreAction, RestorePlan, RestoreRequest, RestoreSelection, TargetNames,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

const DATABASES: [&str; 3] = ["default", "east", "west"];
/// Few names, so that they meet; some of them are what renaming and working names make.
const NAMES: [&str; 8] =
    ["a", "b", "c", "a_x", "a_restored", "b_restored", "milvault_cafef00d_0", "milvault_cafef00d_1"];

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(NAMES.as_slice())
}

fn database_name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(DATABASES.as_slice())
}

/// Collections with aliases, by database; names and aliases of a database are all different.
fn world() -> impl Strategy<Value = BTreeMap<&'static str, BTreeMap<&'static str, Vec<String>>>> {
    let entries = prop::collection::vec((database_name(), name(), prop::option::of(name())), 0..8);
    entries.prop_map(|entries| {
        let mut world: BTreeMap<_, BTreeMap<_, Vec<String>>> = BTreeMap::from([("default", BTreeMap::new())]);
        let mut taken = HashSet::new();
        for (database, name, alias) in entries {
            if taken.insert((database, name)) {
                let alias = alias.filter(|alias| taken.insert((database, *alias)));
                let aliases = alias.map(str::to_owned).into_iter().collect();
                world.entry(database).or_default().insert(name, aliases);
            }
        }
        world
    })
}

fn backup() -> impl Strategy<Value = Cut> {
    world().prop_map(|world| {
        let mut ids = 1..;
        let databases = world.into_iter().map(|(name, collections)| {
            let collections = collections.into_iter().map(|(name, aliases)| {
                let mut collection = collection(ids.next().unwrap(), name, &["_default", "p"]);
                collection.aliases = aliases;
                collection
            });
            database(name, collections.collect())
        });
        cut(databases.collect())
    })
}

fn target() -> impl Strategy<Value = Inventory> {
    world().prop_map(|world| {
        let mut ids = 1_000..;
        let databases = world.into_iter().map(|(name, collections)| DatabaseInventory {
            name: name.to_owned(),
            collections: collections
                .into_iter()
                .map(|(name, aliases)| CollectionInventory {
                    name: name.to_owned(),
                    collection_id: ids.next().unwrap(),
                    aliases,
                })
                .collect(),
        });
        Inventory { databases: databases.collect(), users: Vec::new(), roles: Vec::new() }
    })
}

fn requests() -> impl Strategy<Value = RestoreRequest> {
    let partitions = prop::option::weighted(0.3, Just(["p"].as_slice()));
    let items =
        (database_name(), prop::option::of((name(), partitions))).prop_map(|(database, collection)| {
            item(
                database,
                collection.map(|(name, _)| name),
                collection.and_then(|(_, partitions)| partitions),
            )
        });
    let selection = prop_oneof![
        1 => Just(RestoreSelection::NewCluster),
        3 => Just(RestoreSelection::Everything),
        2 => prop::collection::vec(items, 1..4).prop_map(RestoreSelection::Chosen),
    ];
    let policy = prop::sample::select(vec![
        ConflictPolicy::Fail,
        ConflictPolicy::Skip,
        ConflictPolicy::Rename,
        ConflictPolicy::Replace,
    ]);
    let databases = prop::option::weighted(0.3, (database_name(), database_name()));
    let collections = prop::option::weighted(0.3, ((database_name(), name()), (database_name(), name())));
    let suffix = prop::sample::select(vec!["", "", "_x", "_restored"]);
    (selection, policy, databases, collections, suffix).prop_map(
        |(selection, conflict, databases, collections, suffix)| RestoreRequest {
            selection,
            conflict,
            names: TargetNames {
                databases: databases.map(|(from, to)| database_rename(from, to)).into_iter().collect(),
                collections: collections.map(|(from, to)| collection_rename(from, to)).into_iter().collect(),
                suffix: suffix.to_owned(),
            },
            ..request()
        },
    )
}

/// What was asked for, found by another way than the planner's: each collection's partitions.
fn wanted(selection: &RestoreSelection, cut: &Cut) -> BTreeMap<CollectionName, BTreeSet<String>> {
    let mut wanted: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
    for (database, collection) in cut.collections() {
        for partition in &collection.partitions {
            let included = match selection {
                RestoreSelection::NewCluster | RestoreSelection::Everything => true,
                RestoreSelection::Chosen(items) => items.iter().any(|item| {
                    item.database == database
                        && item.collection.as_ref().is_none_or(|name| *name == collection.name)
                        && item.partitions.as_ref().is_none_or(|names| names.contains(&partition.name))
                }),
            };
            if included {
                let name =
                    CollectionName { database: database.to_owned(), collection: collection.name.clone() };
                wanted.entry(name).or_default().insert(partition.name.clone());
            }
        }
    }
    wanted
}

/// Names that exist in each database, with the collection they belong to.
fn taken_names(inventory: &Inventory) -> HashMap<(String, String), String> {
    let mut taken = HashMap::new();
    for database in &inventory.databases {
        for collection in &database.collections {
            for name in collection.aliases.iter().chain([&collection.name]) {
                taken.insert((database.name.clone(), name.clone()), collection.name.clone());
            }
        }
    }
    taken
}

fn check(
    plan: &RestorePlan,
    request: &RestoreRequest,
    cut: &Cut,
    inventory: &Inventory,
) -> Result<(), TestCaseError> {
    let covered: BTreeMap<_, BTreeSet<String>> = plan
        .collections
        .iter()
        .map(|collection| (collection.source.clone(), collection.partitions.iter().cloned().collect()))
        .collect();
    prop_assert_eq!(covered.len(), plan.collections.len());
    prop_assert_eq!(covered, wanted(&request.selection, cut));
    prop_assert!(plan.collections.is_sorted_by(|left, right| left.source < right.source));

    let taken = taken_names(inventory);
    let mut given = HashSet::new();
    let mut replaced = HashSet::new();
    for collection in plan.restored() {
        let database = &collection.target.database;
        for name in
            [&collection.target.collection, &collection.working_name].into_iter().chain(&collection.aliases)
        {
            prop_assert!(
                given.insert((database.clone(), name.clone())),
                "{}.{} is given twice",
                database,
                name
            );
        }
        if collection.action == RestoreAction::Replace {
            prop_assert_eq!(request.conflict, ConflictPolicy::Replace);
            replaced.insert((database.clone(), collection.target.collection.clone()));
        }
        prop_assert!(plan.databases.iter().any(|needed| needed.name == *database));
    }
    if !plan.conflicts.is_empty() {
        return Ok(());
    }
    for collection in plan.restored() {
        let key = |name: &String| (collection.target.database.clone(), name.clone());
        prop_assert!(!taken.contains_key(&key(&collection.working_name)));
        let in_the_way = taken.get(&key(&collection.target.collection));
        let takes_over = collection.action == RestoreAction::Replace;
        prop_assert_eq!(in_the_way, takes_over.then_some(&collection.target.collection));
        for alias in &collection.aliases {
            let owner = taken.get(&key(alias));
            prop_assert!(
                owner.is_none_or(|owner| replaced.contains(&key(owner))),
                "{} is somebody else's",
                alias
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_024))]

    #[test]
    fn a_plan_covers_the_selection_and_touches_nothing_else(
        cut in backup(),
        inventory in target(),
        request in requests(),
    ) {
        let input = PlanInput { job_id: job_id(), request: &request, cut: &cut, sizes: &HashMap::new(), inventory: &inventory, server: &cut.server };
        if let Ok(plan) = plan_restore(&input) {
            check(&plan, &request, &cut, &inventory)?;
            prop_assert_eq!(plan_restore(&input).unwrap(), plan);
        }
    }
}
