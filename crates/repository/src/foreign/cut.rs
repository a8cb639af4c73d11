//! From what milvus-backup wrote down to a cut.
//!
//! ## The instant
//! milvus-backup flushes one collection after the other, so there is no instant at which all of them were as they are
//! here. Its own restore gives back everything that is in the files. So must the cut: an earlier one would leave out rows
//! that the backup holds. It is therefore the instant at which the backup was complete: `end_time`. Ids of Milvus begin
//! with the time at which they were given out, so an `end_time` before that is not believed.
//!
//! Versions from 0.5 on write no `end_time`. The file that describes everything was written last, but when that was says
//! another clock than Milvus's, in seconds that are rounded down, and whoever copies a directory may set it back to any
//! time. So the cut is later than that and than the newest id by an hour.
//!
//! What is told of the flushes only moves it on. It is no bound of its own: `backup_timestamp` is the latest checkpoint
//! of the collection's channels, which Milvus reads before it seals segments, so rows of the flush itself are later, and
//! so are those that came before the segments were listed. Versions before Milvus 2.4 took `backup_timestamp` from the
//! second of the flush and put it where a hybrid timestamp (milliseconds shifted left by 18 bits, and a counter for what
//! happened within one) has milliseconds. `backup_physical_timestamp` has the second in any case.

use super::meta::{AccessMeta, BackupMeta, CollectionMeta, FieldMeta, IndexMeta, LogMeta, Pair, SegmentMeta};
use super::schema;
use milvault_domain::milvus::{
    AccessControl, Capabilities, CollectionCut, Cut, DatabaseCut, FieldDescription, FieldFlags, Grant,
    IndexDescription, LoadState, PartitionDescription, Property, RoleDescription, SegmentCut, ServerInfo,
    TimestampUnit,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Bits of a hybrid timestamp that count within a millisecond.
const LOGICAL_BITS: u32 = 18;
/// Partition of segments that hold deletes of all partitions.
const ALL_PARTITIONS: i64 = -1;
/// Newest storage version whose files are binlogs.
const BINLOG_STORAGE_VERSION_MAX: i64 = 1;
/// Database of collections that were backed up before Milvus had databases.
const DEFAULT_DATABASE: &str = "default";
/// Format of backups that hold binlogs. Versions that know no other do not write it.
const BINLOG_FORMAT: &str = "binlog";
/// Longest text of a description that is shown.
const SHOWN_CHARS_MAX: usize = 200;
/// Smaller numbers are seconds, not milliseconds: as milliseconds this is in 1973, as seconds in 5138.
const MILLISECONDS_MIN: u64 = 100_000_000_000;
/// Latest instant that is believed, milliseconds since 1970 UTC. A hybrid timestamp has no room for more.
const INSTANT_MS_MAX: i64 = 1 << 46;
/// How much later than all that is known the cut is where no end of the backup is told. Every file was copied before
/// the description was written, so a later cut leaves nothing out and costs nothing, while one that is too early loses
/// rows. An hour is more than what clocks differ by.
const UNTOLD_END_MARGIN_MS: i64 = 60 * 60 * 1000;
/// First version of Milvus that has segments of deletes only.
const FIRST_WITH_L0: (u32, u32) = (2, 4);

/// Why a directory cannot be taken over.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// It does not hold together.
    Corrupt(String),
    /// It is of a kind that is not known.
    Unsupported(String),
}

/// What the file says, as a cut. `written_at_ms` is when the file was written.
pub(super) fn to_cut(meta: &BackupMeta, written_at_ms: i64) -> Result<Cut, Problem> {
    refuse_unknown(meta)?;
    refuse_unfinished(meta)?;
    let mut databases: BTreeMap<String, DatabaseCut> = BTreeMap::new();
    for database in &meta.database_backups {
        let name = database_name(&database.db_name);
        database_cut(&mut databases, name).properties = properties([&database.properties]);
    }
    let mut ids = HashSet::new();
    let may_have_l0 = has_l0_segments(&meta.milvus_version);
    // Those of one partition are listed with it. Before Milvus had any, a segment was called so whose rows were not found.
    let deletes_only = |(partition_id, segment): (i64, &SegmentMeta)| {
        partition_id == ALL_PARTITIONS || (may_have_l0 && segment.is_l0)
    };
    let mut l0_segments = false;
    for collection in &meta.collection_backups {
        let cut = collection_cut(collection, may_have_l0)?;
        if !ids.insert(cut.collection_id) {
            return Err(corrupt(collection, "is there twice (`collection_id`)"));
        }
        l0_segments |= listed_segments(collection).any(deletes_only);
        database_cut(&mut databases, database_name(&collection.db_name)).collections.push(cut);
    }
    let mut databases: Vec<DatabaseCut> = databases.into_values().collect();
    for database in &mut databases {
        database.collections.sort_by(|first, second| first.name.cmp(&second.name));
        if let Some(pair) = database.collections.windows(2).find(|pair| pair[0].name == pair[1].name) {
            let name = format!("{}.{}", database.name, pair[0].name);
            return Err(Problem::Corrupt(format!("two collections are called `{name}`")));
        }
    }
    let capabilities = Capabilities {
        verified: false,
        databases: databases.iter().any(|database| database.name != DEFAULT_DATABASE),
        gc_pause: false,
        l0_segments,
        // The server cannot be asked any more, and only a restore's target matters here.
        import_end_timestamp: TimestampUnit::Milliseconds,
    };
    Ok(Cut {
        cut_at_ms: cut_at_ms(meta, written_at_ms),
        server: ServerInfo { version: meta.milvus_version.clone(), capabilities },
        databases,
        access_control: meta.rbac_meta.as_ref().map(access_control),
    })
}

/// Refuses what would be read as a backup of nothing, or of less than there is.
fn refuse_unknown(meta: &BackupMeta) -> Result<(), Problem> {
    if !["", BINLOG_FORMAT].contains(&meta.format.as_str()) {
        let what = format!(
            "the backup has the format `{}` (`format`); only the binlog format can be taken over",
            shown(&meta.format)
        );
        return Err(Problem::Unsupported(what));
    }
    if meta.camel_case {
        let what = "`collectionBackups` is no key of milvus-backup, which writes `collection_backups`; take the file \
                    that it wrote itself, not a copy that another program made of it";
        return Err(Problem::Unsupported(what.to_owned()));
    }
    if meta.id.is_empty() && meta.name.is_empty() && meta.collection_backups.is_empty() {
        let what = "it describes no backup: `id`, `name` and `collection_backups` are missing";
        return Err(Problem::Corrupt(what.to_owned()));
    }
    Ok(())
}

/// Versions before 0.5 write the state; later ones leave it at 0 and write the file when everything else is there.
fn refuse_unfinished(meta: &BackupMeta) -> Result<(), Problem> {
    let state = meta.state_code;
    let what = match state {
        0 | 2 => return Ok(()),
        1 => "was never finished",
        3 => "failed",
        4 => "ran out of time",
        _ => "did not end with success",
    };
    let why = match meta.error_message.as_str() {
        "" => String::new(),
        message => format!(": {}", shown(message)),
    };
    Err(Problem::Corrupt(format!("the backup {what} (`state_code` is {state}){why}")))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

/// Whether a Milvus of this version may have segments of deletes only; one whose version is not known may.
pub(super) fn has_l0_segments(version: &str) -> bool {
    let mut numbers = version.trim_start_matches('v').split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => FIRST_WITH_L0 <= (major, minor),
        _ => true,
    }
}

fn database_name(name: &str) -> &str {
    if name.is_empty() { DEFAULT_DATABASE } else { name }
}

fn database_cut<'a>(databases: &'a mut BTreeMap<String, DatabaseCut>, name: &str) -> &'a mut DatabaseCut {
    databases.entry(name.to_owned()).or_insert_with(|| DatabaseCut {
        name: name.to_owned(),
        properties: Vec::new(),
        collections: Vec::new(),
    })
}

/// See the module.
fn cut_at_ms(meta: &BackupMeta, written_at_ms: i64) -> i64 {
    let newest_id_ms = newest_id_ms(meta);
    let is_told = (newest_id_ms.max(1)..=INSTANT_MS_MAX).contains(&meta.end_time);
    let complete_at_ms = if is_told { meta.end_time } else { written_at_ms.max(newest_id_ms) };
    let known_ms = meta.collection_backups.iter().filter_map(flushed_at_ms).fold(complete_at_ms, i64::max);
    if is_told { known_ms } else { known_ms.saturating_add(UNTOLD_END_MARGIN_MS).min(INSTANT_MS_MAX) }
}

/// When the newest id of a segment or file was given out.
fn newest_id_ms(meta: &BackupMeta) -> i64 {
    let segments = meta.collection_backups.iter().flat_map(listed_segments);
    let ids = segments.flat_map(|(_, segment)| {
        let logs = segment.binlogs.iter().chain(&segment.deltalogs).flat_map(|field| &field.binlogs);
        logs.map(LogMeta::id).chain([segment.segment_id])
    });
    ids.max().unwrap_or(0) >> LOGICAL_BITS
}

/// When a collection was flushed, if that was told. What came before is in, and so may be what came later.
pub(super) fn flushed_at_ms(collection: &CollectionMeta) -> Option<i64> {
    let told = [collection.backup_timestamp >> LOGICAL_BITS, collection.backup_physical_timestamp];
    told.into_iter().filter_map(end_of).max()
}

/// The end of the second or millisecond that a number stands for; `None` for what is no instant.
fn end_of(number: u64) -> Option<i64> {
    let instant_ms = match number {
        0 => return None,
        seconds if seconds < MILLISECONDS_MIN => seconds.checked_mul(1000)?.checked_add(999)?,
        milliseconds => milliseconds.checked_add(1)?,
    };
    i64::try_from(instant_ms).ok().filter(|instant_ms| *instant_ms <= INSTANT_MS_MAX)
}

fn collection_cut(meta: &CollectionMeta, may_have_l0: bool) -> Result<CollectionCut, Problem> {
    if meta.collection_name.is_empty() || meta.collection_id <= 0 {
        return Err(corrupt(meta, "has no name or no id (`collection_name`, `collection_id`)"));
    }
    // Milvus 3 can export snapshots, which are laid out in another way.
    if meta.others.keys().any(|key| key.starts_with("snapshot")) {
        return Err(unsupported(
            meta,
            "was backed up as a snapshot (`snapshot_backup`); only the binlog format can be taken over",
        ));
    }
    let Some(described) = &meta.schema else {
        return Err(corrupt(meta, "has no schema (`schema`)"));
    };
    let schema_proto = schema::encode(described).map_err(|problem| corrupt(meta, &problem))?;
    let partitions = partitions(meta)?;
    let load_state = match meta.load_state.as_str() {
        "Loaded" => LoadState::Loaded,
        "Loading" => LoadState::Loading,
        _ => LoadState::NotLoaded,
    };
    let mut aliases = meta.aliases.clone();
    aliases.sort();
    aliases.dedup();
    Ok(CollectionCut {
        collection_id: meta.collection_id,
        name: meta.collection_name.clone(),
        description: described.description.clone(),
        shard_count: match meta.shards_num {
            0 => i32::try_from(meta.virtual_channel_names.len()).unwrap_or(i32::MAX).max(1),
            count => count,
        },
        consistency_level: meta.consistency_level,
        schema_proto,
        fields: described.fields.iter().map(field).collect(),
        dynamic_field: described.enable_dynamic_field,
        properties: properties([&meta.properties, &described.properties]),
        segments: segments(meta, may_have_l0)?,
        partitions,
        indexes: indexes(meta),
        aliases,
        load_state,
        // The number is not written down.
        replica_count: u32::from(load_state != LoadState::NotLoaded),
    })
}

fn field(meta: &FieldMeta) -> FieldDescription {
    FieldDescription {
        field_id: meta.field_id,
        name: meta.name.clone(),
        description: meta.description.clone(),
        data_type: schema::type_name(meta.data_type),
        element_type: match meta.element_type {
            0 => String::new(),
            element_type => schema::type_name(element_type),
        },
        type_params: properties([&meta.type_params]),
        flags: FieldFlags {
            primary_key: meta.is_primary_key,
            auto_id: meta.auto_id,
            partition_key: meta.is_partition_key,
            dynamic: meta.is_dynamic,
            nullable: meta.nullable,
        },
    }
}

/// Sorted by key; of two with one key the first wins.
fn properties<'a>(lists: impl IntoIterator<Item = &'a Vec<Pair>>) -> Vec<Property> {
    let mut by_key: BTreeMap<&str, &str> = BTreeMap::new();
    for pair in lists.into_iter().flatten() {
        by_key.entry(&pair.key).or_insert(&pair.value);
    }
    by_key.into_iter().map(|(key, value)| Property { key: key.to_owned(), value: value.to_owned() }).collect()
}

fn partitions(meta: &CollectionMeta) -> Result<Vec<PartitionDescription>, Problem> {
    let mut names = HashSet::new();
    let mut ids = HashSet::new();
    let mut partitions = Vec::with_capacity(meta.partition_backups.len());
    for partition in &meta.partition_backups {
        let (partition_id, name) = (partition.partition_id, partition.partition_name.clone());
        if partition_id == ALL_PARTITIONS {
            continue;
        }
        if name.is_empty() || partition_id <= 0 {
            return Err(corrupt(
                meta,
                "has a partition without name or id (`partition_name`, `partition_id`)",
            ));
        }
        if !names.insert(name.clone()) || !ids.insert(partition_id) {
            return Err(corrupt(meta, &format!("has the partition `{name}` twice (`partition_backups`)")));
        }
        partitions.push(PartitionDescription { partition_id, name });
    }
    partitions.sort_by(|first, second| first.name.cmp(&second.name));
    Ok(partitions)
}

fn indexes(meta: &CollectionMeta) -> Vec<IndexDescription> {
    let index = |index: &IndexMeta| {
        let mut params = index.params.clone();
        if !index.index_type.is_empty() {
            params.entry(String::from("index_type")).or_insert_with(|| index.index_type.clone());
        }
        IndexDescription {
            name: index.index_name.clone(),
            field_name: index.field_name.clone(),
            params: params.into_iter().map(|(key, value)| Property { key, value }).collect(),
        }
    };
    let mut indexes: Vec<IndexDescription> = meta.index_infos.iter().map(index).collect();
    indexes
        .sort_by(|first, second| (&first.field_name, &first.name).cmp(&(&second.field_name, &second.name)));
    indexes
}

/// All segments with the partitions they belong to.
pub(super) fn listed_segments(meta: &CollectionMeta) -> impl Iterator<Item = (i64, &SegmentMeta)> {
    let of_partitions = meta.partition_backups.iter().flat_map(|partition| {
        partition.segment_backups.iter().map(|segment| (partition.partition_id, segment))
    });
    of_partitions.chain(meta.l0_segments.iter().map(|segment| (ALL_PARTITIONS, segment)))
}

fn segments(meta: &CollectionMeta, may_have_l0: bool) -> Result<Vec<SegmentCut>, Problem> {
    let mut segments = Vec::new();
    let mut ids = HashSet::new();
    for (partition_id, segment) in listed_segments(meta) {
        let segment_id = segment.segment_id;
        if segment_id <= 0 || !ids.insert(segment_id) {
            return Err(corrupt(
                meta,
                &format!("has segment {segment_id} twice, or a segment without id (`segment_id`)"),
            ));
        }
        if BINLOG_STORAGE_VERSION_MAX < segment.storage_version {
            let version = segment.storage_version;
            let what = format!(
                "has segments of storage version {version} (`storage_version`); only the binlog format (versions 0 and \
                 1) can be taken over"
            );
            return Err(unsupported(meta, &what));
        }
        let rows = u64::try_from(segment.num_of_rows).map_err(|_| {
            corrupt(meta, &format!("has a negative number of rows in segment {segment_id} (`num_of_rows`)"))
        })?;
        if segment.is_l0 && partition_id != ALL_PARTITIONS && 0 < rows {
            refuse_lost_rows(meta, segment, may_have_l0)?;
        }
        // Segments of deletes count those, which are no rows.
        let holds_rows = !segment.is_l0 && partition_id != ALL_PARTITIONS;
        segments.push(SegmentCut { segment_id, partition_id, row_count: if holds_rows { rows } else { 0 } });
    }
    segments.sort_unstable_by_key(|segment| segment.segment_id);
    Ok(segments)
}

/// Some versions called every segment `is_l0` whose insert logs they did not find, for instance because they looked for
/// them below another path than Milvus's: its rows are lost, and the backup was a success all the same.
fn refuse_lost_rows(meta: &CollectionMeta, segment: &SegmentMeta, may_have_l0: bool) -> Result<(), Problem> {
    if may_have_l0 && segment.deltalogs.iter().any(|field| !field.binlogs.is_empty()) {
        return Ok(());
    }
    let (segment_id, rows) = (segment.segment_id, segment.num_of_rows);
    let what = format!(
        "has segment {segment_id}, which is marked as one of deletes (`is_l0`) and had {rows} rows: milvus-backup did not \
         find their files, so they are not in this backup; it probably had another root path than Milvus"
    );
    Err(corrupt(meta, &what))
}

fn access_control(meta: &AccessMeta) -> AccessControl {
    let mut members: HashMap<&str, Vec<String>> = HashMap::new();
    for user in &meta.users {
        for role in &user.roles {
            members.entry(&role.name).or_default().push(user.user.clone());
        }
    }
    let mut users: Vec<String> = meta.users.iter().map(|user| user.user.clone()).collect();
    users.sort();
    let mut names: Vec<&str> =
        meta.roles.iter().map(|role| role.name.as_str()).chain(members.keys().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let role = |name: &str| {
        let mut users = members.get(name).cloned().unwrap_or_default();
        users.sort();
        RoleDescription { name: name.to_owned(), users }
    };
    let grants = meta.grants.iter().map(|grant| Grant {
        role: grant.role.name.clone(),
        object_type: grant.object.name.clone(),
        object_name: grant.object_name.clone(),
        database: grant.db_name.clone(),
        privilege: grant.grantor.privilege.name.clone(),
        grantor: grant.grantor.user.name.clone(),
    });
    AccessControl { users, roles: names.into_iter().map(role).collect(), grants: grants.collect() }
}

fn named(meta: &CollectionMeta, what: &str) -> String {
    format!("collection `{}.{}` {what}", database_name(&meta.db_name), meta.collection_name)
}

fn corrupt(meta: &CollectionMeta, what: &str) -> Problem {
    Problem::Corrupt(named(meta, what))
}

fn unsupported(meta: &CollectionMeta, what: &str) -> Problem {
    Problem::Unsupported(named(meta, what))
}
