//! Comparing rows: what a backup shows at its cut against what a target holds now.
//!
//! Both sides are read the same way, from their binlogs, each at the instant of its own cut. What is compared are
//! numbers and checksums that do not depend on how rows are spread over segments, so memory does not grow with them.

mod budget;
mod differences;
mod fields;
mod job;
mod keys;
mod side;

use super::Run;
use differences::Differences;
use fields::{ChosenRows, field_digests};
use keys::{SampleRate, read_keys};
use milvault_domain::backup::{BackupScope, CollectionName};
use milvault_domain::milvus::{CollectionCut, Cut};
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{BackupRepository, MilvusTarget, PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{CompareDepth, ComparedCollection};
use milvault_domain::storage::{SourceLayout, StorageConfig};
use side::{Meter, Side, Store};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

pub(super) use job::compare;
pub(in crate::run) use keys::ExpectedRows;

/// One collection to be compared. What `expected` was read from is given once more, because deeper comparisons read
/// the fields of its rows.
pub(in crate::run) struct CompareCollection<'a> {
    /// Where the backup lies.
    pub(in crate::run) repository: &'a Arc<dyn BackupRepository>,
    /// The collection as the backup shows it.
    pub(in crate::run) source: &'a CollectionCut,
    /// Its names in the backup.
    pub(in crate::run) source_name: &'a CollectionName,
    /// The backup's objects; those of other collections are passed over.
    pub(in crate::run) objects: &'a [StoredObject],
    /// What [`expected_rows`] found.
    pub(in crate::run) expected: &'a ExpectedRows,
    /// The backup's cut, milliseconds since 1970-01-01 UTC.
    pub(in crate::run) source_cut_at_ms: i64,
    /// The Milvus that holds the collection's rows now.
    pub(in crate::run) target: Arc<dyn MilvusTarget>,
    /// Where that Milvus keeps its binlogs.
    pub(in crate::run) target_storage: &'a StorageConfig,
    /// The collection's present name, no alias.
    pub(in crate::run) target_name: &'a CollectionName,
    /// How thoroughly.
    pub(in crate::run) depth: CompareDepth,
    /// Names of the partitions that were restored; the target's others have to be empty.
    pub(in crate::run) partitions: &'a [String],
}

/// Reads which rows the backup shows in some partitions of a collection: only timestamps, primary keys and deletes.
///
/// # Errors
/// `Corrupt`, `NotFound` and `Unsupported` as for reading objects and decoding them; `NotFound` also when files of a
/// segment are missing.
pub(in crate::run) async fn expected_rows(
    run: &Run,
    repository: &Arc<dyn BackupRepository>,
    collection: &CollectionCut,
    partitions: &[String],
    objects: &[StoredObject],
    cut_at_ms: i64,
) -> PortResult<ExpectedRows> {
    let side = Side::of_backup(run, repository, collection, objects, cut_at_ms)?;
    read_keys(&side, partitions, SampleRate::for_collection(collection)).await
}

/// Compares a collection with the backup. Differences are the report's matter; an error means that it could not be
/// compared.
///
/// # Errors
/// Errors of either side; `NotFound` when the collection or files of it are not there.
pub(in crate::run) async fn compare_collection(
    run: &Run,
    wanted: CompareCollection<'_>,
) -> PortResult<ComparedCollection> {
    compare_metered(run, &wanted, None).await
}

/// The same, counting what is read of the backup.
async fn compare_metered(
    run: &Run,
    wanted: &CompareCollection<'_>,
    meter: Option<&Meter>,
) -> PortResult<ComparedCollection> {
    let mut compared = ComparedCollection {
        source: wanted.source_name.clone(),
        target: wanted.target_name.clone(),
        partitions: Vec::new(),
        rows_compared_whole: 0,
        differences: Vec::new(),
    };
    let mut differences = Differences::default();
    // From 2.4 on a server's figures still have the rows that segments of deletes take away.
    let has_deletes_apart = wanted.target.server().capabilities.l0_segments;
    if wanted.depth == CompareDepth::Counts && !has_deletes_apart {
        let found = counted_rows(run, wanted).await?;
        compared.partitions = differences.of_counts(wanted, &found);
    } else {
        compare_contents(run, wanted, meter, &mut compared, &mut differences).await?;
    }
    compared.differences = differences.into_words();
    tracing::info!(
        database = wanted.target_name.database,
        collection = wanted.target_name.collection,
        depth = ?wanted.depth,
        differences = compared.differences.len(),
        rows_compared_whole = compared.rows_compared_whole,
        "a collection was compared"
    );
    Ok(compared)
}

/// Rows by partition as the server counts them.
async fn counted_rows(run: &Run, wanted: &CompareCollection<'_>) -> PortResult<BTreeMap<String, u64>> {
    let (target, name) = (&wanted.target, wanted.target_name);
    run.retry().run("flush the collection", || target.flush(name)).await?;
    let counts = run.retry().run("count the rows", || target.row_counts(name)).await?;
    Ok(counts.into_iter().collect())
}

/// Compares numbers of rows, checksums of all primary keys, and fields, each as far as the depth asks for it.
async fn compare_contents(
    run: &Run,
    wanted: &CompareCollection<'_>,
    meter: Option<&Meter>,
    compared: &mut ComparedCollection,
    differences: &mut Differences,
) -> PortResult<()> {
    let cut = take_target_cut(run, wanted).await?;
    let target = target_side(run, wanted, &cut).await?;
    let partitions = target.partition_names();
    let found = read_keys(&target, &partitions, wanted.expected.sample_rate()).await?;
    compared.partitions = differences.of_counts(wanted, &found.row_counts());
    if wanted.depth == CompareDepth::Counts {
        return Ok(());
    }
    let equal = differences.of_keys(wanted, &found);
    if wanted.depth == CompareDepth::Keys || equal.is_empty() {
        return Ok(());
    }
    let (repository, source) = (wanted.repository, wanted.source);
    let source = Side::of_backup(run, repository, source, wanted.objects, wanted.source_cut_at_ms)?;
    let source = source.metered(meter);
    let (chosen, found_chosen) = if wanted.depth == CompareDepth::Sample {
        let keys = wanted.expected.sampled_keys();
        (ChosenRows::of(wanted.expected, &keys), ChosenRows::of(&found, &keys))
    } else {
        (ChosenRows::All, ChosenRows::All)
    };
    // One after the other: each is as wide as memory allows.
    let expected = field_digests(&source, &chosen, &equal).await?;
    let found = field_digests(&target, &found_chosen, &equal).await?;
    compared.rows_compared_whole = expected.rows;
    differences.of_fields(&expected, &found);
    Ok(())
}

async fn take_target_cut(run: &Run, wanted: &CompareCollection<'_>) -> PortResult<Cut> {
    let scope = BackupScope::Collections(vec![wanted.target_name.clone()]);
    run.retry().run("take the target's cut", || wanted.target.take_cut(&scope)).await
}

/// Opens the target's storage and lists the files of its cut.
async fn target_side<'a>(run: &'a Run, wanted: &CompareCollection<'_>, cut: &Cut) -> PortResult<Side<'a>> {
    let CollectionName { database, collection: name } = wanted.target_name;
    let collection = cut.collections().find(|(of, collection)| of == database && collection.name == *name);
    let Some((_, collection)) = collection else {
        let message = format!("collection {database}.{name} is not at the target");
        return Err(PortError::new(PortErrorKind::NotFound, message));
    };
    let stores = &run.core.deps.stores;
    let open = || stores.open_source(wanted.target_storage, &SourceLayout::Milvus);
    let store = run.retry().run("open the target's storage", open).await?;
    let segment_ids: HashSet<i64> = collection.segments.iter().map(|segment| segment.segment_id).collect();
    let objects = if segment_ids.is_empty() {
        Vec::new()
    } else {
        let list = || store.list_binlogs(collection.collection_id, &segment_ids);
        run.retry().run("list the target's files", list).await?
    };
    Side::new(run, Store::Cluster(store), collection, objects.iter().map(Into::into), cut.cut_at_ms).map_err(
        |error| {
            let advice = "check that the target cluster's registered storage is the one its Milvus writes to";
            let message = format!("collection {database}.{name} at the target: {error}; {advice}");
            PortError::with_source(error.kind(), message, error)
        },
    )
}
