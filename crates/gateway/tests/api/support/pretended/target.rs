//! A Milvus that rows are given back to. Every import brings one segment.

use super::milvus::{collection, database};
use super::{Outside, SEGMENT_ROWS};
use async_trait::async_trait;
use milvault_domain::backup::CollectionName;
use milvault_domain::milvus::{
    AccessControl, CollectionCut, IndexDescription, LoadState, PartitionDescription, Property, SegmentCut,
    ServerInfo,
};
use milvault_domain::ports::{
    CollectionInventory, CreatedCollection, DatabaseInventory, ImportProgress, ImportRequest, ImportState,
    Inventory, MilvusTarget, NewCollection, PortError, PortErrorKind, PortResult,
};
use milvault_domain::restore::UserPassword;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub(crate) struct PretendedTarget {
    pub(super) outside: Arc<Outside>,
    pub(super) uri: String,
    pub(super) server: ServerInfo,
}

impl PretendedTarget {
    /// Changes or looks at a collection that must exist.
    fn with<T>(&self, name: &CollectionName, look: impl FnOnce(&mut CollectionCut) -> T) -> PortResult<T> {
        self.outside.with_world(&self.uri, |world| {
            world.collection_mut(&name.database, &name.collection).map(look).ok_or_else(|| {
                PortError::new(PortErrorKind::NotFound, format!("there is no collection {name:?}"))
            })
        })
    }
}

fn created(collection: &CollectionCut) -> CreatedCollection {
    let partitions = collection.partitions.iter();
    CreatedCollection {
        collection_id: collection.collection_id,
        name: collection.name.clone(),
        partitions: partitions.map(|partition| (partition.name.clone(), partition.partition_id)).collect(),
    }
}

fn taken(name: &str) -> PortError {
    PortError::new(PortErrorKind::Conflict, format!("the name {name} is taken"))
}

#[async_trait]
impl MilvusTarget for PretendedTarget {
    async fn inventory(&self) -> PortResult<Inventory> {
        self.outside.with_world(&self.uri, |world| {
            let databases = world.databases.iter().map(|database| DatabaseInventory {
                name: database.name.clone(),
                collections: database
                    .collections
                    .iter()
                    .map(|collection| CollectionInventory {
                        name: collection.name.clone(),
                        collection_id: collection.collection_id,
                        aliases: collection.aliases.clone(),
                    })
                    .collect(),
            });
            Ok(Inventory { databases: databases.collect(), users: world.users.clone(), roles: Vec::new() })
        })
    }

    async fn create_database(&self, name: &str, _properties: &[Property]) -> PortResult<()> {
        self.outside.with_world(&self.uri, |world| {
            if world.database_mut(name).is_none() {
                world.databases.push(database(name, Vec::new()));
                world.databases.sort_by(|left, right| left.name.cmp(&right.name));
            }
        });
        Ok(())
    }

    async fn drop_empty_database(&self, name: &str) -> PortResult<bool> {
        self.outside.with_world(&self.uri, |world| {
            world.databases.retain(|database| database.name != name || !database.collections.is_empty());
            Ok(world.database_mut(name).is_none())
        })
    }

    async fn create_collection(&self, new: &NewCollection) -> PortResult<CreatedCollection> {
        self.outside.with_world(&self.uri, |world| {
            if world.collection_mut(&new.name.database, &new.name.collection).is_some() {
                return Err(taken(&new.name.collection));
            }
            let mut made = collection(world.new_id(), &new.name.collection);
            made.aliases.clear();
            made.segments.clear();
            made.load_state = LoadState::NotLoaded;
            made.shard_count = new.shard_count;
            made.partitions = Vec::new();
            for name in &new.partitions {
                let partition_id = world.new_id();
                made.partitions.push(PartitionDescription { partition_id, name: name.clone() });
            }
            let answer = created(&made);
            let database = world
                .database_mut(&new.name.database)
                .ok_or_else(|| PortError::new(PortErrorKind::NotFound, "there is no such database"))?;
            database.collections.push(made);
            Ok(answer)
        })
    }

    async fn set_properties(&self, _: &CollectionName, _: &[Property]) -> PortResult<()> {
        Ok(())
    }

    async fn find_collection(&self, name: &CollectionName) -> PortResult<Option<CreatedCollection>> {
        Ok(self.with(name, |collection| created(collection)).ok())
    }

    async fn drop_collection(&self, name: &CollectionName, collection_id: i64) -> PortResult<()> {
        self.outside.with_world(&self.uri, |world| {
            if let Some(database) = world.database_mut(&name.database) {
                database.collections.retain(|collection| {
                    collection.collection_id != collection_id || collection.name != name.collection
                });
            }
        });
        Ok(())
    }

    async fn rename_collection(&self, name: &CollectionName, to: &str) -> PortResult<()> {
        let wanted = CollectionName { database: name.database.clone(), collection: to.to_owned() };
        if self.with(&wanted, |_| ()).is_ok() {
            return Err(taken(to));
        }
        self.with(name, |collection| to.clone_into(&mut collection.name))
    }

    async fn import(&self, request: &ImportRequest) -> PortResult<Vec<i64>> {
        if self.outside.imports_fail.load(Ordering::Relaxed) {
            return Err(PortError::new(PortErrorKind::InvalidInput, "pretended refusal of the files"));
        }
        let (import_id, segment_id) =
            self.outside.with_world(&self.uri, |world| (world.new_id(), world.new_id()));
        self.with(&request.name, |collection| {
            let partition = collection.partitions.iter().find(|known| known.name == request.partition);
            let partition_id = partition.expect("imports go into partitions that exist").partition_id;
            collection.segments.push(SegmentCut { segment_id, partition_id, row_count: SEGMENT_ROWS });
        })?;
        Ok(vec![import_id])
    }

    async fn import_progress(&self, _import_id: i64) -> PortResult<ImportProgress> {
        let state = if *self.outside.gate.borrow() { ImportState::Completed } else { ImportState::Running };
        Ok(ImportProgress { state, percent: 100, row_count: SEGMENT_ROWS })
    }

    async fn flush(&self, name: &CollectionName) -> PortResult<()> {
        self.with(name, |_| ())
    }

    async fn row_counts(&self, name: &CollectionName) -> PortResult<Vec<(String, u64)>> {
        self.with(name, |collection| {
            let partitions = collection.partitions.iter();
            partitions
                .map(|partition| {
                    (partition.name.clone(), collection.partition_row_count(partition.partition_id))
                })
                .collect()
        })
    }

    async fn create_index(&self, name: &CollectionName, _index: &IndexDescription) -> PortResult<()> {
        self.with(name, |_| ())
    }

    async fn indexes_built(&self, name: &CollectionName) -> PortResult<bool> {
        self.with(name, |_| true)
    }

    async fn load(&self, name: &CollectionName, replica_count: u32) -> PortResult<()> {
        self.with(name, |collection| {
            collection.load_state = LoadState::Loaded;
            collection.replica_count = replica_count;
        })
    }

    async fn release(&self, name: &CollectionName) -> PortResult<()> {
        self.with(name, |collection| collection.load_state = LoadState::NotLoaded)
    }

    async fn load_state(&self, name: &CollectionName) -> PortResult<LoadState> {
        self.with(name, |collection| collection.load_state)
    }

    async fn set_alias(&self, name: &CollectionName, alias: &str) -> PortResult<()> {
        self.outside.with_world(&self.uri, |world| {
            for collection in
                world.database_mut(&name.database).iter_mut().flat_map(|database| &mut database.collections)
            {
                collection.aliases.retain(|known| known != alias);
            }
        });
        self.with(name, |collection| collection.aliases.push(alias.to_owned()))
    }

    async fn restore_access(
        &self,
        _access: &AccessControl,
        passwords: &[UserPassword],
    ) -> PortResult<Vec<String>> {
        let made = passwords.iter().map(|password| password.user.clone());
        self.outside.with_world(&self.uri, |world| world.users.extend(made));
        Ok(Vec::new())
    }
}
