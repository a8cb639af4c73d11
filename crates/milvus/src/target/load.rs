//! Collections in memory.

use super::lookup;
use crate::client::Client;
use crate::error::{CallError, Fault};
use milvault_domain::backup::CollectionName;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::milvus::LoadState;
use milvus::proto::common::LoadState as ProtoLoadState;
use milvus::proto::milvus::{GetLoadStateRequest, LoadCollectionRequest, ReleaseCollectionRequest};

/// Begins to load a collection.
pub(crate) async fn load(client: &Client, name: &CollectionName, replica_count: u32) -> PortResult<()> {
    let request = LoadCollectionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        replica_number: i32::try_from(replica_count.max(1)).unwrap_or(i32::MAX),
        ..Default::default()
    };
    match client.call(request).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(error)),
    }
}

/// The servers say why in words only.
fn refused(error: CallError) -> PortError {
    const TOO_LITTLE: [&str; 5] = ["not enough", "insufficient", "memory", "disk", "resource group"];
    if error.fault == Fault::Nothing {
        let message = format!("Milvus refused {error}; a collection needs an index before it can be loaded");
        return PortError::with_source(PortErrorKind::InvalidInput, message, error);
    }
    let words = error.message.to_lowercase();
    if error.fault == Fault::Other && TOO_LITTLE.iter().any(|word| words.contains(word)) {
        let message = format!(
            "Milvus refused {error}; give it more query nodes or memory, or load with fewer replicas"
        );
        return PortError::with_source(PortErrorKind::Unavailable, message, error);
    }
    error.refused_as(PortErrorKind::InvalidInput)
}

/// Takes a collection out of memory.
pub(crate) async fn release(client: &Client, name: &CollectionName) -> PortResult<()> {
    let request = ReleaseCollectionRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..Default::default()
    };
    client.call(request).await?;
    Ok(())
}

/// Load state of a collection.
pub(crate) async fn state(client: &Client, name: &CollectionName) -> PortResult<LoadState> {
    let request = GetLoadStateRequest {
        db_name: name.database.clone(),
        collection_name: name.collection.clone(),
        ..Default::default()
    };
    let answer = match client.call(request).await {
        Ok(answer) => answer,
        // A load that has failed is told here, instead of a state.
        Err(error) if error.fault == Fault::Other => return Err(refused(error)),
        Err(error) => return Err(error.into()),
    };
    match answer.state() {
        ProtoLoadState::NotExist => Err(lookup::not_found(name)),
        ProtoLoadState::NotLoad => Ok(LoadState::NotLoaded),
        ProtoLoadState::Loading => Ok(LoadState::Loading),
        ProtoLoadState::Loaded => Ok(LoadState::Loaded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_told_from_what_will_not() {
        let kind = |fault, words: &str| refused(CallError::new(fault, "LoadCollection", words)).kind();
        assert_eq!(kind(Fault::Other, "nodes not enough"), PortErrorKind::Unavailable);
        assert_eq!(kind(Fault::Other, "Insufficient memory to load"), PortErrorKind::Unavailable);
        assert_eq!(kind(Fault::Other, "loaded with another replica number"), PortErrorKind::InvalidInput);
        assert_eq!(kind(Fault::Nothing, "index not found"), PortErrorKind::InvalidInput);
        assert_eq!(kind(Fault::NotFound, "collection not found"), PortErrorKind::NotFound);
    }
}
