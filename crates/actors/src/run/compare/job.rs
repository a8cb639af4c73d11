//! A compare job: the collections of a restore that has ended, against their backup.

use super::super::{Run, Trouble};
use super::differences::Differences;
use super::keys::{SampleRate, read_keys};
use super::side::{Meter, Side};
use super::{CompareCollection, compare_metered};
use futures::{FutureExt, StreamExt, TryStreamExt};
use milvault_domain::backup::{CollectionName, ManifestHeader};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::job_request::JobRequest;
use milvault_domain::milvus::CollectionCut;
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{BackupRepository, MilvusTarget, PortError, PortErrorKind, PortResult};
use milvault_domain::progress::Progress;
use milvault_domain::restore::{
    CollectionRestore, CompareDepth, CompareReport, ComparedCollection, Restore, RestoreStep,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Collections that are compared at once: taking a target's cut is mostly waiting.
const COLLECTIONS_AT_ONCE: usize = 4;

/// Compares every collection that the restore made and records the report. An interrupted comparison begins anew.
pub(in crate::run) async fn compare(run: &Run) -> Result<Job, Trouble> {
    let deps = &run.core.deps;
    run.enter(JobPhase::Compare).await?;
    let (restore_job_id, depth) = requested(run).await?;
    let work = Comparison::prepare(run, restore_job_id, depth).await?;
    run.live.counters.start(work.totals());
    let mut reads = Vec::new();
    for pair in &work.pairs {
        // Boxed: the compiler cannot see otherwise that the stream may move between threads.
        reads.push(work.compare_pair(run, pair).boxed());
    }
    let collections: Vec<ComparedCollection> =
        futures::stream::iter(reads).buffered(COLLECTIONS_AT_ONCE).try_collect().await?;
    let report = CompareReport { collections };
    tracing::info!(
        collections = report.collections.len(),
        differing = report.differing(),
        "a comparison ended"
    );
    let save = || deps.catalog.save_compare_report(run.job.id, &report);
    run.retry().run("record the report", save).await?;
    let progress = run.live.counters.snapshot();
    let complete = || deps.catalog.complete_compare(run.job.id, progress, deps.clock.now());
    Ok(run.retry().run("record the end of the comparison", complete).await?)
}

async fn requested(run: &Run) -> PortResult<(JobId, CompareDepth)> {
    let catalog = &run.core.deps.catalog;
    let request = run.retry().run("look up the request", || catalog.job_request(run.job.id)).await?;
    let Some(JobRequest::Compare { restore_job_id, depth }) = request else {
        let message = format!("job {} does not say which restore to compare", run.job.id);
        return Err(PortError::new(PortErrorKind::Internal, message));
    };
    Ok((restore_job_id, depth))
}

/// What a comparison works with.
struct Comparison {
    depth: CompareDepth,
    cluster: Cluster,
    target: Arc<dyn MilvusTarget>,
    repository: Arc<dyn BackupRepository>,
    header: ManifestHeader,
    objects: HashMap<i64, Vec<StoredObject>>,
    pairs: Vec<Pair>,
}

/// A restored collection.
struct Pair {
    planned: CollectionRestore,
    /// Milvus's id at the target.
    target_collection_id: Option<i64>,
}

impl Comparison {
    async fn prepare(run: &Run, restore_job_id: JobId, depth: CompareDepth) -> PortResult<Self> {
        let deps = &run.core.deps;
        let look_up = || deps.catalog.restore(restore_job_id);
        let restore = run.retry().run("look up the restore", look_up).await?;
        let restore =
            restore.ok_or_else(|| missing(format!("restore {restore_job_id} is not in the catalog")))?;
        let cluster_id = restore.request.target_cluster_id;
        let cluster = run.retry().run("look up the cluster", || deps.catalog.cluster(cluster_id)).await?;
        let cluster =
            cluster.ok_or_else(|| missing(format!("cluster {cluster_id} was removed; register it again")))?;
        let backup_id = restore.request.backup_id;
        let backup = run.retry().run("look up the backup", || deps.catalog.backup(backup_id)).await?;
        let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
        let repository = run.open_repository(backup.repository_id).await?;
        let header = run.retry().run("read the manifest", || repository.read_header(backup_id)).await?;
        let pairs = restored_pairs(restore);
        let ids: HashSet<i64> = pairs.iter().map(|pair| pair.planned.source_collection_id).collect();
        let read = || repository.read_objects(backup_id, Some(&ids));
        let mut objects: HashMap<i64, Vec<StoredObject>> = HashMap::new();
        for object in run.retry().run("read the list of objects", read).await? {
            objects.entry(object.source.key.collection_id).or_default().push(object);
        }
        let connect = || deps.milvus.connect_target(&cluster.endpoint);
        let target = run.retry().run("connect to the target", connect).await?;
        Ok(Self { depth, cluster, target, repository, header, objects, pairs })
    }

    fn totals(&self) -> Progress {
        let all = || self.pairs.iter().flat_map(|pair| self.objects_of(pair));
        Progress {
            bytes_total: all().map(|object| object.source.size_bytes).sum(),
            objects_total: all().count() as u64,
            ..Progress::default()
        }
    }

    fn objects_of(&self, pair: &Pair) -> &[StoredObject] {
        self.objects.get(&pair.planned.source_collection_id).map_or(&[], Vec::as_slice)
    }

    /// Compares one collection. What is wrong with this one alone goes into the report, so that the others are
    /// compared all the same.
    async fn compare_pair(&self, run: &Run, pair: &Pair) -> PortResult<ComparedCollection> {
        let objects = self.objects_of(pair);
        let bytes = objects.iter().map(|object| object.source.size_bytes).sum();
        let meter = Meter::new(Arc::clone(&run.live.counters), bytes, objects.len() as u64);
        let compared = match self.try_compare(run, pair, &meter).await {
            Err(error) if is_about_one_collection(error.kind()) => {
                tracing::warn!(%error, collection = pair.planned.target.collection, "cannot compare a collection");
                not_compared(pair, format!("could not be compared: {error}"))
            }
            other => other?,
        };
        meter.finish();
        Ok(compared)
    }

    async fn try_compare(&self, run: &Run, pair: &Pair, meter: &Meter) -> PortResult<ComparedCollection> {
        if let Some(difference) = self.look_for(run, pair).await? {
            return Ok(not_compared(pair, difference));
        }
        let (planned, source) = (&pair.planned, self.source(pair)?);
        let cut_at_ms = self.header.cut.cut_at_ms;
        let objects = self.objects_of(pair);
        let side = Side::of_backup(run, &self.repository, source, objects, cut_at_ms)?.metered(Some(meter));
        let expected = read_keys(&side, &planned.partitions, SampleRate::for_collection(source)).await?;
        let wanted = CompareCollection {
            repository: &self.repository,
            source,
            source_name: &planned.source,
            objects,
            expected: &expected,
            source_cut_at_ms: cut_at_ms,
            target: Arc::clone(&self.target),
            target_storage: &self.cluster.storage,
            target_name: &planned.target,
            depth: self.depth,
            partitions: &planned.partitions,
        };
        compare_metered(run, &wanted, Some(meter)).await
    }

    /// Says what became of the collection when it is no longer the one that was restored.
    async fn look_for(&self, run: &Run, pair: &Pair) -> PortResult<Option<String>> {
        let name = &pair.planned.target;
        let find = || self.target.find_collection(name);
        let found = run.retry().run("look for the collection", find).await?;
        let CollectionName { database, collection } = name;
        Ok(match found {
            None => Some(format!("collection {database}.{collection} is gone from the target")),
            Some(found) if Some(found.collection_id) != pair.target_collection_id => {
                let message = "belongs to another collection now; the restored one was dropped or renamed";
                Some(format!("the name {database}.{collection} {message}"))
            }
            Some(_) => None,
        })
    }

    fn source(&self, pair: &Pair) -> PortResult<&CollectionCut> {
        let id = pair.planned.source_collection_id;
        let found = self.header.cut.collections().find(|(_, collection)| collection.collection_id == id);
        found.map(|(_, collection)| collection).ok_or_else(|| {
            let CollectionName { database, collection } = &pair.planned.source;
            missing(format!("collection {database}.{collection} is not in the backup"))
        })
    }
}

/// The collections that a restore has made.
fn restored_pairs(restore: Restore) -> Vec<Pair> {
    let planned = restore.plan.into_iter().flat_map(|plan| plan.collections);
    let pairs = planned.zip(restore.collections);
    let done = pairs.filter(|(_, restored)| restored.step == RestoreStep::Done);
    done.map(|(planned, restored)| Pair { planned, target_collection_id: restored.target_collection_id })
        .collect()
}

fn not_compared(pair: &Pair, difference: String) -> ComparedCollection {
    let mut differences = Differences::default();
    differences.add(difference);
    ComparedCollection {
        source: pair.planned.source.clone(),
        target: pair.planned.target.clone(),
        partitions: Vec::new(),
        rows_compared_whole: 0,
        differences: differences.into_words(),
    }
}

const fn is_about_one_collection(kind: PortErrorKind) -> bool {
    matches!(
        kind,
        PortErrorKind::NotFound
            | PortErrorKind::Corrupt
            | PortErrorKind::Unsupported
            // It did not hold still for the look at it.
            | PortErrorKind::Changed
    )
}

fn missing(message: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, message)
}
