//! Copies inside one S3 store: the store is asked to copy, no byte passes through this server.

mod answer;
mod requests;

pub(crate) use requests::{CopiedFile, CopyRequests};

use super::Attempt;
use crate::connect::DEFAULT_REGION;
use crate::layout;
use crate::place::{ObjectPlace, Place};
use crate::source::ObjectSource;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::error::PortResult;
use milvault_domain::object::{Encoding, Fingerprint, Location, SourceObject, StoredObject};
use milvault_domain::plan::PlannedObject;
use milvault_domain::progress::ProgressCounters;
use milvault_domain::storage::S3Storage;
use object_store::path::Path;

/// Objects of a unit that the store copies at once.
const COPIES_AT_ONCE: usize = 16;

/// See the module.
pub(crate) struct ServerSide {
    requests: CopyRequests,
    place: ObjectPlace,
    source: ObjectSource,
}

/// Whether two buckets are in one store, as far as configurations tell.
pub(crate) fn same_store(first: &S3Storage, second: &S3Storage) -> bool {
    let endpoint = |config: &S3Storage| {
        config.endpoint.as_ref().map(|endpoint| endpoint.trim_end_matches('/').to_ascii_lowercase())
    };
    let region = |config: &S3Storage| config.region.clone().unwrap_or_else(|| DEFAULT_REGION.to_owned());
    endpoint(first) == endpoint(second) && region(first) == region(second)
}

impl ServerSide {
    /// Copies from a source to a place in the destination of the requests.
    pub(crate) const fn new(requests: CopyRequests, place: ObjectPlace, source: ObjectSource) -> Self {
        Self { requests, place, source }
    }

    /// Has a unit copied.
    pub(super) async fn copy(
        &self,
        objects: &[PlannedObject],
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let mut attempt = Attempt::new(progress);
        let copies = stream::iter(0..objects.len()).map(|position| self.copy_or_find(&objects[position]));
        let mut copies = copies.buffered(COPIES_AT_ONCE);
        let mut stored = Vec::with_capacity(objects.len());
        let mut found_bytes = Vec::new();
        loop {
            match copies.try_next().await {
                Ok(None) => break,
                Ok(Some((object, Origin::Found))) => {
                    found_bytes.push(object.stored_bytes);
                    stored.push(object);
                }
                Ok(Some((object, Origin::Copied))) => {
                    attempt.add_bytes(object.stored_bytes);
                    stored.push(object);
                }
                Err(error) => return attempt.settle(Err(error), Vec::len),
            }
        }
        progress.add_reused(found_bytes.len() as u64, found_bytes.iter().sum());
        attempt.settle(Ok(stored), |stored| stored.len() - found_bytes.len())
    }

    async fn copy_or_find(&self, object: &PlannedObject) -> PortResult<(StoredObject, Origin)> {
        let path = layout::object(object.id);
        let size_bytes = object.source.size_bytes;
        let stored = |store_tag| StoredObject {
            id: object.id,
            source: object.source.clone(),
            location: Location::Object,
            encoding: Encoding::Raw,
            stored_bytes: size_bytes,
            hash: None,
            store_tag,
        };
        if let Some(facts) = self.place.facts(&path).await?.filter(|facts| facts.size_bytes == size_bytes) {
            return Ok((stored(facts.tag), Origin::Found));
        }
        let tag = self.copy_object(&object.source, &self.place.key(&path)?).await?;
        Ok((stored(Some(tag)), Origin::Copied))
    }

    /// Copies a source object to a key; gives the copy's entity tag.
    async fn copy_object(&self, source: &SourceObject, to: &Path) -> PortResult<Box<str>> {
        let tag = match &source.fingerprint {
            Fingerprint::ETag(tag) => Some(tag.as_ref()),
            Fingerprint::ModifiedAtNanos(_) => None,
        };
        let from = self.source.binlog(&source.key).await?;
        let file = CopiedFile { from: &from, tag, size_bytes: source.size_bytes };
        self.requests.copy(file, to).await.map_err(|refusal| refusal.into_port_error(source))
    }
}

/// Whether an object was copied now or was there.
enum Origin {
    Copied,
    Found,
}
