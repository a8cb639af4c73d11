//! `CopyActor`s and the window in which they pull units.

use crate::core::{Core, lock};
use crate::messages::Copy;
use crate::retry::Retry;
use actix::ArbiterHandle;
use actix::prelude::{Actor, Context, Handler, ResponseFuture};
use futures::future::try_join_all;
use milvault_domain::object::StoredObject;
use milvault_domain::plan::CopyUnit;
use milvault_domain::ports::{Copier, PortError, PortErrorKind, PortResult};
use milvault_domain::progress::ProgressCounters;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

/// What all units of one job share.
pub(crate) struct CopyJob {
    pub(crate) core: Arc<Core>,
    pub(crate) copier: Arc<dyn Copier>,
    pub(crate) progress: Arc<ProgressCounters>,
    /// `database.collection` by Milvus's id of the collection, for messages to people.
    pub(crate) collection_names: HashMap<i64, String>,
    /// The job's span: units are copied on its behalf.
    pub(crate) span: tracing::Span,
}

/// Copies all units, at most `width` at once: as many actors pull from the list until it is empty. The first failure
/// ends all. Dropping the future stops every copy.
pub(crate) async fn copy_units(
    arbiter: &ArbiterHandle,
    job: Arc<CopyJob>,
    units: Vec<CopyUnit>,
    width: usize,
) -> PortResult<Vec<StoredObject>> {
    let stop = CancellationToken::new();
    let _stop_on_drop = stop.clone().drop_guard();
    let width = width.min(units.len());
    let waiting = Mutex::new(VecDeque::from(units));
    let workers = (0..width).map(|_| async {
        let (job, stop) = (Arc::clone(&job), stop.clone());
        let actor = CopyActor::start_in_arbiter(arbiter, move |_| CopyActor { job, stop });
        let mut stored = Vec::new();
        while let Some(unit) = take_next(&waiting) {
            stored.extend(actor.send(Copy { unit }).await.map_err(|_| actor_gone())??);
        }
        Ok::<_, PortError>(stored)
    });
    Ok(try_join_all(workers).await?.into_iter().flatten().collect())
}

fn take_next(waiting: &Mutex<VecDeque<CopyUnit>>) -> Option<CopyUnit> {
    lock(waiting).pop_front()
}

/// Nobody but a server that stops takes the thread away under the actors.
fn actor_gone() -> PortError {
    PortError::new(PortErrorKind::Canceled, "a copy actor ended before its unit was copied")
}

/// Carries one unit at a time. It ends when nobody holds its address.
struct CopyActor {
    job: Arc<CopyJob>,
    stop: CancellationToken,
}

impl Actor for CopyActor {
    type Context = Context<Self>;
}

impl Handler<Copy> for CopyActor {
    type Result = ResponseFuture<PortResult<Vec<StoredObject>>>;

    fn handle(&mut self, message: Copy, _: &mut Self::Context) -> Self::Result {
        let (job, stop) = (Arc::clone(&self.job), self.stop.clone());
        let work = async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => Err(PortError::new(PortErrorKind::Canceled, "the copy was stopped")),
                copied = copy_unit(&job, &message.unit) => copied,
            }
        };
        let task = self.job.core.io.spawn(work.instrument(self.job.span.clone()));
        Box::pin(async move { task.await.unwrap_or_else(|error| Err(broke_off(error))) })
    }
}

fn broke_off(error: JoinError) -> PortError {
    // Nobody but a runtime that is being shut down cancels the task.
    let kind = if error.is_cancelled() { PortErrorKind::Canceled } else { PortErrorKind::Internal };
    PortError::with_source(
        kind,
        "internal error: the copy of a unit broke off; the server's log says where",
        error,
    )
}

async fn copy_unit(job: &CopyJob, unit: &CopyUnit) -> PortResult<Vec<StoredObject>> {
    // The copier repeats what is transient by itself. This is for outages that outlast its patience.
    let stored = Retry::of(&job.core.settings)
        .only_unavailable()
        .run("copy", || job.copier.copy(unit, &job.progress))
        .await
        .map_err(|error| explain(error, unit, &job.collection_names))?;
    metrics::counter!(crate::telemetry::COPIED_BYTES).increment(unit.size_bytes());
    Ok(stored)
}

/// Says which collection a failed copy was about, and what to do when its files are gone.
fn explain(error: PortError, unit: &CopyUnit, collection_names: &HashMap<i64, String>) -> PortError {
    let message = error.to_string();
    // The copier names the key. Where it does not, the unit's collections are the best that can be said.
    let named: Vec<i64> = unit
        .objects()
        .iter()
        .filter(|object| message.contains(&object.source.key.to_string()))
        .map(|object| object.source.key.collection_id)
        .collect();
    let names_source = !named.is_empty();
    let collection_ids: BTreeSet<i64> = if named.is_empty() {
        unit.objects().iter().map(|object| object.source.key.collection_id).collect()
    } else {
        named.into_iter().collect()
    };
    let collections = names_of(&collection_ids, collection_names);
    match error.kind() {
        // Something else that is missing says nothing about Milvus.
        PortErrorKind::NotFound | PortErrorKind::Changed if names_source => {
            let message = format!(
                "collection {collections}: {message}; Milvus has removed or replaced a file of the cut, most likely \
                 because its garbage collection came before the copy: raise dataCoord.gc.dropTolerance and \
                 dataCoord.gc.missingTolerance above the duration of a backup, then try again"
            );
            PortError::with_source(error.kind(), message, error)
        }
        _ => error.context(format!("copy of collection {collections}")),
    }
}

const NAMES_SHOWN_MAX: usize = 3;

fn names_of(collection_ids: &BTreeSet<i64>, collection_names: &HashMap<i64, String>) -> String {
    let mut names: Vec<String> = collection_ids
        .iter()
        .take(NAMES_SHOWN_MAX)
        .map(|id| collection_names.get(id).cloned().unwrap_or_else(|| id.to_string()))
        .collect();
    if collection_ids.len() > NAMES_SHOWN_MAX {
        names.push(format!("and {} more", collection_ids.len() - NAMES_SHOWN_MAX));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use milvault_domain::binlog::{BinlogKey, BinlogKind};
    use milvault_domain::object::{Fingerprint, ObjectId, SourceObject};
    use milvault_domain::plan::PlannedObject;

    #[test]
    fn milvus_is_blamed_for_its_own_files_only() {
        let key = BinlogKey {
            kind: BinlogKind::Insert,
            collection_id: 1,
            partition_id: 2,
            segment_id: 3,
            field_id: 100,
            log_id: 4,
        };
        let source = SourceObject { key, size_bytes: 1, fingerprint: Fingerprint::ModifiedAtNanos(5) };
        let objects = vec![PlannedObject { id: ObjectId::from_bytes([0; 16]), source }];
        let unit = CopyUnit::ServerSide { objects };
        let explained = |message: String| {
            let error = PortError::new(PortErrorKind::NotFound, message);
            explain(error, &unit, &HashMap::from([(1, String::from("shop.goods"))])).to_string()
        };
        let gone = explained(format!("`{key}` is no longer in the source"));
        assert!(gone.contains("collection shop.goods") && gone.contains("garbage collection"), "{gone}");
        let other = explained(String::from("cannot write `packs/00/1`: there is no such object"));
        assert!(other.contains("collection shop.goods") && !other.contains("garbage collection"), "{other}");
    }
}
