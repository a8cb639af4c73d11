//! Getting objects out of a repository to where a cluster's Milvus can import them.

mod in_store;
mod local;
mod object;
mod pieces;
mod under_way;

pub(crate) use in_store::InStoreCopies;
pub(crate) use local::LocalTarget;
pub(crate) use object::ObjectTarget;

use crate::backups::objects::{check_hash, confirm_unhashed, corrupt};
use crate::copy::{Attempt, ByteLimit, backoff, is_refusal, update_hash};
use crate::place::{Place, PlaceWriter};
use async_trait::async_trait;
use backon::Retryable;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::{self, StreamExt};
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::ids::JobId;
use milvault_domain::object::{ContentHash, StoredObject};
use milvault_domain::plan::CopyRoute;
use milvault_domain::ports::Stager;
use milvault_domain::progress::ProgressCounters;
use pieces::{Piece, pieces};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Directory below a cluster's storage root that all restores share, each with one of its own in it.
const RESTORES: &str = "milvault_restore";
/// Objects that a store copies at once.
const COPIES_AT_ONCE: usize = 16;

/// Where staged files go.
#[async_trait]
pub(crate) trait StagingTarget: Send + Sync {
    /// How Milvus has to be told a path below the root.
    fn import_path(&self, relative_path: &str) -> String;

    /// Pieces that are worth being written at once.
    fn pieces_at_once(&self) -> usize;

    /// Checks that files can be put there at all.
    async fn check(&self) -> PortResult<()>;

    /// Begins a file, replacing one that is there. Nothing is visible under its name before it is finished; dropping
    /// the writer gives it up. Nothing is synced.
    async fn writer(&self, directory: &str, key: &str) -> PortResult<Box<dyn PlaceWriter>>;

    /// Removes a directory with everything in it, and tells how many files that were.
    async fn remove(&self, directory: &str) -> PortResult<u64>;
}

/// The ways from a repository to a cluster's storage.
pub(crate) struct RepositoryStager {
    place: Arc<dyn Place>,
    target: Arc<dyn StagingTarget>,
    /// For objects with files of their own, where the store can copy them.
    in_store: Option<InStoreCopies>,
    /// The store has refused to copy: it is not asked again for every object.
    refused: AtomicBool,
    limit: Option<Arc<ByteLimit>>,
}

impl RepositoryStager {
    /// Nothing is contacted.
    pub(crate) fn new(
        place: Arc<dyn Place>,
        target: Arc<dyn StagingTarget>,
        in_store: Option<InStoreCopies>,
        limit: Option<Arc<ByteLimit>>,
    ) -> Self {
        Self { place, target, in_store, refused: AtomicBool::new(false), limit }
    }

    /// Has the store copy an object; where it refuses, the bytes go through this server after all.
    async fn copy_in_store(
        &self,
        copies: &InStoreCopies,
        object: &StoredObject,
        directory: &str,
        progress: &ProgressCounters,
    ) -> PortResult<()> {
        if let Some(limit) = &self.limit {
            limit.wait(object.stored_bytes).await;
        }
        match copies.copy(object, &staged(directory, object)).await {
            Ok(()) => {
                progress.add_bytes(object.stored_bytes);
                progress.add_object();
                Ok(())
            }
            Err(error) if is_refusal(&error) => {
                if !self.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "objects are staged through this server");
                }
                for piece in pieces(self.place.as_ref(), std::iter::once(object))? {
                    self.write(&piece, directory, progress).await?;
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the objects of a piece, again when that fails for a reason that may pass.
    async fn write(&self, piece: &Piece<'_>, directory: &str, progress: &ProgressCounters) -> PortResult<()> {
        let attempt = || async {
            let mut attempt = Attempt::new(progress);
            let written = self.write_once(piece, directory, &mut attempt).await;
            attempt.settle(written, |()| piece.objects.len())
        };
        attempt
            .retry(backoff())
            .when(|error: &PortError| error.kind() == PortErrorKind::Unavailable)
            .notify(|error, pause| tracing::warn!(%error, ?pause, "files are staged again"))
            .await
    }

    async fn write_once(
        &self,
        piece: &Piece<'_>,
        directory: &str,
        attempt: &mut Attempt<'_>,
    ) -> PortResult<()> {
        let place = self.place.as_ref();
        let Some(first) = piece.objects.first() else { return Ok(()) };
        let mut bytes =
            place.stream(&piece.path, piece.bytes.clone()).await.map_err(|e| lost(place, first, e))?;
        // What was read but not written yet: it belongs to the next object.
        let mut read = Bytes::new();
        for object in &piece.objects {
            confirm_unhashed(place, object).await.map_err(|error| lost(place, object, error))?;
            let mut writer = self.target.writer(directory, &object.source.key.to_string()).await?;
            let mut hasher = blake3::Hasher::new();
            let mut left_bytes = object.stored_bytes;
            while 0 < left_bytes {
                if read.is_empty() {
                    read = match bytes.try_next().await.map_err(|error| lost(place, object, error))? {
                        Some(more) => more,
                        None => return Err(corrupt(place, object, "the file ends before the object does")),
                    };
                    let length_bytes = read.len() as u64;
                    if let Some(limit) = &self.limit {
                        limit.wait(length_bytes).await;
                    }
                    attempt.add_through_server(length_bytes);
                }
                let length = usize::try_from(left_bytes).unwrap_or(usize::MAX).min(read.len());
                let part = read.split_to(length);
                left_bytes -= length as u64;
                hasher = update_hash(hasher, part.clone()).await?;
                writer.write(part).await?;
                attempt.add_bytes(length as u64);
            }
            // Before the file gets its name: a damaged object never reaches a cluster.
            check_hash(place, object, ContentHash::from_bytes(*hasher.finalize().as_bytes()))?;
            writer.finish().await?;
        }
        Ok(())
    }
}

/// Path of a staged object below the storage's root.
fn staged(directory: &str, object: &StoredObject) -> String {
    format!("{directory}/{}", object.source.key)
}

/// A file of the repository that is gone is damage like any other to whoever wants what was in it.
pub(crate) fn lost(place: &dyn Place, object: &StoredObject, error: PortError) -> PortError {
    match error.kind() {
        PortErrorKind::NotFound => corrupt(place, object, "the file does not exist"),
        PortErrorKind::Corrupt => corrupt(place, object, &error.to_string()),
        _ => error.context(format!("cannot read the copy of `{}`", object.source.key)),
    }
}

/// Accepts directories that belong to a restore, and nothing else: whatever is below them is going to be removed.
fn check_directory(directory: &str) -> PortResult<()> {
    let parts: Vec<&str> = directory.split('/').collect();
    let plain = |part: &&str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    let of_a_restore = match parts.as_slice() {
        [RESTORES, job, rest @ ..] => job.parse::<JobId>().is_ok() && rest.iter().all(plain),
        _ => false,
    };
    if of_a_restore {
        return Ok(());
    }
    let shown: String = directory.escape_debug().take(200).collect();
    Err(PortError::new(
        PortErrorKind::InvalidInput,
        format!(
            "`{shown}` is not a directory of a restore: it must be `{RESTORES}/<job id>` or lie below that"
        ),
    ))
}

#[async_trait]
impl Stager for RepositoryStager {
    fn route(&self) -> CopyRoute {
        if self.in_store.is_some() { CopyRoute::ServerSide } else { CopyRoute::Packs }
    }

    fn import_path(&self, relative_path: &str) -> String {
        self.target.import_path(relative_path)
    }

    async fn stage(
        &self,
        objects: &[StoredObject],
        directory: &str,
        progress: &ProgressCounters,
    ) -> PortResult<()> {
        check_directory(directory)?;
        self.target.check().await?;
        let asked = self.in_store.is_some() && !self.refused.load(Ordering::Relaxed);
        let by_store = |object: &&StoredObject| asked && InStoreCopies::suits(object);
        let in_store: Vec<&StoredObject> = objects.iter().filter(by_store).collect();
        let written = pieces(self.place.as_ref(), objects.iter().filter(|object| !by_store(object)))?;
        let copying = async {
            let Some(store) = &self.in_store else { return Ok(()) };
            let copied = stream::iter(0..in_store.len())
                .map(|position| self.copy_in_store(store, in_store[position], directory, progress));
            copied.buffer_unordered(COPIES_AT_ONCE).try_collect().await
        };
        let writing = stream::iter(0..written.len())
            .map(|position| self.write(&written[position], directory, progress))
            .buffer_unordered(self.target.pieces_at_once())
            .try_collect();
        let ((), ()) = futures::try_join!(copying, writing)?;
        Ok(())
    }

    async fn remove(&self, directory: &str) -> PortResult<u64> {
        check_directory(directory)?;
        self.target.remove(directory).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::restore::staging_directory;
    use uuid::Uuid;

    #[test]
    fn only_directories_of_restores_are_accepted() {
        let job = staging_directory(JobId::from_uuid(Uuid::from_u128(7)));
        for good in [job.clone(), format!("{job}/0/12"), format!("{job}/3")] {
            assert!(check_directory(&good).is_ok(), "{good}");
        }
        let id = job.rsplit('/').next().unwrap_or_default();
        for bad in [
            String::new(),
            String::from("/"),
            String::from("insert_log"),
            String::from("milvault_restore"),
            String::from("milvault_restore/"),
            String::from("milvault_restore/nightly"),
            format!("/{job}"),
            format!("{job}/"),
            format!("{job}//1"),
            format!("{job}/../../insert_log"),
            format!("{job}/."),
            format!("{job}/a\0b"),
            format!("milvault_restore/../{id}"),
            format!("x/{job}"),
            format!("milvault_restore_{id}"),
        ] {
            let refused = check_directory(&bad).map_err(|error| error.kind());
            assert_eq!(refused, Err(PortErrorKind::InvalidInput), "{bad:?}");
        }
    }
}
