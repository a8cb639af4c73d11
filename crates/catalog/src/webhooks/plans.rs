//! How SQLite answers what is asked about webhooks.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use super::{
    count_pending, list_deliveries, list_webhooks, select_claimable, select_delivery, select_ended,
    select_ending_holds, select_in_use, select_sizes, select_watched_schedules, select_webhook,
};
use crate::audit;
use crate::query_plans::{check, pages, plan};
use crate::sqlite::SqliteDatabase;
use chrono::{DateTime, Utc};
use milvault_domain::audit::AuditTarget;
use milvault_domain::backup::{Backup, BackupScope, BackupStatus, CreationMethod};
use milvault_domain::ids::{BackupId, ClusterId, DeliveryId, HoldId, ProjectId, RepositoryId, WebhookId};
use milvault_domain::webhook::DeliveryState;
use uuid::Uuid;

const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;
const WEBHOOK: WebhookId = WebhookId::from_uuid(Uuid::nil());
const PROJECT: ProjectId = ProjectId::from_uuid(Uuid::nil());

#[tokio::test]
async fn webhooks_and_deliveries_are_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    for page in pages() {
        check(&database, "webhooks", list_webhooks(PROJECT, page).unwrap().unwrap()).await;
        for state in [None, Some(DeliveryState::Failed)] {
            let statement = list_deliveries(WEBHOOK, state, page).unwrap().unwrap();
            check(&database, "deliveries", statement).await;
        }
    }
    let [first_due, too_far] = select_claimable(NOW, &[WEBHOOK, WEBHOOK]);
    for (what, statement) in [
        ("webhook", select_webhook(WEBHOOK)),
        ("in use", select_in_use(PROJECT)),
        ("pending", count_pending(WEBHOOK)),
        ("delivery", select_delivery(DeliveryId::from_uuid(Uuid::nil()))),
        ("due", first_due),
        ("too far ahead", too_far),
        ("ended", select_ended(NOW, 5)),
    ] {
        let plan = plan(&database, statement.clone()).await;
        assert!(!plan.contains("SCAN "), "{what}: {plan}");
        check(&database, what, statement).await;
    }
    for kind in ["webhook", "webhookDelivery"] {
        let target = AuditTarget { kind: kind.to_owned(), id: String::new() };
        check(&database, kind, audit::select_project(&target).unwrap()).await;
    }
}

#[tokio::test]
async fn what_timers_and_sizes_ask_is_answered_from_an_index() {
    let database = SqliteDatabase::open_in_memory().await.unwrap();
    for after in [None, Some((NOW, HoldId::from_uuid(Uuid::nil())))] {
        let plan = plan(&database, select_ending_holds(NOW, NOW, after, 5)).await;
        assert!(plan.contains("USING INDEX backup_holds_ending"), "{plan}");
        assert!(!plan.contains("SCAN ") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    // There is one schedule a cluster, and all of them are looked at, in their order.
    for after in [None, Some(ClusterId::from_uuid(Uuid::nil()))] {
        let plan = plan(&database, select_watched_schedules(after, 5)).await;
        assert!(!plan.contains("SCAN clusters") && !plan.contains("TEMP B-TREE"), "{plan}");
    }
    let backup = Backup {
        id: BackupId::from_uuid(Uuid::nil()),
        project_id: PROJECT,
        cluster_id: ClusterId::from_uuid(Uuid::nil()),
        cluster_name: String::new(),
        repository_id: RepositoryId::from_uuid(Uuid::nil()),
        name: String::new(),
        description: String::new(),
        scope: BackupScope::Cluster,
        creation_method: CreationMethod::Auto,
        status: BackupStatus::Available,
        created_by: String::new(),
        created_at: NOW,
        completed_at: None,
        expires_at: None,
        facts: None,
        copied_from: None,
    };
    let plan = plan(&database, select_sizes(&backup).unwrap()).await;
    // The order of a hundred rows costs nothing; the rows themselves come from an index.
    assert!(plan.contains("SEARCH backups USING INDEX"), "{plan}");
}
