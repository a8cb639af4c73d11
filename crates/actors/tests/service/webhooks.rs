//! Webhooks on a clock that is moved by hand, on a real catalog, with a sender that answers as it is told.

use crate::on_sqlite::open_in;
use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, project};
use chrono::TimeDelta;
use milvault_actors::{NewWebhook, PolicyChange, ServiceError};
use milvault_domain::ids::{ClusterId, WebhookId};
use milvault_domain::job::JobState;
use milvault_domain::keep::Hold;
use milvault_domain::ports::{Catalog, Clock, PageRequest, PortErrorKind, WebhookMessage};
use milvault_domain::webhook::{
    CLAIM_LAPSES_AFTER, DeliveryState, FAILING_MAX, SendOutcome, Webhook, WebhookChange, WebhookDelivery,
    WebhookEvent, new_secret, sign,
};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

struct Stage {
    world: World,
    catalog: Arc<dyn Catalog>,
    _directory: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        world.settings.notify_interval = Duration::from_millis(2);
        world.settings.notice_interval = Duration::from_mins(1);
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        Self { world, catalog, _directory: directory }
    }

    fn advance(&self, by: TimeDelta) {
        self.world.clock.advance(by);
    }

    async fn deliveries(&self, webhook_id: WebhookId) -> Vec<WebhookDelivery> {
        let page = PageRequest { limit: 200, after: None };
        self.catalog.webhook_deliveries(webhook_id, None, page).await.unwrap().items
    }

    /// Waits until the only delivery of a webhook is as wanted.
    async fn delivery(
        &self,
        webhook_id: WebhookId,
        wanted: impl Fn(&WebhookDelivery) -> bool,
    ) -> WebhookDelivery {
        loop {
            let deliveries = self.deliveries(webhook_id).await;
            assert!(deliveries.len() <= 1, "{deliveries:?}");
            if let Some(delivery) = deliveries.into_iter().find(&wanted) {
                return delivery;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Waits until so much was sent, and then until whatever is due has been looked at once more.
    async fn sent(&self, count: usize) -> Vec<WebhookMessage> {
        while self.world.sender.sent().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        self.rest().await;
        self.world.sender.sent()
    }

    /// Lets some looks pass.
    async fn rest(&self) {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }

    fn types(&self) -> Vec<String> {
        let kind = |message: &WebhookMessage| {
            let body: serde_json::Value = serde_json::from_str(&message.body).unwrap();
            body["type"].as_str().unwrap().to_owned()
        };
        self.world.sender.sent().iter().map(kind).collect()
    }
}

fn new_webhook(name: &str, events: &[WebhookEvent]) -> NewWebhook {
    NewWebhook {
        project_id: project(),
        name: name.to_owned(),
        url: format!("https://hooks.test/{name}"),
        events: events.to_vec(),
        secret: new_secret([7; 32]),
        created_by: String::from("tester"),
    }
}

async fn webhook(server: &Server, events: &[WebhookEvent]) -> Webhook {
    server.service.create_webhook(new_webhook("pager", events)).await.unwrap()
}

async fn fail_a_backup(stage: &Stage, server: &Server, cluster_id: ClusterId) {
    stage.world.gates.once("cut", Act::Fail(PortErrorKind::PermissionDenied, "the password is wrong"));
    let job = server.back_up(cluster_id).await.job;
    assert_eq!(server.ended(job.id).await.state, JobState::Failed);
}

#[tokio::test]
async fn a_failed_backup_is_told_until_the_receiver_takes_it() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let cluster = server.register().await;
        let made = webhook(&server, &[WebhookEvent::BackupFailed]).await;
        let closed = SendOutcome::Failed(String::from("cannot connect to the receiver"));
        stage.world.sender.answer([SendOutcome::Answered(500), closed]);
        fail_a_backup(&stage, &server, cluster.id).await;
        for attempts in 1..=2 {
            let delivery = stage.delivery(made.id, |delivery| delivery.attempts.len() == attempts).await;
            assert_eq!(delivery.state, DeliveryState::Pending);
            // Nothing comes before its time.
            stage.rest().await;
            assert_eq!(stage.world.sender.sent().len(), attempts);
            let pause = delivery.next_attempt_at.unwrap() - stage.world.clock.now();
            assert!(TimeDelta::zero() < pause, "{pause}");
            stage.advance(pause);
        }
        let delivery = stage.delivery(made.id, |delivery| delivery.state == DeliveryState::Delivered).await;
        let statuses: Vec<_> = delivery.attempts.iter().map(|attempt| attempt.http_status).collect();
        assert_eq!(statuses, [Some(500), None, Some(200)]);
        assert_eq!(delivery.attempts[1].error.as_deref(), Some("cannot connect to the receiver"));
        let sent = stage.sent(3).await;
        assert_eq!(sent.len(), 3);
        for message in &sent {
            assert_eq!((&message.id, &message.body), (&delivery.id.to_string(), &sent[0].body));
            let expected =
                sign(&[new_secret([7; 32])], &message.id, message.timestamp_seconds, &message.body);
            assert_eq!(message.signature, expected.unwrap());
        }
        assert!(sent[0].timestamp_seconds < sent[2].timestamp_seconds);
        let body: serde_json::Value = serde_json::from_str(&sent[0].body).unwrap();
        assert_eq!((&body["type"], &body["data"]["clusterName"]), (&"BACKUP_FAILED".into(), &"prod".into()));
        assert!(body["data"]["reason"].as_str().unwrap().contains("the password is wrong"), "{body}");
        assert_eq!(stage.catalog.webhook(made.id).await.unwrap().unwrap().failing_since, None);
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn what_was_not_told_before_a_crash_is_told_after_it() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let cluster = server.register().await;
        let made = webhook(&server, &[WebhookEvent::BackupFailed]).await;
        stage.world.sender.answer([SendOutcome::Answered(503)]);
        fail_a_backup(&stage, &server, cluster.id).await;
        stage.delivery(made.id, |delivery| delivery.attempts.len() == 1).await;
        server.kill().await;

        // A server that dies in the middle of an attempt keeps it for a while.
        stage.advance(TimeDelta::seconds(10));
        let claimed = stage.catalog.claim_deliveries(stage.world.clock.now(), 10).await.unwrap();
        assert_eq!(claimed.len(), 1);
        let server = stage.world.start().await;
        stage.rest().await;
        assert_eq!(stage.world.sender.sent().len(), 1);
        stage.advance(CLAIM_LAPSES_AFTER);
        let delivery = stage.delivery(made.id, |delivery| delivery.state == DeliveryState::Delivered).await;
        assert_eq!((delivery.attempts.len(), stage.sent(2).await.len()), (2, 2));
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn two_servers_tell_once() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let (first, second) = (stage.world.start().await, stage.world.start().await);
        let mut webhooks = Vec::new();
        for number in 0..10 {
            let new = new_webhook(&number.to_string(), &[WebhookEvent::HoldExpiring]);
            webhooks.push(first.service.create_webhook(new).await.unwrap());
        }
        for webhook in &webhooks {
            first.service.test_webhook(webhook.id, String::from("tester")).await.unwrap();
        }
        for webhook in &webhooks {
            stage.delivery(webhook.id, |delivery| delivery.state == DeliveryState::Delivered).await;
        }
        let mut ids: Vec<_> = stage.sent(10).await.into_iter().map(|message| message.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!((ids.len(), stage.world.sender.sent().len()), (10, 10));
        first.shutdown().await;
        second.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn a_receiver_that_is_gone_or_fails_for_days_is_told_no_more() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let made = webhook(&server, &[WebhookEvent::CopyFailed]).await;
        stage.world.sender.answer([SendOutcome::Answered(410)]);
        let tried = server.service.test_webhook(made.id, String::from("tester")).await.unwrap();
        stage.delivery(made.id, |delivery| delivery.state == DeliveryState::Failed).await;
        let disabled = stage.catalog.webhook(made.id).await.unwrap().unwrap().disabled.unwrap();
        assert!(disabled.reason.contains("410"), "{}", disabled.reason);
        for refused in [
            server.service.test_webhook(made.id, String::from("tester")).await,
            server.service.redeliver(tried.id).await,
        ] {
            assert!(matches!(refused, Err(ServiceError::Conflict { .. })), "{refused:?}");
        }

        let enable = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
        server.service.update_webhook(made.id, enable).await.unwrap();
        stage.world.sender.answer(std::iter::repeat_n(SendOutcome::Answered(500), 40));
        server.service.redeliver(tried.id).await.unwrap();
        stage.delivery(made.id, |delivery| delivery.attempts.len() == 2).await;
        // All the attempts that there are, and then those of another round.
        let mut passed = TimeDelta::zero();
        while stage.catalog.webhook(made.id).await.unwrap().unwrap().disabled.is_none() {
            let delivery = &stage.deliveries(made.id).await[0];
            if delivery.state == DeliveryState::Failed
                && let Err(error) = server.service.redeliver(tried.id).await
            {
                // It was disabled just now.
                assert!(matches!(error, ServiceError::Conflict { .. }), "{error:?}");
            }
            stage.advance(TimeDelta::hours(2));
            passed += TimeDelta::hours(2);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(FAILING_MAX <= passed, "{passed}");
        let reason = stage.catalog.webhook(made.id).await.unwrap().unwrap().disabled.unwrap().reason;
        assert!(reason.contains("five days"), "{reason}");
        server.shutdown().await;
    }))
    .await;
}

fn policy(cluster_id: ClusterId) -> PolicyChange {
    PolicyChange {
        cluster_id,
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: Some(String::from("0 2 * * *")),
        time_zone: None,
        retention_days: None,
        keep: None,
        copy: None,
    }
}

#[tokio::test]
async fn a_start_that_nobody_made_is_told_once() {
    bounded(Box::pin(async {
        let mut stage = Stage::set().await;
        // The schedules of this server are never looked at.
        stage.world.settings.schedule_interval = Duration::from_hours(1);
        let server = stage.world.start().await;
        let cluster = server.register().await;
        let answer = server.service.set_backup_policy(policy(cluster.id)).await.unwrap();
        server.ended(answer.job.unwrap().id).await;
        let made = webhook(&server, &[WebhookEvent::BackupOverdue]).await;
        let schedule = stage.catalog.schedule(cluster.id).await.unwrap().unwrap();
        let start = schedule.next_run(stage.world.clock.now()).unwrap().unwrap();
        stage.advance(start - stage.world.clock.now() + TimeDelta::minutes(59));
        stage.rest().await;
        assert!(stage.deliveries(made.id).await.is_empty());
        for _ in 0..3 {
            stage.advance(TimeDelta::hours(30));
            stage.delivery(made.id, |delivery| delivery.state == DeliveryState::Delivered).await;
            stage.rest().await;
        }
        let sent = stage.sent(1).await;
        assert_eq!((sent.len(), stage.types()), (1, vec![String::from("BACKUP_OVERDUE")]));
        let body: serde_json::Value = serde_json::from_str(&sent[0].body).unwrap();
        let expected = start.to_rfc3339_opts(chrono::SecondsFormat::Millis, true);
        assert_eq!(body["data"]["expectedAt"], expected, "{body}");
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn a_backup_that_waits_or_works_for_too_long_is_told() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let cluster = server.register().await;
        webhook(&server, &[WebhookEvent::BackupOverdue]).await;
        let holds = [stage.world.gates.hold_once("cut"), stage.world.gates.hold_once("cut")];
        let cuts = stage.world.gates.calls("cut");
        let manual = server.back_up(cluster.id).await.job;
        stage.world.gates.reached("cut", cuts + 1).await;
        let answer = server.service.set_backup_policy(policy(cluster.id)).await.unwrap();
        let automatic = answer.job.unwrap();
        stage.advance(TimeDelta::minutes(61));
        let sent = stage.sent(1).await;
        assert_eq!(sent.len(), 1);
        assert!(sent[0].body.contains("waits for its turn"), "{}", sent[0].body);
        assert!(sent[0].body.contains(&automatic.id.to_string()), "{}", sent[0].body);
        // It begins, and does not end.
        holds[0].add_permits(1);
        server.ended(manual.id).await;
        stage.world.gates.reached("cut", cuts + 2).await;
        stage.advance(TimeDelta::hours(10));
        stage.rest().await;
        assert_eq!(stage.world.sender.sent().len(), 1);
        stage.advance(TimeDelta::hours(1));
        let sent = stage.sent(2).await;
        assert!(sent[1].body.contains("twelve hours"), "{}", sent[1].body);
        holds[1].add_permits(1);
        server.ended(automatic.id).await;
        assert_eq!(stage.sent(2).await.len(), 2);
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn a_hold_that_ends_soon_is_told_once() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let cluster = server.register().await;
        let made = webhook(&server, &[WebhookEvent::HoldExpiring]).await;
        let pair = server.back_up(cluster.id).await;
        server.ended(pair.job.id).await;
        let until = stage.world.clock.now() + TimeDelta::days(5);
        let hold = Hold { reason: String::from("audit"), until: Some(until) };
        let kept = server.service.hold_backup(pair.backup.id, hold, String::from("tester")).await.unwrap();
        stage.advance(TimeDelta::days(1));
        stage.rest().await;
        assert!(stage.deliveries(made.id).await.is_empty());
        for _ in 0..3 {
            stage.advance(TimeDelta::hours(25));
            stage.delivery(made.id, |delivery| delivery.state == DeliveryState::Delivered).await;
            stage.rest().await;
        }
        let sent = stage.sent(1).await;
        assert_eq!(sent.len(), 1);
        let body: serde_json::Value = serde_json::from_str(&sent[0].body).unwrap();
        assert_eq!(body["data"]["holdId"], kept.id.to_string());
        assert_eq!(body["data"]["until"], until.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
        server.shutdown().await;
    }))
    .await;
}

#[tokio::test]
async fn a_url_that_must_not_be_reached_is_refused_and_changes_nothing() {
    bounded(Box::pin(async {
        let stage = Stage::set().await;
        let server = stage.world.start().await;
        let made = webhook(&server, &[WebhookEvent::BackupFailed]).await;
        stage.world.sender.refused.lock().unwrap().push(String::from("https://inside.test/"));
        let change =
            WebhookChange { url: Some(String::from("https://inside.test/")), ..WebhookChange::default() };
        match server.service.update_webhook(made.id, change).await {
            Err(ServiceError::InvalidInput(invalid)) => assert_eq!(invalid.field, "url"),
            other => panic!("{other:?}"),
        }
        assert_eq!(stage.catalog.webhook(made.id).await.unwrap().unwrap().url, made.url);
        server.shutdown().await;
    }))
    .await;
}
