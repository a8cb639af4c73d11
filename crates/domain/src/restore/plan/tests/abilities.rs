use super::*;

/// Database and name of each.
fn conflicts(plan: &RestorePlan) -> Vec<(&str, &str)> {
    plan.conflicts.iter().map(|conflict| (conflict.database.as_str(), conflict.name.as_str())).collect()
}

#[test]
fn a_target_without_databases_gets_none() {
    let mut cut = shop();
    cut.databases.push(database("vacant", vec![]));
    let mut server = cut.server.clone();
    server.capabilities.databases = false;
    let plan = plan_into(&server, &request(), &cut, &inventory(&[])).unwrap();
    assert_eq!(conflicts(&plan), [("shop", "items"), ("vacant", "*")]);
    assert!(plan.conflicts[0].reason.contains("has no databases"), "{:?}", plan.conflicts);

    let names = TargetNames { databases: vec![database_rename("shop", "default")], ..TargetNames::default() };
    cut.databases.pop();
    let plan = plan_into(&server, &RestoreRequest { names, ..request() }, &cut, &inventory(&[])).unwrap();
    assert!(plan.conflicts.is_empty(), "{:?}", plan.conflicts);
}

#[test]
fn deletes_in_segments_of_their_own_need_a_target_that_has_them() {
    let mut cut = shop();
    let old = cut.server.clone();
    cut.server.capabilities.l0_segments = true;
    let plan = plan_into(&old, &request(), &cut, &inventory(&[])).unwrap();
    assert_eq!(conflicts(&plan), [("default", "orders")]);
    assert!(plan.conflicts[0].reason.contains("2.4 or later"), "{:?}", plan.conflicts);

    let plan = plan_into(&cut.server, &request(), &cut, &inventory(&[])).unwrap();
    assert!(plan.conflicts.is_empty(), "{:?}", plan.conflicts);
    let skip = RestoreRequest { conflict: ConflictPolicy::Skip, ..request() };
    let taken = inventory(&[("default", "orders", &[])]);
    let plan = plan_into(&old, &skip, &cut, &taken).unwrap();
    assert!(plan.conflicts.is_empty(), "{:?}", plan.conflicts);
}
