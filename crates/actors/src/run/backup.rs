//! A backup: cut, plan, copy, seal.

mod source;

pub(super) use source::Source;

use super::sealed::complete_sealed;
use super::{Run, Trouble, plan};
use crate::copy::{CopyJob, copy_units};
use crate::records::write_now;
use crate::telemetry;
use chrono::{DateTime, Utc};
use futures::FutureExt;
use milvault_domain::backup::{Backup, BackupFacts, ManifestHeader};
use milvault_domain::ids::RepositoryId;
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::job_request::AdoptRequest;
use milvault_domain::milvus::Cut;
use milvault_domain::object::StoredObject;
use milvault_domain::plan::{CopyPlan, CopyUnit};
use milvault_domain::ports::{
    BackupRepository, Copier, PortError, PortErrorKind, PortResult, UnfinishedBackup,
};
use std::sync::Arc;
use tokio::time::Instant;
use tracing::Instrument;

/// Makes a backup of the live cluster.
pub(super) async fn back_up(run: &Run) -> Result<Job, Trouble> {
    make_backup(run, None).await
}

/// Makes the backup, from wherever an earlier attempt was cut off: with a saved plan it continues with its units,
/// with a sealed manifest only the catalog is brought up to date. Its bytes come from the given directory of
/// milvus-backup, or else from the cluster itself.
pub(super) async fn make_backup(run: &Run, adopted: Option<AdoptRequest>) -> Result<Job, Trouble> {
    let backup_id = run.backup_id()?;
    let deps = &run.core.deps;
    let backup = run.retry().run("look up the backup", || deps.catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
    let cluster = run.retry().run("look up the cluster", || deps.catalog.cluster(backup.cluster_id)).await?;
    let cluster = cluster
        .ok_or_else(|| missing(format!("cluster {} was removed; register it again", backup.cluster_id)))?;
    let repository = run.open_repository(backup.repository_id).await?;
    // The manifest gets its name before the saved plan goes, so whoever finds both must not seal again.
    if let Some(header) = sealed_before(run, &repository, &backup).await? {
        return complete_sealed(run, &repository, header).await;
    }
    let source = Source::new(&cluster, adopted);

    let unfinished =
        run.retry().run("look for an earlier attempt", || repository.load_unfinished(backup_id)).await?;
    let unfinished = match unfinished {
        Some(unfinished) => {
            tracing::info!(units = unfinished.plan.units.len(), "a cut-off backup continues");
            unfinished
        }
        None => prepare(run, &backup, &source, &repository).await?,
    };
    let stores = deps.stores.as_ref();
    let open = || source.open_copier(stores, &repository);
    let copier = run.retry().run("open the way of the copy", open).await?;
    let way = Way { copier, copies_in_flight: source.copies_in_flight };
    copy_and_seal(run, &repository, unfinished, way).await
}

/// How bytes come into the repository.
pub(super) struct Way {
    pub(super) copier: Arc<dyn Copier>,
    pub(super) copies_in_flight: usize,
}

/// Copies what the plan says, seals the backup and makes it available.
pub(super) async fn copy_and_seal(
    run: &Run,
    repository: &Arc<dyn BackupRepository>,
    unfinished: UnfinishedBackup,
    way: Way,
) -> Result<Job, Trouble> {
    let UnfinishedBackup { header, plan } = unfinished;
    let reused_stored_bytes: u64 = plan.reused.iter().map(|object| object.stored_bytes).sum();
    let reused_objects = plan.reused.len() as u64;
    metrics::counter!(telemetry::REUSED_BYTES).increment(plan.progress().bytes_reused);
    let objects = copy(run, way, &header, plan).await?;
    let sealed = SealedFacts {
        logical_bytes: objects.iter().map(|object| object.source.size_bytes).sum(),
        objects: objects.len() as u64,
        reused_objects,
    };
    let stored_bytes: u64 = objects.iter().map(|object| object.stored_bytes).sum();
    // The record of the phase, from which a cut-off attempt goes on, and the lease come before the manifest's name.
    let go_ahead = async {
        run.enter(JobPhase::Seal).await?;
        run.core.check_lease()
    };
    let receipt = repository.seal_after(go_ahead.boxed(), &header, objects).await.map_err(unless_lasting)?;
    let newly_stored_bytes = stored_bytes.saturating_sub(reused_stored_bytes) + receipt.manifest_bytes;
    complete(run, header, &sealed, newly_stored_bytes).await
}

/// A former attempt may have been cut off between the manifest and the catalog.
pub(super) async fn sealed_before(
    run: &Run,
    repository: &Arc<dyn BackupRepository>,
    backup: &Backup,
) -> PortResult<Option<ManifestHeader>> {
    if run.job.attempt <= 1 {
        return Ok(None);
    }
    match run.retry().run("look for a manifest", || repository.read_header(backup.id)).await {
        Ok(header) => Ok(Some(header)),
        Err(error) if error.kind() == PortErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Takes the cut and makes the plan. Both are durable in the repository when this returns and something has to be
/// copied.
async fn prepare(
    run: &Run,
    backup: &Backup,
    source: &Source,
    repository: &Arc<dyn BackupRepository>,
) -> PortResult<UnfinishedBackup> {
    let began_at = Instant::now();
    let deps = &run.core.deps;
    let cut = run.retry().run("take the cut", || source.take_cut(deps, &backup.scope));
    // A cut makes the source flush, a plan only reads: neither has to be taken back when the record of its beginning fails.
    let ((), cut) = futures::try_join!(run.enter(JobPhase::Cut), cut)?;
    metrics::histogram!(telemetry::CUT_SECONDS).record(began_at.elapsed().as_secs_f64());
    tracing::info!(cut_at_ms = cut.cut_at_ms, collections = cut.collections().count(), "the cut is taken");

    let header = header(backup, source, cut);
    let plan = plan::make_plan(run, backup, source, repository, &header);
    let ((), plan) = futures::try_join!(run.enter(JobPhase::Plan), plan)?;
    // With nothing to copy there is nothing to continue: an attempt that is cut off before the seal begins anew.
    if !plan.units.is_empty() {
        run.retry().run("save the plan", || repository.save_unfinished(&header, &plan)).await?;
    }
    Ok(UnfinishedBackup { header, plan })
}

fn header(backup: &Backup, source: &Source, cut: Cut) -> ManifestHeader {
    ManifestHeader {
        backup_id: backup.id,
        cluster_id: backup.cluster_id,
        cluster_name: backup.cluster_name.clone(),
        project_id: backup.project_id,
        name: backup.name.clone(),
        description: backup.description.clone(),
        scope: backup.scope.clone(),
        creation_method: backup.creation_method,
        created_by: backup.created_by.clone(),
        created_at_ms: backup.created_at.timestamp_millis(),
        expires_at_ms: backup.expires_at.map(|at| at.timestamp_millis()),
        source_url: source.display_url(),
        copied_from: None,
        cut,
    }
}

/// Copies what the plan says and returns all objects of the backup, sorted by key: the same backup gives the same
/// manifest, whatever the order in which units ended.
async fn copy(run: &Run, way: Way, header: &ManifestHeader, plan: CopyPlan) -> PortResult<Vec<StoredObject>> {
    run.live.counters.start(plan.progress());
    let CopyPlan { reused: mut objects, units } = plan;
    if !units.is_empty() {
        objects.extend(copy_new(run, way, header, units).await?);
    }
    objects.sort_unstable_by_key(|object| object.source.key);
    Ok(objects)
}

async fn copy_new(
    run: &Run,
    way: Way,
    header: &ManifestHeader,
    units: Vec<CopyUnit>,
) -> PortResult<Vec<StoredObject>> {
    run.enter(JobPhase::Copy).await?;
    let copy_job = CopyJob {
        core: Arc::clone(&run.core),
        copier: way.copier,
        progress: Arc::clone(&run.live.counters),
        collection_names: header
            .cut
            .collections()
            .map(|(database, collection)| {
                (collection.collection_id, format!("{database}.{}", collection.name))
            })
            .collect(),
        span: tracing::Span::current(),
    };
    copy_units(&run.arbiter, Arc::new(copy_job), units, way.copies_in_flight).await
}

/// Figures of all objects of a backup, for the catalog.
pub(super) struct SealedFacts {
    pub(super) logical_bytes: u64,
    pub(super) objects: u64,
    pub(super) reused_objects: u64,
}

/// Makes the backup available in the catalog.
pub(super) async fn complete(
    run: &Run,
    header: ManifestHeader,
    sealed: &SealedFacts,
    newly_stored_bytes: u64,
) -> Result<Job, Trouble> {
    let backup_id = header.backup_id;
    let mut contents = header.cut;
    let facts = BackupFacts {
        cut_at: time_of_cut(contents.cut_at_ms)?,
        milvus_version: contents.server.version.clone(),
        logical_bytes: sealed.logical_bytes,
        newly_stored_bytes,
        object_count: sealed.objects,
        reused_object_count: sealed.reused_objects,
        row_count: contents.row_count(),
        collection_count: u32::try_from(contents.collections().count()).unwrap_or(u32::MAX),
    };
    // The catalog answers queries from the descriptions; the schemas for a restore stay in the manifest.
    for database in &mut contents.databases {
        for collection in &mut database.collections {
            collection.schema_proto = Vec::new();
        }
    }
    let deps = &run.core.deps;
    let progress = run.live.counters.snapshot();
    let write = || {
        let now = deps.clock.now();
        deps.catalog.complete_backup(run.job.id, backup_id, &facts, &contents, progress, now)
    };
    let (_, job) = run.retry().run("make the backup available", write).await.map_err(unless_lasting)?;
    // The backup is there for all to see; its record follows, and nobody waits for it.
    let core = Arc::clone(&run.core);
    let write = async move { write_now(&core, backup_id).await };
    run.core.chores.spawn_on(write.in_current_span(), &run.core.io);
    tracing::info!(
        logical_bytes = facts.logical_bytes,
        newly_stored_bytes = facts.newly_stored_bytes,
        objects = facts.object_count,
        reused_objects = facts.reused_object_count,
        "a backup is available"
    );
    Ok(job)
}

fn time_of_cut(cut_at_ms: i64) -> PortResult<DateTime<Utc>> {
    DateTime::from_timestamp_millis(cut_at_ms).ok_or_else(|| {
        PortError::new(
            PortErrorKind::Internal,
            format!("the cut's time {cut_at_ms} ms is outside the calendar"),
        )
    })
}

/// Everything is copied when the last steps come: an outage then must not cost the whole backup.
pub(super) fn unless_lasting(error: PortError) -> Trouble {
    if error.kind() == PortErrorKind::Unavailable {
        Trouble::Postponed(error)
    } else {
        Trouble::Failed(error)
    }
}

fn missing(message: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, message)
}

impl Run {
    /// Opens a repository of the catalog.
    pub(super) async fn open_repository(
        &self,
        repository_id: RepositoryId,
    ) -> PortResult<Arc<dyn BackupRepository>> {
        let deps = &self.core.deps;
        let row =
            self.retry().run("look up the repository", || deps.catalog.repository(repository_id)).await?;
        let row = row.ok_or_else(|| missing(format!("repository {repository_id} is not registered")))?;
        let open = || deps.stores.open_repository(row.id, &row.storage, row.capabilities);
        self.retry().run("open the repository", open).await
    }
}
