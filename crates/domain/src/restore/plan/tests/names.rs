use super::*;

fn renamed(names: TargetNames) -> RestoreRequest {
    RestoreRequest { names, ..request() }
}

#[test]
fn the_most_specific_rule_wins() {
    let request = renamed(TargetNames {
        databases: vec![database_rename("default", "copy")],
        collections: vec![collection_rename(("default", "users"), ("people", "users_2"))],
        suffix: String::from("_old"),
    });
    let plan = plan(&request, &shop(), &inventory(&[])).unwrap();
    assert_eq!(targets(&plan), ["copy.orders_old", "people.users_2", "shop.items_old"]);
}

#[test]
fn two_collections_never_become_one() {
    let request = renamed(TargetNames {
        collections: vec![collection_rename(("shop", "items"), ("default", "orders"))],
        ..TargetNames::default()
    });
    let (field, rule) = rule_of(&request);
    assert_eq!(field, "collectionNames");
    assert!(rule.contains("`default.orders` and `shop.items` would both"), "{rule}");
}

#[test]
fn collections_may_change_places() {
    let request = renamed(TargetNames {
        collections: vec![
            collection_rename(("default", "users"), ("default", "orders")),
            collection_rename(("default", "orders"), ("default", "users")),
        ],
        ..TargetNames::default()
    });
    let plan = plan(&request, &shop(), &inventory(&[])).unwrap();
    assert_eq!(targets(&plan), ["default.users", "default.orders", "shop.items"]);
}

#[test]
fn a_rename_that_matches_nothing_is_refused() {
    let databases = TargetNames { databases: vec![database_rename("shopp", "x")], ..TargetNames::default() };
    let (field, rule) = rule_of(&renamed(databases));
    assert_eq!(field, "databaseNames");
    assert!(rule.contains("did you mean `shop`?"), "{rule}");

    let collections = TargetNames {
        collections: vec![collection_rename(("shop", "item"), ("shop", "x"))],
        ..TargetNames::default()
    };
    let (field, rule) = rule_of(&renamed(collections.clone()));
    assert_eq!(field, "collectionNames");
    assert!(rule.contains("did you mean `shop.items`"), "{rule}");

    let unselected = RestoreRequest { names: collections, ..chosen(vec![item("default", None, None)]) };
    assert_eq!(rule_of(&unselected).0, "collectionNames");
}

#[test]
fn names_that_milvus_refuses_are_refused() {
    let long = "x".repeat(256);
    for name in ["", "1st", "a-b", "ä", "a b", "a.b", long.as_str()] {
        let databases =
            TargetNames { databases: vec![database_rename("shop", name)], ..TargetNames::default() };
        assert_eq!(rule_of(&renamed(databases)).0, "databaseNames", "{name}");
        for to in [("shop", name), (name, "items")] {
            let collections = TargetNames {
                collections: vec![collection_rename(("shop", "items"), to)],
                ..TargetNames::default()
            };
            assert_eq!(rule_of(&renamed(collections)).0, "collectionNames", "{name}");
        }
    }
    for suffix in ["-x", " ", "ä", long.as_str(), &"x".repeat(251)] {
        let names = TargetNames { suffix: suffix.to_owned(), ..TargetNames::default() };
        assert_eq!(rule_of(&renamed(names)).0, "suffix", "{suffix}");
    }
}

#[test]
fn a_source_that_is_renamed_twice_is_refused() {
    let databases = TargetNames {
        databases: vec![database_rename("shop", "a"), database_rename("shop", "b")],
        ..TargetNames::default()
    };
    assert_eq!(rule_of(&renamed(databases)).0, "databaseNames");
    let rename = collection_rename(("shop", "items"), ("shop", "a"));
    let collections = TargetNames { collections: vec![rename.clone(), rename], ..TargetNames::default() };
    assert_eq!(rule_of(&renamed(collections)).0, "collectionNames");
}

#[test]
fn working_names_derive_from_the_job_and_avoid_what_exists() {
    let inventory = inventory(&[
        ("default", "milvault_cafef00d_0", &["milvault_cafef00d_0_2"]),
        ("shop", "milvault_cafef00d_1", &[]),
    ]);
    let plan = plan(&request(), &shop(), &inventory).unwrap();
    let names: Vec<_> = plan.collections.iter().map(|c| c.working_name.as_str()).collect();
    assert_eq!(names, ["milvault_cafef00d_0_3", "milvault_cafef00d_1", "milvault_cafef00d_2"]);
}

#[test]
fn a_working_name_is_no_name_of_the_backup() {
    let mut odd = collection(1, "milvault_cafef00d_0", &["_default"]);
    odd.aliases = vec![String::from("milvault_cafef00d_0_2")];
    let plan = plan(&request(), &cut(vec![database("default", vec![odd])]), &inventory(&[])).unwrap();
    assert_eq!(plan.collections[0].working_name, "milvault_cafef00d_0_3");
}
