//! Staging inside one S3 store.

use super::under_way::to_its_end;
use crate::backups::objects::corrupt;
use crate::copy::{CopiedFile, CopyRequests};
use crate::layout;
use crate::place::{ObjectPlace, Place};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Location, StoredObject};
use std::sync::Arc;

/// Copies objects that have a file of their own from the repository's bucket to the cluster's.
pub(crate) struct InStoreCopies {
    requests: Arc<CopyRequests>,
    repository: ObjectPlace,
    target: ObjectPlace,
}

impl InStoreCopies {
    /// Requests must be signed for the target, and keep to no limit of their own: what is begun comes to its end also
    /// after a stop, so whoever asks waits before.
    pub(crate) fn new(requests: CopyRequests, repository: ObjectPlace, target: ObjectPlace) -> Self {
        Self { requests: Arc::new(requests), repository, target }
    }

    /// Whether an object can be copied so: only where the store's own tag tells that it is still what it was, since
    /// nobody sees its bytes.
    pub(super) const fn suits(object: &StoredObject) -> bool {
        matches!(object.location, Location::Object) && object.store_tag.is_some()
    }

    /// Copies an object to a path below the target's root. What is begun goes on when this is dropped.
    ///
    /// # Errors
    /// `Corrupt` when its file is gone or another.
    pub(super) async fn copy(&self, object: &StoredObject, path: &str) -> PortResult<()> {
        let from = self.repository.key(&layout::object(object.id))?;
        let to = self.target.key(path)?;
        let (requests, tag, size_bytes) =
            (Arc::clone(&self.requests), object.store_tag.clone(), object.stored_bytes);
        let copying = async move {
            let file = CopiedFile { from: &from, tag: tag.as_deref(), size_bytes };
            requests.copy(file, &to).await
        };
        let copied = to_its_end(self.target.display(path), copying).await?;
        let Err(refusal) = copied else { return Ok(()) };
        Err(match refusal.kind() {
            PortErrorKind::NotFound => corrupt(&self.repository, object, "the file does not exist"),
            PortErrorKind::Changed => corrupt(
                &self.repository,
                object,
                "the store's tag is not what it was when the backup was made",
            ),
            kind => PortError::new(
                kind,
                format!("the store did not stage the copy of `{}`: {}", object.source.key, refusal.reason()),
            ),
        })
    }
}
