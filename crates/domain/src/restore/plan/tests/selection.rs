use super::*;

#[test]
fn everything_is_restored_in_the_order_of_the_names() {
    let plan = plan(&request(), &shop(), &inventory(&[])).unwrap();
    assert_eq!(targets(&plan), ["default.orders", "default.users", "shop.items"]);
    assert_eq!(plan.conflicts, []);
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(plan.cut_at_ms, shop().cut_at_ms);
    assert_eq!((plan.object_count(), plan.bytes()), (31, 3_007));
}

#[test]
fn overlapping_choices_are_one() {
    let request = chosen(vec![
        item("shop", Some("items"), None),
        item("default", Some("orders"), Some(&["eu"])),
        item("shop", None, None),
        item("default", Some("orders"), Some(&["_default", "eu"])),
        item("default", Some("orders"), Some(&["eu"])),
    ]);
    let plan = plan(&request, &shop(), &inventory(&[])).unwrap();
    assert_eq!(targets(&plan), ["default.orders", "shop.items"]);
    assert_eq!(plan.collections[0].partitions, ["_default", "eu"]);
}

#[test]
fn a_whole_collection_takes_in_its_chosen_partitions_in_any_order() {
    for order in [[0, 1], [1, 0]] {
        let items = [item("default", Some("orders"), Some(&["eu"])), item("default", None, None)];
        let request = chosen(order.map(|at: usize| items[at].clone()).to_vec());
        let plan = plan(&request, &shop(), &inventory(&[])).unwrap();
        assert_eq!(plan.collections[0].partitions, ["_default", "eu"]);
    }
}

#[test]
fn sizes_are_those_of_the_chosen_partitions_and_of_deletes_of_all_partitions() {
    let request = chosen(vec![item("default", Some("orders"), Some(&["eu"]))]);
    let plan = plan(&request, &shop(), &inventory(&[])).unwrap();
    let orders = &plan.collections[0];
    assert_eq!((orders.object_count, orders.bytes, orders.stored_row_count), (3, 207, 100));
}

#[test]
fn unknown_names_are_refused_with_those_that_were_meant() {
    let cases = [
        (item("shp", None, None), "no database named `shp`; did you mean `shop`?"),
        (item("default", Some("order"), None), "named `order`; did you mean `orders`?"),
        (item("shop", Some("zzz"), None), "named `zzz`; choose among `items`"),
        (item("default", Some("orders"), Some(&["en"])), "named `en`; choose among `eu`, `_default`"),
    ];
    for (item, expected) in cases {
        let (field, rule) = rule_of(&chosen(vec![item]));
        assert_eq!(field, "items");
        assert!(rule.contains(expected), "{rule}");
    }
}

#[test]
fn choices_that_say_nothing_are_refused() {
    let cases = [
        chosen(vec![]),
        chosen(vec![item("", None, None)]),
        chosen(vec![item("default", Some(""), None)]),
        chosen(vec![item("default", None, Some(&["eu"]))]),
        chosen(vec![item("default", Some("orders"), Some(&[]))]),
        chosen(vec![item("default", Some("orders"), Some(&[""]))]),
        chosen(vec![item("default", None, None); RestoreRequest::ITEMS_MAX + 1]),
    ];
    for request in cases {
        assert_eq!(rule_of(&request).0, "items");
    }
}
