use super::*;

#[test]
fn databases_are_created_with_their_properties_where_they_are_missing() {
    let mut cut = shop();
    cut.databases[1].properties = vec![property("database.replica.number", "2")];
    cut.databases.push(database("vacant", vec![]));
    let names = TargetNames {
        databases: vec![database_rename("shop", "shop_2")],
        collections: vec![collection_rename(("default", "users"), ("people", "users"))],
        suffix: String::new(),
    };
    let plan = plan(&RestoreRequest { names, ..request() }, &cut, &inventory(&[])).unwrap();
    let made: Vec<_> =
        plan.databases.iter().map(|d| (d.name.as_str(), d.create, d.properties.len())).collect();
    let expected = [("default", false, 0), ("people", true, 0), ("shop_2", true, 1), ("vacant", true, 0)];
    assert_eq!(made, expected);
    assert_eq!(plan.warnings, Vec::<String>::new());
}

#[test]
fn a_database_that_exists_keeps_its_properties() {
    let mut cut = shop();
    cut.databases[1].properties = vec![property("database.replica.number", "2")];
    let plan = plan(&request(), &cut, &inventory(&[("shop", "x", &[])])).unwrap();
    assert!(plan.databases.iter().all(|database| !database.create && database.properties.is_empty()));
    assert!(plan.warnings[0].ends_with("another: `shop`"), "{:?}", plan.warnings);
}

#[test]
fn only_what_is_needed_is_created() {
    let only_users = chosen(vec![item("default", Some("users"), None)]);
    let plan = plan(&only_users, &shop(), &inventory(&[])).unwrap();
    assert_eq!(plan.databases.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["default"]);
    assert_eq!(plan.collections[0].source, named("default", "users"));
}
