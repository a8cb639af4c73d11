//! Backups: their rows, what they contain, and how they are asked for, listed and expired.

use crate::admission::Asker;
use crate::clusters::lock_active;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::error::corrupt;
use crate::idempotency::{self, Earlier};
use crate::model::{
    CREATED_BY_CHARS_MAX, Spelled, all_spellings, bounded, count, figure, folded, from_json, id,
    optional_microseconds, optional_time, spelled, time, to_json,
};
use crate::names::{self, Claim};
use crate::page::ListQuery;
use crate::{jobs, requests, schedules};
use chrono::{DateTime, Utc};
use milvault_domain::backup::{Backup, BackupFacts, BackupStatus, BackupType, CopyOrigin, CreationMethod};
use milvault_domain::error::DESCRIPTION_CHARS_MAX;
use milvault_domain::ids::{BackupId, ClusterId, RepositoryId};
use milvault_domain::job::{JobState, JobType};
use milvault_domain::milvus::Cut;
use milvault_domain::ports::{
    BackupFilter, BackupWithJob, InsertOutcome, NewBackup, PageRequest, PortError, PortErrorKind, PortResult,
};

/// Writes a new backup and its job, unless the request was made before, or others of the cluster are in its way: see
/// [`obstacles`]. The lock on the cluster's row puts requests for one cluster in a row; the unique index guarantees that
/// one manual backup is open whatever happens.
pub(crate) async fn insert_with_job(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    new: &NewBackup,
    sealed_request: Option<String>,
) -> PortResult<InsertOutcome> {
    check_new(new)?;
    let cluster_id = new.backup.cluster_id;
    lock_active(transaction, dialect, cluster_id).await?;
    if let Some(earlier) = idempotency::find(transaction, &new.job, new.idempotency.as_ref()).await? {
        return repeated(transaction, earlier).await;
    }
    for obstacle in obstacles(new).into_iter().flatten() {
        if let Some(mut row) = transaction.query(obstacle).await?.pop() {
            return Ok(InsertOutcome::Busy(id(&row.text("id")?)?));
        }
    }
    let name = match names::claim(transaction, &new.backup).await? {
        Claim::Free(name) => name,
        Claim::Taken(other) => return Ok(InsertOutcome::NameTaken(other)),
    };
    asker_of(new).admit(transaction, cluster_id).await?;
    transaction.execute(insert(&Backup { name, ..new.backup.clone() })?).await?;
    jobs::insert_with_event(transaction, &new.job, creation_method(new)).await?;
    if let Some(sealed) = sealed_request {
        transaction.execute(requests::insert(new.job.id, sealed)).await?;
    }
    idempotency::insert(transaction, &new.job, new.idempotency.as_ref()).await?;
    Ok(InsertOutcome::Created)
}

/// The rule of one manual backup is about backups that are made, not about those that are taken over.
fn creation_method(new: &NewBackup) -> Option<CreationMethod> {
    (new.job.job_type == JobType::Backup).then_some(new.backup.creation_method)
}

/// The open backups that keep a new one from being accepted. A person can ask again when they have ended; a schedule
/// cannot, so its backups wait behind them.
fn obstacles(new: &NewBackup) -> Option<[Statement; 2]> {
    let cluster_id = new.backup.cluster_id;
    let automatic = match creation_method(new)? {
        CreationMethod::Manual => schedules::select_automatic_at_work(cluster_id),
        CreationMethod::Auto if new.asked_again => schedules::select_open_automatic(cluster_id),
        CreationMethod::Auto => return None,
    };
    Some([select_open_manual(cluster_id), automatic])
}

/// Automatic backups are made by schedules, unless a person asks for one again.
fn asker_of(new: &NewBackup) -> Asker {
    let is_timers = creation_method(new) == Some(CreationMethod::Auto) && !new.asked_again;
    if is_timers { Asker::Timer } else { Asker::Person }
}

async fn repeated(transaction: &mut dyn Transaction, earlier: Earlier) -> PortResult<InsertOutcome> {
    let job = match earlier {
        Earlier::Same(job) => job,
        Earlier::Other(job_id) => return Ok(InsertOutcome::KeyReused(job_id)),
    };
    let backup_id = job.backup_id.ok_or_else(|| corrupt(format_args!("job {} has no backup", job.id)))?;
    let backup = load(transaction, backup_id).await?;
    Ok(InsertOutcome::Duplicate(Box::new(BackupWithJob { backup, job: *job })))
}

/// The job of the cluster's open manual backup.
pub(crate) fn select_open_manual(cluster_id: ClusterId) -> Statement {
    Statement::new("SELECT id FROM jobs WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND creation_method = 'MANUAL' AND ")
        .push(jobs::OPEN_STATES)
}

fn check_new(new: &NewBackup) -> PortResult<()> {
    let (backup, job) = (&new.backup, &new.job);
    let fits = backup.status == BackupStatus::Creating
        && backup.facts.is_none()
        && job.state == JobState::Pending
        && job.job_type.makes_backup()
        && job.job_type != JobType::Copy
        && job.backup_id == Some(backup.id)
        && job.cluster_id == backup.cluster_id
        && job.project_id == backup.project_id;
    if !fits {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!("backup {} must be CREATING, its job PENDING, and both of one cluster", backup.id),
        ));
    }
    requests::check(job, new.request.as_ref())
}

pub(crate) fn insert(backup: &Backup) -> PortResult<Statement> {
    Ok(Statement::insert(
        "backups",
        [
            ("id", backup.id.to_string().into()),
            ("project_id", backup.project_id.to_string().into()),
            ("cluster_id", backup.cluster_id.to_string().into()),
            ("cluster_name", backup.cluster_name.as_str().into()),
            ("repository_id", backup.repository_id.to_string().into()),
            ("name", backup.name.as_str().into()),
            ("name_folded", folded(&backup.name).into()),
            ("description", bounded(&backup.description, DESCRIPTION_CHARS_MAX).into()),
            ("scope", to_json(&backup.scope)?.into()),
            ("backup_type", backup.scope.backup_type().spelling().into()),
            ("creation_method", backup.creation_method.spelling().into()),
            ("status", backup.status.spelling().into()),
            ("created_by", bounded(&backup.created_by, CREATED_BY_CHARS_MAX).into()),
            ("created_at_us", backup.created_at.timestamp_micros().into()),
            ("expires_at_us", optional_microseconds(backup.expires_at).into()),
            ("copied_from", backup.copied_from.map(|origin| origin.backup_id.to_string()).into()),
            (
                "copied_from_repository",
                backup.copied_from.map(|origin| origin.repository_id.to_string()).into(),
            ),
        ],
    ))
}

/// Makes a backup available, with what it consists of.
pub(crate) fn make_available(
    backup_id: BackupId,
    facts: &BackupFacts,
    now: DateTime<Utc>,
) -> PortResult<Statement> {
    Ok(Statement::update(
        "backups",
        [
            ("status", BackupStatus::Available.spelling().into()),
            ("completed_at_us", now.timestamp_micros().into()),
            ("cut_at_us", facts.cut_at.timestamp_micros().into()),
            ("milvus_version", facts.milvus_version.as_str().into()),
            ("logical_bytes", figure("logical bytes", facts.logical_bytes)?.into()),
            ("newly_stored_bytes", figure("newly stored bytes", facts.newly_stored_bytes)?.into()),
            ("object_count", figure("object count", facts.object_count)?.into()),
            ("reused_object_count", figure("reused object count", facts.reused_object_count)?.into()),
            ("row_count", figure("row count", facts.row_count)?.into()),
            ("collection_count", i64::from(facts.collection_count).into()),
        ],
    )
    .push("status = 'CREATING' AND id = ")
    .bind(backup_id.to_string()))
}

/// Marks a backup whose job did not end well.
pub(crate) fn make_failed(backup_id: BackupId, now: DateTime<Utc>) -> Statement {
    Statement::update(
        "backups",
        [
            ("status", BackupStatus::Failed.spelling().into()),
            ("deleted_at_us", now.timestamp_micros().into()),
        ],
    )
    .push("status = 'CREATING' AND id = ")
    .bind(backup_id.to_string())
}

/// What a backup showed of its cluster, as JSON. Schemas as Milvus encodes them stay in the manifest: they are for
/// restores, and would be most of the text.
pub(crate) fn contents_json(contents: &Cut) -> PortResult<String> {
    let mut contents = contents.clone();
    for collection in contents.databases.iter_mut().flat_map(|database| &mut database.collections) {
        collection.schema_proto = Vec::new();
    }
    to_json(&contents)
}

pub(crate) fn insert_contents(backup_id: BackupId, json: String) -> Statement {
    Statement::insert("backup_contents", [("backup_id", backup_id.to_string().into()), ("cut", json.into())])
}

pub(crate) fn select_contents(backup_id: BackupId) -> Statement {
    Statement::new("SELECT cut FROM backup_contents WHERE backup_id = ").bind(backup_id.to_string())
}

pub(crate) fn read_contents(row: &mut Record) -> PortResult<Cut> {
    from_json(&row.text("cut")?)
}

/// Reads a backup that must exist, inside a transaction.
pub(crate) async fn load(transaction: &mut dyn Transaction, backup_id: BackupId) -> PortResult<Backup> {
    match transaction.query(select(backup_id)).await?.pop() {
        Some(mut row) => read(&mut row),
        None => Err(PortError::new(PortErrorKind::NotFound, format!("backup {backup_id} does not exist"))),
    }
}

pub(crate) fn select(backup_id: BackupId) -> Statement {
    Statement::new("SELECT * FROM backups WHERE id = ").bind(backup_id.to_string())
}

/// A page of backups, whatever their names.
pub(crate) fn list(
    dialect: Dialect,
    filter: &BackupFilter,
    page: PageRequest,
) -> PortResult<Option<Statement>> {
    filtered(ListQuery::new("SELECT * FROM backups WHERE 1 = 1", BackupId::PREFIX), dialect, filter)?
        .page(page)
}

/// Adds all conditions but the one about names.
pub(crate) fn filtered(query: ListQuery, dialect: Dialect, filter: &BackupFilter) -> PortResult<ListQuery> {
    let query = query.merged_for(dialect);
    let project_ids = filter.project_ids.as_deref();
    let mut query = match filter.cluster_id {
        None => query.in_projects(project_ids)?,
        Some(cluster_id) => query.of_cluster(cluster_id.to_string(), project_ids)?,
    };
    // Two indexes for each: one in the order of the list, and one of every kind of backup in that order.
    if (filter.status, filter.backup_type, filter.creation_method) != (None, None, None) {
        let live = BackupStatus::SPELLINGS.iter().filter(|(status, _)| *status != BackupStatus::Deleted);
        query = query
            .and("creation_method = ", filter.creation_method.map(Spelled::spelling))
            .and("backup_type = ", filter.backup_type.map(Spelled::spelling))
            .and("status = ", filter.status.map(Spelled::spelling));
        if filter.creation_method.is_none() {
            query = query.and_every("creation_method", all_spellings::<CreationMethod>());
        }
        if filter.backup_type.is_none() {
            query = query.and_every("backup_type", all_spellings::<BackupType>());
        }
        if filter.status.is_none() {
            query = query.and_every("status", live.map(|(_, spelling)| *spelling).collect());
        }
    }
    let query = query
        .and("verification = ", filter.verification.map(Spelled::spelling))
        .and("created_at_us >= ", filter.created_from.map(|time| time.timestamp_micros()))
        .and("created_at_us < ", filter.created_before.map(|time| time.timestamp_micros()));
    // Spelled as in the partial indexes, or they would not be used.
    Ok(if filter.status.is_none() { query.and_always("status <> 'DELETED'") } else { query })
}

pub(crate) fn newest(
    cluster_id: ClusterId,
    repository_id: RepositoryId,
    status: BackupStatus,
    limit: u32,
) -> Statement {
    Statement::new("SELECT id FROM backups WHERE cluster_id = ")
        .bind(cluster_id.to_string())
        .push(" AND repository_id = ")
        .bind(repository_id.to_string())
        .push(" AND status = ")
        .bind(status.spelling())
        .push(" ORDER BY created_at_us DESC, id DESC LIMIT ")
        .bind(i64::from(limit))
}

pub(crate) fn read_id(row: &mut Record) -> PortResult<BackupId> {
    id(&row.text("id")?)
}

pub(crate) fn read(row: &mut Record) -> PortResult<Backup> {
    Ok(Backup {
        id: read_id(row)?,
        project_id: id(&row.text("project_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        cluster_name: row.text("cluster_name")?,
        repository_id: id(&row.text("repository_id")?)?,
        name: row.text("name")?,
        description: row.text("description")?,
        scope: from_json(&row.text("scope")?)?,
        creation_method: spelled(&row.text("creation_method")?)?,
        status: spelled(&row.text("status")?)?,
        created_by: row.text("created_by")?,
        created_at: time(row.integer("created_at_us")?)?,
        completed_at: optional_time(row.optional_integer("completed_at_us")?)?,
        expires_at: optional_time(row.optional_integer("expires_at_us")?)?,
        facts: read_facts(row)?,
        copied_from: read_origin(row)?,
    })
}

fn read_origin(row: &mut Record) -> PortResult<Option<CopyOrigin>> {
    match (row.optional_text("copied_from")?, row.optional_text("copied_from_repository")?) {
        (Some(backup), Some(repository)) => {
            Ok(Some(CopyOrigin { backup_id: id(&backup)?, repository_id: id(&repository)? }))
        }
        _ => Ok(None),
    }
}

fn read_facts(row: &mut Record) -> PortResult<Option<BackupFacts>> {
    let Some(cut_at) = row.optional_integer("cut_at_us")? else { return Ok(None) };
    Ok(Some(BackupFacts {
        cut_at: time(cut_at)?,
        milvus_version: row.text("milvus_version")?,
        logical_bytes: count(row.integer("logical_bytes")?)?,
        newly_stored_bytes: count(row.integer("newly_stored_bytes")?)?,
        object_count: count(row.integer("object_count")?)?,
        reused_object_count: count(row.integer("reused_object_count")?)?,
        row_count: count(row.integer("row_count")?)?,
        collection_count: count(row.integer("collection_count")?)?,
    }))
}
