//! What a sweep of a cluster would remove from a repository. Reads only, so a preview shows exactly what the job does.

use crate::core::Core;
use crate::retry::Retry;
use chrono::TimeDelta;
use futures::stream::{self, StreamExt, TryStreamExt};
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::lifecycle::{Fate, Standing, Tombstone};
use milvault_domain::ports::{BackupRemains, BackupRepository, PortError, PortErrorKind, PortResult};
use milvault_domain::sweep::{ListedFile, References, condemned};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Manifests that are read at once.
const MANIFESTS_AT_ONCE: usize = 4;

/// The backups of one cluster in one repository, each with what becomes of it.
pub(crate) struct Verdicts {
    pub(crate) by_backup: BTreeMap<BackupId, Verdict>,
    /// Backups that are due and of which nothing is left.
    pub(crate) gone: Vec<BackupId>,
}

#[derive(Clone, Copy)]
pub(crate) struct Verdict {
    pub(crate) standing: Standing,
    pub(crate) fate: Fate,
    pub(crate) buried: bool,
}

/// What goes.
pub(crate) struct SweepPlan {
    /// Backups that are due and whose manifests can be read.
    pub(crate) due: Vec<BackupId>,
    /// Backups that are due and cannot be read, each with the reason: what they refer to is not known, so it stays.
    pub(crate) unreadable: Vec<String>,
    /// Files that exist and that only the due backups refer to.
    pub(crate) files: Vec<ListedFile>,
}

impl Verdicts {
    /// Backups that have to be buried first: deleted ones, and failed ones that are due, which may have a manifest.
    pub(crate) fn unburied(&self) -> impl Iterator<Item = Tombstone> + '_ {
        let unburied = self.by_backup.values().filter(|verdict| {
            let over = verdict.standing.status == BackupStatus::Deleted || verdict.fate == Fate::Due;
            over && !verdict.buried
        });
        unburied.filter_map(|Verdict { standing, .. }| {
            let (backup_id, cluster_id) = (standing.backup_id, standing.cluster_id);
            standing.ended_at.map(|deleted_at| Tombstone { backup_id, cluster_id, deleted_at })
        })
    }

    /// Whether a plan that was made from these verdicts still holds: nothing came, and nothing that goes is needed.
    pub(crate) fn hold_by(&self, later: &Self) -> bool {
        let known = later.by_backup.keys().all(|id| self.by_backup.contains_key(id));
        let due = self.by_backup.iter().filter(|(_, verdict)| verdict.fate == Fate::Due);
        known
            && due.into_iter().all(|(id, _)| later.by_backup.get(id).is_some_and(|now| now.fate == Fate::Due))
    }

    fn count(&self, fate: Fate) -> usize {
        self.by_backup.values().filter(|verdict| verdict.fate == fate).count()
    }

    /// Backups whose time of grace is not over.
    pub(crate) fn waiting(&self) -> usize {
        self.count(Fate::Waiting)
    }
}

/// Opens a repository that the catalog knows.
pub(crate) async fn open(core: &Core, id: RepositoryId) -> PortResult<Arc<dyn BackupRepository>> {
    let row = core.deps.catalog.repository(id).await?;
    let row = row.ok_or_else(|| {
        PortError::new(PortErrorKind::NotFound, format!("repository {id} is not registered"))
    })?;
    core.deps.stores.open_repository(row.id, &row.storage, row.capabilities).await
}

/// Decides about every backup of the cluster. The catalog is asked after the repository, so that whatever is there is
/// known; a backup that the catalog does not know stays unless it has a tombstone.
pub(crate) async fn judge(
    core: &Core,
    repository: &dyn BackupRepository,
    cluster_id: ClusterId,
) -> PortResult<Verdicts> {
    let retry = Retry::of(&core.settings);
    let remains = retry.run("list the backups", || repository.backup_remains()).await?;
    let standings = || core.deps.catalog.standings(repository.id());
    let standings = retry.run("look up the backups", standings).await?;
    let mut standings: HashMap<BackupId, Standing> =
        standings.into_iter().map(|standing| (standing.backup_id, standing)).collect();
    let now = core.deps.clock.now();
    let grace = TimeDelta::from_std(core.settings.sweep_grace).unwrap_or(TimeDelta::MAX);
    let mut by_backup = BTreeMap::new();
    for remains in remains {
        let standing = match standings.remove(&remains.backup_id) {
            Some(standing) => Some(standing),
            None => unknown(repository, remains, cluster_id).await?,
        };
        if let Some(standing) = standing.filter(|standing| standing.cluster_id == cluster_id) {
            let fate = standing.fate(now, grace);
            by_backup.insert(standing.backup_id, Verdict { standing, fate, buried: remains.tombstone });
        }
    }
    let gone = standings.into_values().filter(|standing| standing.cluster_id == cluster_id);
    let gone = gone.filter(|standing| standing.fate(now, grace) == Fate::Due);
    Ok(Verdicts { by_backup, gone: gone.map(|standing| standing.backup_id).collect() })
}

/// A backup that the catalog does not know: another catalog's, or one of a catalog that was lost. One that cannot be read
/// keeps the sweep from going on unless it is known to be another cluster's, which it then keeps alone.
async fn unknown(
    repository: &dyn BackupRepository,
    remains: BackupRemains,
    cluster_id: ClusterId,
) -> PortResult<Option<Standing>> {
    let backup_id = remains.backup_id;
    let error = match told_by_files(repository, remains).await {
        Ok(standing) => return Ok(standing),
        Err(error) => error,
    };
    if matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported)
        && let Some(owner) = owner_besides(repository, backup_id).await
        && owner != cluster_id
    {
        tracing::warn!(%backup_id, %owner, %error, "a backup of another cluster cannot be read");
        return Ok(None);
    }
    Err(error.context(format!(
        "backup {backup_id}, which the catalog does not know, keeps the sweep from going on"
    )))
}

/// The cluster of a backup of which something cannot be read, by what else lies there: its manifest or plan if it is the
/// tombstone, or its record.
async fn owner_besides(repository: &dyn BackupRepository, backup_id: BackupId) -> Option<ClusterId> {
    if let Ok(Some(owner)) = repository.owner(backup_id).await {
        return Some(owner);
    }
    let record = repository.read_record(backup_id).await.ok().flatten();
    record.map(|record| record.cluster_id)
}

async fn told_by_files(
    repository: &dyn BackupRepository,
    remains: BackupRemains,
) -> PortResult<Option<Standing>> {
    let backup_id = remains.backup_id;
    let tombstone = if remains.tombstone { repository.tombstone(backup_id).await? } else { None };
    if let Some(tombstone) = tombstone {
        return Ok(Some(Standing {
            backup_id,
            cluster_id: tombstone.cluster_id,
            status: BackupStatus::Deleted,
            ended_at: Some(tombstone.deleted_at),
            in_use: false,
        }));
    }
    Ok(repository.owner(backup_id).await?.map(|cluster_id| Standing {
        backup_id,
        cluster_id,
        status: BackupStatus::Available,
        ended_at: None,
        in_use: false,
    }))
}

/// Reads what every backup refers to, and decides which files go.
pub(crate) async fn plan(
    core: &Core,
    repository: &dyn BackupRepository,
    verdicts: &Verdicts,
) -> PortResult<SweepPlan> {
    let retry = Retry::of(&core.settings);
    let read = |(backup_id, fate)| async move {
        (backup_id, fate, retry.run("read a manifest", || repository.referenced_files(backup_id)).await)
    };
    let wanted: Vec<_> = verdicts.by_backup.iter().map(|(id, verdict)| (*id, verdict.fate)).collect();
    let mut reads = stream::iter(wanted).map(read).buffer_unordered(MANIFESTS_AT_ONCE).boxed();
    let (mut due_files, mut kept_files) = (References::default(), References::default());
    let (mut due, mut unreadable) = (Vec::new(), Vec::new());
    while let Some((backup_id, fate, references)) = reads.next().await {
        match (fate, references) {
            (Fate::Due, Ok(references)) => {
                due_files.add_all(&references);
                due.push(backup_id);
            }
            (Fate::Due, Err(error))
                if matches!(error.kind(), PortErrorKind::Corrupt | PortErrorKind::Unsupported) =>
            {
                unreadable.push(format!("{backup_id}: {error}"));
            }
            (_, Ok(references)) => kept_files.add_all(&references),
            // Without knowing what it needs, nothing may go.
            (_, Err(error)) => {
                return Err(error.context(format!("what backup {backup_id} refers to is not known")));
            }
        }
    }
    drop(reads);
    due.sort_unstable();
    unreadable.sort_unstable();
    let files = condemned(&due_files, &kept_files);
    let files = retry.run("look at the files", || repository.existing_files(&files)).await?;
    Ok(SweepPlan { due, unreadable, files })
}

/// Removes files, many at once. What comes out counts each file when it is gone.
pub(crate) async fn remove_files(
    core: &Core,
    repository: &dyn BackupRepository,
    files: Vec<ListedFile>,
    removed: impl Fn(ListedFile),
) -> PortResult<()> {
    const AT_ONCE: usize = 8;
    let remove = |listed: ListedFile| async move {
        core.remove("remove a file", || repository.remove_file(listed.file)).await?;
        Ok::<_, PortError>(listed)
    };
    let mut removals = stream::iter(files).map(remove).buffer_unordered(AT_ONCE).boxed();
    while let Some(listed) = removals.try_next().await? {
        removed(listed);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
