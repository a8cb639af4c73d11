//! Databases.

use crate::client::Client;
use crate::error::CallResult;
use crate::listing;
use milvault_domain::backup::BackupScope;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Property, ServerInfo};
use milvus::proto::common::KeyValuePair;
use milvus::proto::milvus::{CreateDatabaseRequest, DropDatabaseRequest};

/// The database that always exists.
const DEFAULT_DATABASE: &str = "default";

/// Creates a database unless it exists.
pub(crate) async fn create(
    client: &Client,
    server: &ServerInfo,
    name: &str,
    properties: &[Property],
) -> PortResult<()> {
    if exists(client, server, name).await? {
        return Ok(());
    }
    if !server.capabilities.databases {
        let message = format!(
            "Milvus {} has no databases, so `{name}` cannot be created; restore into the database `default`",
            server.version
        );
        return Err(PortError::new(PortErrorKind::Unsupported, message));
    }
    let request = CreateDatabaseRequest {
        db_name: name.to_owned(),
        properties: pairs(properties),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(_) => Ok(()),
        // Somebody else was faster, or an earlier try of this call did it.
        Err(_) if exists(client, server, name).await? => Ok(()),
        Err(error) => Err(error.refused_as(PortErrorKind::InvalidInput)),
    }
}

/// Drops a database without collections; others, and the default one, are left alone. Returns whether it is gone.
pub(crate) async fn drop_empty(client: &Client, server: &ServerInfo, name: &str) -> PortResult<bool> {
    if name == DEFAULT_DATABASE {
        return Ok(false);
    }
    if !exists(client, server, name).await? {
        return Ok(true);
    }
    if !is_empty(client, name).await? {
        return Ok(false);
    }
    let request = DropDatabaseRequest { db_name: name.to_owned(), ..Default::default() };
    let Err(error) = client.call(request).await else { return Ok(true) };
    if !exists(client, server, name).await? {
        return Ok(true);
    }
    // The server refuses to drop what is not empty any more.
    if is_empty(client, name).await? { Err(error.into()) } else { Ok(false) }
}

async fn exists(client: &Client, server: &ServerInfo, name: &str) -> CallResult<bool> {
    let names = listing::databases(client, server.capabilities, &BackupScope::Cluster).await?;
    Ok(names.iter().any(|other| other == name))
}

async fn is_empty(client: &Client, name: &str) -> CallResult<bool> {
    Ok(listing::collections(client, name).await?.is_none_or(|collections| collections.is_empty()))
}

/// As the protocol spells properties.
pub(crate) fn pairs(properties: &[Property]) -> Vec<KeyValuePair> {
    let pair = |p: &Property| KeyValuePair { key: p.key.clone(), value: p.value.clone() };
    properties.iter().map(pair).collect()
}
