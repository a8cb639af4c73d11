//! Getting bytes from a source into a repository.

mod ahead;
mod limit;
mod local;
mod server_side;
mod streamed;
mod transfer;

pub(crate) use limit::ByteLimit;
pub(crate) use server_side::{CopiedFile, CopyRequests, ServerSide, same_store};
pub(crate) use streamed::{Source, StreamedCopies, update_hash};
pub(crate) use transfer::{InStore, TransferCopier};

use crate::backups::packs::{PackState, inspect};
use crate::layout;
use crate::place::{LocalPlace, Overwrite, Place};
use crate::source::LocalSource;
use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use local::LocalPacks;
use milvault_domain::error::{PortError, PortErrorKind, PortResult};
use milvault_domain::object::{PackId, StoredObject};
use milvault_domain::plan::{CopyRoute, CopyUnit, PlannedObject};
use milvault_domain::ports::Copier;
use milvault_domain::progress::ProgressCounters;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Times that a unit is begun again after a failure that may pass. Single requests are repeated below this already.
const REPEATS_MAX: usize = 3;

/// The ways from one source to one repository.
pub(crate) struct RepositoryCopier {
    place: Arc<dyn Place>,
    /// For anything; what the faster ways below cannot do ends here.
    streamed: StreamedCopies,
    /// Between two local directories.
    local: Option<LocalPacks>,
    /// Inside one store.
    server_side: Option<ServerSide>,
    /// The store has refused to copy: it is said once.
    refused: AtomicBool,
}

impl RepositoryCopier {
    /// A copier that streams.
    pub(crate) fn new(place: Arc<dyn Place>, streamed: StreamedCopies) -> Self {
        Self { place, streamed, local: None, server_side: None, refused: AtomicBool::new(false) }
    }

    /// Uses the fast way between two local directories.
    ///
    /// # Errors
    /// The source directory cannot be opened.
    pub(crate) async fn with_local(
        mut self,
        source: &LocalSource,
        place: LocalPlace,
        limit: Option<Arc<ByteLimit>>,
    ) -> PortResult<Self> {
        self.local = Some(LocalPacks::open(source, place, limit).await?);
        Ok(self)
    }

    /// Lets the store copy.
    pub(crate) fn with_server_side(mut self, server_side: ServerSide) -> Self {
        self.server_side = Some(server_side);
        self
    }

    async fn pack(
        &self,
        pack_id: PackId,
        objects: &[PlannedObject],
        progress: &ProgressCounters,
    ) -> PortResult<Vec<StoredObject>> {
        let overwrite = match inspect(self.place.as_ref(), pack_id, objects).await? {
            PackState::Complete(stored) => {
                let bytes = objects.iter().map(|object| object.source.size_bytes).sum();
                progress.add_reused(objects.len() as u64, bytes);
                return Ok(stored);
            }
            PackState::Missing => Overwrite::Never,
            PackState::Damaged(reason) => {
                // The name stands for the content, so what is written now is what should have been there.
                tracing::warn!(file = %self.place.display(&layout::pack(pack_id)), reason, "a damaged pack is written again");
                Overwrite::Replace
            }
        };
        match &self.local {
            Some(local) => local.write(pack_id, objects, overwrite, progress).await,
            None => self.streamed.pack(pack_id, objects, overwrite, progress).await,
        }
    }

    async fn attempt(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        match (unit, &self.server_side) {
            (CopyUnit::Pack { pack_id, objects }, _) => self.pack(*pack_id, objects, progress).await,
            (CopyUnit::ServerSide { objects }, Some(server_side)) => {
                match server_side.copy(objects, progress).await {
                    Err(error) if is_refusal(&error) => {
                        if !self.refused.swap(true, Ordering::Relaxed) {
                            tracing::warn!(%error, "what the store does not copy goes through this server");
                        }
                        self.streamed.objects(objects, progress).await
                    }
                    copied => copied,
                }
            }
            // The plan was made when the store could still do it.
            (CopyUnit::ServerSide { objects }, None) => self.streamed.objects(objects, progress).await,
        }
    }
}

#[async_trait]
impl Copier for RepositoryCopier {
    fn route(&self) -> CopyRoute {
        if self.server_side.is_some() { CopyRoute::ServerSide } else { CopyRoute::Packs }
    }

    async fn copy(&self, unit: &CopyUnit, progress: &ProgressCounters) -> PortResult<Vec<StoredObject>> {
        (|| self.attempt(unit, progress))
            .retry(backoff())
            .when(|error: &PortError| error.kind() == PortErrorKind::Unavailable)
            .notify(|error, pause| tracing::warn!(%error, ?pause, "a unit is copied again"))
            .await
    }
}

/// The store does not do it; the bytes go through this server.
pub(crate) fn is_refusal(error: &PortError) -> bool {
    matches!(error.kind(), PortErrorKind::Unsupported | PortErrorKind::PermissionDenied)
}

/// Pauses between attempts at a unit.
pub(crate) fn backoff() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(5))
        .with_max_times(REPEATS_MAX)
        .with_jitter()
}

/// What an attempt has counted, to be taken back if it fails.
pub(crate) struct Attempt<'a> {
    progress: &'a ProgressCounters,
    counted_bytes: u64,
}

impl<'a> Attempt<'a> {
    pub(crate) fn new(progress: &'a ProgressCounters) -> Self {
        Self { progress, counted_bytes: 0 }
    }

    pub(crate) fn add_bytes(&mut self, bytes: u64) {
        self.progress.add_bytes(bytes);
        self.counted_bytes += bytes;
    }

    pub(crate) fn add_through_server(&self, bytes: u64) {
        self.progress.add_through_server(bytes);
    }

    /// Settles the count: objects are counted when all of them are durable, failed bytes are taken back.
    pub(crate) fn settle<T>(
        self,
        result: PortResult<T>,
        new_objects: impl FnOnce(&T) -> usize,
    ) -> PortResult<T> {
        match &result {
            Ok(copied) => (0..new_objects(copied)).for_each(|_| self.progress.add_object()),
            Err(_) => self.progress.take_back_bytes(self.counted_bytes),
        }
        result
    }
}
