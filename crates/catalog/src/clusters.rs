//! Clusters and repositories: records with sealed configuration.

use crate::database::{Dialect, Parameter, Record, Statement, Transaction};
use crate::jobs::OPEN_STATES;
use crate::model::{count, figure, folded, from_json, id, optional_microseconds, time, to_json};
use crate::page::ListQuery;
use crate::seal::{Place, Sealer};
use crate::{recovery, schedules};
use chrono::{DateTime, Utc};
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::{ClusterId, JobId, RepositoryId};
use milvault_domain::ports::{
    ClusterFilter, ClusterRemoval, PageRequest, PortError, PortErrorKind, PortResult, RepositoryFilter,
};
use milvault_domain::repository::Repository;

pub(crate) fn insert(sealer: &Sealer, cluster: &Cluster) -> PortResult<Statement> {
    insert_row(sealer, cluster, None)
}

/// Adds a cluster that is known only from its backups and was never in service here, unless its id is known already.
pub(crate) fn insert_unknown(sealer: &Sealer, cluster: &Cluster) -> PortResult<Statement> {
    Ok(insert_row(sealer, cluster, Some(cluster.created_at))?.push(" ON CONFLICT (id) DO NOTHING"))
}

fn insert_row(
    sealer: &Sealer,
    cluster: &Cluster,
    removed_at: Option<DateTime<Utc>>,
) -> PortResult<Statement> {
    let [name, name_folded, endpoint, storage, repository, cu_size, rate, updated_at] =
        changeable_columns(sealer, cluster)?;
    Ok(Statement::insert(
        "clusters",
        [
            ("id", cluster.id.to_string().into()),
            ("project_id", cluster.project_id.to_string().into()),
            ("created_at_us", cluster.created_at.timestamp_micros().into()),
            name,
            name_folded,
            endpoint,
            storage,
            repository,
            cu_size,
            rate,
            updated_at,
            ("removed_at_us", optional_microseconds(removed_at).into()),
        ],
    ))
}

pub(crate) fn update(sealer: &Sealer, cluster: &Cluster) -> PortResult<Statement> {
    Ok(Statement::update("clusters", changeable_columns(sealer, cluster)?)
        .push("id = ")
        .bind(cluster.id.to_string())
        .push(" AND removed_at_us IS NULL"))
}

fn changeable_columns(sealer: &Sealer, cluster: &Cluster) -> PortResult<[(&'static str, Parameter); 8]> {
    let cluster_id = cluster.id.to_string();
    let rate = cluster.max_bytes_per_second.map(|rate| figure("maxBytesPerSecond", rate)).transpose()?;
    Ok([
        ("name", cluster.name.as_str().into()),
        ("name_folded", folded(&cluster.name).into()),
        ("endpoint_sealed", sealer.seal_json(endpoint_of(&cluster_id), &cluster.endpoint)?.into()),
        ("storage_sealed", sealer.seal_json(storage_of("clusters", &cluster_id), &cluster.storage)?.into()),
        ("repository_id", cluster.repository_id.to_string().into()),
        ("cu_size", i64::from(cluster.cu_size).into()),
        ("max_bytes_per_second", rate.into()),
        ("updated_at_us", cluster.updated_at.timestamp_micros().into()),
    ])
}

/// Removes a cluster unless it has open jobs. The lock on its row keeps jobs from being added meanwhile.
pub(crate) async fn remove(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    cluster_id: ClusterId,
    now: DateTime<Utc>,
) -> PortResult<ClusterRemoval> {
    lock_active(transaction, dialect, cluster_id).await?;
    let open_jobs = transaction.query(select_open_jobs(cluster_id)).await?;
    if !open_jobs.is_empty() {
        let ids =
            open_jobs.into_iter().map(|mut row| id(&row.text("id")?)).collect::<PortResult<Vec<JobId>>>()?;
        return Ok(ClusterRemoval::HasOpenJobs(ids));
    }
    let now = now.timestamp_micros();
    transaction
        .execute(
            Statement::update("clusters", [("removed_at_us", now.into())])
                .push("id = ")
                .bind(cluster_id.to_string()),
        )
        .await?;
    transaction
        .execute(
            Statement::update("backups", [("expires_at_us", now.into())])
                .push("cluster_id = ")
                .bind(cluster_id.to_string())
                .push(" AND status = 'AVAILABLE' AND creation_method = 'AUTO' AND (copied_from IS NULL OR expires_at_us IS NOT NULL) AND (expires_at_us IS NULL OR expires_at_us > ")
                .bind(now)
                .push(")"),
        )
        .await?;
    transaction.execute(recovery::automatic_changed(cluster_id)).await?;
    transaction.execute(schedules::end(cluster_id)).await?;
    transaction.execute(crate::checks::end_drills(cluster_id)).await?;
    Ok(ClusterRemoval::Removed)
}

pub(crate) fn select_open_jobs(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND ")
        .push(OPEN_STATES)
        .push(" ORDER BY created_at_us, id")
}

/// Locks the row of a cluster in service until the transaction ends.
///
/// # Errors
/// `NotFound` when it does not exist or was removed.
pub(crate) async fn lock_active(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    cluster_id: ClusterId,
) -> PortResult<()> {
    let statement = select(cluster_id).push(dialect.lock_rows);
    if transaction.query(statement).await?.is_empty() { Err(not_found(cluster_id)) } else { Ok(()) }
}

/// Locks the row of a cluster, in service or removed, until the transaction ends.
///
/// # Errors
/// `NotFound` when it does not exist.
pub(crate) async fn lock_known(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    cluster_id: ClusterId,
) -> PortResult<()> {
    let statement = Statement::new("SELECT id FROM clusters WHERE id = ")
        .bind(cluster_id.to_string())
        .push(dialect.lock_rows);
    if transaction.query(statement).await?.is_empty() { Err(not_found(cluster_id)) } else { Ok(()) }
}

/// The project of a cluster, in service or removed.
pub(crate) fn select_project(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT project_id FROM clusters WHERE id = ").bind(cluster_id.to_string())
}

pub(crate) fn not_found(cluster_id: ClusterId) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("cluster {cluster_id} does not exist or was removed"))
}

/// Says so when an error means that the name is taken.
pub(crate) fn name_taken(kind: &str, name: &str, error: PortError) -> PortError {
    if error.kind() != PortErrorKind::Conflict {
        return error;
    }
    PortError::with_source(
        PortErrorKind::Conflict,
        format!("the project has a {kind} named `{name}` already; choose another name"),
        error,
    )
}

pub(crate) fn select(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT * FROM clusters WHERE removed_at_us IS NULL AND id = ")
        .bind(cluster_id.to_string())
}

pub(crate) fn list(
    dialect: Dialect,
    filter: &ClusterFilter,
    page: PageRequest,
) -> PortResult<Option<Statement>> {
    ListQuery::new("SELECT * FROM clusters WHERE removed_at_us IS NULL", ClusterId::PREFIX)
        .in_projects(filter.project_ids.as_deref())?
        .name_contains(dialect.position_function, filter.name_contains.as_deref())
        .page(page)
}

pub(crate) fn read(sealer: &Sealer, row: &mut Record) -> PortResult<Cluster> {
    let cluster_id = row.text("id")?;
    let max_bytes_per_second = row.optional_integer("max_bytes_per_second")?.map(count).transpose()?;
    Ok(Cluster {
        id: id(&cluster_id)?,
        project_id: id(&row.text("project_id")?)?,
        name: row.text("name")?,
        endpoint: sealer.unseal_json(endpoint_of(&cluster_id), &row.text("endpoint_sealed")?)?,
        storage: sealer.unseal_json(storage_of("clusters", &cluster_id), &row.text("storage_sealed")?)?,
        repository_id: id(&row.text("repository_id")?)?,
        cu_size: count(row.integer("cu_size")?)?,
        max_bytes_per_second,
        created_at: time(row.integer("created_at_us")?)?,
        updated_at: time(row.integer("updated_at_us")?)?,
    })
}

pub(crate) fn insert_repository(sealer: &Sealer, repository: &Repository) -> PortResult<Statement> {
    let repository_id = repository.id.to_string();
    let storage = sealer.seal_json(storage_of("repositories", &repository_id), &repository.storage)?;
    Ok(Statement::insert(
        "repositories",
        [
            ("id", repository_id.into()),
            ("project_id", repository.project_id.to_string().into()),
            ("name", repository.name.as_str().into()),
            ("storage_sealed", storage.into()),
            ("capabilities", to_json(&repository.capabilities)?.into()),
            ("created_at_us", repository.created_at.timestamp_micros().into()),
        ],
    ))
}

pub(crate) fn select_repository(repository_id: RepositoryId) -> Statement {
    Statement::new("SELECT * FROM repositories WHERE id = ").bind(repository_id.to_string())
}

pub(crate) fn list_repositories(
    filter: &RepositoryFilter,
    page: PageRequest,
) -> PortResult<Option<Statement>> {
    ListQuery::new("SELECT * FROM repositories WHERE 1 = 1", RepositoryId::PREFIX)
        .in_projects(filter.project_ids.as_deref())?
        .page(page)
}

pub(crate) fn read_repository(sealer: &Sealer, row: &mut Record) -> PortResult<Repository> {
    let repository_id = row.text("id")?;
    Ok(Repository {
        id: id(&repository_id)?,
        project_id: id(&row.text("project_id")?)?,
        name: row.text("name")?,
        storage: sealer
            .unseal_json(storage_of("repositories", &repository_id), &row.text("storage_sealed")?)?,
        capabilities: from_json(&row.text("capabilities")?)?,
        created_at: time(row.integer("created_at_us")?)?,
    })
}

fn endpoint_of(cluster_id: &str) -> Place<'_> {
    Place { table: "clusters", id: cluster_id, column: "endpoint_sealed" }
}

fn storage_of<'a>(table: &'static str, id: &'a str) -> Place<'a> {
    Place { table, id, column: "storage_sealed" }
}
