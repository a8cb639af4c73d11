//! Backups, targets and requests for the planner's tests.

use super::{PlanInput, RestorePlan, plan_restore};
use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::ids::{BackupId, ClusterId, JobId};
use crate::milvus::{
    AccessControl, Capabilities, CollectionCut, Cut, DatabaseCut, FieldDescription, FieldFlags, Grant,
    IndexDescription, LoadState, PartitionDescription, Property, RoleDescription, SegmentCut, ServerInfo,
    TimestampUnit,
};
use crate::ports::{CollectionInventory, DatabaseInventory, Inventory};
use crate::restore::{
    ChosenItem, CollectionRename, CompareDepth, ConflictPolicy, DatabaseRename, IndexChoice, LoadChoice,
    RestoreRequest, RestoreSelection, TargetNames,
};
use std::collections::HashMap;
use uuid::Uuid;

pub(super) fn job_id() -> JobId {
    JobId::from_uuid(Uuid::from_u128(0x0199_0000_0000_7000_8000_0000_cafe_f00d))
}

pub(super) fn request() -> RestoreRequest {
    RestoreRequest {
        backup_id: BackupId::from_uuid(Uuid::from_u128(1)),
        target_cluster_id: ClusterId::from_uuid(Uuid::from_u128(2)),
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

/// Ids of the collection's partitions are 10 times its own, plus their position.
pub(super) fn collection(id: i64, name: &str, partitions: &[&str]) -> CollectionCut {
    let partition_ids = (0..).map(|position| id * 10 + position);
    CollectionCut {
        collection_id: id,
        name: name.to_owned(),
        description: String::new(),
        shard_count: 2,
        consistency_level: 2,
        schema_proto: Vec::new(),
        fields: vec![FieldDescription {
            field_id: 101,
            name: String::from("embedding"),
            description: String::new(),
            data_type: String::from("FloatVector"),
            element_type: String::new(),
            type_params: Vec::new(),
            flags: FieldFlags::default(),
        }],
        dynamic_field: false,
        properties: Vec::new(),
        partitions: partition_ids
            .clone()
            .zip(partitions)
            .map(|(partition_id, name)| PartitionDescription { partition_id, name: (*name).to_owned() })
            .collect(),
        indexes: vec![IndexDescription {
            name: String::from("embedding_index"),
            field_name: String::from("embedding"),
            params: Vec::new(),
        }],
        aliases: Vec::new(),
        load_state: LoadState::NotLoaded,
        replica_count: 0,
        segments: partition_ids
            .zip(partitions)
            .map(|(partition_id, _)| SegmentCut {
                segment_id: partition_id * 10,
                partition_id,
                row_count: 100,
            })
            .collect(),
    }
}

pub(super) fn database(name: &str, collections: Vec<CollectionCut>) -> DatabaseCut {
    DatabaseCut { name: name.to_owned(), properties: Vec::new(), collections }
}

pub(super) fn cut(databases: Vec<DatabaseCut>) -> Cut {
    Cut {
        cut_at_ms: 1_700_000_000_000,
        server: ServerInfo {
            version: String::from("v2.3.5"),
            capabilities: Capabilities {
                verified: true,
                databases: true,
                gc_pause: false,
                l0_segments: false,
                import_end_timestamp: TimestampUnit::Milliseconds,
            },
        },
        databases,
        access_control: None,
    }
}

/// `default.orders` (partitions `_default`, `eu`), `default.users`, `shop.items`.
pub(super) fn shop() -> Cut {
    cut(vec![
        database(
            "default",
            vec![collection(1, "orders", &["_default", "eu"]), collection(2, "users", &["_default"])],
        ),
        database("shop", vec![collection(3, "items", &["_default"])]),
    ])
}

pub(super) fn access() -> AccessControl {
    let role = |name: &str| RoleDescription { name: name.to_owned(), users: Vec::new() };
    let grant = |role: &str| Grant {
        role: role.to_owned(),
        object_type: String::from("Collection"),
        object_name: String::from("orders"),
        database: String::from("default"),
        privilege: String::from("Insert"),
        grantor: String::from("root"),
    };
    AccessControl {
        users: ["ann", "bob", "root"].map(String::from).to_vec(),
        roles: ["admin", "public", "reader", "writer"].map(role).to_vec(),
        grants: ["public", "reader", "reader", "writer"].map(grant).to_vec(),
    }
}

/// A target with these collections: database, name, aliases.
pub(super) fn inventory(collections: &[(&str, &str, &[&str])]) -> Inventory {
    let mut databases = vec![DatabaseInventory { name: String::from("default"), collections: Vec::new() }];
    for ((database, name, aliases), collection_id) in collections.iter().zip(900..) {
        let entry = CollectionInventory {
            name: (*name).to_owned(),
            collection_id,
            aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        };
        match databases.iter_mut().find(|known| known.name == *database) {
            Some(known) => known.collections.push(entry),
            None => {
                databases.push(DatabaseInventory { name: (*database).to_owned(), collections: vec![entry] });
            }
        }
    }
    Inventory { databases, users: vec![String::from("root")], roles: Vec::new() }
}

pub(super) fn plan(
    request: &RestoreRequest,
    cut: &Cut,
    inventory: &Inventory,
) -> Result<RestorePlan, InvalidInput> {
    plan_into(&cut.server, request, cut, inventory)
}

/// A plan for a target of this version.
pub(super) fn plan_into(
    server: &ServerInfo,
    request: &RestoreRequest,
    cut: &Cut,
    inventory: &Inventory,
) -> Result<RestorePlan, InvalidInput> {
    let sizes = HashMap::from([
        ((1, 10), (4, 400)),
        ((1, 11), (2, 200)),
        ((1, -1), (1, 7)),
        ((2, 20), (8, 800)),
        ((3, 30), (16, 1_600)),
    ]);
    plan_restore(&PlanInput { job_id: job_id(), request, cut, sizes: &sizes, inventory, server })
}

pub(super) fn named(database: &str, collection: &str) -> CollectionName {
    CollectionName { database: database.to_owned(), collection: collection.to_owned() }
}

pub(super) fn item(database: &str, collection: Option<&str>, partitions: Option<&[&str]>) -> ChosenItem {
    ChosenItem {
        database: database.to_owned(),
        collection: collection.map(str::to_owned),
        partitions: partitions.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
    }
}

pub(super) fn database_rename(from: &str, to: &str) -> DatabaseRename {
    DatabaseRename { from: from.to_owned(), to: to.to_owned() }
}

pub(super) fn collection_rename(from: (&str, &str), to: (&str, &str)) -> CollectionRename {
    CollectionRename { from: named(from.0, from.1), to: named(to.0, to.1) }
}

pub(super) fn property(key: &str, value: &str) -> Property {
    Property { key: key.to_owned(), value: value.to_owned() }
}
