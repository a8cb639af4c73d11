//! Milvus servers. One whose address contains `target` holds nothing in the beginning, others hold two databases.

use super::target::PretendedTarget;
use super::{Outside, SEGMENT_ROWS};
use async_trait::async_trait;
use milvault_domain::backup::BackupScope;
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::milvus::{
    AccessControl, Capabilities, CollectionCut, Cut, DatabaseCut, FieldDescription, FieldFlags, Grant,
    IndexDescription, LoadState, PartitionDescription, Property, RoleDescription, SegmentCut, ServerInfo,
    TimestampUnit,
};
use milvault_domain::ports::{
    MilvusCluster, MilvusConnector, MilvusTarget, PortError, PortErrorKind, PortResult,
};
use std::sync::Arc;

/// What a Milvus holds.
pub(crate) struct World {
    pub(super) databases: Vec<DatabaseCut>,
    pub(super) users: Vec<String>,
    pub(super) next_id: i64,
}

impl World {
    pub(super) fn of(uri: &str) -> Self {
        if uri.contains("target") {
            let databases = vec![database("default", Vec::new())];
            return Self { databases, users: vec![String::from("root")], next_id: 1000 };
        }
        let of_default = vec![collection(451_234_567_890_123_456, "books"), collection(2, "people")];
        Self {
            databases: vec![database("archive", vec![collection(3, "old")]), database("default", of_default)],
            users: vec![String::from("ada"), String::from("root")],
            next_id: 1000,
        }
    }

    pub(super) fn new_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn database_mut(&mut self, name: &str) -> Option<&mut DatabaseCut> {
        self.databases.iter_mut().find(|database| database.name == name)
    }

    /// A collection by its name or an alias.
    pub(super) fn collection_mut(&mut self, database: &str, name: &str) -> Option<&mut CollectionCut> {
        let is_it = |collection: &&mut CollectionCut| {
            collection.name == name || collection.aliases.iter().any(|alias| alias == name)
        };
        self.database_mut(database)?.collections.iter_mut().find(is_it)
    }

    pub(super) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for database in &self.databases {
            for collection in &database.collections {
                let own = std::iter::once(&collection.name).chain(&collection.aliases);
                names.extend(own.map(|name| format!("{}.{name}", database.name)));
            }
        }
        names.sort();
        names
    }

    fn cut(&self) -> Cut {
        Cut {
            cut_at_ms: 1_750_000_000_000,
            server: server(),
            databases: self.databases.clone(),
            access_control: Some(AccessControl {
                users: self.users.clone(),
                roles: vec![RoleDescription {
                    name: String::from("admin"),
                    users: vec![String::from("root")],
                }],
                grants: vec![Grant {
                    role: String::from("admin"),
                    object_type: String::from("Global"),
                    object_name: String::from("*"),
                    database: String::from("default"),
                    privilege: String::from("All"),
                    grantor: String::from("root"),
                }],
            }),
        }
    }
}

pub(super) fn property(key: &str, value: &str) -> Property {
    Property { key: key.to_owned(), value: value.to_owned() }
}

pub(super) fn database(name: &str, collections: Vec<CollectionCut>) -> DatabaseCut {
    DatabaseCut {
        name: name.to_owned(),
        properties: vec![property("database.replica.number", "1")],
        collections,
    }
}

pub(super) fn collection(collection_id: i64, name: &str) -> CollectionCut {
    CollectionCut {
        collection_id,
        name: name.to_owned(),
        description: String::from("pretended"),
        shard_count: 2,
        consistency_level: 2,
        schema_proto: Vec::new(),
        fields: vec![FieldDescription {
            field_id: 100,
            name: String::from("id"),
            description: String::new(),
            data_type: String::from("Int64"),
            element_type: String::new(),
            type_params: vec![property("max_length", "8")],
            flags: FieldFlags { primary_key: true, ..FieldFlags::default() },
        }],
        dynamic_field: true,
        properties: vec![property("collection.ttl.seconds", "60")],
        partitions: vec![PartitionDescription { partition_id: 7, name: String::from("_default") }],
        indexes: vec![IndexDescription {
            name: String::from("vector_index"),
            field_name: String::from("vector"),
            params: vec![property("index_type", "HNSW")],
        }],
        aliases: vec![format!("{name}_alias")],
        load_state: LoadState::Loaded,
        replica_count: 1,
        segments: vec![SegmentCut {
            segment_id: collection_id * 10,
            partition_id: 7,
            row_count: SEGMENT_ROWS,
        }],
    }
}

pub(super) fn server() -> ServerInfo {
    ServerInfo {
        version: String::from("v2.3.5"),
        capabilities: Capabilities {
            verified: true,
            databases: true,
            gc_pause: false,
            l0_segments: false,
            import_end_timestamp: TimestampUnit::Milliseconds,
        },
    }
}

/// What a backup of a whole cluster shows.
pub(super) fn whole_cut() -> Cut {
    World::of("source").cut()
}

pub(crate) struct PretendedMilvus(pub(crate) Arc<Outside>);

#[async_trait]
impl MilvusConnector for PretendedMilvus {
    async fn connect(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusCluster>> {
        Ok(Arc::new(open(&self.0, endpoint)?))
    }

    async fn connect_target(&self, endpoint: &MilvusEndpoint) -> PortResult<Arc<dyn MilvusTarget>> {
        Ok(Arc::new(open(&self.0, endpoint)?))
    }
}

fn open(outside: &Arc<Outside>, endpoint: &MilvusEndpoint) -> PortResult<PretendedTarget> {
    if endpoint.uri.contains("unreachable") {
        return Err(PortError::new(
            PortErrorKind::Unavailable,
            "milvus does not answer; look at its address",
        ));
    }
    Ok(PretendedTarget { outside: Arc::clone(outside), uri: endpoint.uri.clone(), server: server() })
}

#[async_trait]
impl MilvusCluster for PretendedTarget {
    fn server(&self) -> &ServerInfo {
        &self.server
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        let _ = self.outside.gate.subscribe().wait_for(|open| *open).await;
        let mut cut = self.outside.with_world(&self.uri, |world| world.cut());
        cut.databases.retain(|database| scope.includes_database(&database.name));
        for database in &mut cut.databases {
            let name = database.name.clone();
            database.collections.retain(|collection| scope.includes_collection(&name, &collection.name));
        }
        if *scope != BackupScope::Cluster {
            cut.access_control = None;
        }
        Ok(cut)
    }
}
