//! Jobs: their rows, their history, and every change of their state.

use crate::admission::Asker;
use crate::database::{Dialect, Record, Statement, Transaction};
use crate::model::{
    CREATED_BY_CHARS_MAX, FAILURE_CHARS_MAX, Spelled, bounded, count, folded, from_json, id,
    optional_microseconds, optional_time, spelled, time, to_json,
};
use crate::page::ListQuery;
use crate::{backups, clusters, lifecycle, webhooks};
use chrono::{DateTime, Utc};
use milvault_domain::backup::CreationMethod;
use milvault_domain::error::DESCRIPTION_CHARS_MAX;
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobEvent, JobPhase, JobState, JobType};
use milvault_domain::ports::{JobFilter, PageRequest, PortError, PortErrorKind, PortResult};
use milvault_domain::progress::Progress;

/// The condition for jobs that have not ended, spelled as in the partial indexes, or they would not be used.
pub(crate) const OPEN_STATES: &str = "state IN ('PENDING', 'IN_PROGRESS', 'CANCELING')";

/// Most events of a history that are read: a job that was interrupted over and over shows its latest ones.
pub(crate) const EVENTS_MAX: i64 = 1000;

/// Adds a job and begins its history.
pub(crate) async fn insert_with_event(
    transaction: &mut dyn Transaction,
    job: &Job,
    creation_method: Option<CreationMethod>,
) -> PortResult<()> {
    lifecycle::guard_reader(transaction, job).await?;
    transaction
        .execute(Statement::insert(
            "jobs",
            [
                ("id", job.id.to_string().into()),
                ("project_id", job.project_id.to_string().into()),
                ("cluster_id", job.cluster_id.to_string().into()),
                ("job_type", job.job_type.spelling().into()),
                ("state", job.state.spelling().into()),
                ("phase", job.phase.map(|phase| phase.spelling().to_owned()).into()),
                ("description", bounded(&job.description, DESCRIPTION_CHARS_MAX).into()),
                ("created_by", bounded(&job.created_by, CREATED_BY_CHARS_MAX).into()),
                ("created_at_us", job.created_at.timestamp_micros().into()),
                ("backup_id", job.backup_id.map(|id| id.to_string()).into()),
                ("creation_method", creation_method.map(|method| method.spelling().to_owned()).into()),
                ("verify_level", job.verify_level.map(|level| level.spelling().to_owned()).into()),
                ("attempt", i64::from(job.attempt).into()),
                ("parks", i64::from(job.parks).into()),
                ("progress", to_json(&job.progress)?.into()),
            ],
        ))
        .await?;
    let event = JobEvent { at: job.created_at, state: job.state, phase: job.phase, reason: None };
    transaction.execute(insert_event(job.id, &event)).await?;
    Ok(())
}

/// Adds a job as [`insert_other`] does, when one more may wait.
pub(crate) async fn insert_asked(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job: &Job,
) -> PortResult<()> {
    clusters::lock_known(transaction, dialect, job.cluster_id).await?;
    Asker::Person.admit(transaction, job.cluster_id).await?;
    insert_other(transaction, dialect, job).await
}

/// Adds a job that needs no more than its own row. The lock on its cluster's row keeps the cluster from being removed meanwhile; the
/// cluster may have been removed before, for its backups can still be checked.
pub(crate) async fn insert_other(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job: &Job,
) -> PortResult<()> {
    if job.job_type != JobType::Verify || job.state != JobState::Pending {
        return Err(PortError::new(
            PortErrorKind::InvalidInput,
            format!(
                "job {} must be PENDING and a VERIFY: the others are added together with their backup or request",
                job.id
            ),
        ));
    }
    clusters::lock_known(transaction, dialect, job.cluster_id).await?;
    insert_with_event(transaction, job, None).await
}

/// Changes the state of a job as somebody asks for it.
pub(crate) async fn transition(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    to: JobState,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> PortResult<Job> {
    let mut job = load_locked(transaction, dialect, job_id).await?;
    if job.state == to {
        return Ok(job);
    }
    if let (Some(result), JobState::Successful) = (required_result(job.job_type), to) {
        return Err(PortError::new(
            PortErrorKind::Conflict,
            format!("job {job_id} becomes SUCCESSFUL only by completing its {result}"),
        ));
    }
    change(transaction, &mut job, to, reason, now).await?;
    Ok(job)
}

/// Puts a job at work aside. One that waits already stays as it is.
pub(crate) async fn park(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    reason: &str,
    now: DateTime<Utc>,
) -> PortResult<Job> {
    let mut job = load_locked(transaction, dialect, job_id).await?;
    if job.state != JobState::Pending {
        job.parks = job.parks.saturating_add(1);
        change(transaction, &mut job, JobState::Pending, Some(reason), now).await?;
    }
    Ok(job)
}

/// What must be kept together with the good end of a job.
fn required_result(job_type: JobType) -> Option<&'static str> {
    match job_type {
        JobType::Backup | JobType::Adopt | JobType::Copy => Some("backup"),
        JobType::Restore | JobType::Drill | JobType::Undo => Some("restore"),
        JobType::Compare => Some("comparison"),
        JobType::Verify | JobType::Delete | JobType::Sweep => None,
    }
}

/// Changes the state of a locked job by the rules, in the database and in `job`.
pub(crate) async fn change(
    transaction: &mut dyn Transaction,
    job: &mut Job,
    to: JobState,
    reason: Option<&str>,
    now: DateTime<Utc>,
) -> PortResult<()> {
    job.state = job.state.transition(to).map_err(|illegal| {
        PortError::with_source(PortErrorKind::Conflict, format!("job {}: {illegal}", job.id), illegal)
    })?;
    let now = time(now.timestamp_micros())?;
    let reason = reason.map(|reason| bounded(reason, FAILURE_CHARS_MAX));
    if to == JobState::InProgress {
        job.started_at.get_or_insert(now);
        job.attempt = job.attempt.saturating_add(1);
    }
    if to.is_final() {
        job.ended_at = Some(now);
    }
    if to == JobState::Failed {
        job.failure.clone_from(&reason);
    }
    transaction.execute(update(job)?).await?;
    let event = JobEvent { at: now, state: to, phase: job.phase, reason };
    transaction.execute(insert_event(job.id, &event)).await?;
    if let (true, JobState::Failed | JobState::Canceled, Some(backup_id)) =
        (job.job_type.makes_backup(), to, job.backup_id)
    {
        transaction.execute(backups::make_failed(backup_id, now)).await?;
    }
    if to == JobState::Failed {
        webhooks::job_failed(transaction, job, now).await?;
    }
    Ok(())
}

/// Records phase and progress of a job at work. A figure that arrives when the job is not at work any more is late and
/// changes nothing.
pub(crate) async fn save_progress(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
    phase: JobPhase,
    progress: Progress,
    now: DateTime<Utc>,
) -> PortResult<()> {
    let mut job = load_locked(transaction, dialect, job_id).await?;
    if !matches!(job.state, JobState::InProgress | JobState::Canceling) {
        return Ok(());
    }
    let phase_begins = job.phase != Some(phase);
    job.phase = Some(phase);
    job.progress = progress;
    transaction.execute(update(&job)?).await?;
    if phase_begins {
        let event = JobEvent { at: now, state: job.state, phase: job.phase, reason: None };
        transaction.execute(insert_event(job_id, &event)).await?;
    }
    Ok(())
}

/// Writes all columns of a job that ever change.
fn update(job: &Job) -> PortResult<Statement> {
    Ok(Statement::update(
        "jobs",
        [
            ("state", job.state.spelling().into()),
            ("phase", job.phase.map(|phase| phase.spelling().to_owned()).into()),
            ("started_at_us", optional_microseconds(job.started_at).into()),
            ("ended_at_us", optional_microseconds(job.ended_at).into()),
            ("failure", job.failure.clone().into()),
            ("attempt", i64::from(job.attempt).into()),
            ("parks", i64::from(job.parks).into()),
            ("progress", to_json(&job.progress)?.into()),
        ],
    )
    .push("id = ")
    .bind(job.id.to_string()))
}

/// The caller holds the lock on the job, or has just made it: no two events get the same number.
fn insert_event(job_id: JobId, event: &JobEvent) -> Statement {
    let job_id = job_id.to_string();
    Statement::new("INSERT INTO job_events (job_id, at_us, state, phase, reason, sequence) VALUES (")
        .bind(job_id.as_str())
        .push(", ")
        .bind(event.at.timestamp_micros())
        .push(", ")
        .bind(event.state.spelling())
        .push(", ")
        .bind(event.phase.map(|phase| phase.spelling().to_owned()))
        .push(", ")
        .bind(event.reason.clone())
        .push(", (SELECT COALESCE(MAX(sequence), 0) + 1 FROM job_events WHERE job_id = ")
        .bind(job_id)
        .push("))")
}

/// Reads a job and locks its row until the transaction ends.
pub(crate) async fn load_locked(
    transaction: &mut dyn Transaction,
    dialect: Dialect,
    job_id: JobId,
) -> PortResult<Job> {
    load(transaction, select(job_id).push(dialect.lock_rows)).await?.ok_or_else(|| not_found(job_id))
}

/// Reads the job that a statement selects, inside a transaction.
pub(crate) async fn load(transaction: &mut dyn Transaction, statement: Statement) -> PortResult<Option<Job>> {
    transaction.query(statement).await?.first_mut().map(read).transpose()
}

pub(crate) fn not_found(job_id: JobId) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("job {job_id} does not exist"))
}

pub(crate) fn select(job_id: JobId) -> Statement {
    Statement::new("SELECT * FROM jobs WHERE id = ").bind(job_id.to_string())
}

pub(crate) fn select_open() -> Statement {
    Statement::new("SELECT * FROM jobs WHERE ").push(OPEN_STATES).push(" ORDER BY created_at_us, id")
}

pub(crate) fn list(dialect: Dialect, filter: &JobFilter, page: PageRequest) -> PortResult<Option<Statement>> {
    let types = filter.job_types.as_ref().map(|types| spellings(types));
    let states = filter.states.as_ref().map(|states| spellings(states));
    let name = filter.name.as_deref().map(|name| folded(name.trim()));
    let all = || ListQuery::new("SELECT * FROM jobs WHERE 1 = 1", JobId::PREFIX).merged_for(dialect);
    let project_ids = filter.project_ids.as_deref();
    let query = if let Some(backup_id) = filter.backup_id {
        // A backup has few jobs: everything else is compared row by row.
        let projects = project_ids.map(|ids| ids.iter().map(ToString::to_string).collect::<Vec<_>>());
        let cluster = filter.cluster_id.map(|id| vec![id.to_string()]);
        let query = all()
            .and("backup_id = ", Some(backup_id.to_string()))
            .and_residual("project_id || ''", projects)?
            .and_residual("cluster_id || ''", cluster)?
            .and_residual("state || ''", states)?
            .and_residual("job_type || ''", types)?
            .and("created_by || '' = ", filter.created_by.as_deref());
        let has_name = "EXISTS (SELECT 1 FROM job_names WHERE job_names.id = jobs.id";
        match name {
            None => query,
            Some(name) => query.and_other(has_name, |row| Ok(row.and("job_names.name = ", Some(name))))?,
        }
    } else if let Some(name) = name {
        // The walk is along the names; what else is asked is compared with the jobs that have the name.
        let query = ListQuery::new("SELECT id, created_at_us FROM job_names WHERE 1 = 1", JobId::PREFIX)
            .merged_for(dialect)
            .fetched_from("jobs");
        let query = match filter.cluster_id {
            None => query.in_projects(project_ids)?,
            Some(cluster_id) => query.of_cluster(cluster_id.to_string(), project_ids)?,
        };
        let query = query.and("name = ", Some(name));
        if (&states, &types, &filter.created_by) == (&None, &None, &None) {
            query
        } else {
            query.and_other("EXISTS (SELECT 1 FROM jobs WHERE jobs.id = job_names.id", |row| {
                row.and("jobs.created_by = ", filter.created_by.as_deref())
                    .and_residual("jobs.job_type", types)?
                    .and_residual("jobs.state", states)
            })?
        }
    } else {
        let query = all();
        let query = match filter.cluster_id {
            None => query.in_projects(project_ids)?,
            Some(cluster_id) => query.of_cluster(cluster_id.to_string(), project_ids)?,
        };
        query
            .and("created_by = ", filter.created_by.as_deref())
            .and_any("job_type", types)?
            .and_any("state", states)?
    };
    query
        .and("created_at_us >= ", filter.created_from.map(|time| time.timestamp_micros()))
        .and("created_at_us < ", filter.created_before.map(|time| time.timestamp_micros()))
        .page(page)
}

fn spellings<T: Spelled>(values: &[T]) -> Vec<&'static str> {
    values.iter().map(|value| value.spelling()).collect()
}

/// The latest events, latest first.
pub(crate) fn select_events(job_id: JobId) -> Statement {
    Statement::new("SELECT * FROM job_events WHERE job_id = ")
        .bind(job_id.to_string())
        .push(" ORDER BY sequence DESC LIMIT ")
        .bind(EVENTS_MAX)
}

pub(crate) fn read_event(row: &mut Record) -> PortResult<JobEvent> {
    Ok(JobEvent {
        at: time(row.integer("at_us")?)?,
        state: spelled(&row.text("state")?)?,
        phase: row.optional_text("phase")?.map(|text| spelled(&text)).transpose()?,
        reason: row.optional_text("reason")?,
    })
}

pub(crate) fn read(row: &mut Record) -> PortResult<Job> {
    Ok(Job {
        id: id(&row.text("id")?)?,
        project_id: id(&row.text("project_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        job_type: spelled(&row.text("job_type")?)?,
        state: spelled(&row.text("state")?)?,
        phase: row.optional_text("phase")?.map(|text| spelled(&text)).transpose()?,
        description: row.text("description")?,
        created_by: row.text("created_by")?,
        created_at: time(row.integer("created_at_us")?)?,
        started_at: optional_time(row.optional_integer("started_at_us")?)?,
        ended_at: optional_time(row.optional_integer("ended_at_us")?)?,
        failure: row.optional_text("failure")?,
        backup_id: row.optional_text("backup_id")?.map(|text| id(&text)).transpose()?,
        verify_level: row.optional_text("verify_level")?.map(|text| spelled(&text)).transpose()?,
        attempt: count(row.integer("attempt")?)?,
        parks: count(row.integer("parks")?)?,
        progress: from_json(&row.text("progress")?)?,
    })
}
