//! What a backup keeps of a cluster besides rows.

use crate::server::*;
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::cluster::MilvusAuth;
use milvault_domain::error::PortErrorKind;
use milvault_domain::milvus::{CollectionCut, LoadState, Property};
use milvus::proto::common::ConsistencyLevel;
use milvus::proto::milvus::{
    CreateAliasRequest, CreateCollectionRequest, CreatePartitionRequest, CreateRoleRequest, GrantEntity,
    GrantorEntity, ObjectEntity, OperatePrivilegeRequest, OperatePrivilegeType, PrivilegeEntity, RoleEntity,
};
use milvus::proto::schema::{CollectionSchema, DataType, FieldSchema};
use prost::Message;

fn rich_schema(name: &str) -> CollectionSchema {
    let field = |name: &str, data_type: DataType| FieldSchema {
        name: name.to_owned(),
        data_type: data_type.into(),
        description: format!("about {name}"),
        ..Default::default()
    };
    CollectionSchema {
        name: name.to_owned(),
        description: String::from("all sorts of fields"),
        enable_dynamic_field: true,
        fields: vec![
            FieldSchema { auto_id: true, ..key_field("id") },
            FieldSchema {
                type_params: vec![pair("max_length", "64")],
                is_partition_key: false,
                ..field("title", DataType::VarChar)
            },
            field("flag", DataType::Bool),
            field("score", DataType::Double),
            field("document", DataType::Json),
            FieldSchema {
                element_type: DataType::Int32.into(),
                type_params: vec![pair("max_capacity", "16")],
                ..field("numbers", DataType::Array)
            },
            vector_field("v"),
        ],
        ..Default::default()
    }
}

async fn create_rich(server: &Server, database: &str, name: &str) {
    let request = CreateCollectionRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        shards_num: 2,
        consistency_level: ConsistencyLevel::Bounded.into(),
        properties: vec![pair("collection.ttl.seconds", "86400")],
        ..Default::default()
    };
    server.create(request, rich_schema(name)).await;
    let request = CreatePartitionRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        partition_name: String::from("extra"),
        ..Default::default()
    };
    ok(Some(server.raw().create_partition(request).await.unwrap().into_inner()));
    let request = CreateAliasRequest {
        db_name: database.to_owned(),
        collection_name: name.to_owned(),
        alias: format!("{name}_alias"),
        ..Default::default()
    };
    ok(Some(server.raw().create_alias(request).await.unwrap().into_inner()));
}

fn check_rich(cut: &CollectionCut) {
    assert_eq!((cut.shard_count, cut.consistency_level, cut.dynamic_field), (2, 2, true));
    assert_eq!(cut.description, "all sorts of fields");
    let ttl = Property { key: String::from("collection.ttl.seconds"), value: String::from("86400") };
    assert_eq!(cut.properties, [ttl]);
    let partitions: Vec<_> = cut.partitions.iter().map(|partition| partition.name.as_str()).collect();
    assert_eq!(partitions, ["_default", "extra"]);
    assert_eq!(cut.aliases, [format!("{}_alias", cut.name)]);
    let fields: Vec<_> =
        cut.fields.iter().map(|f| (f.field_id, f.name.as_str(), f.data_type.as_str())).collect();
    let expected = [
        (100, "id", "Int64"),
        (101, "title", "VarChar"),
        (102, "flag", "Bool"),
        (103, "score", "Double"),
        (104, "document", "JSON"),
        (105, "numbers", "Array"),
        (106, "v", "FloatVector"),
    ];
    // 2.3.5 does not show the field that holds the dynamic ones.
    assert_eq!(fields, expected);
    assert_eq!(cut.fields[5].element_type, "Int32");
    assert!(cut.fields[0].flags.primary_key && cut.fields[0].flags.auto_id);
    let schema = CollectionSchema::decode(cut.schema_proto.as_slice()).unwrap();
    assert_eq!((schema.name, schema.fields.len()), (cut.name.clone(), 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rich_schema_in_two_databases_is_described_whole() {
    let server = Server::open().await;
    let database = unique("db");
    server.create_database(&database).await;
    let (here, there, plain) = (unique("rich"), unique("rich"), unique("plain"));
    create_rich(&server, "default", &here).await;
    create_rich(&server, &database, &there).await;
    server.create_simple(&database, &plain, 1).await;
    server.insert(&database, &plain, &(0..500).collect::<Vec<_>>()).await;
    server.index(&database, &plain).await;
    server.load(&database, &plain).await;

    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let name = |database: &str, collection: &str| CollectionName {
        database: database.to_owned(),
        collection: collection.to_owned(),
    };
    let names = vec![name("default", &here), name(&database, &there), name(&database, &plain)];
    let cut = cluster.take_cut(&BackupScope::Collections(names)).await.unwrap();
    assert_eq!(cut.access_control, None);
    assert_eq!(cut.collections().count(), 3);
    let find = |name: &str| cut.collections().find(|(_, c)| c.name == name).unwrap();
    let (found_in, rich) = find(&here);
    assert_eq!(found_in, "default");
    check_rich(rich);
    assert_eq!((rich.load_state, rich.replica_count, rich.segments.len()), (LoadState::NotLoaded, 0, 0));
    check_rich(find(&there).1);

    let (found_in, plain) = find(&plain);
    assert_eq!(found_in, database);
    assert_eq!((plain.load_state, plain.replica_count, plain.row_count()), (LoadState::Loaded, 1, 500));
    let index = &plain.indexes[0];
    assert_eq!((index.name.as_str(), index.field_name.as_str()), ("v_index", "v"));
    assert!(index.params.iter().any(|param| param.key == "index_type" && param.value == "FLAT"));
    assert_eq!(plain.partition_row_count(plain.partitions[0].partition_id), 500);

    let whole = cluster.take_cut(&BackupScope::Databases(vec![database.clone()])).await.unwrap();
    assert_eq!(whole.collections().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_not_found() {
    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let missing = CollectionName { database: String::from("default"), collection: String::from("nope") };
    let lost = CollectionName { database: String::from("nowhere"), collection: String::from("nope") };
    for scope in [
        BackupScope::Collections(vec![missing]),
        BackupScope::Collections(vec![lost]),
        BackupScope::Databases(vec![String::from("nowhere")]),
    ] {
        let error = cluster.take_cut(&scope).await.unwrap_err();
        assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
        assert!(error.to_string().contains("`no"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_roles_and_grants_come_with_a_whole_cluster() {
    let server = Server::open().await;
    let role = unique("role");
    let entity = RoleEntity { name: role.clone(), ..Default::default() };
    let request = CreateRoleRequest { entity: Some(entity.clone()), ..Default::default() };
    ok(Some(server.raw().create_role(request).await.unwrap().into_inner()));
    let elsewhere = unique("db");
    server.create_database(&elsewhere).await;
    for database in ["default", &elsewhere] {
        let entity = GrantEntity {
            role: Some(entity.clone()),
            object: Some(ObjectEntity { name: String::from("Collection") }),
            object_name: String::from("books"),
            grantor: Some(GrantorEntity {
                privilege: Some(PrivilegeEntity { name: String::from("Insert") }),
                ..Default::default()
            }),
            db_name: database.to_owned(),
        };
        let request = OperatePrivilegeRequest {
            entity: Some(entity),
            r#type: OperatePrivilegeType::Grant.into(),
            ..Default::default()
        };
        let mut request = tonic::Request::new(request);
        // 2.3.5 takes the grantor from this header, also when authentication is off.
        request.metadata_mut().insert("authorization", "cm9vdDpNaWx2dXM=".parse().unwrap());
        ok(Some(server.raw().operate_privilege(request).await.unwrap().into_inner()));
    }
    let cluster = connect(&setting("MILVAULT_TEST_MILVUS_URI"), MilvusAuth::None).await.unwrap();
    let access = cluster.take_cut(&BackupScope::Cluster).await.unwrap().access_control.unwrap();
    assert!(access.roles.iter().any(|other| other.name == role), "{access:?}");
    let mut grants: Vec<_> = access
        .grants
        .iter()
        .filter(|grant| grant.role == role)
        .map(|g| (g.database.as_str(), g.object_type.as_str(), g.object_name.as_str(), g.privilege.as_str()))
        .collect();
    grants.sort_unstable();
    let mut expected =
        [("default", "Collection", "books", "Insert"), (&elsewhere, "Collection", "books", "Insert")];
    expected.sort_unstable();
    assert_eq!(grants, expected);
}
