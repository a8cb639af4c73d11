//! Aliases.

use crate::client::Client;
use crate::error::Fault;
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortErrorKind, PortResult};
use milvus::proto::milvus::{AlterAliasRequest, CreateAliasRequest};

/// Times that an alias is tried to be made or moved while somebody else makes and drops it.
const TRIES: usize = 3;

/// Makes an alias point to a collection. One that is there is moved, also one of a collection that was dropped: 2.3.5
/// keeps those.
pub(crate) async fn set(client: &Client, name: &CollectionName, alias: &str) -> PortResult<()> {
    let mut tries = 1;
    loop {
        let request = CreateAliasRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            alias: alias.to_owned(),
            ..Default::default()
        };
        match client.call(request).await {
            Ok(_) => return Ok(()),
            // Old servers tell an alias that exists in words only.
            Err(error) if matches!(error.fault, Fault::Taken | Fault::Other) => {}
            Err(error) => return Err(error.into()),
        }
        let request = AlterAliasRequest {
            db_name: name.database.clone(),
            collection_name: name.collection.clone(),
            alias: alias.to_owned(),
            ..Default::default()
        };
        match client.call(request).await {
            Ok(_) => return Ok(()),
            Err(error) if error.fault == Fault::Nothing && tries < TRIES => tries += 1,
            Err(error) => return Err(error.refused_as(PortErrorKind::InvalidInput)),
        }
    }
}
