//! Renaming collections.

use super::lookup::{self, full_name};
use crate::client::Client;
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvus::proto::milvus::RenameCollectionRequest;

/// Gives a collection another name in its database. Its aliases stay with it.
pub(crate) async fn rename(client: &Client, name: &CollectionName, to: &str) -> PortResult<()> {
    let target = CollectionName { database: name.database.clone(), collection: to.to_owned() };
    let found = match lookup::lookup(client, name).await? {
        Some(found) if found.schema.name == name.collection => found,
        _ => return Err(lookup::not_found(name)),
    };
    if lookup::lookup(client, &target).await?.is_some() {
        return Err(taken(&target));
    }
    let request = RenameCollectionRequest {
        db_name: name.database.clone(),
        old_name: name.collection.clone(),
        new_name: to.to_owned(),
        // Left empty it means the default database, not this one.
        new_db_name: name.database.clone(),
        ..Default::default()
    };
    let renamed = client.call(request).await;
    let is_there = lookup::lookup_given(client, &target).await?;
    match renamed {
        Ok(_) => Ok(()),
        // An earlier try of this call did it, without being able to say so.
        Err(_) if is_there.as_ref().is_some_and(|there| there.id == found.id) => Ok(()),
        Err(_) if is_there.is_some() => Err(taken(&target)),
        Err(error) => Err(error.refused_as(PortErrorKind::InvalidInput)),
    }
}

fn taken(name: &CollectionName) -> PortError {
    let message = format!("{} is the name of a collection or alias already", full_name(name));
    PortError::new(PortErrorKind::Conflict, message)
}
