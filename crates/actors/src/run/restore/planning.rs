//! Looking at the backup and at the target, and planning: the same for a job and for a dry run.

use crate::core::Core;
use crate::retry::Retry;
use milvault_domain::backup::{Backup, BackupStatus, CollectionName};
use milvault_domain::cluster::Cluster;
use milvault_domain::error::InvalidInput;
use milvault_domain::ids::{BackupId, ClusterId, JobId};
use milvault_domain::milvus::{CollectionCut, Cut, ServerInfo};
use milvault_domain::object::StoredObject;
use milvault_domain::ports::{BackupRepository, Inventory, PortError, PortErrorKind, PortResult};
use milvault_domain::restore::{
    ChosenItem, PlanInput, RestoreAction, RestorePlan, RestoreRequest, RestoreSelection, RestoreStep,
    RestoredCollection, plan_restore,
};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Objects of a backup by Milvus's id of their collection.
pub(crate) type ObjectsByCollection = HashMap<i64, Vec<StoredObject>>;

/// Conflicts that a message names.
const CONFLICTS_NAMED_MAX: usize = 3;

/// A backup that is read for a restore.
pub(crate) struct BackupAtHand {
    pub(crate) backup: Backup,
    pub(crate) repository: Arc<dyn BackupRepository>,
    pub(crate) cut: Cut,
}

/// A restore that left something at the target and is continued.
pub(crate) struct Former {
    pub(crate) plan: RestorePlan,
    pub(crate) collections: Vec<RestoredCollection>,
}

impl BackupAtHand {
    /// Opens an available backup.
    pub(crate) async fn open(core: &Core, backup_id: BackupId) -> PortResult<Self> {
        let (deps, retry) = (&core.deps, Retry::of(&core.settings));
        let backup = retry.run("look up the backup", || deps.catalog.backup(backup_id)).await?;
        let backup = backup.ok_or_else(|| missing(format!("backup {backup_id} is not in the catalog")))?;
        if let Some(problem) = unusable(&backup) {
            return Err(PortError::new(PortErrorKind::Conflict, problem));
        }
        let id = backup.repository_id;
        let row = retry.run("look up the repository", || deps.catalog.repository(id)).await?;
        let row = row.ok_or_else(|| missing(format!("repository {id} is not registered")))?;
        let open = || deps.stores.open_repository(row.id, &row.storage, row.capabilities);
        let repository = retry.run("open the repository", open).await?;
        let header = retry.run("read the manifest", || repository.read_header(backup_id)).await?;
        Ok(Self { backup, repository, cut: header.cut })
    }

    /// The objects of these collections.
    pub(crate) async fn objects(
        &self,
        core: &Core,
        collection_ids: &HashSet<i64>,
    ) -> PortResult<ObjectsByCollection> {
        if collection_ids.is_empty() {
            return Ok(HashMap::new());
        }
        let read = || self.repository.read_objects(self.backup.id, Some(collection_ids));
        let objects = Retry::of(&core.settings).run("read the manifest", read).await?;
        let mut by_collection = ObjectsByCollection::new();
        for object in objects {
            by_collection.entry(object.source.key.collection_id).or_default().push(object);
        }
        Ok(by_collection)
    }
}

/// Why nothing can be restored from a backup, in words.
pub(crate) fn unusable(backup: &Backup) -> Option<String> {
    let state = match backup.status {
        BackupStatus::Available => return None,
        BackupStatus::Creating => "is still being made",
        BackupStatus::Failed => "failed and has nothing to restore",
        BackupStatus::Deleted => "is deleted",
    };
    Some(format!("backup {} {state}; only available backups can be restored", backup.id))
}

/// Finds a cluster that is in service.
pub(crate) async fn cluster_in_service(core: &Core, cluster_id: ClusterId) -> PortResult<Cluster> {
    let find = || core.deps.catalog.cluster(cluster_id);
    let cluster = Retry::of(&core.settings).run("look up the cluster", find).await?;
    cluster.ok_or_else(|| missing(format!("cluster {cluster_id} was removed; register it again")))
}

/// The collections that a selection is about; names that the backup does not have are the planner's matter.
pub(crate) fn selected_collections(selection: &RestoreSelection, cut: &Cut) -> HashSet<i64> {
    let is_chosen = |database: &str, collection: &CollectionCut| match selection {
        RestoreSelection::NewCluster | RestoreSelection::Everything => true,
        RestoreSelection::Chosen(items) => {
            items.iter().any(|item| item_includes(item, database, &collection.name))
        }
    };
    let chosen = cut.collections().filter(|(database, collection)| is_chosen(database, collection));
    chosen.map(|(_, collection)| collection.collection_id).collect()
}

fn item_includes(item: &ChosenItem, database: &str, collection: &str) -> bool {
    item.database == database && item.collection.as_deref().is_none_or(|name| name == collection)
}

/// Makes the plan. One that continues a former restore keeps what that one has finished, and plans the rest as if the
/// finished collections, and the users and roles that it was to make, were not there.
pub(crate) fn plan(
    job_id: JobId,
    request: &RestoreRequest,
    cut: &Cut,
    objects: &ObjectsByCollection,
    inventory: &Inventory,
    server: &ServerInfo,
    former: Option<&Former>,
) -> Result<(RestorePlan, Vec<RestoredCollection>), InvalidInput> {
    let sizes = sizes(objects);
    let others = former.map(|former| without_finished(inventory, former));
    let inventory = others.as_ref().unwrap_or(inventory);
    let mut plan = plan_restore(&PlanInput { job_id, request, cut, sizes: &sizes, inventory, server })?;
    let mut states: Vec<RestoredCollection> = plan
        .collections
        .iter()
        .map(|collection| RestoredCollection {
            step: match collection.action {
                RestoreAction::Skip => RestoreStep::Skipped,
                RestoreAction::Create | RestoreAction::Replace => RestoreStep::Waiting,
            },
            ..RestoredCollection::default()
        })
        .collect();
    if let Some(former) = former {
        carry_over(&mut plan, &mut states, former);
    }
    Ok((plan, states))
}

/// Number and bytes of objects by collection and partition.
fn sizes(objects: &ObjectsByCollection) -> HashMap<(i64, i64), (u64, u64)> {
    let mut sizes: HashMap<(i64, i64), (u64, u64)> = HashMap::new();
    for object in objects.values().flatten() {
        let key = object.source.key;
        let size = sizes.entry((key.collection_id, key.partition_id)).or_default();
        size.0 += 1;
        size.1 += object.source.size_bytes;
    }
    sizes
}

fn without_finished(inventory: &Inventory, former: &Former) -> Inventory {
    let finished: HashSet<i64> = former
        .collections
        .iter()
        .filter(|state| state.step == RestoreStep::Done)
        .filter_map(|state| state.target_collection_id)
        .collect();
    let mut others = inventory.clone();
    for database in &mut others.databases {
        database.collections.retain(|collection| !finished.contains(&collection.collection_id));
    }
    // A role that the former restore made but could not grant everything to is completed, not taken for the target's own.
    if let Some(access) = &former.plan.access_control {
        others.users.retain(|user| !access.users.contains(user));
        others.roles.retain(|role| !access.roles.contains(role));
    }
    others
}

fn carry_over(plan: &mut RestorePlan, states: &mut [RestoredCollection], former: &Former) {
    let by_source: HashMap<&CollectionName, usize> =
        former.plan.collections.iter().enumerate().map(|(at, collection)| (&collection.source, at)).collect();
    for (collection, state) in plan.collections.iter_mut().zip(states) {
        let Some(at) = by_source.get(&collection.source).copied() else { continue };
        if let Some(finished) = former.collections.get(at).filter(|state| state.step == RestoreStep::Done) {
            *collection = former.plan.collections[at].clone();
            *state = finished.clone();
        }
    }
    // What the former restore made and is still there is removed with this one when it is undone.
    let made: HashSet<String> = former.plan.made_databases().into_iter().collect();
    for database in &mut plan.databases {
        database.made = !database.create && made.contains(&database.name);
    }
}

/// Refuses a plan that cannot be carried out.
pub(crate) fn refuse_conflicts(plan: &RestorePlan) -> PortResult<()> {
    if plan.conflicts.is_empty() {
        return Ok(());
    }
    let mut words: Vec<String> = plan
        .conflicts
        .iter()
        .take(CONFLICTS_NAMED_MAX)
        .map(|conflict| format!("`{}.{}`: {}", conflict.database, conflict.name, conflict.reason))
        .collect();
    if plan.conflicts.len() > CONFLICTS_NAMED_MAX {
        words.push(format!("and {} more", plan.conflicts.len() - CONFLICTS_NAMED_MAX));
    }
    let message = format!("nothing was touched, because the plan has conflicts: {}", words.join("; "));
    Err(PortError::new(PortErrorKind::Conflict, message))
}

pub(crate) fn missing(message: String) -> PortError {
    PortError::new(PortErrorKind::NotFound, message)
}
