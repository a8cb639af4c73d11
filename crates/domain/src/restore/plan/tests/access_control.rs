use super::*;
use crate::error::InvalidInput;
use crate::ports::Inventory;

fn asked(passwords: &[(&str, &str)]) -> RestoreRequest {
    let passwords = passwords.iter().map(|(user, password)| UserPassword {
        user: (*user).to_owned(),
        password: Secret::Value(SecretValue::new((*password).to_owned())),
    });
    RestoreRequest { access_control: Some(AccessRestore { passwords: passwords.collect() }), ..request() }
}

fn planned(request: &RestoreRequest, inventory: &Inventory) -> Result<RestorePlan, InvalidInput> {
    let mut cut = shop();
    cut.access_control = Some(access());
    plan(request, &cut, inventory)
}

#[test]
fn users_with_a_password_and_their_roles_are_made() {
    let plan = planned(&asked(&[("ann", "secret")]), &inventory(&[])).unwrap();
    let access = plan.access_control.unwrap();
    assert_eq!(
        (access.users, access.users_without_password),
        (vec!["ann".into()], vec![String::from("bob")])
    );
    assert_eq!((access.roles, access.grant_count), (vec!["reader".into(), String::from("writer")], 3));
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].ends_with("given: `bob`"), "{:?}", plan.warnings);
}

#[test]
fn what_exists_stays() {
    let mut inventory = inventory(&[]);
    inventory.users = vec![String::from("ann"), String::from("root")];
    inventory.roles = ["admin", "public", "reader"].map(String::from).to_vec();
    let plan = planned(&asked(&[("ann", "secret"), ("bob", "secret")]), &inventory).unwrap();
    let access = plan.access_control.unwrap();
    assert_eq!((access.users, access.roles), (vec![String::from("bob")], vec![String::from("writer")]));
    assert_eq!((access.grant_count, access.users_without_password.len()), (1, 0));
    assert!(plan.warnings[0].ends_with("as they are: user `ann`, role `reader`"), "{:?}", plan.warnings);
}

#[test]
fn only_what_is_new_gets_anything() {
    let mut inventory = inventory(&[]);
    inventory.users = vec![String::from("ann"), String::from("root")];
    inventory.roles = ["admin", "public", "reader"].map(String::from).to_vec();
    let plan = planned(&asked(&[("bob", "secret")]), &inventory).unwrap().access_control.unwrap();
    let mut backup = access();
    for role in &mut backup.roles {
        role.users = match role.name.as_str() {
            "public" => vec![],
            "admin" => vec![String::from("ann"), String::from("root")],
            _ => vec![String::from("ann"), String::from("bob")],
        };
    }
    let part = plan.part_to_make(&backup);
    assert_eq!(part.users, ["bob"]);
    let roles: Vec<(&str, Vec<&str>)> = part
        .roles
        .iter()
        .map(|role| (role.name.as_str(), role.users.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(roles, [("reader", vec!["bob"]), ("writer", vec!["ann", "bob"])]);
    let granted: Vec<&str> = part.grants.iter().map(|grant| grant.role.as_str()).collect();
    assert_eq!(granted, ["writer"]);
    assert_eq!(part.grants.len() as u64, plan.grant_count);
}

#[test]
fn passwords_that_cannot_be_used_are_refused() {
    let refused: [&[(&str, &str)]; 5] =
        [&[("root", "x")], &[("", "x")], &[("ann", "")], &[("ann", "x"), ("ann", "y")], &[("anne", "x")]];
    for passwords in refused {
        let error = planned(&asked(passwords), &inventory(&[])).unwrap_err();
        assert_eq!(error.field, "accessControl");
    }
    let misspelt = planned(&asked(&[("anne", "hunter2")]), &inventory(&[])).unwrap_err();
    assert!(misspelt.rule.contains("did you mean `ann`") && !misspelt.rule.contains("hunter2"), "{misspelt}");
}

#[test]
fn a_backup_without_users_has_none_to_give_back() {
    assert_eq!(rule_of(&asked(&[])).0, "accessControl");
    assert_eq!(planned(&request(), &inventory(&[])).unwrap().access_control, None);
}

#[test]
fn grants_of_renamed_collections_are_warned_of() {
    let names = TargetNames { suffix: String::from("_old"), ..TargetNames::default() };
    let request = RestoreRequest { names, ..asked(&[("ann", "x"), ("bob", "x")]) };
    let plan = planned(&request, &inventory(&[])).unwrap();
    assert!(plan.warnings[0].contains("grants name databases and collections as"), "{:?}", plan.warnings);
}
