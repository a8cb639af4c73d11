//! Connections to a [`FakeServer`]. Every call passes a point of its own name before it does anything, and those
//! that change something pass another one, in the past tense, when it is done and the answer is on its way.

use super::binlogs::{decode_all, deletes, is_there};
use super::disks::Disk;
use super::milvus::server;
use super::server::{FakeCollection, FakeImport, FakeServer, Row, ServerState, error};
use super::stager::IMPORT_ROOT;
use async_trait::async_trait;
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::milvus::{
    AccessControl, Cut, DatabaseCut, Grant, IndexDescription, LoadState, Property, RoleDescription,
    ServerInfo, TIME_TO_LIVE_PROPERTY,
};
use milvault_domain::ports::{
    CollectionInventory, CreatedCollection, DatabaseInventory, ImportProgress, ImportRequest, ImportState,
    Inventory, MilvusCluster, MilvusTarget, NewCollection, PortErrorKind, PortResult,
};
use milvault_domain::restore::UserPassword;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Looks at an import that find it at work.
const POLLS_UNTIL_DONE: u32 = 2;

pub struct TargetConnection {
    server: Arc<FakeServer>,
    info: ServerInfo,
}

impl TargetConnection {
    pub fn new(fake: Arc<FakeServer>) -> Self {
        let info = server_of(&fake.state());
        Self { server: fake, info }
    }

    async fn pass(&self, point: &'static str) -> PortResult<()> {
        self.server.gates.pass(point).await
    }

    fn change<T>(
        &self,
        name: &CollectionName,
        change: impl FnOnce(&mut FakeCollection) -> PortResult<T>,
    ) -> PortResult<T> {
        let mut state = self.server.state();
        change(state.find_mut(name).ok_or_else(|| missing(name))?)
    }
}

fn server_of(state: &ServerState) -> ServerInfo {
    let mut server = server();
    server.capabilities.l0_segments = state.l0_segments;
    server
}

fn missing(name: &CollectionName) -> milvault_domain::ports::PortError {
    error(PortErrorKind::NotFound, format!("collection {}.{} does not exist", name.database, name.collection))
}

#[async_trait]
impl MilvusCluster for TargetConnection {
    fn server(&self) -> &ServerInfo {
        &self.info
    }

    async fn take_cut(&self, scope: &BackupScope) -> PortResult<Cut> {
        self.pass("cut").await?;
        let mut state = self.server.state();
        if let BackupScope::Collections(names) = scope
            && let Some(name) = names.iter().find(|name| state.find(name).is_none())
        {
            return Err(missing(name));
        }
        state.now_ms += 2;
        let cut_of = |(database, collections): (&String, &Vec<FakeCollection>)| {
            let mut collections: Vec<_> = collections
                .iter()
                .filter(|collection| scope.includes_collection(database, &collection.name))
                .map(FakeCollection::describe)
                .collect();
            collections.sort_by(|a, b| a.name.cmp(&b.name));
            DatabaseCut { name: database.clone(), properties: vec![], collections }
        };
        let wanted = state.databases.iter().filter(|(database, _)| scope.includes_database(database));
        let role = |name: &String| RoleDescription { name: name.clone(), users: vec![] };
        let grant = |role: &String| Grant {
            role: role.clone(),
            object_type: "Collection".to_owned(),
            object_name: "*".to_owned(),
            database: "default".to_owned(),
            privilege: "Query".to_owned(),
            grantor: "root".to_owned(),
        };
        let access = AccessControl {
            users: state.users.iter().cloned().collect(),
            roles: state.roles.iter().map(role).collect(),
            grants: state.roles.iter().map(grant).collect(),
        };
        Ok(Cut {
            cut_at_ms: state.now_ms - 1,
            server: server_of(&state),
            databases: wanted.map(cut_of).collect(),
            access_control: (*scope == BackupScope::Cluster).then_some(access),
        })
    }
}

#[async_trait]
impl MilvusTarget for TargetConnection {
    async fn inventory(&self) -> PortResult<Inventory> {
        self.pass("inventory").await?;
        let state = self.server.state();
        let collection = |collection: &FakeCollection| CollectionInventory {
            name: collection.name.clone(),
            collection_id: collection.collection_id,
            aliases: collection.aliases.iter().cloned().collect(),
        };
        let database = |(name, collections): (&String, &Vec<FakeCollection>)| {
            let mut collections: Vec<_> = collections.iter().map(collection).collect();
            collections.sort_by(|a, b| a.name.cmp(&b.name));
            DatabaseInventory { name: name.clone(), collections }
        };
        Ok(Inventory {
            databases: state.databases.iter().map(database).collect(),
            users: state.users.iter().cloned().collect(),
            roles: state.roles.iter().cloned().collect(),
        })
    }

    async fn create_database(&self, name: &str, _: &[Property]) -> PortResult<()> {
        self.pass("create_database").await?;
        self.server.state().databases.entry(name.to_owned()).or_default();
        self.pass("created_database").await
    }

    async fn drop_empty_database(&self, name: &str) -> PortResult<bool> {
        self.pass("drop_database").await?;
        let is_gone = {
            let mut state = self.server.state();
            if name != "default" && state.databases.get(name).is_some_and(Vec::is_empty) {
                state.databases.remove(name);
            }
            !state.databases.contains_key(name)
        };
        self.pass("dropped_database").await?;
        Ok(is_gone)
    }

    async fn create_collection(&self, new: &NewCollection) -> PortResult<CreatedCollection> {
        self.pass("create_collection").await?;
        let created = {
            let mut state = self.server.state();
            if !state.databases.contains_key(&new.name.database) {
                return Err(error(PortErrorKind::NotFound, "the database does not exist"));
            }
            if state.find(&new.name).is_some() {
                return Err(error(PortErrorKind::Conflict, "the name is taken"));
            }
            let partitions = new.partitions.iter().cloned().collect();
            let name = new.name.collection.clone();
            let collection = FakeCollection {
                shard_count: new.shard_count,
                consistency_level: new.consistency_level,
                properties: new.properties.clone(),
                ..state.new_collection(name, new.schema_proto.clone(), partitions)
            };
            let created = describe(&collection);
            state.add(&new.name, collection);
            created
        };
        self.pass("created_collection").await?;
        Ok(created)
    }

    async fn set_properties(&self, name: &CollectionName, properties: &[Property]) -> PortResult<()> {
        self.pass("set_properties").await?;
        self.change(name, |collection| {
            for property in properties {
                collection.properties.retain(|known| known.key != property.key);
                collection.properties.push(property.clone());
            }
            Ok(())
        })?;
        self.pass("properties_set").await
    }

    async fn find_collection(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>> {
        self.pass("find_collection").await?;
        Ok(self.server.state().find(name).map(describe))
    }

    async fn drop_collection(&self, name: &CollectionName, collection_id: i64) -> PortResult<()> {
        self.pass("drop_collection").await?;
        if let Some(collections) = self.server.state().databases.get_mut(&name.database) {
            collections
                .retain(|other| (&other.name, other.collection_id) != (&name.collection, collection_id));
        }
        self.pass("dropped_collection").await
    }

    async fn rename_collection(&self, name: &CollectionName, to: &str) -> PortResult<()> {
        self.pass("rename_collection").await?;
        {
            let mut state = self.server.state();
            let new_name = CollectionName { collection: to.to_owned(), ..name.clone() };
            if state.find(&new_name).is_some() {
                return Err(error(PortErrorKind::Conflict, format!("the name {to} is taken")));
            }
            to.clone_into(&mut state.find_mut(name).ok_or_else(|| missing(name))?.name);
        }
        self.pass("renamed_collection").await
    }

    async fn import(&self, request: &ImportRequest) -> PortResult<Vec<i64>> {
        self.pass("import").await?;
        let import_id = {
            let mut state = self.server.state();
            let collection = state.find(&request.name).ok_or_else(|| missing(&request.name))?;
            let deletes_only = state.l0_segments && request.insert_path.is_empty();
            let collection_id = collection.collection_id;
            let partition_id = match request.partition.as_str() {
                "" if deletes_only => -1,
                partition => collection.partition_id(partition)?,
            };
            if deletes_only && collection.load_state != LoadState::NotLoaded {
                return Err(error(PortErrorKind::InvalidInput, "for l0 import, collection cannot be loaded"));
            }
            let delta_path = request.delta_path.as_deref();
            let paths = (!deletes_only).then_some(request.insert_path.as_str()).into_iter().chain(delta_path);
            if paths.clone().count() == 0 || !paths.clone().all(|path| path.ends_with('/')) {
                return Err(error(PortErrorKind::InvalidInput, "the paths must end with a slash"));
            }
            let import = FakeImport {
                collection_id,
                partition_id,
                insert_path: relative(&request.insert_path),
                delta_path: delta_path.map(relative),
                cut_at_ms: request.cut_at_ms,
                polls: 0,
                row_count: None,
                failure: state.import_failure.take(),
            };
            let import_id = state.new_id();
            state.imports.insert(import_id, import);
            import_id
        };
        self.pass("imported").await?;
        Ok(vec![import_id])
    }

    async fn import_progress(&self, import_id: i64) -> PortResult<ImportProgress> {
        self.pass("import_progress").await?;
        let mut state = self.server.state();
        let import = state.imports.get_mut(&import_id);
        let import = import.ok_or_else(|| error(PortErrorKind::NotFound, "no such import"))?;
        if let Some(reason) = &import.failure {
            let state = ImportState::Failed(reason.clone());
            return Ok(ImportProgress { state, percent: 0, row_count: 0 });
        }
        import.polls += 1;
        if import.polls <= POLLS_UNTIL_DONE {
            return Ok(ImportProgress { state: ImportState::Running, percent: 40, row_count: 0 });
        }
        if import.row_count.is_none() {
            match self.server.disks.edit(&self.server.disk, |disk| carry_out(&mut state, disk, import_id)) {
                Ok(rows) => state.imports.get_mut(&import_id).unwrap().row_count = Some(rows),
                Err(reason) => {
                    state.imports.get_mut(&import_id).unwrap().failure = Some(reason.clone());
                    let state = ImportState::Failed(reason);
                    return Ok(ImportProgress { state, percent: 40, row_count: 0 });
                }
            }
        }
        let row_count = state.imports[&import_id].row_count.unwrap();
        Ok(ImportProgress { state: ImportState::Completed, percent: 100, row_count })
    }

    async fn flush(&self, name: &CollectionName) -> PortResult<()> {
        self.pass("flush").await?;
        self.change(name, |_| Ok(()))
    }

    async fn row_counts(&self, name: &CollectionName) -> PortResult<Vec<(String, u64)>> {
        self.pass("row_counts").await?;
        self.change(name, |collection| {
            let rows = |id: i64| {
                let segments = collection.segments.iter().filter(|segment| segment.partition_id == id);
                segments.map(|segment| segment.row_count).sum()
            };
            Ok(collection.partitions.iter().map(|(name, id)| (name.clone(), rows(*id))).collect())
        })
    }

    async fn create_index(&self, name: &CollectionName, index: &IndexDescription) -> PortResult<()> {
        self.pass("create_index").await?;
        self.change(name, |collection| {
            if !collection.fields().iter().any(|field| field.name == index.field_name) {
                return Err(error(PortErrorKind::InvalidInput, "no such field"));
            }
            if !collection.indexes.contains(index) {
                collection.indexes.push(index.clone());
                collection.polls_left = 1;
            }
            Ok(())
        })?;
        self.pass("created_index").await
    }

    async fn indexes_built(&self, name: &CollectionName) -> PortResult<bool> {
        self.pass("indexes_built").await?;
        self.change(name, |collection| Ok(finished(collection)))
    }

    async fn load(&self, name: &CollectionName, replica_count: u32) -> PortResult<()> {
        self.pass("load").await?;
        self.change(name, |collection| {
            if collection.indexes.is_empty() {
                return Err(error(PortErrorKind::InvalidInput, "there is no index"));
            }
            collection.load_state = LoadState::Loading;
            collection.replica_count = replica_count;
            collection.polls_left = 1;
            Ok(())
        })?;
        self.pass("loaded").await
    }

    async fn release(&self, name: &CollectionName) -> PortResult<()> {
        self.pass("release").await?;
        self.change(name, |collection| {
            collection.load_state = LoadState::NotLoaded;
            collection.replica_count = 0;
            Ok(())
        })
    }

    async fn load_state(&self, name: &CollectionName) -> PortResult<LoadState> {
        self.pass("load_state").await?;
        self.change(name, |collection| {
            if collection.load_state == LoadState::Loading && finished(collection) {
                collection.load_state = LoadState::Loaded;
            }
            Ok(collection.load_state)
        })
    }

    async fn set_alias(&self, name: &CollectionName, alias: &str) -> PortResult<()> {
        self.pass("set_alias").await?;
        {
            let mut state = self.server.state();
            let id = state.find(name).ok_or_else(|| missing(name))?.collection_id;
            let collections = state.databases.get_mut(&name.database).unwrap();
            if collections.iter().any(|collection| collection.name == alias) {
                return Err(error(PortErrorKind::Conflict, "a collection has that name"));
            }
            for collection in collections {
                if collection.collection_id == id {
                    collection.aliases.insert(alias.to_owned());
                } else {
                    collection.aliases.remove(alias);
                }
            }
        }
        self.pass("alias_set").await
    }

    async fn restore_access(
        &self,
        access: &AccessControl,
        passwords: &[UserPassword],
    ) -> PortResult<Vec<String>> {
        self.pass("restore_access").await?;
        let mut state = self.server.state();
        state.users.extend(passwords.iter().map(|password| password.user.clone()));
        state.roles.extend(access.roles.iter().map(|role| role.name.clone()));
        state.grants += access.grants.len();
        Ok(vec![])
    }
}

fn describe(collection: &FakeCollection) -> CreatedCollection {
    CreatedCollection {
        collection_id: collection.collection_id,
        name: collection.name.clone(),
        partitions: collection.partitions.clone(),
    }
}

/// Whether what goes on in the background has ended by this look.
fn finished(collection: &mut FakeCollection) -> bool {
    let done = collection.polls_left == 0;
    collection.polls_left = collection.polls_left.saturating_sub(1);
    done
}

fn relative(path: &str) -> String {
    path.strip_prefix(IMPORT_ROOT).unwrap_or(path).to_owned()
}

/// Reads the staged files, as the server does some time after it has accepted them, and writes the rows of the cut
/// as a new segment.
fn carry_out(state: &mut ServerState, disk: &mut Disk, import_id: i64) -> Result<u64, String> {
    let import = &state.imports[&import_id];
    let (collection_id, partition_id, cut_at_ms) =
        (import.collection_id, import.partition_id, import.cut_at_ms);
    let staged = |prefix: &str| -> Vec<(String, Vec<u8>)> {
        let below = disk
            .staged
            .iter()
            .filter_map(|(path, content)| Some((path.strip_prefix(prefix)?.to_owned(), content.clone())));
        below.collect()
    };
    let delta_files = import.delta_path.as_deref().map_or_else(Vec::new, staged);
    let deletes_of = |is_wanted: &dyn Fn(&str) -> bool| {
        let wanted = delta_files.iter().filter(|(path, _)| is_wanted(path));
        let files: Vec<Vec<u8>> = wanted.map(|(_, content)| content.clone()).collect();
        deletes(&files).map_err(|error| error.to_string())
    };
    if import.insert_path.is_empty() {
        let mut deletes = deletes_of(&|_| true)?;
        deletes.retain(|(_, time)| *time <= cut_at_ms);
        state.write_l0(disk, collection_id, partition_id, &deletes);
        return Ok(0);
    }
    // segment -> field -> log -> content
    let mut segments: BTreeMap<i64, BTreeMap<i64, BTreeMap<i64, Vec<u8>>>> = BTreeMap::new();
    for (path, content) in staged(&import.insert_path) {
        let ids: Vec<i64> = path.split('/').filter_map(|part| part.parse().ok()).collect();
        let [segment, field, log] = ids[..] else { return Err(format!("{path} is no binlog")) };
        segments.entry(segment).or_default().entry(field).or_default().insert(log, content);
    }
    if segments.is_empty() {
        return Err("no binlog to import".to_owned());
    }
    let mut last_time = state.now_ms;
    let collection = state.by_id(collection_id).ok_or("the collection is gone")?;
    let fields: Vec<i64> = collection.fields().iter().map(|field| field.field_id).collect();
    let mut rows: Vec<(i64, Row)> = Vec::new();
    for (segment, files) in &segments {
        // As servers of 2.3 and 2.4 do: a segment's own deletes, and no others.
        let deletes = deletes_of(&|path| path.split('/').any(|part| part == segment.to_string()))?;
        let column = |field_id: i64| {
            let logs = files.get(&field_id).ok_or(format!("field {field_id} is missing"))?;
            let logs: Vec<Vec<u8>> = logs.values().cloned().collect();
            decode_all(&logs).map_err(|error| error.to_string())
        };
        let times = column(1)?;
        let columns: Vec<Vec<String>> =
            fields.iter().map(|field_id| column(*field_id)).collect::<Result<_, String>>()?;
        for (position, time) in times.iter().enumerate() {
            let time: i64 = time.parse().unwrap();
            if is_there(&columns[0][position], time, &deletes, cut_at_ms) {
                rows.push((time, columns.iter().map(|column| column[position].clone()).collect()));
                last_time = last_time.max(time);
            }
        }
    }
    // As every row is older than any time to live here, a server that had been told of one would keep none.
    if collection.properties.iter().any(|property| property.key == TIME_TO_LIVE_PROPERTY) {
        rows.clear();
    }
    let kept = rows.len().saturating_sub(std::mem::take(&mut state.rows_to_lose));
    rows.truncate(kept);
    state.now_ms = last_time + 1;
    if !rows.is_empty() {
        state.write_segment(disk, collection_id, partition_id, &fields, &rows);
    }
    Ok(rows.len() as u64)
}
