use super::*;
use crate::milvus::Cut;
use crate::ports::Inventory;

fn aliased() -> Cut {
    let mut cut = shop();
    cut.databases[0].collections[0].aliases = vec![String::from("current")];
    cut
}

fn aliases(plan: &RestorePlan) -> &[String] {
    &plan.collections[0].aliases
}

fn taken_elsewhere() -> Inventory {
    inventory(&[("default", "newer", &["current"])])
}

#[test]
fn a_free_alias_comes_back() {
    let plan = plan(&request(), &aliased(), &inventory(&[("shop", "x", &["current"])])).unwrap();
    assert_eq!(aliases(&plan), ["current"]);
    assert_eq!(plan.conflicts, []);
}

#[test]
fn a_taken_alias_is_a_conflict_under_fail_and_left_out_otherwise() {
    let plan_of = |policy| plan(&with_policy(policy), &aliased(), &taken_elsewhere()).unwrap();
    let failing = plan_of(ConflictPolicy::Fail);
    assert_eq!((failing.conflicts.len(), failing.conflicts[0].name.as_str()), (1, "current"));
    for policy in [ConflictPolicy::Skip, ConflictPolicy::Rename, ConflictPolicy::Replace] {
        let plan = plan_of(policy);
        assert_eq!((plan.conflicts.len(), aliases(&plan).len()), (0, 0));
        assert!(plan.warnings[0].contains("`current` of `default.orders`"), "{:?}", plan.warnings);
    }
}

#[test]
fn an_alias_moves_from_the_collection_that_is_replaced() {
    let inventory = inventory(&[("default", "orders", &["current", "latest"])]);
    let plan = plan(&with_policy(ConflictPolicy::Replace), &aliased(), &inventory).unwrap();
    assert_eq!(aliases(&plan), ["current"]);
    assert_eq!(plan.conflicts, []);
    assert!(plan.warnings[0].contains("end with them: `latest` of `default.orders`"), "{:?}", plan.warnings);
}

#[test]
fn collections_under_other_names_do_not_redirect_readers() {
    let suffixed = RestoreRequest {
        names: TargetNames { suffix: String::from("_old"), ..TargetNames::default() },
        ..request()
    };
    let plan_of =
        |request: &RestoreRequest, inventory: &Inventory| plan(request, &aliased(), inventory).unwrap();
    let left_out = |plan: &RestorePlan| {
        assert_eq!((plan.conflicts.len(), aliases(plan).len()), (0, 0));
        assert!(plan.warnings.iter().any(|warning| warning.contains("left out")), "{:?}", plan.warnings);
    };
    left_out(&plan_of(&suffixed, &inventory(&[])));
    left_out(&plan_of(
        &with_policy(ConflictPolicy::Rename),
        &inventory(&[("default", "orders", &["current"])]),
    ));

    let names = TargetNames {
        collections: vec![collection_rename(("default", "orders"), ("default", "copy"))],
        ..TargetNames::default()
    };
    let renamed = RestoreRequest { names, ..request() };
    left_out(&plan_of(&renamed, &taken_elsewhere()));
    assert_eq!(aliases(&plan_of(&renamed, &inventory(&[]))), ["current"]);
}

#[test]
fn an_alias_never_has_the_name_of_a_restored_collection() {
    let names = TargetNames {
        collections: vec![collection_rename(("default", "users"), ("default", "current"))],
        ..TargetNames::default()
    };
    let plan = plan(&RestoreRequest { names, ..request() }, &aliased(), &inventory(&[])).unwrap();
    assert_eq!((plan.conflicts.len(), aliases(&plan).len()), (1, 0));
}
