//! Webhooks: the catalog's part about them, and how something is sent.

use crate::error::PortResult;
use crate::ids::{BackupId, ClusterId, DeliveryId, HoldId, ProjectId, WebhookId};
use crate::ports::{Page, PageRequest};
use crate::schedule::ClusterSchedule;
use crate::secret::SecretValue;
use crate::webhook::{
    DeliveryAttempt, DeliveryState, Occurrence, SendOutcome, Verdict, Webhook, WebhookChange,
    WebhookDelivery, WebhookEvent,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Webhooks and what is on its way to them. Every method is one transaction, but for [`Self::claim_deliveries`], in which
/// each claim is one. URLs and secrets are encrypted at rest.
///
/// The catalog raises an event itself where its cause is a change in the catalog: jobs that fail, and backups that become
/// available with an unusual size, in the transaction of that change.
#[async_trait]
pub trait WebhookCatalog: Send + Sync {
    /// Adds a webhook.
    ///
    /// # Errors
    /// `NotFound` for the project; `Conflict` when the name is taken or there are too many; errors of the database.
    async fn insert_webhook(&self, webhook: &Webhook, secret: &SecretValue) -> PortResult<()>;

    /// Changes a webhook. Disabling it fails what waits for it; enabling it forgets how long it has failed.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the name is taken; errors of the database.
    async fn update_webhook(
        &self,
        webhook_id: WebhookId,
        change: &WebhookChange,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook>;

    /// Gives a webhook another secret; the former one signs, too, for a while.
    ///
    /// # Errors
    /// `NotFound`; errors of the database.
    async fn rotate_webhook_secret(
        &self,
        webhook_id: WebhookId,
        secret: &SecretValue,
        now: DateTime<Utc>,
    ) -> PortResult<Webhook>;

    /// Removes a webhook with its URL, its secrets and its deliveries. Its row stays, so that the audit log knows where
    /// it was.
    ///
    /// # Errors
    /// `NotFound`, also when it was deleted before; errors of the database.
    async fn delete_webhook(&self, webhook_id: WebhookId, now: DateTime<Utc>) -> PortResult<()>;

    /// Finds a webhook that is not deleted.
    ///
    /// # Errors
    /// Errors of the database; `Internal` when it cannot be decrypted with this server's key.
    async fn webhook(&self, webhook_id: WebhookId) -> PortResult<Option<Webhook>>;

    /// Lists the webhooks of a project by creation, newest first.
    ///
    /// # Errors
    /// As for [`Self::webhook`].
    async fn webhooks(&self, project_id: ProjectId, page: PageRequest) -> PortResult<Page<Webhook>>;

    /// Finds a delivery.
    ///
    /// # Errors
    /// Errors of the database.
    async fn webhook_delivery(&self, delivery_id: DeliveryId) -> PortResult<Option<WebhookDelivery>>;

    /// Lists the deliveries of a webhook by creation, newest first.
    ///
    /// # Errors
    /// Errors of the database.
    async fn webhook_deliveries(
        &self,
        webhook_id: WebhookId,
        state: Option<DeliveryState>,
        page: PageRequest,
    ) -> PortResult<Page<WebhookDelivery>>;

    /// Tells every webhook of the project that is in use and wants the event, once for each cause. Returns how many
    /// deliveries are new. A webhook that has too many waiting is not told, and counts that.
    ///
    /// # Errors
    /// Errors of the database.
    async fn raise_event(&self, occurrence: &Occurrence) -> PortResult<u32>;

    /// Tells one webhook, whatever it wants to be told.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when it is disabled or has too many waiting; errors of the database.
    async fn tell_webhook(
        &self,
        webhook_id: WebhookId,
        occurrence: &Occurrence,
    ) -> PortResult<WebhookDelivery>;

    /// Begins the attempts of a delivery that has ended anew. One that is being tried is left as it is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when its webhook is disabled or has too many waiting; errors of the database.
    async fn redeliver(&self, delivery_id: DeliveryId, now: DateTime<Utc>) -> PortResult<WebhookDelivery>;

    /// Takes deliveries whose next attempt is due, at most `limit` and at most one of each webhook. Nobody else gets them
    /// until the claim lapses. Attempts that lie further ahead than [`crate::webhook::NEXT_ATTEMPT_MAX`] are due.
    ///
    /// # Errors
    /// As for [`Self::webhook`].
    async fn claim_deliveries(&self, now: DateTime<Utc>, limit: u32) -> PortResult<Vec<ClaimedDelivery>>;

    /// Writes down what came of a claimed attempt, and disables a webhook that wants no more or has failed for too long.
    ///
    /// # Errors
    /// Errors of the database.
    async fn record_attempt(&self, attempted: &Attempted) -> PortResult<RecordOutcome>;

    /// Removes deliveries that ended before, at most `limit`. Returns how many.
    ///
    /// # Errors
    /// Errors of the database.
    async fn prune_deliveries(&self, ended_before: DateTime<Utc>, limit: u32) -> PortResult<u32>;

    /// Schedules that are switched on, of clusters in service in projects with a webhook in use, in the order of the
    /// clusters' ids after that one.
    ///
    /// # Errors
    /// Errors of the database.
    async fn watched_schedules(
        &self,
        after: Option<ClusterId>,
        limit: u32,
    ) -> PortResult<Vec<WatchedSchedule>>;

    /// Holds that bind and end by themselves after one moment and not after another, on backups that are there, in
    /// projects with a webhook in use; the earliest first, after that end and hold.
    ///
    /// # Errors
    /// Errors of the database.
    async fn ending_holds(
        &self,
        now: DateTime<Utc>,
        until: DateTime<Utc>,
        after: Option<(DateTime<Utc>, HoldId)>,
        limit: u32,
    ) -> PortResult<Vec<EndingHold>>;
}

/// A delivery that this server may try now.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimedDelivery {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// Its webhook.
    pub webhook_id: WebhookId,
    /// What happened.
    pub event: WebhookEvent,
    /// Where to.
    pub url: String,
    /// What signs.
    pub secrets: Vec<SecretValue>,
    /// What is sent.
    pub payload: String,
    /// Attempts that were made before, since it was last asked for.
    pub attempts: u32,
    /// Tells this claim from others.
    pub claim: u64,
}

impl std::fmt::Debug for ClaimedDelivery {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClaimedDelivery")
            .field("delivery_id", &self.delivery_id)
            .field("webhook_id", &self.webhook_id)
            .field("event", &self.event)
            .field("attempts", &self.attempts)
            .field("claim", &self.claim)
            .finish_non_exhaustive()
    }
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempted {
    /// The delivery.
    pub delivery_id: DeliveryId,
    /// The claim under which it was made.
    pub claim: u64,
    /// What is remembered of it.
    pub attempt: DeliveryAttempt,
    /// What comes of it.
    pub verdict: Verdict,
    /// Now.
    pub now: DateTime<Utc>,
}

/// What became of writing an attempt down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordOutcome {
    /// It is written down.
    Recorded,
    /// It is written down, and its webhook is disabled now.
    Disabled,
    /// The delivery was claimed by others meanwhile, or has gone; nothing is changed.
    Late,
}

/// A schedule with the names around it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchedSchedule {
    /// Project of its cluster.
    pub project_id: ProjectId,
    /// Name of its cluster.
    pub cluster_name: String,
    /// The schedule.
    pub schedule: ClusterSchedule,
}

/// A hold that ends by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndingHold {
    /// The hold.
    pub hold_id: HoldId,
    /// When it ends.
    pub until: DateTime<Utc>,
    /// Why it is there.
    pub reason: String,
    /// Project of the backup.
    pub project_id: ProjectId,
    /// Cluster of the backup.
    pub cluster_id: ClusterId,
    /// Name of the cluster when the backup was made.
    pub cluster_name: String,
    /// The backup.
    pub backup_id: BackupId,
    /// Its name.
    pub backup_name: String,
}

/// Sends to webhooks, and to nothing else: never to addresses that must not be reached.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Whether anything would be sent to a URL: its form, and every address that its name leads to.
    ///
    /// # Errors
    /// `InvalidInput` with the rule that it breaks; `Unavailable` when its name cannot be looked up now.
    async fn check(&self, url: &str) -> PortResult<()>;

    /// Sends once, within a bounded time. What the receiver answers beyond its status is thrown away.
    async fn send(&self, message: &WebhookMessage) -> SendOutcome;
}

/// What is sent.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookMessage {
    /// Where to.
    pub url: String,
    /// The header `webhook-id`.
    pub id: String,
    /// The header `webhook-timestamp`, in seconds since 1970-01-01 UTC.
    pub timestamp_seconds: i64,
    /// The header `webhook-signature`.
    pub signature: String,
    /// JSON.
    pub body: String,
}

impl std::fmt::Debug for WebhookMessage {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WebhookMessage").field("id", &self.id).finish_non_exhaustive()
    }
}
