//! Staging inside one S3 store.

use crate::backups::objects::corrupt;
use crate::copy::{CopiedFile, CopyRequests};
use crate::layout;
use crate::place::ObjectPlace;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{Location, StoredObject};

/// Copies objects that have a file of their own from the repository's bucket to the cluster's.
pub(crate) struct InStoreCopies {
    requests: CopyRequests,
    repository: ObjectPlace,
    target: ObjectPlace,
}

impl InStoreCopies {
    /// Requests must be signed for the target.
    pub(crate) const fn new(requests: CopyRequests, repository: ObjectPlace, target: ObjectPlace) -> Self {
        Self { requests, repository, target }
    }

    /// Whether an object can be copied so: only where the store's own tag tells that it is still what it was, since
    /// nobody sees its bytes.
    pub(super) const fn suits(object: &StoredObject) -> bool {
        matches!(object.location, Location::Object) && object.store_tag.is_some()
    }

    /// Copies an object to a path below the target's root.
    ///
    /// # Errors
    /// `Corrupt` when its file is gone or another.
    pub(super) async fn copy(&self, object: &StoredObject, path: &str) -> PortResult<()> {
        let from = self.repository.key(&layout::object(object.id))?;
        let to = self.target.key(path)?;
        let file =
            CopiedFile { from: &from, tag: object.store_tag.as_deref(), size_bytes: object.stored_bytes };
        let Err(refusal) = self.requests.copy(file, &to).await else { return Ok(()) };
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
