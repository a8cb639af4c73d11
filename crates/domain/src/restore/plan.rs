//! Planning a restore: a pure function of what was asked for, of the backup and of what exists at the target.

use super::{
    CollectionRestore, ConflictPolicy, IndexChoice, LoadChoice, RestoreAction, RestorePlan, RestoreRequest,
    RestoreSelection,
};
use crate::backup::CollectionName;
use crate::error::InvalidInput;
use crate::ids::JobId;
use crate::milvus::{CollectionCut, Cut, LoadState, ServerInfo, TIME_TO_LIVE_PROPERTY};
use crate::ports::Inventory;
use names::{Naming, Target};
use selection::{Selected, Selection};
use std::collections::HashMap;
use target::{Existing, Findings, list_some};

mod abilities;
mod access;
mod aliases;
mod conflicts;
mod databases;
mod names;
mod selection;
mod target;
mod validate;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

pub(super) use validate::validate;

/// Milvus's id of the partition whose segments hold deletes of all partitions.
const ALL_PARTITIONS: i64 = -1;

/// What a plan is made from.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// The job; working names derive from it.
    pub job_id: JobId,
    /// What was asked for.
    pub request: &'a RestoreRequest,
    /// What the backup shows.
    pub cut: &'a Cut,
    /// Number and bytes of the backup's objects, by Milvus's id of the collection and of the partition.
    pub sizes: &'a HashMap<(i64, i64), (u64, u64)>,
    /// What exists at the target.
    pub inventory: &'a Inventory,
    /// What the target is.
    pub server: &'a ServerInfo,
}

/// Makes the plan. Conflicts are part of it: whoever carries it out refuses one that has any.
///
/// # Errors
/// The request names something that the backup does not have, or breaks a rule.
pub fn plan_restore(input: &PlanInput<'_>) -> Result<RestorePlan, InvalidInput> {
    let request = input.request;
    validate(request)?;
    let selection = selection::select(&request.selection, input.cut)?;
    let targets = names::targets(&request.names, &selection)?;
    let mut findings = Findings::default();
    let access_control = request
        .access_control
        .as_ref()
        .map(|wanted| access::plan(wanted, input.cut, input.inventory, &mut findings))
        .transpose()?;

    let existing = Existing::new(input.inventory);
    if request.selection == RestoreSelection::NewCluster {
        conflicts::require_empty(input.inventory, &mut findings);
    }
    let planned = conflicts::resolve(conflict_policy(request), targets, &existing, &mut findings);
    let working_names = names::working_names(input.job_id, &selection, &planned, &existing);
    let aliases = aliases::assign(request.conflict, &selection, &planned, &existing, &mut findings);
    let databases = databases::plan(&request.names, &selection, &planned, &existing, &mut findings);
    let collections = selection
        .collections
        .iter()
        .zip(&planned)
        .zip(working_names.into_iter().zip(aliases))
        .map(|((selected, planned), (working_name, aliases))| {
            restore_of(input, selected, planned, working_name, aliases)
        })
        .collect::<Vec<_>>();
    abilities::check(input, &databases, &collections, &mut findings);
    warn(input, &selection, &collections, &mut findings);
    let (conflicts, warnings) = findings.finish();
    Ok(RestorePlan {
        cut_at_ms: input.cut.cut_at_ms,
        databases,
        collections,
        access_control,
        conflicts,
        warnings,
    })
}

/// A target that has to be empty has no names to avoid, so the other policies have no meaning there.
const fn conflict_policy(request: &RestoreRequest) -> Option<ConflictPolicy> {
    match request.selection {
        RestoreSelection::NewCluster => None,
        RestoreSelection::Everything | RestoreSelection::Chosen(_) => Some(request.conflict),
    }
}

/// A collection's name and action at the target.
#[derive(Debug, Clone)]
struct Planned {
    target: CollectionName,
    naming: Naming,
    action: RestoreAction,
    /// Its own name is in conflict already; what else would be reported about it is noise.
    blocked: bool,
}

impl Planned {
    fn new(target: Target, action: RestoreAction) -> Self {
        Self { target: target.name, naming: target.naming, action, blocked: false }
    }
}

fn restore_of(
    input: &PlanInput<'_>,
    selected: &Selected<'_>,
    planned: &Planned,
    working_name: String,
    aliases: Vec<String>,
) -> CollectionRestore {
    let collection = selected.collection;
    let chosen_ids = selected.partitions.iter().map(|partition| partition.partition_id);
    let (mut object_count, mut bytes) = (0_u64, 0_u64);
    for partition_id in chosen_ids.clone().chain([ALL_PARTITIONS]) {
        let size = input.sizes.get(&(collection.collection_id, partition_id)).copied().unwrap_or_default();
        object_count = object_count.saturating_add(size.0);
        bytes = bytes.saturating_add(size.1);
    }
    CollectionRestore {
        source: selected.name(),
        source_collection_id: collection.collection_id,
        target: planned.target.clone(),
        working_name,
        action: planned.action,
        partitions: selected.partitions.iter().map(|partition| partition.name.clone()).collect(),
        shard_count: input.request.shard_count.unwrap_or(collection.shard_count).max(1),
        build_indexes: input.request.indexes == IndexChoice::Build,
        replica_count: replica_count(input.request, collection),
        aliases,
        object_count,
        bytes,
        stored_row_count: chosen_ids.map(|id| collection.partition_row_count(id)).sum(),
    }
}

fn replica_count(request: &RestoreRequest, collection: &CollectionCut) -> u32 {
    if can_load(request, collection) { wanted_replicas(request.load, collection) } else { 0 }
}

fn wanted_replicas(load: LoadChoice, collection: &CollectionCut) -> u32 {
    match (load, collection.load_state) {
        (LoadChoice::None, _) | (LoadChoice::AsInBackup, LoadState::NotLoaded) => 0,
        (LoadChoice::All, _) | (LoadChoice::AsInBackup, LoadState::Loading | LoadState::Loaded) => {
            collection.replica_count.max(1)
        }
    }
}

/// Milvus loads a collection only when each of its vector fields has an index.
fn can_load(request: &RestoreRequest, collection: &CollectionCut) -> bool {
    let mut vector_fields = collection.fields.iter().filter(|field| field.data_type.ends_with("Vector"));
    request.indexes == IndexChoice::Build
        && vector_fields.all(|field| collection.indexes.iter().any(|index| index.field_name == field.name))
}

fn warn(
    input: &PlanInput<'_>,
    selection: &Selection<'_>,
    collections: &[CollectionRestore],
    findings: &mut Findings,
) {
    let server = &input.cut.server;
    if !server.capabilities.verified {
        findings.warn(format!(
            "the backup was taken from Milvus {}, a version that Milvault's own tests do not run against",
            server.version
        ));
    }
    let restored = || {
        let pairs = selection.collections.iter().zip(collections);
        pairs.filter(|(_, restore)| restore.action != RestoreAction::Skip)
    };
    let hidden = list_some(restored().filter_map(|(selected, restore)| {
        let seconds = time_to_live_seconds(selected.collection)?;
        Some(format!("{} ({seconds} s)", shown(&restore.target)))
    }));
    if let Some(hidden) = hidden {
        findings.warn(format!(
            "a time to live (`{TIME_TO_LIVE_PROPERTY}`), set when the rows are restored and counted, may hide those that are older than it at once: {hidden}"
        ));
    }
    let unloaded = list_some(restored().filter_map(|(selected, restore)| {
        let wanted = wanted_replicas(input.request.load, selected.collection) > 0;
        (wanted && restore.replica_count == 0).then(|| shown(&restore.target))
    }));
    if let Some(unloaded) = unloaded {
        findings.warn(format!("without indexes these collections cannot be loaded: {unloaded}"));
    }
    let thinned = list_some(restored().filter_map(|(selected, restore)| {
        let partial = selected.partitions.len() < selected.collection.partitions.len();
        (partial && restore.action == RestoreAction::Replace).then(|| shown(&restore.target))
    }));
    if let Some(thinned) = thinned {
        findings.warn(format!(
            "only chosen partitions of these collections are restored, and the others are empty once the existing collection is replaced: {thinned}"
        ));
    }
    let renamed = restored().any(|(_, restore)| restore.source != restore.target);
    if input.request.access_control.is_some() && renamed {
        findings.warn(String::from(
            "grants name databases and collections as they were called in the backup, not by their new names",
        ));
    }
}

fn time_to_live_seconds(collection: &CollectionCut) -> Option<u64> {
    let property = collection.properties.iter().find(|property| property.key == TIME_TO_LIVE_PROPERTY)?;
    property.value.parse().ok().filter(|seconds| *seconds > 0)
}

/// A collection's name in messages.
fn shown(name: &CollectionName) -> String {
    format!("`{}.{}`", name.database, name.collection)
}
