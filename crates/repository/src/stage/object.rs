//! A cluster's storage in an object store.

use super::{RESTORES, StagingTarget};
use crate::error::from_store;
use crate::place::{ObjectPlace, Overwrite, Place, PlaceWriter};
use async_trait::async_trait;
use futures::stream::{StreamExt, TryStreamExt};
use milvault_domain::error::PortResult;
use object_store::ObjectStore;
use std::sync::Arc;

/// Pieces that are written at once: their requests take longer than their bytes.
const PIECES_AT_ONCE: usize = 16;

/// See the module.
pub(crate) struct ObjectTarget {
    place: ObjectPlace,
    store: Arc<dyn ObjectStore>,
    prefix: String,
}

impl ObjectTarget {
    /// A storage below a prefix, `place` being the same. Nothing is contacted.
    pub(crate) fn new(place: ObjectPlace, store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self { place, store, prefix: prefix.trim_matches('/').to_owned() }
    }
}

#[async_trait]
impl StagingTarget for ObjectTarget {
    fn import_path(&self, relative_path: &str) -> String {
        if self.prefix.is_empty() {
            relative_path.to_owned()
        } else {
            format!("{}/{relative_path}", self.prefix)
        }
    }

    fn pieces_at_once(&self) -> usize {
        PIECES_AT_ONCE
    }

    /// A list tells in words what is wrong with a bucket; some stores answer copies into one that does not exist as
    /// if they had a moment's trouble.
    async fn check(&self) -> PortResult<()> {
        let key = self.place.key(RESTORES)?;
        match self.store.list(Some(&key)).next().await {
            Some(Err(error)) => Err(from_store("list", &self.place.display(RESTORES), error)),
            Some(Ok(_)) | None => Ok(()),
        }
    }

    async fn writer(&self, directory: &str, key: &str) -> PortResult<Box<dyn PlaceWriter>> {
        self.place.writer(&format!("{directory}/{key}"), Overwrite::Replace).await
    }

    async fn remove(&self, directory: &str) -> PortResult<u64> {
        let key = self.place.key(directory)?;
        let failure = |error| from_store("remove", &self.place.display(directory), error);
        // Where the store can, the library deletes a thousand with one request.
        let listed = self.store.list(Some(&key)).map_ok(|meta| meta.location).boxed();
        let mut deleted = self.store.delete_stream(listed);
        let mut files = 0;
        while let Some(file) = deleted.next().await {
            match file {
                Ok(_) => files += 1,
                // Somebody else removes the same.
                Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(files)
    }
}
