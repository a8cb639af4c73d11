//! Creating and dropping collections.

use super::database::pairs;
use super::import;
use super::lookup::{self, full_name};
use super::schema::Draft;
use crate::client::Client;
use crate::listing::CALLS_AT_ONCE;
use crate::versions;
use futures::{StreamExt, TryStreamExt, stream};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::{Property, ServerInfo};
use milvault_domain::ports::{CreatedCollection, NewCollection};
use milvus::proto::milvus::{
    AlterCollectionRequest, CreateCollectionRequest, CreatePartitionRequest, DropAliasRequest,
    DropCollectionRequest,
};

/// Creates a collection with its partitions; what is not as it should be is dropped again.
pub(crate) async fn create(
    client: &Client,
    server: &ServerInfo,
    new: &NewCollection,
) -> PortResult<CreatedCollection> {
    let draft = Draft::new(&new.schema_proto, &new.name.collection)?;
    if let Some(field) = draft.fields().find(|field| !versions::knows_type(server, field.data_type)) {
        let what = format!("it does not know the type of field `{}`", field.name);
        return Err(unsupported(new, &what));
    }
    // The server itself says yes to a name that is taken by a collection with the same schema.
    if let Some(found) = lookup::lookup(client, &new.name).await? {
        let what = if found.schema.name == new.name.collection { "a collection" } else { "an alias" };
        let message = format!("{} is the name of {what} already", full_name(&new.name));
        return Err(PortError::new(PortErrorKind::Conflict, message));
    }
    let request = creation(new, &draft)?;
    client.call(request).await.map_err(|error| {
        // Somebody was faster with another collection of that name.
        let taken = error.message.contains("duplicate collection");
        error.refused_as(if taken { PortErrorKind::Conflict } else { PortErrorKind::Unsupported })
    })?;
    let Some(found) = lookup::lookup_given(client, &new.name).await? else {
        return Err(lookup::not_found(&new.name).context("it was created and is gone"));
    };
    let completed = match draft.difference(&found.schema) {
        Some(difference) => Err(unsupported(new, &difference)),
        None => complete(client, new, &draft).await,
    };
    if completed.is_err()
        && let Err(error) = drop(client, &new.name, found.id).await
    {
        tracing::warn!(collection = %full_name(&new.name), %error, "an incomplete collection stays");
    }
    completed
}

fn creation(new: &NewCollection, draft: &Draft) -> PortResult<CreateCollectionRequest> {
    let num_partitions = if draft.has_partition_key() {
        i64::try_from(new.partitions.len())
            .map_err(|error| PortError::with_source(PortErrorKind::Internal, "too many partitions", error))?
    } else {
        0
    };
    Ok(CreateCollectionRequest {
        db_name: new.name.database.clone(),
        collection_name: new.name.collection.clone(),
        schema: draft.bytes.clone(),
        shards_num: new.shard_count,
        consistency_level: new.consistency_level,
        properties: pairs(&new.properties),
        num_partitions,
        ..Default::default()
    })
}

/// Makes the partitions, unless the server has made them.
async fn complete(client: &Client, new: &NewCollection, draft: &Draft) -> PortResult<CreatedCollection> {
    let made = found(client, new).await?;
    if draft.has_partition_key() {
        let (wanted, count) = (new.partitions.len(), made.partitions.len());
        if wanted != count {
            return Err(unsupported(new, &format!("it has {count} partitions instead of {wanted}")));
        }
        return Ok(made);
    }
    let is_missing = |name: &&String| !made.partitions.iter().any(|(other, _)| other == *name);
    let missing: Vec<_> = new.partitions.iter().filter(is_missing).map(|name| partition(new, name)).collect();
    if missing.is_empty() {
        return Ok(made);
    }
    stream::iter(missing.into_iter().map(|request| client.call(request)))
        .buffer_unordered(CALLS_AT_ONCE)
        .try_collect::<Vec<_>>()
        .await
        .map_err(|error| error.refused_as(PortErrorKind::Unsupported))?;
    found(client, new).await
}

async fn found(client: &Client, new: &NewCollection) -> PortResult<CreatedCollection> {
    lookup::find(client, &new.name).await?.ok_or_else(|| lookup::not_found(&new.name))
}

fn partition(new: &NewCollection, name: &str) -> CreatePartitionRequest {
    CreatePartitionRequest {
        db_name: new.name.database.clone(),
        collection_name: new.name.collection.clone(),
        partition_name: name.to_owned(),
        ..Default::default()
    }
}

fn unsupported(new: &NewCollection, what: &str) -> PortError {
    let message = format!(
        "this Milvus cannot make {} as it was: {what}; restore into the version that it was backed up from",
        full_name(&new.name)
    );
    PortError::new(PortErrorKind::Unsupported, message)
}

/// Sets properties of a collection.
pub(crate) async fn set_properties(
    client: &Client,
    name: &CollectionName,
    properties: &[Property],
) -> PortResult<()> {
    let request = AlterCollectionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        properties: pairs(properties),
        ..Default::default()
    };
    client.call(request).await.map_err(|error| error.refused_as(PortErrorKind::InvalidInput))?;
    Ok(())
}

/// Drops a collection and its aliases if the name is still its own.
pub(crate) async fn drop(client: &Client, name: &CollectionName, collection_id: i64) -> PortResult<()> {
    let Some(found) = lookup::lookup(client, name).await? else { return Ok(()) };
    if found.id != collection_id || found.schema.name != name.collection {
        return Ok(());
    }
    import::wait_until_idle(client, name, collection_id).await;
    // Some servers refuse to drop a collection that has aliases, 2.3.5 keeps them as aliases of nothing.
    for alias in found.aliases {
        let request = DropAliasRequest { db_name: name.database.clone(), alias, ..Default::default() };
        match client.call(request).await {
            Ok(_) => {}
            Err(error) if PortErrorKind::NotFound == PortError::from(error.clone()).kind() => {}
            Err(error) => return Err(error.into()),
        }
    }
    let request = DropCollectionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_not_found() => Ok(()),
        Err(error) => Err(error.into()),
    }
}
