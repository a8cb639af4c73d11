//! Raising events: one delivery for each webhook that wants the event and was not told of its cause yet.

use super::{lock_project, rows};
use crate::catalog::SqlCatalog;
use crate::database::{Record, Statement, Transaction};
use crate::model::{Spelled, count, time, to_json};
use chrono::{DateTime, Utc};
use milvault_domain::backup::Backup;
use milvault_domain::ids::{DeliveryId, ProjectId, WebhookId};
use milvault_domain::job::{Job, JobType};
use milvault_domain::ports::{PortError, PortErrorKind, PortResult};
use milvault_domain::webhook::{
    DeliveryAttempt, DeliveryState, EventFacts, Occurrence, PENDING_MAX, SIZE_HISTORY_MAX, WebhookEvent,
    delivery_id, size_deviation,
};

/// Latest backups of a cluster among which those of the same scope are looked for.
const SIZES_READ: i64 = 100;

/// Tells the webhooks of its project that a job has failed. In the transaction of its end, with the job locked.
pub(crate) async fn job_failed(
    transaction: &mut dyn Transaction,
    job: &Job,
    now: DateTime<Utc>,
) -> PortResult<()> {
    let Some(event) = WebhookEvent::of_failed_job(job.job_type) else { return Ok(()) };
    if listeners(transaction, job.project_id, event).await?.is_empty() {
        return Ok(());
    }
    let mut facts = EventFacts::default();
    if let Some(mut row) = transaction.query(select_cluster_name(job)).await?.pop() {
        facts.cluster_name = Some(row.text("name")?);
    }
    if let Some(backup_id) = job.backup_id {
        let statement = Statement::new("SELECT name FROM backups WHERE id = ").bind(backup_id.to_string());
        if let Some(mut row) = transaction.query(statement).await?.pop() {
            facts.backup_name = Some(row.text("name")?);
        }
    }
    match Occurrence::of_failed_job(job, facts, now) {
        Some(occurrence) => raise(transaction, &occurrence).await.map(drop),
        None => Ok(()),
    }
}

fn select_cluster_name(job: &Job) -> Statement {
    Statement::new("SELECT name FROM clusters WHERE id = ").bind(job.cluster_id.to_string())
}

/// Tells the webhooks of its project when a backup that has become available has an unusual size. Copies and backups that
/// were taken over are passed over: their size says nothing about the cluster.
pub(crate) async fn backup_completed(
    transaction: &mut dyn Transaction,
    job: &Job,
    backup: &Backup,
    now: DateTime<Utc>,
) -> PortResult<()> {
    let event = WebhookEvent::BackupSizeUnusual;
    let Some(facts) = backup.facts.as_ref().filter(|_| job.job_type == JobType::Backup) else {
        return Ok(());
    };
    if listeners(transaction, backup.project_id, event).await?.is_empty() {
        return Ok(());
    }
    let mut rows = transaction.query(select_sizes(backup)?).await?;
    let history = rows.iter_mut().map(read_size).collect::<PortResult<Vec<_>>>()?;
    let Some(deviation) = size_deviation(facts.logical_bytes, &history) else { return Ok(()) };
    let larger = deviation.median_bytes < deviation.logical_bytes;
    let facts = EventFacts {
        cluster_id: Some(backup.cluster_id),
        cluster_name: Some(backup.cluster_name.clone()),
        backup_id: Some(backup.id),
        backup_name: Some(backup.name.clone()),
        job_id: Some(job.id),
        reason: Some(format!(
            "the backup is far {} than the {} before it",
            if larger { "larger" } else { "smaller" },
            history.len()
        )),
        logical_bytes: Some(deviation.logical_bytes),
        median_logical_bytes: Some(deviation.median_bytes),
        ..EventFacts::default()
    };
    let (project_id, cause) = (backup.project_id, format!("size:{}", backup.id));
    raise(transaction, &Occurrence { event, project_id, cause, at: now, facts }).await.map(drop)
}

/// Logical sizes of the backups of the same cluster and scope before one, latest first.
pub(crate) fn select_sizes(backup: &Backup) -> PortResult<Statement> {
    Ok(Statement::new(
        "SELECT logical_bytes FROM (SELECT id, scope, copied_from, logical_bytes, created_at_us FROM backups \
         WHERE cluster_id = ",
    )
    .bind(backup.cluster_id.to_string())
    .push(" AND status = 'AVAILABLE' ORDER BY created_at_us DESC, id DESC LIMIT ")
    .bind(SIZES_READ)
    .push(") AS latest WHERE copied_from IS NULL AND scope = ")
    .bind(to_json(&backup.scope)?)
    .push(" AND id <> ")
    .bind(backup.id.to_string())
    .push(" ORDER BY created_at_us DESC, id DESC LIMIT ")
    .bind(i64::try_from(SIZE_HISTORY_MAX).unwrap_or(i64::MAX)))
}

fn read_size(row: &mut Record) -> PortResult<u64> {
    count(row.integer("logical_bytes")?)
}

/// Tells every webhook that wants the event and was not told of the cause.
pub(super) async fn raise(transaction: &mut dyn Transaction, occurrence: &Occurrence) -> PortResult<u32> {
    lock_project(transaction, occurrence.project_id).await?;
    let mut told = 0;
    for webhook_id in listeners(transaction, occurrence.project_id, occurrence.event).await? {
        let known = rows::select_delivery(delivery_id(webhook_id, &occurrence.cause));
        if !transaction.query(known).await?.is_empty() {
            continue;
        }
        if has_room(transaction, webhook_id).await? {
            deliver(transaction, webhook_id, occurrence).await?;
            told += 1;
        } else {
            transaction.execute(count_dropped(webhook_id)).await?;
        }
    }
    Ok(told)
}

/// Webhooks of a project that are in use and want an event.
async fn listeners(
    transaction: &mut dyn Transaction,
    project_id: ProjectId,
    event: WebhookEvent,
) -> PortResult<Vec<WebhookId>> {
    wanting(event, transaction.query(rows::select_in_use(project_id)).await?)
}

fn wanting(event: WebhookEvent, mut rows: Vec<Record>) -> PortResult<Vec<WebhookId>> {
    let all = rows.iter_mut().map(rows::read_listener).collect::<PortResult<Vec<_>>>()?;
    Ok(all.into_iter().filter(|(_, events)| events.contains(&event)).map(|(id, _)| id).collect())
}

pub(super) async fn has_room(transaction: &mut dyn Transaction, webhook_id: WebhookId) -> PortResult<bool> {
    Ok(rows::read_count(transaction.query(rows::count_pending(webhook_id)).await?)? < PENDING_MAX)
}

/// Adds the delivery of an event to a webhook, unless it is there.
pub(super) async fn deliver(
    transaction: &mut dyn Transaction,
    webhook_id: WebhookId,
    occurrence: &Occurrence,
) -> PortResult<DeliveryId> {
    let delivery_id = delivery_id(webhook_id, &occurrence.cause);
    let at = time(occurrence.at.timestamp_micros())?.timestamp_micros();
    let payload = occurrence.payload().map_err(|error| {
        PortError::with_source(PortErrorKind::Internal, "an event has no form in JSON", error)
    })?;
    let columns = [
        ("id", delivery_id.to_string().into()),
        ("webhook_id", webhook_id.to_string().into()),
        ("event", occurrence.event.spelling().into()),
        ("payload", payload.into()),
        ("state", DeliveryState::Pending.spelling().into()),
        ("attempt_count", 0.into()),
        ("attempts", to_json(&Vec::<DeliveryAttempt>::new())?.into()),
        ("next_attempt_at_us", at.into()),
        ("claim", 0.into()),
        ("created_at_us", at.into()),
    ];
    transaction
        .execute(Statement::insert("webhook_deliveries", columns).push(" ON CONFLICT (id) DO NOTHING"))
        .await?;
    Ok(delivery_id)
}

fn count_dropped(webhook_id: WebhookId) -> Statement {
    Statement::new("UPDATE webhooks SET dropped_events = dropped_events + 1 WHERE id = ")
        .bind(webhook_id.to_string())
}

impl SqlCatalog {
    /// Whether a webhook wants the event and was not told of its cause. Without a lock: who asks looks again under one.
    pub(super) async fn has_new_listener(&self, occurrence: &Occurrence) -> PortResult<bool> {
        let rows = self.database.read(rows::select_in_use(occurrence.project_id)).await?;
        for webhook_id in wanting(occurrence.event, rows)? {
            let known = rows::select_delivery(delivery_id(webhook_id, &occurrence.cause));
            if self.database.read(known).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
