//! Webhooks. The lock on the project's row puts everything about the webhooks of one project in a row, other servers' work
//! included: nothing is told a webhook that goes away meanwhile, and no limit is overrun. Claims need none of that: each
//! is one statement about one delivery.

mod claims;
#[cfg(test)]
mod plans;
mod raising;
mod rows;

pub(crate) use claims::select_ended;
pub(crate) use raising::{backup_completed, job_failed};
pub(crate) use rows::{
    list_deliveries, list_webhooks, read_webhook, select_delivery, select_ending_holds,
    select_watched_schedules, select_webhook,
};
#[cfg(test)]
pub(crate) use {
    claims::select_claimable,
    raising::select_sizes,
    rows::{count_pending, select_in_use},
};

use crate::catalog::SqlCatalog;
use crate::clusters::name_taken;
use crate::database::{Statement, Transaction};
use crate::model::bounded;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use milvault_domain::ids::{ClusterId, DeliveryId, HoldId, ProjectId, WebhookId};
use milvault_domain::ports::{
    Attempted, ClaimedDelivery, EndingHold, Page, PageRequest, PortError, PortErrorKind, PortResult,
    RecordOutcome, WatchedSchedule, WebhookCatalog,
};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    DeliveryState, Disabled, Occurrence, SigningSecrets, WEBHOOKS_MAX, Webhook, WebhookChange,
    WebhookDelivery, normalized_events,
};

/// Longest reason that a webhook was disabled for, in characters.
const REASON_CHARS_MAX: usize = 256;

#[async_trait]
impl WebhookCatalog for SqlCatalog {
    async fn insert_webhook(&self, webhook: &Webhook, secret: &SecretValue) -> PortResult<()> {
        let secrets = SigningSecrets::new(secret.clone());
        let insert = rows::insert(&self.sealer, webhook, &secrets)?;
        let mut transaction = self.begin().await?;
        lock_project(&mut *transaction, webhook.project_id).await?;
        let count = transaction.query(rows::count_webhooks(webhook.project_id)).await?;
        if WEBHOOKS_MAX <= rows::read_count(count)? {
            let message = format!("the project has {WEBHOOKS_MAX} webhooks already; delete one first");
            return Err(PortError::new(PortErrorKind::Conflict, message));
        }
        let inserted = transaction.execute(insert).await;
        inserted.map_err(|error| name_taken("webhook", &webhook.name, error))?;
        transaction.commit().await
    }

    async fn update_webhook(
        &self,
        webhook_id: WebhookId,
        change: &WebhookChange,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook> {
        let mut transaction = self.begin().await?;
        let rows::Kept { mut webhook, secrets, .. } =
            self.lock_webhook(&mut *transaction, webhook_id).await?;
        if let Some(name) = &change.name {
            webhook.name.clone_from(name);
        }
        if let Some(url) = &change.url {
            webhook.url.clone_from(url);
        }
        if let Some(events) = &change.events {
            webhook.events = normalized_events(events);
        }
        match change.enabled {
            Some(true) => {
                webhook.disabled = None;
                webhook.failing_since = None;
            }
            Some(false) if webhook.disabled.is_none() => {
                webhook.disabled = Some(Disabled { at: now, reason: String::from("disabled by hand") });
                claims::fail_pending(&mut *transaction, webhook_id, now).await?;
            }
            Some(false) | None => {}
        }
        webhook.updated_at = now;
        let update = rows::update(&self.sealer, &webhook, &secrets)?;
        let updated = transaction.execute(update).await;
        updated.map_err(|error| name_taken("webhook", &webhook.name, error))?;
        let webhook = self.load_webhook(&mut *transaction, webhook_id).await?.webhook;
        transaction.commit().await?;
        Ok(webhook)
    }

    async fn rotate_webhook_secret(
        &self,
        webhook_id: WebhookId,
        secret: &SecretValue,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook> {
        let mut transaction = self.begin().await?;
        let rows::Kept { mut webhook, secrets, .. } =
            self.lock_webhook(&mut *transaction, webhook_id).await?;
        webhook.updated_at = now;
        let secrets = secrets.rotated(secret.clone(), now);
        transaction.execute(rows::update(&self.sealer, &webhook, &secrets)?).await?;
        let webhook = self.load_webhook(&mut *transaction, webhook_id).await?.webhook;
        transaction.commit().await?;
        Ok(webhook)
    }

    async fn delete_webhook(&self, webhook_id: WebhookId, now: DateTime<Utc>) -> PortResult<()> {
        let mut transaction = self.begin().await?;
        self.lock_webhook(&mut *transaction, webhook_id).await?;
        transaction.execute(rows::delete_deliveries(webhook_id)).await?;
        transaction.execute(rows::mark_deleted(&self.sealer, webhook_id, now)?).await?;
        transaction.commit().await
    }

    async fn webhook(&self, webhook_id: WebhookId) -> PortResult<Option<Webhook>> {
        self.find(select_webhook(webhook_id), |row| read_webhook(&self.sealer, row)).await
    }

    async fn webhooks(&self, project_id: ProjectId, page: PageRequest) -> PortResult<Page<Webhook>> {
        let statement = list_webhooks(project_id, page)?;
        self.list(statement, page, |row| Ok(rows::read(&self.sealer, row)?.webhook)).await
    }

    async fn webhook_delivery(&self, delivery_id: DeliveryId) -> PortResult<Option<WebhookDelivery>> {
        self.find(select_delivery(delivery_id), rows::read_delivery).await
    }

    async fn webhook_deliveries(
        &self,
        webhook_id: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> PortResult<Page<WebhookDelivery>> {
        self.list(list_deliveries(webhook_id, state, page)?, page, rows::read_delivery).await
    }

    async fn raise_event(&self, occurrence: &Occurrence) -> PortResult<u32> {
        // Most of what timers raise was raised before: that needs no lock.
        if !self.has_new_listener(occurrence).await? {
            return Ok(0);
        }
        let mut transaction = self.begin().await?;
        let told = raising::raise(&mut *transaction, occurrence).await?;
        transaction.commit().await?;
        Ok(told)
    }

    async fn tell_webhook(
        &self,
        webhook_id: WebhookId,
        occurrence: &Occurrence,
    ) -> PortResult<WebhookDelivery> {
        let mut transaction = self.begin().await?;
        let kept = self.lock_webhook(&mut *transaction, webhook_id).await?;
        check_in_use(&kept.webhook)?;
        check_room(&mut *transaction, webhook_id).await?;
        let delivery_id = raising::deliver(&mut *transaction, webhook_id, occurrence).await?;
        let delivery = load_delivery(&mut *transaction, delivery_id).await?;
        transaction.commit().await?;
        Ok(delivery)
    }

    async fn redeliver(&self, delivery_id: DeliveryId, now: DateTime<Utc>) -> PortResult<WebhookDelivery> {
        let mut transaction = self.begin().await?;
        let webhook_id = load_delivery(&mut *transaction, delivery_id).await?.webhook_id;
        let kept = self.lock_webhook(&mut *transaction, webhook_id).await?;
        check_in_use(&kept.webhook)?;
        // Read again under the lock: it may have been removed, or begun anew by somebody else.
        if load_delivery(&mut *transaction, delivery_id).await?.state != DeliveryState::Pending {
            check_room(&mut *transaction, webhook_id).await?;
            transaction.execute(claims::begin_anew(delivery_id, now)).await?;
        }
        let delivery = load_delivery(&mut *transaction, delivery_id).await?;
        transaction.commit().await?;
        Ok(delivery)
    }

    async fn claim_deliveries(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClaimedDelivery>> {
        self.claim(now, limit).await
    }

    async fn record_attempt(&self, attempted: &Attempted) -> PortResult<RecordOutcome> {
        let mut transaction = self.begin().await?;
        let outcome = self.record(&mut *transaction, attempted).await?;
        transaction.commit().await?;
        Ok(outcome)
    }

    async fn prune_deliveries(&self, ended_before: DateTime<Utc>, limit: u32) -> PortResult<u32> {
        let mut rows = self.database.read(select_ended(ended_before, limit)).await?;
        let mut pruned = 0;
        for row in &mut rows {
            // One that was begun anew meanwhile stays.
            let removed = self.write(claims::delete_ended(row.text("id")?, ended_before)).await?;
            pruned += u32::from(removed == 1);
        }
        Ok(pruned)
    }

    async fn watched_schedules(
        &self,
        after: Option<ClusterId>,
        limit: u32,
    ) -> PortResult<Vec<WatchedSchedule>> {
        let mut found = self.database.read(select_watched_schedules(after, limit)).await?;
        found.iter_mut().map(rows::read_watched_schedule).collect()
    }

    async fn ending_holds(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<(DateTime<Utc>, HoldId)>,
        limit: u32,
    ) -> PortResult<Vec<EndingHold>> {
        let mut found = self.database.read(select_ending_holds(now, until, after, limit)).await?;
        found.iter_mut().map(rows::read_ending_hold).collect()
    }
}

impl SqlCatalog {
    /// Reads a webhook under the lock of its project.
    async fn lock_webhook(
        &self,
        transaction: &mut dyn Transaction,
        webhook_id: WebhookId,
    ) -> PortResult<rows::Kept> {
        let project_id = self.load_webhook(transaction, webhook_id).await?.webhook.project_id;
        lock_project(transaction, project_id).await?;
        self.load_webhook(transaction, webhook_id).await
    }

    async fn load_webhook(
        &self,
        transaction: &mut dyn Transaction,
        webhook_id: WebhookId,
    ) -> PortResult<rows::Kept> {
        match transaction.query(select_webhook(webhook_id)).await?.pop() {
            Some(mut row) => rows::read(&self.sealer, &mut row),
            None => Err(not_found("webhook", webhook_id)),
        }
    }
}

/// Keeps other transactions from touching the project's webhooks until this one ends. It changes nothing.
async fn lock_project(transaction: &mut dyn Transaction, project_id: ProjectId) -> PortResult<()> {
    let touch = Statement::new("UPDATE projects SET name = name WHERE id = ").bind(project_id.to_string());
    if transaction.execute(touch).await? == 1 { Ok(()) } else { Err(not_found("project", project_id)) }
}

async fn load_delivery(
    transaction: &mut dyn Transaction,
    delivery_id: DeliveryId,
) -> PortResult<WebhookDelivery> {
    match transaction.query(select_delivery(delivery_id)).await?.pop() {
        Some(mut row) => rows::read_delivery(&mut row),
        None => Err(not_found("webhook delivery", delivery_id)),
    }
}

fn check_in_use(webhook: &Webhook) -> PortResult<()> {
    match &webhook.disabled {
        None => Ok(()),
        Some(disabled) => {
            let reason = bounded(&disabled.reason, REASON_CHARS_MAX);
            Err(conflict(format!("webhook {} is disabled ({reason}); enable it first", webhook.id)))
        }
    }
}

async fn check_room(transaction: &mut dyn Transaction, webhook_id: WebhookId) -> PortResult<()> {
    if raising::has_room(transaction, webhook_id).await? {
        return Ok(());
    }
    Err(conflict(format!(
        "too many deliveries of webhook {webhook_id} wait already; see to its receiver first"
    )))
}

fn not_found(kind: &str, id: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::NotFound, format!("{kind} {id} does not exist"))
}

fn conflict(message: String) -> PortError {
    PortError::new(PortErrorKind::Conflict, message)
}
