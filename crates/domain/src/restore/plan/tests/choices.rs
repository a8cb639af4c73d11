use super::*;

#[test]
fn shards_are_as_in_the_backup_or_as_asked_for() {
    let plan_with =
        |shard_count| plan(&RestoreRequest { shard_count, ..request() }, &shop(), &inventory(&[]));
    assert_eq!(plan_with(None).unwrap().collections[0].shard_count, 2);
    assert_eq!(plan_with(Some(64)).unwrap().collections[0].shard_count, 64);
    for refused in [0, -1, 65] {
        assert_eq!(plan_with(Some(refused)).unwrap_err().field, "shardCount");
    }
}

#[test]
fn replicas_follow_the_load_choice() {
    let mut cut = shop();
    cut.databases[0].collections[0].load_state = LoadState::Loaded;
    cut.databases[0].collections[0].replica_count = 3;
    cut.databases[0].collections[1].load_state = LoadState::Loading;
    let replicas = |load| {
        let plan = plan(&RestoreRequest { load, ..request() }, &cut, &inventory(&[])).unwrap();
        assert_eq!(plan.warnings, Vec::<String>::new());
        plan.collections.iter().map(|collection| collection.replica_count).collect::<Vec<_>>()
    };
    assert_eq!(replicas(LoadChoice::AsInBackup), [3, 1, 0]);
    assert_eq!(replicas(LoadChoice::All), [3, 1, 1]);
    assert_eq!(replicas(LoadChoice::None), [0, 0, 0]);
}

#[test]
fn without_indexes_nothing_is_loaded() {
    let request = RestoreRequest { indexes: IndexChoice::Leave, load: LoadChoice::All, ..request() };
    let plan_left = plan(&request, &shop(), &inventory(&[])).unwrap();
    assert!(plan_left.collections.iter().all(|c| c.replica_count == 0 && !c.build_indexes));
    assert_eq!(plan_left.warnings.len(), 1);
    assert!(plan_left.warnings[0].contains("`default.orders`, `default.users`, `shop.items`"));

    let mut cut = shop();
    cut.databases[1].collections[0].indexes.clear();
    let all = RestoreRequest { load: LoadChoice::All, ..super::request() };
    let plan = plan(&all, &cut, &inventory(&[])).unwrap();
    assert_eq!((plan.collections[0].replica_count, plan.collections[2].replica_count), (1, 0));
    assert!(plan.warnings[0].ends_with("cannot be loaded: `shop.items`"), "{:?}", plan.warnings);
}

#[test]
fn a_time_to_live_and_an_unverified_version_are_warned_of() {
    let mut cut = shop();
    cut.server.capabilities.verified = false;
    cut.server.version = String::from("v2.6.1");
    cut.databases[0].collections[0].properties = vec![property("collection.ttl.seconds", "3600")];
    cut.databases[0].collections[1].properties = vec![property("collection.ttl.seconds", "0")];
    let plan = plan(&request(), &cut, &inventory(&[])).unwrap();
    assert_eq!(plan.warnings.len(), 2);
    assert!(plan.warnings[0].contains("v2.6.1"), "{:?}", plan.warnings);
    assert!(plan.warnings[1].ends_with("at once: `default.orders` (3600 s)"), "{:?}", plan.warnings);
}
