//! Databases, names and aliases.

use crate::restore::new_collection;
use crate::server::{Server, collection_name, ok, target, unique};
use milvault_domain::error::PortErrorKind;
use milvault_domain::milvus::CollectionCut;
use milvault_domain::ports::{CollectionInventory, MilvusTarget};
use milvus::proto::milvus::{CreateAliasRequest, DropAliasRequest};

async fn id(target: &dyn MilvusTarget, database: &str, name: &str) -> Option<i64> {
    let found = target.find_collection(&collection_name(database, name)).await.unwrap();
    found.map(|found| found.collection_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_come_and_go_once() {
    let server = Server::open().await;
    let target = target().await;
    let database = unique("db");
    for _ in 0..2 {
        target.create_database(&database, &[]).await.unwrap();
    }
    server.create_simple(&database, "books", 1).await;
    target.drop_empty_database(&database).await.unwrap();
    let inventory = target.inventory().await.unwrap();
    let found = inventory.databases.iter().find(|other| other.name == database).unwrap();
    assert_eq!(found.collections.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["books"]);
    assert!(inventory.users.contains(&String::from("root")), "{:?}", inventory.users);
    assert!(inventory.roles.contains(&String::from("admin")), "{:?}", inventory.roles);

    server.drop_collection(&database, "books").await;
    for _ in 0..2 {
        target.drop_empty_database(&database).await.unwrap();
    }
    let inventory = target.inventory().await.unwrap();
    assert!(inventory.databases.iter().all(|other| other.name != database));
    assert!(inventory.databases.is_sorted_by(|a, b| a.name < b.name));
    target.drop_empty_database("default").await.unwrap();
    let error = target.create_database("1 is no name", &[]).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
}

/// As a restore replaces a collection, in a database of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_collection_takes_the_place_of_another() {
    let server = Server::open().await;
    let target = target().await;
    let target = target.as_ref();
    let database = unique("db");
    server.create_database(&database).await;
    for name in ["books", "working"] {
        server.create_simple(&database, name, 1).await;
    }
    let [books, working, kept] = ["books", "working", "kept"].map(|name| collection_name(&database, name));
    target.set_alias(&books, "library").await.unwrap();
    let old = id(target, &database, "books").await.unwrap();
    let new = id(target, &database, "working").await.unwrap();

    for (name, to) in [(&working, "books"), (&working, "library"), (&books, "working")] {
        let error = target.rename_collection(name, to).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    }
    // With its alias, which goes on pointing to it.
    target.rename_collection(&books, "kept").await.unwrap();
    target.rename_collection(&working, "books").await.unwrap();
    let by_alias = target.find_collection(&collection_name(&database, "library")).await.unwrap().unwrap();
    assert_eq!((by_alias.collection_id, by_alias.name.as_str()), (old, "kept"));
    assert_eq!(id(target, &database, "books").await, Some(new));
    for _ in 0..2 {
        target.set_alias(&books, "library").await.unwrap();
    }
    assert_eq!(id(target, &database, "library").await, Some(new));
    for gone in [&working, &collection_name(&database, "library")] {
        let error = target.rename_collection(gone, "elsewhere").await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    }
    assert_eq!(id(target, "default", "kept").await, None);

    // The name is another collection's by now.
    target.drop_collection(&books, old).await.unwrap();
    assert_eq!(id(target, &database, "books").await, Some(new));
    // An alias is not the collection's name.
    target.drop_collection(&collection_name(&database, "library"), new).await.unwrap();
    assert_eq!(id(target, &database, "library").await, Some(new));
    for _ in 0..2 {
        target.drop_collection(&kept, old).await.unwrap();
    }
    assert_eq!(id(target, &database, "kept").await, None);
    let inventory = target.inventory().await.unwrap();
    let found = inventory.databases.iter().find(|other| other.name == database).unwrap();
    let only = CollectionInventory {
        name: String::from("books"),
        collection_id: new,
        aliases: vec![String::from("library")],
    };
    assert_eq!(found.collections, [only]);
    target.drop_collection(&books, new).await.unwrap();
    target.drop_empty_database(&database).await.unwrap();
}

fn cut_of_simple(schema_of: &milvus::proto::schema::CollectionSchema) -> CollectionCut {
    use prost::Message;
    CollectionCut {
        collection_id: 1,
        name: schema_of.name.clone(),
        description: String::new(),
        shard_count: 1,
        consistency_level: 0,
        schema_proto: schema_of.encode_to_vec(),
        fields: Vec::new(),
        dynamic_field: false,
        properties: Vec::new(),
        partitions: Vec::new(),
        indexes: Vec::new(),
        aliases: Vec::new(),
        load_state: milvault_domain::milvus::LoadState::NotLoaded,
        replica_count: 0,
        segments: Vec::new(),
    }
}

/// 2.3.5 keeps the aliases of collections that are dropped by others, and they hide what gets their names.
#[tokio::test(flavor = "multi_thread")]
async fn aliases_of_dropped_collections_are_no_obstacle() {
    let server = Server::open().await;
    let target = target().await;
    let target = target.as_ref();
    let stale = async |alias: &str| {
        let owner = unique("owner");
        server.create_simple("default", &owner, 1).await;
        let request = CreateAliasRequest {
            collection_name: owner.clone(),
            alias: alias.to_owned(),
            ..Default::default()
        };
        ok(Some(server.raw().create_alias(request).await.unwrap().into_inner()));
        server.drop_collection("default", &owner).await;
    };
    let (created, renamed, alias) = (unique("created"), unique("renamed"), unique("alias"));
    for name in [&created, &renamed, &alias] {
        stale(name).await;
    }
    let cut = cut_of_simple(&crate::target::refusals::simple_schema());
    let name = collection_name("default", &created);
    let made = target.create_collection(&new_collection(&cut, &name)).await.unwrap();
    assert_eq!(id(target, "default", &created).await, Some(made.collection_id));
    target.rename_collection(&name, &renamed).await.unwrap();
    assert_eq!(id(target, "default", &renamed).await, Some(made.collection_id));
    let name = collection_name("default", &renamed);
    target.set_alias(&name, &alias).await.unwrap();
    assert_eq!(id(target, "default", &alias).await, Some(made.collection_id));

    let taken = target.set_alias(&name, &renamed).await.unwrap_err();
    assert_eq!(taken.kind(), PortErrorKind::Conflict, "{taken}");
    let missing = collection_name("default", "nope");
    let error = target.set_alias(&missing, &unique("alias")).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");

    // Our own drop leaves no alias behind.
    target.drop_collection(&name, made.collection_id).await.unwrap();
    server.create_simple("default", &alias, 1).await;
    assert!(id(target, "default", &alias).await.is_some());
    let request = DropAliasRequest { alias, ..Default::default() };
    ok(Some(server.raw().drop_alias(request).await.unwrap().into_inner()));
}
