//! A Milvus in memory: its collections, and the calls with which a test fills, reads and damages them. Rows lie as
//! binlogs on its disk and nowhere else.

use super::binlogs::{decode_all, deletes, encode, is_there};
use super::disks::{Disk, Disks};
use super::gates::Gates;
use milvault_domain::backup::CollectionName;
use milvault_domain::binlog::{BinlogKey, BinlogKind};
use milvault_domain::milvus::{
    CollectionCut, FieldDescription, FieldFlags, IndexDescription, LoadState, PartitionDescription, Property,
    SegmentCut,
};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

/// Rows of one binlog file: few, so that most segments have several.
const LOG_ROWS: usize = 3;

/// Values in the order of the fields; the first is the primary key.
pub type Row = Vec<String>;

pub struct FakeServer {
    pub gates: Arc<Gates>,
    pub disks: Arc<Disks>,
    /// Name of its storage.
    pub disk: String,
    state: Mutex<ServerState>,
}

#[derive(Default)]
pub struct ServerState {
    pub now_ms: i64,
    pub next_id: i64,
    pub databases: BTreeMap<String, Vec<FakeCollection>>,
    pub users: BTreeSet<String>,
    pub roles: BTreeSet<String>,
    pub grants: usize,
    pub imports: HashMap<i64, FakeImport>,
    /// Is a Milvus of 2.4, whose deletes may lie in segments of their own.
    pub l0_segments: bool,
    /// Rows that the next imports lose without a word.
    pub rows_to_lose: usize,
    /// Makes the next imports fail for this reason.
    pub import_failure: Option<String>,
    /// Names of all collections that were ever created, in order.
    pub created: Vec<CollectionName>,
}

#[derive(Clone)]
pub struct FakeCollection {
    pub collection_id: i64,
    pub name: String,
    pub description: String,
    pub shard_count: i32,
    pub consistency_level: i32,
    pub schema_proto: Vec<u8>,
    pub properties: Vec<Property>,
    /// Names and ids, sorted.
    pub partitions: Vec<(String, i64)>,
    pub indexes: Vec<IndexDescription>,
    pub aliases: BTreeSet<String>,
    pub load_state: LoadState,
    pub replica_count: u32,
    pub segments: Vec<SegmentCut>,
    /// Looks at indexes and load state that are still to find them unfinished.
    pub polls_left: u32,
}

pub struct FakeImport {
    pub collection_id: i64,
    pub partition_id: i64,
    pub insert_path: String,
    pub delta_path: Option<String>,
    pub cut_at_ms: i64,
    pub polls: u32,
    pub row_count: Option<u64>,
    pub failure: Option<String>,
}

pub fn error(kind: PortErrorKind, message: impl Into<String>) -> PortError {
    PortError::new(kind, message)
}

pub fn name(database: &str, collection: &str) -> CollectionName {
    CollectionName { database: database.to_owned(), collection: collection.to_owned() }
}

/// A schema: an `Int64` primary key and further fields of text.
pub fn fields(names: &[&str]) -> Vec<FieldDescription> {
    let field = |(field_id, name): (i64, &&str)| FieldDescription {
        field_id,
        name: (*name).to_owned(),
        description: String::new(),
        data_type: if field_id == 100 { "Int64" } else { "VarChar" }.to_owned(),
        element_type: String::new(),
        type_params: vec![],
        flags: FieldFlags {
            primary_key: field_id == 100,
            dynamic: *name == "$meta",
            ..FieldFlags::default()
        },
    };
    (100..).zip(names).map(field).collect()
}

pub fn row(values: &[&str]) -> Row {
    values.iter().map(|value| (*value).to_owned()).collect()
}

impl FakeServer {
    /// An empty Milvus. `first_id` keeps the ids of servers apart.
    pub fn new(gates: Arc<Gates>, disks: Arc<Disks>, disk: &str, first_id: i64) -> Self {
        disks.edit(disk, |_| ());
        let state = ServerState {
            now_ms: 1_790_000_000_000,
            next_id: first_id,
            databases: BTreeMap::from([("default".to_owned(), vec![])]),
            users: BTreeSet::from(["root".to_owned()]),
            ..ServerState::default()
        };
        Self { gates, disks, disk: disk.to_owned(), state: Mutex::new(state) }
    }

    pub fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap()
    }

    /// Makes a collection with an index on its last field, loaded.
    pub fn create(&self, name: &CollectionName, fields: &[FieldDescription], partitions: &[&str]) -> i64 {
        let mut state = self.state();
        let index = IndexDescription {
            name: "by_last_field".to_owned(),
            field_name: fields.last().unwrap().name.clone(),
            params: vec![Property { key: "index_type".to_owned(), value: "FLAT".to_owned() }],
        };
        let partitions = partitions.iter().map(|name| (*name).to_owned()).collect();
        let collection = FakeCollection {
            indexes: vec![index],
            load_state: LoadState::Loaded,
            replica_count: 1,
            ..state.new_collection(name.collection.clone(), schema(fields), partitions)
        };
        state.add(name, collection)
    }

    /// Writes rows as one segment of a partition; returns the segment's id.
    pub fn insert(&self, name: &CollectionName, partition: &str, rows: &[Row]) -> i64 {
        let mut state = self.state();
        let collection_id = state.find(name).unwrap().collection_id;
        let partition_id = state.find(name).unwrap().partition_id(partition).unwrap();
        state.now_ms += 1;
        let fields: Vec<i64> = state.find(name).unwrap().fields().iter().map(|f| f.field_id).collect();
        let rows: Vec<(i64, Row)> = rows.iter().map(|row| (state.now_ms, row.clone())).collect();
        self.disks
            .edit(&self.disk, |disk| state.write_segment(disk, collection_id, partition_id, &fields, &rows))
    }

    /// Writes a delete into the delta logs of all segments of the collection, as Milvus 2.3 does.
    pub fn delete(&self, name: &CollectionName, keys: &[&str]) {
        let mut state = self.state();
        let collection = state.find(name).unwrap().clone();
        for segment in collection.segments.iter().filter(|segment| segment.partition_id >= 0) {
            self.write_delta(&mut state, &collection, *segment, keys);
        }
    }

    /// Writes a delete into a segment of its own that concerns all partitions, as Milvus 2.4 does.
    pub fn delete_in_l0(&self, name: &CollectionName, keys: &[&str]) {
        let collection_id = self.state().find(name).unwrap().collection_id;
        self.delete_in_l0_of(collection_id, -1, keys);
    }

    /// The same, for one partition.
    pub fn delete_in_l0_of_partition(&self, name: &CollectionName, partition: &str, keys: &[&str]) {
        let found = self.state().find(name).unwrap().clone();
        self.delete_in_l0_of(found.collection_id, found.partition_id(partition).unwrap(), keys);
    }

    fn delete_in_l0_of(&self, collection_id: i64, partition_id: i64, keys: &[&str]) {
        let mut state = self.state();
        state.now_ms += 1;
        let deletes: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), state.now_ms)).collect();
        self.disks.edit(&self.disk, |disk| state.write_l0(disk, collection_id, partition_id, &deletes));
    }

    fn write_delta(
        &self,
        state: &mut ServerState,
        collection: &FakeCollection,
        segment: SegmentCut,
        keys: &[&str],
    ) {
        state.now_ms += 1;
        let key = BinlogKey {
            kind: BinlogKind::Delta,
            collection_id: collection.collection_id,
            partition_id: segment.partition_id,
            segment_id: segment.segment_id,
            field_id: 0,
            log_id: state.new_id(),
        };
        let lines = encode(keys.iter().map(|deleted| format!("{deleted}@{}", state.now_ms)));
        self.disks.edit(&self.disk, |disk| disk.write(key, lines));
    }

    /// Changes the values of one field in place, as damage would.
    pub fn damage_field(&self, name: &CollectionName, field_id: i64, change: impl Fn(&mut Vec<String>)) {
        let collection_id = self.state().find(name).unwrap().collection_id;
        self.disks.edit(&self.disk, |disk| {
            let is_field = |key: &BinlogKey| {
                (key.kind, key.collection_id, key.field_id) == (BinlogKind::Insert, collection_id, field_id)
            };
            let keys: Vec<BinlogKey> = disk.binlogs.keys().copied().filter(is_field).collect();
            for key in keys {
                let mut values = super::binlogs::decode(&disk.binlogs[&key].content).unwrap();
                change(&mut values);
                disk.write(key, encode(values));
            }
        });
    }

    /// All rows that are there now, sorted, by partition.
    pub fn rows(&self, name: &CollectionName) -> BTreeMap<String, Vec<Row>> {
        let state = self.state();
        let collection = state.find(name).unwrap_or_else(|| panic!("no collection {name:?}"));
        let disk = self.disks.snapshot(&self.disk).unwrap();
        let fields: Vec<i64> = collection.fields().iter().map(|field| field.field_id).collect();
        let rows_of = |(partition, partition_id): &(String, i64)| {
            let segments = collection.segments.iter().filter(|s| s.partition_id == *partition_id);
            let mut rows: Vec<Row> = segments
                .flat_map(|segment| collection.segment_rows(&disk, segment.segment_id, &fields, i64::MAX))
                .collect();
            rows.sort();
            (partition.clone(), rows)
        };
        collection.partitions.iter().map(rows_of).collect()
    }

    /// `database.collection` of everything that exists, sorted.
    pub fn collection_names(&self) -> Vec<String> {
        let state = self.state();
        let names = |(database, collections): (&String, &Vec<FakeCollection>)| {
            collections.iter().map(|c| format!("{database}.{}", c.name)).collect::<Vec<_>>()
        };
        let mut all: Vec<String> = state.databases.iter().flat_map(names).collect();
        all.sort();
        all
    }

    /// Paths of what restores have staged and not removed.
    pub fn staged(&self) -> Vec<String> {
        self.disks.snapshot(&self.disk).unwrap().staged.into_keys().collect()
    }
}

pub fn schema(fields: &[FieldDescription]) -> Vec<u8> {
    serde_json::to_vec(fields).unwrap()
}

impl ServerState {
    pub fn new_id(&mut self) -> i64 {
        self.next_id += 1;
        self.next_id
    }

    pub fn new_collection(
        &mut self,
        name: String,
        schema: Vec<u8>,
        partitions: BTreeSet<String>,
    ) -> FakeCollection {
        let mut partitions = partitions;
        let has_key = serde_json::from_slice::<Vec<FieldDescription>>(&schema)
            .is_ok_and(|fields| fields.iter().any(|field| field.flags.partition_key));
        if has_key {
            partitions = (0..partitions.len().max(1)).map(|n| format!("_default_{n}")).collect();
        } else {
            partitions.insert("_default".to_owned());
        }
        FakeCollection {
            collection_id: self.new_id(),
            name,
            description: String::new(),
            shard_count: 1,
            consistency_level: 2,
            schema_proto: schema,
            properties: vec![],
            partitions: partitions.into_iter().map(|name| (name, self.new_id())).collect(),
            indexes: vec![],
            aliases: BTreeSet::new(),
            load_state: LoadState::NotLoaded,
            replica_count: 0,
            segments: vec![],
            polls_left: 0,
        }
    }

    pub fn add(&mut self, name: &CollectionName, collection: FakeCollection) -> i64 {
        let collection_id = collection.collection_id;
        self.created.push(name.clone());
        self.databases.entry(name.database.clone()).or_default().push(collection);
        collection_id
    }

    /// A collection by its name or an alias.
    pub fn find(&self, name: &CollectionName) -> Option<&FakeCollection> {
        self.databases.get(&name.database)?.iter().find(|collection| collection.answers_to(&name.collection))
    }

    pub fn find_mut(&mut self, name: &CollectionName) -> Option<&mut FakeCollection> {
        let collections = self.databases.get_mut(&name.database)?;
        collections.iter_mut().find(|collection| collection.answers_to(&name.collection))
    }

    pub fn by_id(&mut self, collection_id: i64) -> Option<&mut FakeCollection> {
        self.databases.values_mut().flatten().find(|collection| collection.collection_id == collection_id)
    }

    /// Writes deletes with their times into a segment of their own.
    pub fn write_l0(
        &mut self,
        disk: &mut Disk,
        collection_id: i64,
        partition_id: i64,
        deletes: &[(String, i64)],
    ) {
        let segment_id = self.new_id();
        let (kind, field_id, log_id) = (BinlogKind::Delta, 0, self.new_id());
        let key = BinlogKey { kind, collection_id, partition_id, segment_id, field_id, log_id };
        disk.write(key, encode(deletes.iter().map(|(deleted, time)| format!("{deleted}@{time}"))));
        let segment = SegmentCut { segment_id, partition_id, row_count: 0 };
        self.by_id(collection_id).unwrap().segments.push(segment);
    }

    /// Writes a segment's files, each row with its time; returns its id.
    pub fn write_segment(
        &mut self,
        disk: &mut Disk,
        collection_id: i64,
        partition_id: i64,
        fields: &[i64],
        rows: &[(i64, Row)],
    ) -> i64 {
        let segment_id = self.new_id();
        for (number, rows) in rows.chunks(LOG_ROWS).enumerate() {
            let times = rows.iter().map(|(time, _)| time);
            let ids: Vec<usize> = (number * LOG_ROWS..number * LOG_ROWS + rows.len()).collect();
            let mut files = vec![(0, encode(ids)), (1, encode(times))];
            for (position, field_id) in fields.iter().enumerate() {
                files.push((*field_id, encode(rows.iter().map(|(_, row)| &row[position]))));
            }
            for (field_id, content) in files {
                let log_id = self.new_id();
                let kind = BinlogKind::Insert;
                let key = BinlogKey { kind, collection_id, partition_id, segment_id, field_id, log_id };
                disk.write(key, content);
            }
        }
        let segment = SegmentCut { segment_id, partition_id, row_count: rows.len() as u64 };
        self.by_id(collection_id).unwrap().segments.push(segment);
        segment_id
    }
}

impl FakeCollection {
    pub fn fields(&self) -> Vec<FieldDescription> {
        serde_json::from_slice(&self.schema_proto).unwrap_or_default()
    }

    pub fn partition_id(&self, partition: &str) -> PortResult<i64> {
        let found = self.partitions.iter().find(|(name, _)| name == partition);
        let found =
            found.ok_or_else(|| error(PortErrorKind::NotFound, format!("no partition {partition}")))?;
        Ok(found.1)
    }

    fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(name)
    }

    pub fn describe(&self) -> CollectionCut {
        CollectionCut {
            collection_id: self.collection_id,
            name: self.name.clone(),
            description: self.description.clone(),
            shard_count: self.shard_count,
            consistency_level: self.consistency_level,
            schema_proto: self.schema_proto.clone(),
            dynamic_field: self.fields().iter().any(|field| field.flags.dynamic),
            // As Milvus 2.3 does, the field of dynamic values is left out.
            fields: self.fields().into_iter().filter(|field| !field.flags.dynamic).collect(),
            properties: self.properties.clone(),
            partitions: self
                .partitions
                .iter()
                .map(|(name, id)| PartitionDescription { partition_id: *id, name: name.clone() })
                .collect(),
            indexes: self.indexes.clone(),
            aliases: self.aliases.iter().cloned().collect(),
            load_state: self.load_state,
            replica_count: self.replica_count,
            segments: self.segments.clone(),
        }
    }

    /// The rows of a segment that are there at an instant.
    fn segment_rows(&self, disk: &Disk, segment_id: i64, fields: &[i64], at_ms: i64) -> Vec<Row> {
        let files = |wanted: &dyn Fn(&BinlogKey) -> bool| -> Vec<Vec<u8>> {
            let of_collection = |key: &BinlogKey| key.collection_id == self.collection_id && wanted(key);
            let files = disk.binlogs.iter().filter(|(key, _)| of_collection(key));
            files.map(|(_, file)| file.content.clone()).collect()
        };
        let field = |field_id: i64| {
            let files = files(&|key| {
                (key.kind, key.segment_id, key.field_id) == (BinlogKind::Insert, segment_id, field_id)
            });
            decode_all(&files).unwrap()
        };
        let find = |id: i64| self.segments.iter().find(|segment| segment.segment_id == id);
        let partition_id = find(segment_id).map(|segment| segment.partition_id);
        // A segment without rows holds deletes of its whole partition, or of all.
        let concerns = |key: &BinlogKey| {
            let alone = find(key.segment_id).is_some_and(|segment| segment.row_count == 0);
            key.partition_id == -1 || alone && Some(key.partition_id) == partition_id
        };
        let deletes = deletes(&files(&|key| {
            key.kind == BinlogKind::Delta && (key.segment_id == segment_id || concerns(key))
        }));
        let deletes = deletes.unwrap();
        let columns: Vec<Vec<String>> = fields.iter().map(|field_id| field(*field_id)).collect();
        let times = field(1);
        (0..times.len())
            .filter(|position| {
                let time = times[*position].parse().unwrap();
                is_there(&columns[0][*position], time, &deletes, at_ms)
            })
            .map(|position| columns.iter().map(|column| column[position].clone()).collect())
            .collect()
    }
}
