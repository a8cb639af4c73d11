//! The names that exist.

use super::lookup;
use crate::access;
use crate::client::Client;
use crate::error::CallResult;
use crate::listing::{self, CALLS_AT_ONCE, ListedCollection};
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::error::PortResult;
use milvault_domain::milvus::ServerInfo;
use milvault_domain::ports::{CollectionInventory, DatabaseInventory, Inventory};

/// Reads them; what is dropped meanwhile is left out.
pub(crate) async fn read(client: &Client, server: &ServerInfo) -> PortResult<Inventory> {
    let names = listing::databases(client, server.capabilities, &BackupScope::Cluster).await?;
    let mut databases = Vec::with_capacity(names.len());
    for name in names {
        let Some(listed) = listing::collections(client, &name).await? else { continue };
        let collections = listed.into_iter().map(|listed| collection(client, listed));
        let collections: Vec<_> = stream::iter(collections).buffered(CALLS_AT_ONCE).try_collect().await?;
        databases.push(DatabaseInventory { name, collections: collections.into_iter().flatten().collect() });
    }
    // The grants are not asked for: there may be many, one call for each role and database.
    let access = access::read(client, &[]).await?.unwrap_or_default();
    let roles = access.roles.into_iter().map(|role| role.name).collect();
    Ok(Inventory { databases, users: access.users, roles })
}

async fn collection(client: &Client, listed: ListedCollection) -> CallResult<Option<CollectionInventory>> {
    let name = CollectionName { database: listed.database, collection: listed.name };
    let Some(found) = lookup::lookup(client, &name).await? else { return Ok(None) };
    let mut aliases = found.aliases;
    aliases.sort();
    // One that was given this name since it was listed has an id of its own; either is true for a moment.
    Ok(Some(CollectionInventory { name: name.collection, collection_id: found.id, aliases }))
}
