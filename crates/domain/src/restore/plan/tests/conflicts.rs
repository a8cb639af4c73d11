use super::*;
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_new_cluster_must_be_empty() {
    let request =
        RestoreRequest { selection: RestoreSelection::NewCluster, ..with_policy(ConflictPolicy::Replace) };
    assert_eq!(plan(&request, &shop(), &inventory(&[])).unwrap().conflicts, []);

    let names: Vec<_> = (0..130).map(|number| format!("c{number:03}")).collect();
    let occupants: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| ("any", name.as_str(), &[][..])).collect();
    let plan = plan(&request, &shop(), &inventory(&occupants)).unwrap();
    assert_eq!(plan.conflicts.len(), 100);
    assert_eq!((plan.conflicts[0].database.as_str(), plan.conflicts[0].name.as_str()), ("any", "c000"));
    assert_eq!(plan.warnings, ["there are 130 conflicts; the first 100 are listed"]);
}

#[test]
fn fail_lists_every_name_that_is_taken() {
    let inventory = inventory(&[("default", "orders", &[]), ("shop", "other", &["items"])]);
    let plan = plan(&request(), &shop(), &inventory).unwrap();
    let found: Vec<_> = plan.conflicts.iter().map(|c| (c.database.as_str(), c.name.as_str())).collect();
    assert_eq!(found, [("default", "orders"), ("shop", "items")]);
    assert!(plan.conflicts[1].reason.contains("alias of collection `other`"), "{}", plan.conflicts[1].reason);
}

#[test]
fn the_list_of_conflicts_has_a_limit_and_the_count_has_none() {
    let collections: Vec<_> = (0..1_200).map(|n| collection(n, &format!("c{n:04}"), &["_default"])).collect();
    let names: Vec<_> = collections.iter().map(|collection| collection.name.clone()).collect();
    let taken: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| ("default", name.as_str(), &[][..])).collect();
    let plan = plan(&request(), &cut(vec![database("default", collections)]), &inventory(&taken)).unwrap();
    assert_eq!(plan.conflicts.len(), 1_000);
    assert_eq!(plan.warnings, ["there are 1200 conflicts; the first 1000 are listed"]);
}

#[test]
fn a_name_in_another_database_is_no_conflict() {
    let plan = plan(&request(), &shop(), &inventory(&[("other", "orders", &["users"])])).unwrap();
    assert_eq!(plan.conflicts, []);
}

#[test]
fn skip_leaves_out_what_is_taken() {
    let inventory = inventory(&[("default", "orders", &[]), ("shop", "other", &["items"])]);
    let plan = plan(&with_policy(ConflictPolicy::Skip), &shop(), &inventory).unwrap();
    assert_eq!(targets(&plan), ["default.users"]);
    assert_eq!(plan.collections.len(), 3);
    assert_eq!((plan.conflicts.len(), plan.bytes()), (0, 800));
}

#[test]
fn rename_takes_the_first_free_name() {
    let mut shop = shop();
    shop.databases[0].collections.push(collection(4, "orders_restored", &["_default"]));
    let inventory = inventory(&[("default", "orders", &["orders_restored_2"]), ("shop", "items", &[])]);
    let plan = plan(&with_policy(ConflictPolicy::Rename), &shop, &inventory).unwrap();
    assert_eq!(
        targets(&plan),
        ["default.orders_restored_3", "default.orders_restored", "default.users", "shop.items_restored"]
    );
    assert!(plan.collections.iter().all(|collection| collection.action == RestoreAction::Create));
    assert!(
        plan.warnings.iter().any(|warning| warning.contains("`shop.items` as `shop.items_restored`")),
        "{:?}",
        plan.warnings
    );
}

#[test]
fn rename_shortens_long_names() {
    let long = |bytes, end: &str| format!("{}{end}", "x".repeat(bytes - end.len()));
    // All of them have the same head; only the first has room for what is appended.
    let names = [long(246, "a"), long(255, "b"), long(255, "c"), format!("{}é", "x".repeat(245))];
    let collections = (1..).zip(&names).map(|(id, name)| collection(id, name, &["_default"])).collect();
    let taken: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| ("default", name.as_str(), &[][..])).collect();
    let cut = cut(vec![database("default", collections)]);
    let plan = plan(&with_policy(ConflictPolicy::Rename), &cut, &inventory(&taken)).unwrap();
    assert_eq!(plan.conflicts, []);
    let renamed: BTreeMap<&str, &str> = plan
        .collections
        .iter()
        .map(|collection| (&*collection.source.collection, &*collection.target.collection))
        .collect();
    assert_eq!(renamed[names[0].as_str()], format!("{}_restored", names[0]));
    for (source, target) in &renamed {
        assert!(target.len() <= 255 && target.contains("_restored"), "{source}: {target}");
    }
    // Two bytes do not fit where one is left.
    assert_eq!(renamed[names[3].as_str()], format!("{}_restored", "x".repeat(245)));
    let different: BTreeSet<_> = renamed.values().chain(renamed.keys()).collect();
    assert_eq!(different.len(), 2 * names.len(), "{renamed:?}");
    assert!(plan.collections.iter().all(|collection| collection.working_name.len() < 64));
}

#[test]
fn rename_gives_up_when_too_many_names_are_taken() {
    let mut names: Vec<String> = (2..=1_000).map(|number| format!("orders_restored_{number}")).collect();
    names.extend(["orders", "orders_restored"].map(str::to_owned));
    let taken: Vec<(&str, &str, &[&str])> =
        names.iter().map(|name| ("default", name.as_str(), &[][..])).collect();
    let plan = plan(&with_policy(ConflictPolicy::Rename), &shop(), &inventory(&taken)).unwrap();
    assert!(plan.conflicts[0].reason.contains("no free name"), "{:?}", plan.conflicts);
}

#[test]
fn replace_takes_the_place_of_collections_but_not_of_aliases() {
    let inventory = inventory(&[("default", "orders", &[]), ("shop", "other", &["items"])]);
    let plan = plan(&with_policy(ConflictPolicy::Replace), &shop(), &inventory).unwrap();
    assert_eq!(plan.collections[0].action, RestoreAction::Replace);
    assert_eq!(plan.collections[1].action, RestoreAction::Create);
    assert_eq!(plan.conflicts.len(), 1);
    assert!(plan.conflicts[0].reason.contains("an alias cannot be replaced"), "{:?}", plan.conflicts);
}

#[test]
fn replacing_by_chosen_partitions_is_warned_of() {
    let request = RestoreRequest {
        conflict: ConflictPolicy::Replace,
        ..chosen(vec![item("default", Some("orders"), Some(&["eu"]))])
    };
    let plan = plan(&request, &shop(), &inventory(&[("default", "orders", &[])])).unwrap();
    assert!(plan.warnings[0].contains("only chosen partitions"), "{:?}", plan.warnings);
}
