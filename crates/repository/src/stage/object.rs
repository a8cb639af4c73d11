//! A cluster's storage in an object store.

use super::under_way::{have_ended_below, to_its_end};
use super::{RESTORES, StagingTarget};
use crate::error::from_store;
use crate::place::{Creation, ObjectPlace, Overwrite, Place, PlaceWriter};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{StreamExt, TryStreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
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

    /// Removes what is there now, and tells how many files that were.
    async fn remove_listed(&self, directory: &str) -> PortResult<u64> {
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

/// A file on its way.
struct StagedUpload {
    /// As people see it.
    file: String,
    upload: Box<dyn PlaceWriter>,
}

#[async_trait]
impl PlaceWriter for StagedUpload {
    /// Nothing that is sent here has a name yet.
    async fn write(&mut self, bytes: Bytes) -> PortResult<()> {
        self.upload.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> PortResult<Creation> {
        let Self { file, upload } = *self;
        to_its_end(file, upload.finish()).await?
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
        let path = format!("{directory}/{key}");
        let upload = self.place.writer(&path, Overwrite::Replace).await?;
        Ok(Box::new(StagedUpload { file: self.place.display(&path), upload }))
    }

    /// What is still being written would come after what is removed here, so that is waited for; where it takes too
    /// long, what is there goes all the same.
    async fn remove(&self, directory: &str) -> PortResult<u64> {
        let shown = self.place.display(directory);
        let have_ended = have_ended_below(&shown).await;
        let files = self.remove_listed(directory).await?;
        if have_ended {
            return Ok(files);
        }
        Err(PortError::new(
            PortErrorKind::Busy,
            format!(
                "the store is still writing files below `{shown}`, which have to be removed when it is done"
            ),
        ))
    }
}
