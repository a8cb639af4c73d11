//! A copy of a backup in another repository: plan, copy, seal. No Milvus is asked, so it works for a cluster that is down
//! or out of service.

use super::backup::{Way, copy_and_seal, sealed_before};
use super::plan::INDEX_BACKUPS;
use super::sealed::complete_sealed;
use super::{Run, Trouble};
use milvault_domain::backup::{Backup, BackupStatus, CopyOrigin, ManifestHeader};
use milvault_domain::cluster::Cluster;
use milvault_domain::job::{Job, JobPhase};
use milvault_domain::object::StoredObject;
use milvault_domain::plan::{CopyRoute, ObjectIndex, plan_transfer};
use milvault_domain::ports::{BackupRepository, PortError, PortErrorKind, PortResult, UnfinishedBackup};
use std::sync::Arc;

/// Units in flight for a cluster out of service: as many as for one of the usual size.
const COPIES_IN_FLIGHT_DEFAULT: usize = 5;

/// Makes the copy, from wherever an earlier attempt was cut off, as a backup is.
pub(super) async fn copy(run: &Run) -> Result<Job, Trouble> {
    let backup_id = run.backup_id()?;
    let catalog = &run.core.deps.catalog;
    let backup = run.retry().run("look up the backup", || catalog.backup(backup_id)).await?;
    let backup = backup.ok_or_else(|| internal(format!("backup {backup_id} is not in the catalog")))?;
    let origin = backup
        .copied_from
        .ok_or_else(|| internal(format!("backup {backup_id} does not say what it is copied from")))?;
    let repository = run.open_repository(backup.repository_id).await?;
    // As for a backup: first the manifest, then the saved plan.
    if let Some(header) = sealed_before(run, &repository, &backup).await? {
        return complete_sealed(run, &repository, header).await;
    }
    let unfinished =
        run.retry().run("look for an earlier attempt", || repository.load_unfinished(backup_id)).await?;
    run.enter(JobPhase::Plan).await?;
    let source = run.open_repository(origin.repository_id).await?;
    let objects = run
        .retry()
        .run("read the manifest", || source.read_objects(origin.backup_id, None))
        .await
        .map_err(|error| about(origin, error))?;
    let way = open_way(run, &backup, &source, &objects, &repository).await?;
    let unfinished = match unfinished {
        Some(unfinished) => {
            tracing::info!(units = unfinished.plan.units.len(), "a cut-off copy continues");
            unfinished
        }
        None => prepare(run, &backup, origin, &source, objects, &repository, way.copier.route()).await?,
    };
    copy_and_seal(run, &repository, unfinished, way).await
}

/// Opens the way of the bytes. A cluster out of service has neither a limit nor a size any more.
async fn open_way(
    run: &Run,
    backup: &Backup,
    source: &Arc<dyn BackupRepository>,
    objects: &[StoredObject],
    repository: &Arc<dyn BackupRepository>,
) -> PortResult<Way> {
    let deps = &run.core.deps;
    let cluster = run.retry().run("look up the cluster", || deps.catalog.cluster(backup.cluster_id)).await?;
    let limit = cluster.as_ref().and_then(|cluster| cluster.max_bytes_per_second);
    let open = || deps.stores.open_backup_copier(Arc::clone(source), objects, Arc::clone(repository), limit);
    let copier = run.retry().run("open the way of the copy", open).await?;
    let copies_in_flight = cluster.as_ref().map_or(COPIES_IN_FLIGHT_DEFAULT, Cluster::copies_in_flight);
    Ok(Way { copier, copies_in_flight })
}

/// Makes the plan, which is durable in the repository when this returns and something has to be copied.
async fn prepare(
    run: &Run,
    backup: &Backup,
    origin: CopyOrigin,
    source: &Arc<dyn BackupRepository>,
    objects: Vec<StoredObject>,
    repository: &Arc<dyn BackupRepository>,
    route: CopyRoute,
) -> PortResult<UnfinishedBackup> {
    let read = || source.read_header(origin.backup_id);
    let original = run.retry().run("read the manifest", read).await.map_err(|error| about(origin, error))?;
    let index = load_index(run, backup, repository).await?;
    let plan = plan_transfer(objects, &index, route);
    tracing::info!(
        reused_objects = plan.reused.len(),
        units = plan.units.len(),
        ?route,
        "the copy is planned"
    );
    let header = header(backup, original);
    if !plan.units.is_empty() {
        run.retry().run("save the plan", || repository.save_unfinished(&header, &plan)).await?;
    }
    Ok(UnfinishedBackup { header, plan })
}

/// What the repository holds of this cluster, as far as it is worth knowing and not known to be damaged.
async fn load_index(
    run: &Run,
    backup: &Backup,
    repository: &Arc<dyn BackupRepository>,
) -> PortResult<ObjectIndex> {
    let catalog = &run.core.deps.catalog;
    let (cluster_id, repository_id) = (backup.cluster_id, backup.repository_id);
    let newest = |status| {
        let find = move || catalog.newest_backups(cluster_id, repository_id, status, INDEX_BACKUPS);
        run.retry().run("find earlier backups", find)
    };
    let complete = newest(BackupStatus::Available).await?;
    let unfinished = newest(BackupStatus::Failed).await?;
    let load = || repository.load_index(cluster_id, &complete, &unfinished, None);
    let mut holdings = run.retry().run("load the index", load).await?;
    let damage = run.retry().run("look up known damage", || catalog.damage(repository_id)).await?;
    holdings.exclude(damage.iter().collect());
    Ok(holdings.index)
}

/// The same cut under the name of the copy.
fn header(backup: &Backup, original: ManifestHeader) -> ManifestHeader {
    ManifestHeader {
        backup_id: backup.id,
        project_id: backup.project_id,
        name: backup.name.clone(),
        description: backup.description.clone(),
        created_by: backup.created_by.clone(),
        created_at_ms: backup.created_at.timestamp_millis(),
        expires_at_ms: backup.expires_at.map(|at| at.timestamp_millis()),
        copied_from: backup.copied_from,
        ..original
    }
}

/// Says whose manifest cannot be read.
fn about(origin: CopyOrigin, error: PortError) -> PortError {
    error.context(format!(
        "cannot read backup {} in repository {}, which is to be copied; verify that backup",
        origin.backup_id, origin.repository_id
    ))
}

fn internal(message: String) -> PortError {
    PortError::new(PortErrorKind::Internal, message)
}
