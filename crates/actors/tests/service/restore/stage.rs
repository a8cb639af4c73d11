//! A cluster with rows, a backup of it, and another cluster to restore into.

use crate::support::fakes::disks::name_of;
use crate::support::fakes::server::{FakeServer, Row, fields, name, row};
use crate::support::{Server, World, directory, new_cluster};
use milvault_actors::NewCluster;
use milvault_domain::backup::CollectionName;
use milvault_domain::cluster::MilvusEndpoint;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::job::Job;
use milvault_domain::milvus::{LoadState, Property, TIME_TO_LIVE_PROPERTY};
use milvault_domain::restore::{
    ChosenItem, CompareDepth, ConflictPolicy, IndexChoice, LoadChoice, Restore, RestoreRequest,
    RestoreSelection, RestoreStep, TargetNames,
};
use milvault_domain::storage::SourceLayout;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// All that a test needs; the servers of Milvault come and go.
pub(super) struct Stage {
    pub(super) world: World,
    pub(super) source: Arc<FakeServer>,
    pub(super) target: Arc<FakeServer>,
    pub(super) source_id: ClusterId,
    pub(super) target_id: ClusterId,
    pub(super) backup_id: BackupId,
}

/// Everything that can be seen of a collection, without ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) rows: BTreeMap<String, Vec<Row>>,
    pub(super) aliases: Vec<String>,
    pub(super) indexes: usize,
    pub(super) load_state: LoadState,
    pub(super) shard_count: i32,
    pub(super) properties: Vec<Property>,
}

pub(super) const CUSTOMERS: [(&str, &str); 4] = [("1", "ada"), ("2", "bob"), ("3", "cem"), ("4", "dan")];

fn milvus(
    world: &World,
    cluster: &str,
    repository_id: milvault_domain::ids::RepositoryId,
    first_id: i64,
) -> (NewCluster, Arc<FakeServer>) {
    let storage = directory(&format!("/{cluster}"));
    let uri = format!("http://{cluster}:19530");
    let disk = name_of(&storage, &SourceLayout::Milvus);
    let server = FakeServer::new(Arc::clone(&world.gates), Arc::clone(&world.stores.disks), &disk, first_id);
    let server = Arc::new(server);
    world.milvus.servers.lock().unwrap().insert(uri.clone(), Arc::clone(&server));
    let plain = new_cluster(cluster, repository_id);
    let endpoint = MilvusEndpoint { uri, ..plain.endpoint.clone() };
    (NewCluster { endpoint, storage, ..plain }, server)
}

/// Three collections in two databases: partitions, several segments, deletes, an alias, one collection without index.
fn fill(source: &FakeServer) {
    let cities = name("default", "cities");
    source.create(&cities, &fields(&["id", "name", "note"]), &["north", "empty"]);
    let number = |n: i32| row(&[&n.to_string(), &format!("city {n}"), "x"]);
    source.insert(&cities, "_default", &(0..7).map(number).collect::<Vec<_>>());
    source.insert(&cities, "north", &(10..14).map(number).collect::<Vec<_>>());
    source.delete(&cities, &["2", "11"]);
    source.insert(&cities, "north", &(20..22).map(number).collect::<Vec<_>>());
    source.state().find_mut(&cities).unwrap().aliases.insert("towns".to_owned());

    let orders = name("shop", "orders");
    source.create(&orders, &fields(&["id", "what"]), &[]);
    source.insert(&orders, "_default", &[row(&["1", "tea"]), row(&["2", "salt"])]);

    let customers = name("shop", "customers");
    source.create(&customers, &fields(&["id", "name"]), &[]);
    source.insert(&customers, "_default", &CUSTOMERS.map(|(id, name)| row(&[id, name])));
    let mut state = source.state();
    let customers = state.find_mut(&customers).unwrap();
    customers.indexes.clear();
    customers.properties = vec![Property { key: TIME_TO_LIVE_PROPERTY.to_owned(), value: "60".to_owned() }];
    customers.load_state = LoadState::NotLoaded;
    customers.replica_count = 0;
}

impl Stage {
    /// The backup is made; the source has gone on since.
    pub(super) async fn new() -> (Self, Server) {
        Self::in_world(World::new()).await
    }

    /// The same in a world that somebody has prepared.
    pub(super) async fn in_world(mut world: World) -> (Self, Server) {
        world.settings.poll_interval_min = Duration::from_millis(1);
        world.settings.poll_interval_max = Duration::from_millis(2);
        world.settings.cleanup_time_max = Duration::from_secs(12);
        let server = world.start().await;
        let repository_id = server.register().await.repository_id;
        let (new_source, source) = milvus(&world, "source", repository_id, 1000);
        let (new_target, target) = milvus(&world, "target", repository_id, 900_000);
        let source_id = server.service.register_cluster(new_source).await.unwrap().id;
        let target_id = server.service.register_cluster(new_target).await.unwrap().id;
        fill(&source);
        let made = server.back_up(source_id).await;
        assert_eq!(server.ended(made.job.id).await.failure, None);
        let stage = Self { world, source, target, source_id, target_id, backup_id: made.backup.id };
        (stage, server)
    }

    /// Everything, beside what is there.
    pub(super) fn request(&self) -> RestoreRequest {
        RestoreRequest {
            backup_id: self.backup_id,
            target_cluster_id: self.target_id,
            selection: RestoreSelection::Everything,
            names: TargetNames::default(),
            conflict: ConflictPolicy::Fail,
            shard_count: None,
            load: LoadChoice::AsInBackup,
            indexes: IndexChoice::Build,
            access_control: None,
            compare: CompareDepth::Keys,
            continues: None,
        }
    }

    pub(super) fn replacing(&self) -> RestoreRequest {
        RestoreRequest { conflict: ConflictPolicy::Replace, ..self.request() }
    }

    /// Puts a collection into the target that has the name of one of the backup, with the same alias. Returns its id.
    pub(super) fn occupy(&self) -> i64 {
        let cities = name("default", "cities");
        let id = self.target.create(&cities, &fields(&["id", "name", "note"]), &[]);
        self.target.insert(&cities, "_default", &[row(&["1", "old", "old"])]);
        let mut state = self.target.state();
        state.find_mut(&cities).unwrap().aliases.insert("towns".to_owned());
        id
    }

    pub(super) async fn begin(&self, server: &Server, request: RestoreRequest) -> JobId {
        server.service.request_restore(request, None, "tester".to_owned()).await.unwrap().id
    }

    /// Restores and waits for the end.
    pub(super) async fn restore(&self, server: &Server, request: RestoreRequest) -> Job {
        let job_id = self.begin(server, request).await;
        server.ended(job_id).await
    }

    pub(super) fn restore_row(&self, job_id: JobId) -> Restore {
        self.world.catalog.find_restore(job_id)
    }

    pub(super) fn steps(&self, job_id: JobId) -> Vec<RestoreStep> {
        self.restore_row(job_id).collections.iter().map(|state| state.step).collect()
    }

    /// The collections of the target by `database.collection`.
    pub(super) fn seen(&self) -> BTreeMap<String, Seen> {
        see(&self.target)
    }

    /// What the target has to show when everything is restored.
    pub(super) fn wanted(&self) -> BTreeMap<String, Seen> {
        see(&self.source)
    }

    /// Nothing is staged, and nothing has a name that only the restore itself uses.
    pub(super) fn assert_tidy(&self, context: &str) {
        assert_eq!(self.target.staged(), Vec::<String>::new(), "{context}");
        let names = self.target.collection_names();
        assert!(!names.iter().any(|name| name.contains("milvault")), "{context}: {names:?}");
    }

    /// Names of the target's databases.
    pub(super) fn databases(&self) -> Vec<String> {
        self.target.state().databases.keys().cloned().collect()
    }

    /// Only this collection.
    pub(super) fn only(&self, database: &str, collection: &str) -> RestoreRequest {
        let item = ChosenItem {
            database: database.to_owned(),
            collection: Some(collection.to_owned()),
            partitions: None,
        };
        RestoreRequest { selection: RestoreSelection::Chosen(vec![item]), ..self.request() }
    }

    pub(super) fn name_of(&self, collection_id: i64) -> Option<CollectionName> {
        let state = self.target.state();
        state.databases.iter().find_map(|(database, collections)| {
            let found = collections.iter().find(|other| other.collection_id == collection_id)?;
            Some(name(database, &found.name))
        })
    }
}

fn see(server: &FakeServer) -> BTreeMap<String, Seen> {
    let mut seen = BTreeMap::new();
    for full_name in server.collection_names() {
        let (database, collection) = full_name.split_once('.').unwrap();
        let name = name(database, collection);
        let rows = server.rows(&name);
        let state = server.state();
        let found = state.find(&name).unwrap();
        let one = Seen {
            rows,
            aliases: found.aliases.iter().cloned().collect(),
            indexes: found.indexes.len(),
            load_state: found.load_state,
            shard_count: found.shard_count,
            properties: found.properties.clone(),
        };
        seen.insert(full_name.clone(), one);
    }
    seen
}

/// Collections of the backup, as tests name them.
pub(super) fn cities() -> CollectionName {
    name("default", "cities")
}

pub(super) fn orders() -> CollectionName {
    name("shop", "orders")
}
