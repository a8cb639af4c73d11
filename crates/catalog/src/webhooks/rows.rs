//! Rows of webhooks and their deliveries.

use crate::database::{Parameter, Record, Statement};
use crate::error::corrupt;
use crate::model::{
    CREATED_BY_CHARS_MAX, Spelled, bounded, count, figure, from_json, id, optional_microseconds,
    optional_time, spelled, time, to_json,
};
use crate::page::ListQuery;
use crate::schedules;
use crate::seal::{Place, Sealer};
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, DeliveryId, HoldId, ProjectId, WebhookId};
use milvault_domain::ports::{EndingHold, PageRequest, PortResult, WatchedSchedule};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    DeliveryState, Disabled, SigningSecrets, Webhook, WebhookDelivery, WebhookEvent,
};
use serde::{Deserialize, Serialize};

/// What is encrypted of a webhook.
#[derive(Serialize, Deserialize)]
struct Target {
    url: String,
    secrets: SigningSecrets,
}

/// A webhook with the secrets that sign.
pub(super) struct Kept {
    pub(super) webhook: Webhook,
    pub(super) secrets: SigningSecrets,
}

fn place(webhook_id: &str) -> Place<'_> {
    Place { table: "webhooks", id: webhook_id, column: "target_sealed" }
}

pub(super) fn insert(sealer: &Sealer, webhook: &Webhook, secrets: &SigningSecrets) -> PortResult<Statement> {
    let [name, events, target, disabled_at, reason, failing_since, updated_at] =
        changeable(sealer, webhook, secrets)?;
    Ok(Statement::insert(
        "webhooks",
        [
            ("id", webhook.id.to_string().into()),
            ("project_id", webhook.project_id.to_string().into()),
            ("dropped_events", figure("dropped events", webhook.dropped_events)?.into()),
            ("created_by", bounded(&webhook.created_by, CREATED_BY_CHARS_MAX).into()),
            ("created_at_us", webhook.created_at.timestamp_micros().into()),
            name,
            events,
            target,
            disabled_at,
            reason,
            failing_since,
            updated_at,
        ],
    ))
}

pub(super) fn update(sealer: &Sealer, webhook: &Webhook, secrets: &SigningSecrets) -> PortResult<Statement> {
    Ok(Statement::update("webhooks", changeable(sealer, webhook, secrets)?)
        .push("id = ")
        .bind(webhook.id.to_string()))
}

fn changeable(
    sealer: &Sealer,
    webhook: &Webhook,
    secrets: &SigningSecrets,
) -> PortResult<[(&'static str, Parameter); 7]> {
    let target = Target { url: webhook.url.clone(), secrets: secrets.clone() };
    let disabled = webhook.disabled.as_ref();
    Ok([
        ("name", webhook.name.as_str().into()),
        ("events", to_json(&webhook.events)?.into()),
        ("target_sealed", sealer.seal_json(place(&webhook.id.to_string()), &target)?.into()),
        ("disabled_at_us", optional_microseconds(disabled.map(|disabled| disabled.at)).into()),
        (
            "disabled_reason",
            disabled.map(|disabled| bounded(&disabled.reason, super::REASON_CHARS_MAX)).into(),
        ),
        ("failing_since_us", optional_microseconds(webhook.failing_since).into()),
        ("updated_at_us", webhook.updated_at.timestamp_micros().into()),
    ])
}

/// Forgets the URL and the secrets.
pub(super) fn mark_deleted(
    sealer: &Sealer,
    webhook_id: WebhookId,
    now: DateTime<Utc>,
) -> PortResult<Statement> {
    let printed = webhook_id.to_string();
    let nothing =
        Target { url: String::new(), secrets: SigningSecrets::new(SecretValue::new(String::new())) };
    Ok(Statement::update(
        "webhooks",
        [
            ("deleted_at_us", now.timestamp_micros().into()),
            ("target_sealed", sealer.seal_json(place(&printed), &nothing)?.into()),
        ],
    )
    .push("id = ")
    .bind(printed))
}

pub(super) fn delete_deliveries(webhook_id: WebhookId) -> Statement {
    Statement::new("DELETE FROM webhook_deliveries WHERE webhook_id = ").bind(webhook_id.to_string())
}

pub(crate) fn select_webhook(webhook_id: WebhookId) -> Statement {
    Statement::new("SELECT * FROM webhooks WHERE deleted_at_us IS NULL AND id = ")
        .bind(webhook_id.to_string())
}

/// Those of a project that are in use: [`milvault_domain::webhook::WEBHOOKS_MAX`] at most.
pub(crate) fn select_in_use(project_id: ProjectId) -> Statement {
    Statement::new("SELECT id, events FROM webhooks WHERE project_id = ")
        .bind(project_id.to_string())
        .push(" AND deleted_at_us IS NULL AND disabled_at_us IS NULL")
}

pub(super) fn count_webhooks(project_id: ProjectId) -> Statement {
    Statement::new("SELECT COUNT(*) AS total FROM webhooks WHERE project_id = ")
        .bind(project_id.to_string())
        .push(" AND deleted_at_us IS NULL")
}

/// Deliveries of a webhook that wait.
pub(crate) fn count_pending(webhook_id: WebhookId) -> Statement {
    Statement::new("SELECT COUNT(*) AS total FROM webhook_deliveries WHERE webhook_id = ")
        .bind(webhook_id.to_string())
        .push(" AND state = 'PENDING'")
}

pub(super) fn read_count(mut rows: Vec<Record>) -> PortResult<u32> {
    match rows.first_mut() {
        Some(row) => count(row.integer("total")?),
        None => Err(corrupt("a count has no row")),
    }
}

pub(crate) fn list_webhooks(project_id: ProjectId, page: PageRequest) -> PortResult<Option<Statement>> {
    let statement = Statement::new("SELECT * FROM webhooks WHERE deleted_at_us IS NULL AND project_id = ")
        .bind(project_id.to_string());
    ListQuery::of(statement, WebhookId::PREFIX).page(page)
}

pub(super) fn read(sealer: &Sealer, row: &mut Record) -> PortResult<Kept> {
    let printed = row.text("id")?;
    let Target { url, secrets } = sealer.unseal_json(place(&printed), &row.text("target_sealed")?)?;
    let disabled_at = optional_time(row.optional_integer("disabled_at_us")?)?;
    let reason = row.optional_text("disabled_reason")?;
    let webhook = Webhook {
        id: id(&printed)?,
        project_id: id(&row.text("project_id")?)?,
        name: row.text("name")?,
        url,
        events: from_json(&row.text("events")?)?,
        disabled: disabled_at.zip(reason).map(|(at, reason)| Disabled { at, reason }),
        failing_since: optional_time(row.optional_integer("failing_since_us")?)?,
        dropped_events: count(row.integer("dropped_events")?)?,
        created_by: row.text("created_by")?,
        created_at: time(row.integer("created_at_us")?)?,
        updated_at: time(row.integer("updated_at_us")?)?,
    };
    Ok(Kept { webhook, secrets })
}

pub(crate) fn read_webhook(sealer: &Sealer, row: &mut Record) -> PortResult<Webhook> {
    Ok(read(sealer, row)?.webhook)
}

pub(super) fn read_listener(row: &mut Record) -> PortResult<(WebhookId, Vec<WebhookEvent>)> {
    Ok((id(&row.text("id")?)?, from_json(&row.text("events")?)?))
}

pub(crate) fn select_delivery(delivery_id: DeliveryId) -> Statement {
    Statement::new("SELECT * FROM webhook_deliveries WHERE id = ").bind(delivery_id.to_string())
}

pub(crate) fn list_deliveries(
    webhook_id: WebhookId,
    state: Option<DeliveryState>,
    page: PageRequest,
) -> PortResult<Option<Statement>> {
    let statement =
        Statement::new("SELECT * FROM webhook_deliveries WHERE webhook_id = ").bind(webhook_id.to_string());
    ListQuery::of(statement, DeliveryId::PREFIX).and("state = ", state.map(Spelled::spelling)).page(page)
}

pub(super) fn read_delivery(row: &mut Record) -> PortResult<WebhookDelivery> {
    Ok(WebhookDelivery {
        id: id(&row.text("id")?)?,
        webhook_id: id(&row.text("webhook_id")?)?,
        event: spelled(&row.text("event")?)?,
        state: spelled(&row.text("state")?)?,
        created_at: time(row.integer("created_at_us")?)?,
        ended_at: optional_time(row.optional_integer("ended_at_us")?)?,
        next_attempt_at: optional_time(row.optional_integer("next_attempt_at_us")?)?,
        attempts: from_json(&row.text("attempts")?)?,
    })
}

pub(crate) fn select_watched_schedules(after: Option<ClusterId>, limit: u32) -> Statement {
    let statement = Statement::new(
        "SELECT schedules.*, clusters.project_id, clusters.name AS cluster_name FROM schedules \
         JOIN clusters ON clusters.id = schedules.cluster_id WHERE schedules.next_look_at_us IS NOT NULL \
         AND clusters.removed_at_us IS NULL AND EXISTS (SELECT 1 FROM webhooks WHERE \
         webhooks.project_id = clusters.project_id AND webhooks.deleted_at_us IS NULL \
         AND webhooks.disabled_at_us IS NULL)",
    );
    let statement = match after {
        Some(after) => statement.push(" AND schedules.cluster_id > ").bind(after.to_string()),
        None => statement,
    };
    statement.push(" ORDER BY schedules.cluster_id LIMIT ").bind(i64::from(limit))
}

pub(super) fn read_watched_schedule(row: &mut Record) -> PortResult<WatchedSchedule> {
    Ok(WatchedSchedule {
        project_id: id(&row.text("project_id")?)?,
        cluster_name: row.text("cluster_name")?,
        schedule: schedules::read(row)?,
    })
}

/// A CROSS JOIN, by which SQLite keeps to the order of the tables and so to that of the holds.
pub(crate) fn select_ending_holds(
    now: DateTime<Utc>,
    until: DateTime<Utc>,
    after: Option<(DateTime<Utc>, HoldId)>,
    limit: u32,
) -> Statement {
    let statement = Statement::new(
        "SELECT backup_holds.id AS hold_id, backup_holds.until_us, backup_holds.reason, backups.project_id, \
         backups.cluster_id, backups.cluster_name, backups.id AS backup_id, backups.name AS backup_name \
         FROM backup_holds CROSS JOIN backups WHERE backups.id = backup_holds.backup_id \
         AND backup_holds.released_at_us IS NULL AND backup_holds.until_us > ",
    )
    .bind(now.timestamp_micros())
    .push(" AND backup_holds.until_us <= ")
    .bind(until.timestamp_micros())
    .push(
        " AND backups.status IN ('CREATING', 'AVAILABLE') AND EXISTS (SELECT 1 FROM webhooks WHERE \
         webhooks.project_id = backups.project_id AND webhooks.deleted_at_us IS NULL \
         AND webhooks.disabled_at_us IS NULL)",
    );
    let statement = match after {
        Some((end, hold_id)) => statement
            .push(" AND (backup_holds.until_us, backup_holds.id) > (")
            .bind(end.timestamp_micros())
            .push(", ")
            .bind(hold_id.to_string())
            .push(")"),
        None => statement,
    };
    statement.push(" ORDER BY backup_holds.until_us, backup_holds.id LIMIT ").bind(i64::from(limit))
}

pub(super) fn read_ending_hold(row: &mut Record) -> PortResult<EndingHold> {
    Ok(EndingHold {
        hold_id: id(&row.text("hold_id")?)?,
        until: time(row.integer("until_us")?)?,
        reason: row.text("reason")?,
        project_id: id(&row.text("project_id")?)?,
        cluster_id: id(&row.text("cluster_id")?)?,
        cluster_name: row.text("cluster_name")?,
        backup_id: id(&row.text("backup_id")?)?,
        backup_name: row.text("backup_name")?,
    })
}
