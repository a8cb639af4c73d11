//! What is behind a name.

use crate::call::Call;
use crate::client::{Client, HybridTimestamp};
use crate::describe;
use crate::error::{CallError, CallResult, Fault};
use crate::listing::ListedCollection;
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind};
use milvault_domain::ports::CreatedCollection;
use milvus::proto::milvus::{DescribeCollectionRequest, DropAliasRequest};
use milvus::proto::schema::CollectionSchema;
use prost::Message;

/// A collection that a name leads to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    pub(crate) id: i64,
    /// As the server describes it. Its `name` is the collection's own, also when an alias was asked for.
    pub(crate) schema: CollectionSchema,
    pub(crate) aliases: Vec<String>,
}

/// Looks up a collection's name or alias; `None` when there is none.
pub(crate) async fn lookup(client: &Client, name: &CollectionName) -> CallResult<Option<Found>> {
    let request = DescribeCollectionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..Default::default()
    };
    let described = match client.call(request).await {
        Ok(described) => described,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let schema = CollectionSchema::decode(described.schema.as_slice()).map_err(|error| {
        let message = format!("the schema of {} cannot be read: {error}", full_name(name));
        CallError::new(Fault::Other, DescribeCollectionRequest::METHOD, message)
    })?;
    Ok(Some(Found { id: described.collection_id, schema, aliases: described.aliases }))
}

/// As [`lookup`], with the partitions.
pub(crate) async fn find(client: &Client, name: &CollectionName) -> CallResult<Option<CreatedCollection>> {
    let Some(found) = lookup(client, name).await? else { return Ok(None) };
    let listed = ListedCollection {
        database: name.database.clone(),
        name: found.schema.name.clone(),
        id: found.id,
        created_at: HybridTimestamp::default(),
    };
    let Some(partitions) = describe::partitions(client, &listed).await? else { return Ok(None) };
    let partitions = partitions.into_iter().map(|(partition, _)| (partition.name, partition.partition_id));
    Ok(Some(CreatedCollection {
        collection_id: found.id,
        name: found.schema.name,
        partitions: partitions.collect(),
    }))
}

/// Looks up the name that a collection has just been given.
///
/// 2.3.5 keeps the aliases of a collection that is dropped. Such an alias leads nowhere, and whatever gets its name
/// afterwards cannot be found by it until the alias is dropped.
pub(crate) async fn lookup_given(client: &Client, name: &CollectionName) -> CallResult<Option<Found>> {
    if let Some(found) = lookup(client, name).await? {
        return Ok(Some(found));
    }
    let request = DropAliasRequest {
        db_name: name.database.clone(),
        alias: name.collection.clone(),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(_) => lookup(client, name).await,
        // The other servers: the name was no alias.
        Err(error) if matches!(error.fault, Fault::NotFound | Fault::Nothing | Fault::Taken) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `database.collection`, for messages.
pub(crate) fn full_name(name: &CollectionName) -> String {
    format!("`{}.{}`", name.database, name.collection)
}

/// The failure of what needs a collection that is not there.
pub(crate) fn not_found(name: &CollectionName) -> PortError {
    let message = format!("there is no collection {} at the target", full_name(name));
    PortError::new(PortErrorKind::NotFound, message)
}
