//! Webhooks: limits, events told once, attempts that only one server makes.

use super::Home;
use super::samples::{FIRST_PAGE, World, at, automatic_backup, cut, facts, manual_backup};
use chrono::TimeDelta;
use milvault_domain::backup::BackupFacts;
use milvault_domain::ids::{HoldId, WebhookId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::keep::Hold;
use milvault_domain::lifecycle::{BackupHold, Release};
use milvault_domain::ports::{Attempted, ClaimedDelivery, PageRequest, PortErrorKind, RecordOutcome};
use milvault_domain::progress::Progress;
use milvault_domain::schedule::{ClusterSchedule, SchedulePolicy, TimeZone, Timing};
use milvault_domain::secret::SecretValue;
use milvault_domain::webhook::{
    ATTEMPTS_MAX, CLAIM_LAPSES_AFTER, DeliveryAttempt, DeliveryState, EventFacts, FAILING_MAX, HISTORY_MAX,
    Occurrence, PENDING_MAX, SIZE_HISTORY_MIN, Verdict, WEBHOOKS_MAX, Webhook, WebhookChange,
    WebhookDelivery, WebhookEvent, delivery_id, new_secret,
};
use std::collections::HashSet;
use std::sync::Arc;

super::cases![
    a_webhook_reads_back_and_nothing_of_it_is_readable,
    names_and_numbers_of_webhooks_have_limits,
    a_webhook_is_changed_and_deleted,
    secrets_are_replaced_and_the_former_signs_for_a_while,
    a_job_that_fails_is_told_once_to_those_who_want_it,
    a_backup_of_unusual_size_is_told,
    an_event_is_told_once_however_many_raise_it,
    a_webhook_with_too_much_waiting_is_told_nothing_more,
    only_one_server_makes_an_attempt,
    a_claim_lapses_and_a_late_end_changes_nothing,
    attempts_are_written_down_and_end,
    a_webhook_that_is_gone_or_has_failed_for_long_is_disabled,
    a_delivery_is_begun_anew,
    attempts_that_lie_too_far_ahead_are_due,
    one_webhook_does_not_hold_up_another,
    ended_deliveries_are_listed_and_pruned,
    what_timers_look_at_is_found,
];

fn webhook(world: &World, name: &str, events: &[WebhookEvent]) -> Webhook {
    Webhook {
        id: WebhookId::from_uuid(super::samples::uuid()),
        project_id: world.project_id,
        name: name.to_owned(),
        url: format!("https://hooks.test/{name}/url-token-plaintext"),
        events: events.to_vec(),
        disabled: None,
        failing_since: None,
        dropped_events: 0,
        created_by: String::from("owner"),
        created_at: at(0),
        updated_at: at(0),
    }
}

fn secret(number: u8) -> SecretValue {
    new_secret([number; 32])
}

fn occurrence(world: &World, cause: &str, seconds: i64) -> Occurrence {
    Occurrence {
        event: WebhookEvent::BackupOverdue,
        project_id: world.project_id,
        cause: cause.to_owned(),
        at: at(seconds),
        facts: EventFacts { reason: Some(String::from("läuft \u{1F4DA}")), ..EventFacts::default() },
    }
}

impl World {
    async fn add_webhook(&self, name: &str, events: &[WebhookEvent]) -> Webhook {
        let webhook = webhook(self, name, events);
        self.catalog.insert_webhook(&webhook, &secret(1)).await.unwrap();
        webhook
    }

    async fn overdue_webhook(&self, name: &str) -> Webhook {
        self.add_webhook(name, &[WebhookEvent::BackupOverdue]).await
    }

    async fn deliveries(&self, webhook_id: WebhookId) -> Vec<WebhookDelivery> {
        self.catalog.webhook_deliveries(webhook_id, None, FIRST_PAGE).await.unwrap().items
    }

    async fn kept(&self, webhook_id: WebhookId) -> Webhook {
        self.catalog.webhook(webhook_id).await.unwrap().unwrap()
    }

    async fn claim_one(&self, seconds: i64) -> ClaimedDelivery {
        let mut claimed = self.catalog.claim_deliveries(at(seconds), 10).await.unwrap();
        assert_eq!(claimed.len(), 1);
        claimed.remove(0)
    }

    async fn attempted(&self, claimed: &ClaimedDelivery, verdict: Verdict, seconds: i64) -> RecordOutcome {
        let error = (verdict != Verdict::Delivered).then(|| String::from("the receiver answered 500"));
        let attempt = DeliveryAttempt { at: at(seconds), http_status: Some(500), duration_ms: 12, error };
        let (delivery_id, claim) = (claimed.delivery_id, claimed.claim);
        let attempted = Attempted { delivery_id, claim, attempt, verdict, now: at(seconds) };
        self.catalog.record_attempt(&attempted).await.unwrap()
    }

    async fn fail(&self, job: &Job, reason: &str) {
        self.start(job.id).await;
        self.catalog.transition_job(job.id, JobState::Failed, Some(reason), at(3)).await.unwrap();
    }
}

async fn a_webhook_reads_back_and_nothing_of_it_is_readable(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.add_webhook("pager", &[WebhookEvent::BackupFailed, WebhookEvent::CopyFailed]).await;
    assert_eq!(world.kept(made.id).await, made);
    assert_eq!(world.catalog.webhook(WebhookId::from_uuid(uuid::Uuid::nil())).await.unwrap(), None);
    let raw = home.raw_contents().await;
    for secret in [secret(1).expose(), "url-token-plaintext"] {
        let found = raw.windows(secret.len()).any(|window| window == secret.as_bytes());
        assert!(!found, "{secret}");
    }
}

async fn names_and_numbers_of_webhooks_have_limits(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut all = Vec::new();
    for number in 0..WEBHOOKS_MAX {
        all.push(world.overdue_webhook(&number.to_string()).await);
    }
    let error = world.catalog.insert_webhook(&webhook(&world, "more", &[]), &secret(1)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    world.catalog.delete_webhook(all[0].id, at(1)).await.unwrap();
    let error = world.catalog.insert_webhook(&webhook(&world, "1", &[]), &secret(1)).await.unwrap_err();
    assert!(error.to_string().contains("named `1`"), "{error}");
    // The name of a deleted one is free.
    world.overdue_webhook("0").await;

    let page = PageRequest { limit: 7, after: None };
    let first = world.catalog.webhooks(world.project_id, page).await.unwrap();
    assert!(first.has_more && first.items.len() == 7);
    assert!(first.items.iter().all(|webhook| webhook.id != all[0].id));
    let change = WebhookChange { name: Some(String::from("2")), ..WebhookChange::default() };
    let error = world.catalog.update_webhook(all[3].id, &change, at(2)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
}

async fn a_webhook_is_changed_and_deleted(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    let change = WebhookChange {
        name: Some(String::from("phone")),
        url: Some(String::from("https://elsewhere.test/")),
        events: Some(vec![WebhookEvent::CopyFailed, WebhookEvent::BackupFailed, WebhookEvent::CopyFailed]),
        enabled: None,
    };
    let changed = world.catalog.update_webhook(made.id, &change, at(2)).await.unwrap();
    assert_eq!(changed, world.kept(made.id).await);
    assert_eq!((changed.name.as_str(), changed.url.as_str()), ("phone", "https://elsewhere.test/"));
    assert_eq!(changed.events, [WebhookEvent::BackupFailed, WebhookEvent::CopyFailed]);
    assert_eq!((changed.updated_at, changed.created_at), (at(2), at(0)));
    // What waits goes to the new place.
    assert_eq!(world.claim_one(2).await.url, "https://elsewhere.test/");

    let off = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    let disabled = world.catalog.update_webhook(made.id, &off, at(3)).await.unwrap().disabled.unwrap();
    assert_eq!((disabled.at, disabled.reason.as_str()), (at(3), "disabled by hand"));
    let [delivery] = world.deliveries(made.id).await.try_into().unwrap();
    assert_eq!((delivery.state, delivery.ended_at), (DeliveryState::Failed, Some(at(3))));
    // Doing it again keeps the time; nothing is told while it is off.
    let again = world.catalog.update_webhook(made.id, &off, at(4)).await.unwrap();
    assert_eq!(again.disabled.unwrap().at, at(3));
    let wanted = Occurrence { event: WebhookEvent::CopyFailed, ..occurrence(&world, "b", 4) };
    assert_eq!(world.catalog.raise_event(&wanted).await.unwrap(), 0);
    let on = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    assert_eq!(world.catalog.update_webhook(made.id, &on, at(5)).await.unwrap().disabled, None);
    assert_eq!(world.catalog.raise_event(&wanted).await.unwrap(), 1);

    let claimed = world.claim_one(6).await;
    world.catalog.delete_webhook(made.id, at(6)).await.unwrap();
    assert_eq!(world.catalog.webhook(made.id).await.unwrap(), None);
    assert_eq!(world.catalog.webhook_delivery(claimed.delivery_id).await.unwrap(), None);
    assert_eq!(world.attempted(&claimed, Verdict::Delivered, 7).await, RecordOutcome::Late);
    assert!(world.catalog.claim_deliveries(at(9_999), 10).await.unwrap().is_empty());
    assert_eq!(world.catalog.raise_event(&occurrence(&world, "c", 8)).await.unwrap(), 0);
    for result in [
        world.catalog.delete_webhook(made.id, at(7)).await,
        world.catalog.update_webhook(made.id, &on, at(7)).await.map(drop),
        world.catalog.rotate_webhook_secret(made.id, &secret(2), at(7)).await.map(drop),
        world.catalog.tell_webhook(made.id, &wanted).await.map(drop),
        world.catalog.redeliver(claimed.delivery_id, at(7)).await.map(drop),
    ] {
        assert_eq!(result.unwrap_err().kind(), PortErrorKind::NotFound);
    }
}

async fn secrets_are_replaced_and_the_former_signs_for_a_while(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    world.catalog.rotate_webhook_secret(made.id, &secret(2), at(1)).await.unwrap();
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    let claimed = world.claim_one(2).await;
    assert_eq!(claimed.secrets, [secret(2), secret(1)]);
    let day = 24 * 3_600;
    let later = world.claim_one(day + 2).await;
    assert_eq!(later.secrets, [secret(2)]);
}

async fn a_job_that_fails_is_told_once_to_those_who_want_it(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let wants = world.add_webhook("wants", &[WebhookEvent::BackupFailed, WebhookEvent::VerifyFailed]).await;
    let other = world.overdue_webhook("other").await;
    let new = manual_backup(&world.cluster);
    world.add(&new).await;
    world.fail(&new.job, "no space is left").await;
    // Ending it again changes nothing.
    world.catalog.transition_job(new.job.id, JobState::Failed, Some("again"), at(9)).await.unwrap();
    let [delivery] = world.deliveries(wants.id).await.try_into().unwrap();
    assert!(world.deliveries(other.id).await.is_empty());
    assert_eq!((delivery.event, delivery.state), (WebhookEvent::BackupFailed, DeliveryState::Pending));
    assert_eq!((delivery.created_at, delivery.next_attempt_at), (at(3), Some(at(3))));
    let payload: serde_json::Value = serde_json::from_str(&world.claim_one(3).await.payload).unwrap();
    assert_eq!(payload["type"], "BACKUP_FAILED");
    let data = &payload["data"];
    assert_eq!(data["reason"], "no space is left");
    assert_eq!(
        (&data["clusterName"], &data["backupName"]),
        (&"production".into(), &new.backup.name.as_str().into())
    );
    assert_eq!(data["jobId"], new.job.id.to_string());
    assert_eq!(data["backupId"], new.backup.id.to_string());

    // One that is canceled is no failure; a transaction that is undone tells nobody.
    let canceled = manual_backup(&world.cluster);
    world.add(&canceled).await;
    world.catalog.transition_job(canceled.job.id, JobState::Canceled, None, at(4)).await.unwrap();
    let good = automatic_backup(&world.cluster);
    world.add_available(&good).await;
    assert_eq!(world.deliveries(wants.id).await.len(), 1);
    let verify = world.add_verify(good.backup.id).await;
    world.fail(&verify, "3 failures").await;
    let events: Vec<_> = world.deliveries(wants.id).await.iter().map(|delivery| delivery.event).collect();
    assert!(events.contains(&WebhookEvent::VerifyFailed) && events.len() == 2, "{events:?}");
}

async fn a_backup_of_unusual_size_is_told(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.add_webhook("pager", &[WebhookEvent::BackupSizeUnusual]).await;
    let back_up = async |logical_bytes| {
        let new = automatic_backup(&world.cluster);
        world.add(&new).await;
        world.start(new.job.id).await;
        let (facts, cut) = (BackupFacts { logical_bytes, ..facts() }, cut());
        let (job_id, backup_id) = (new.job.id, new.backup.id);
        let complete =
            world.catalog.complete_backup(job_id, backup_id, &facts, &cut, Progress::default(), at(5));
        complete.await.unwrap();
        // Doing it again tells nothing more.
        let complete =
            world.catalog.complete_backup(job_id, backup_id, &facts, &cut, Progress::default(), at(6));
        complete.await.unwrap();
        new.backup
    };
    for _ in 0..SIZE_HISTORY_MIN {
        back_up(10_000_000).await;
    }
    back_up(19_000_000).await;
    assert!(world.deliveries(made.id).await.is_empty());
    let large = back_up(50_000_000).await;
    let claimed = world.claim_one(9).await;
    assert_eq!(claimed.delivery_id, delivery_id(made.id, &format!("size:{}", large.id)));
    let payload: serde_json::Value = serde_json::from_str(&claimed.payload).unwrap();
    assert_eq!(payload["data"]["logicalBytes"], 50_000_000);
    assert_eq!(payload["data"]["medianLogicalBytes"], 10_000_000);
    assert_eq!(payload["data"]["backupId"], large.id.to_string());
    back_up(1_000_000).await;
    assert_eq!(world.deliveries(made.id).await.len(), 2);
}

async fn an_event_is_told_once_however_many_raise_it(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    let tasks = (0..8).map(|_| {
        let (catalog, occurrence) = (Arc::clone(&world.catalog), occurrence(&world, "one", 1));
        tokio::spawn(async move { catalog.raise_event(&occurrence).await.unwrap() })
    });
    let mut told = 0;
    for task in tasks.collect::<Vec<_>>() {
        told += task.await.unwrap();
    }
    assert_eq!((told, world.deliveries(made.id).await.len()), (1, 1));
    // One that comes later is told, too; another cause is another event.
    let second = world.overdue_webhook("second").await;
    assert_eq!(world.catalog.raise_event(&occurrence(&world, "one", 2)).await.unwrap(), 1);
    assert_eq!(world.deliveries(second.id).await.len(), 1);
    assert_eq!(world.catalog.raise_event(&occurrence(&world, "two", 3)).await.unwrap(), 2);
}

async fn a_webhook_with_too_much_waiting_is_told_nothing_more(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    let first = occurrence(&world, "first", 1);
    world.catalog.raise_event(&first).await.unwrap();
    home.run_statement(
        "INSERT INTO webhook_deliveries (id, webhook_id, event, payload, state, attempt_count, attempts, \
         next_attempt_at_us, claim, created_at_us) \
         WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 999) \
         SELECT 'dlv_' || CAST(numbers.n AS TEXT), webhook_id, event, payload, state, 0, attempts, next_attempt_at_us, 0, \
         created_at_us FROM webhook_deliveries, numbers",
    )
    .await
    .unwrap();
    assert_eq!(PENDING_MAX, 1_000);
    assert_eq!(world.catalog.raise_event(&occurrence(&world, "more", 2)).await.unwrap(), 0);
    assert_eq!(world.kept(made.id).await.dropped_events, 1);
    let error = world.catalog.tell_webhook(made.id, &occurrence(&world, "ping", 2)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::Conflict, "{error}");
    home.run_statement("DELETE FROM webhook_deliveries WHERE id = 'dlv_7'").await.unwrap();
    assert_eq!(world.catalog.raise_event(&occurrence(&world, "fits", 3)).await.unwrap(), 1);
}

async fn only_one_server_makes_an_attempt(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut expected = HashSet::new();
    for number in 0..10 {
        expected.insert(world.overdue_webhook(&number.to_string()).await.id);
    }
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let catalog = Arc::clone(&world.catalog);
            tokio::spawn(async move { catalog.claim_deliveries(at(2), 4).await.unwrap() })
        })
        .collect();
    let mut claimed = Vec::new();
    for task in tasks {
        let of_one = task.await.unwrap();
        assert!(of_one.len() <= 4);
        claimed.extend(of_one.into_iter().map(|delivery| delivery.webhook_id));
    }
    claimed.extend(
        world.catalog.claim_deliveries(at(2), 10).await.unwrap().iter().map(|claim| claim.webhook_id),
    );
    assert_eq!(claimed.len(), expected.len());
    assert_eq!(claimed.into_iter().collect::<HashSet<_>>(), expected);
}

async fn a_claim_lapses_and_a_late_end_changes_nothing(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    let first = world.claim_one(2).await;
    let lapse = CLAIM_LAPSES_AFTER.num_seconds();
    assert!(world.catalog.claim_deliveries(at(lapse + 1), 10).await.unwrap().is_empty());
    let second = world.claim_one(lapse + 2).await;
    assert_eq!((second.delivery_id, second.claim), (first.delivery_id, first.claim + 1));
    assert_eq!(world.attempted(&first, Verdict::Failed, lapse + 3).await, RecordOutcome::Late);
    assert_eq!(world.attempted(&second, Verdict::Delivered, lapse + 4).await, RecordOutcome::Recorded);
    assert_eq!(world.attempted(&second, Verdict::Failed, lapse + 5).await, RecordOutcome::Late);
    let [delivery] = world.deliveries(made.id).await.try_into().unwrap();
    assert_eq!((delivery.state, delivery.attempts.len()), (DeliveryState::Delivered, 1));
    assert_eq!(delivery.next_attempt_at, None);
}

async fn attempts_are_written_down_and_end(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    for attempts in 0..ATTEMPTS_MAX {
        let seconds = 10 * i64::from(attempts) + 2;
        let claimed = world.claim_one(seconds).await;
        assert_eq!(claimed.attempts, attempts);
        let verdict =
            if attempts + 1 < ATTEMPTS_MAX { Verdict::RetryAt(at(seconds + 10)) } else { Verdict::Failed };
        assert_eq!(world.attempted(&claimed, verdict, seconds + 1).await, RecordOutcome::Recorded);
    }
    let [delivery] = world.deliveries(made.id).await.try_into().unwrap();
    assert_eq!((delivery.state, delivery.ended_at), (DeliveryState::Failed, Some(at(93))));
    assert_eq!(delivery.attempts.len(), 10);
    let last = &delivery.attempts[9];
    assert_eq!((last.at, last.http_status, last.duration_ms), (at(93), Some(500), 12));
    assert_eq!(last.error.as_deref(), Some("the receiver answered 500"));
    assert_eq!(world.kept(made.id).await.failing_since, Some(at(3)));
}

async fn a_webhook_that_is_gone_or_has_failed_for_long_is_disabled(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    for cause in ["a", "b"] {
        world.catalog.raise_event(&occurrence(&world, cause, 1)).await.unwrap();
    }
    let claimed = world.claim_one(2).await;
    assert_eq!(world.attempted(&claimed, Verdict::Gone, 3).await, RecordOutcome::Disabled);
    let disabled = world.kept(made.id).await.disabled.unwrap();
    assert!(disabled.reason.contains("410"), "{}", disabled.reason);
    let states: Vec<_> = world.deliveries(made.id).await.iter().map(|delivery| delivery.state).collect();
    assert_eq!(states, [DeliveryState::Failed; 2]);
    let error = world.catalog.redeliver(claimed.delivery_id, at(4)).await.unwrap_err();
    assert!(error.to_string().contains("enable it first"), "{error}");

    let enable = WebhookChange { enabled: Some(true), ..WebhookChange::default() };
    world.catalog.update_webhook(made.id, &enable, at(5)).await.unwrap();
    world.catalog.raise_event(&occurrence(&world, "c", 6)).await.unwrap();
    let claimed = world.claim_one(6).await;
    world.attempted(&claimed, Verdict::RetryAt(at(7)), 6).await;
    let claimed = world.claim_one(7).await;
    let late = 6 + FAILING_MAX.num_seconds();
    assert_eq!(world.attempted(&claimed, Verdict::RetryAt(at(late)), late).await, RecordOutcome::Disabled);
    assert!(world.kept(made.id).await.disabled.unwrap().reason.contains("five days"));
    assert_eq!(world.deliveries(made.id).await[0].state, DeliveryState::Failed);
}

async fn a_delivery_is_begun_anew(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.overdue_webhook("pager").await;
    world.catalog.raise_event(&occurrence(&world, "a", 1)).await.unwrap();
    let mut claimed = world.claim_one(2).await;
    // One that is being tried is left alone.
    let same = world.catalog.redeliver(claimed.delivery_id, at(2)).await.unwrap();
    assert_eq!(same.next_attempt_at, Some(at(2) + CLAIM_LAPSES_AFTER));
    for round in 0..25 {
        let seconds = 10 * round + 3;
        world.attempted(&claimed, Verdict::Delivered, seconds).await;
        let again = world.catalog.redeliver(claimed.delivery_id, at(seconds)).await.unwrap();
        assert_eq!((again.state, again.ended_at), (DeliveryState::Pending, None));
        claimed = world.claim_one(seconds).await;
        assert_eq!(claimed.attempts, 0);
    }
    let kept = world.catalog.webhook_delivery(claimed.delivery_id).await.unwrap().unwrap();
    assert_eq!(kept.attempts.len(), HISTORY_MAX);
    assert_eq!(kept.attempts.last().unwrap().at, at(243));
}

async fn attempts_that_lie_too_far_ahead_are_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.overdue_webhook("pager").await;
    // Raised by a clock that was a year ahead.
    let year = 365 * 24 * 3_600;
    world.catalog.raise_event(&occurrence(&world, "a", year)).await.unwrap();
    world.claim_one(5).await;
    let soon = occurrence(&world, "b", 3_600);
    world.catalog.raise_event(&soon).await.unwrap();
    assert!(world.catalog.claim_deliveries(at(3_599 - 3_500), 10).await.unwrap().is_empty());
}

async fn one_webhook_does_not_hold_up_another(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let busy = world.overdue_webhook("busy").await;
    for number in 0..40 {
        world.catalog.raise_event(&occurrence(&world, &number.to_string(), 1)).await.unwrap();
    }
    let other = world.add_webhook("other", &[WebhookEvent::CopyFailed]).await;
    let late = Occurrence { event: WebhookEvent::CopyFailed, ..occurrence(&world, "x", 2) };
    world.catalog.raise_event(&late).await.unwrap();
    let claimed = world.catalog.claim_deliveries(at(3), 16).await.unwrap();
    let of: Vec<_> = claimed.iter().map(|claim| claim.webhook_id).collect();
    assert_eq!(of, [busy.id, other.id]);
}

async fn ended_deliveries_are_listed_and_pruned(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let made = world.overdue_webhook("pager").await;
    for (cause, seconds) in [("a", 1), ("b", 2), ("c", 3)] {
        world.catalog.raise_event(&occurrence(&world, cause, seconds)).await.unwrap();
    }
    for seconds in [10, 20] {
        let claimed = world.claim_one(seconds).await;
        world.attempted(&claimed, Verdict::Delivered, seconds).await;
    }
    let of = async |state| {
        let page = world.catalog.webhook_deliveries(made.id, state, FIRST_PAGE).await.unwrap();
        page.items.into_iter().map(|delivery| delivery.created_at).collect::<Vec<_>>()
    };
    assert_eq!(of(None).await, [at(3), at(2), at(1)]);
    assert_eq!(of(Some(DeliveryState::Delivered)).await, [at(2), at(1)]);
    assert_eq!(of(Some(DeliveryState::Pending)).await, [at(3)]);
    assert_eq!(world.catalog.prune_deliveries(at(20), 10).await.unwrap(), 1);
    assert_eq!(world.catalog.prune_deliveries(at(9_999), 0).await.unwrap(), 0);
    assert_eq!(world.catalog.prune_deliveries(at(9_999), 10).await.unwrap(), 1);
    assert_eq!(of(None).await, [at(3)]);
}

async fn what_timers_look_at_is_found(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let policy = SchedulePolicy::new(Timing::Cron(String::from("0 2 * * *")), TimeZone::UTC);
    let schedule = ClusterSchedule {
        cluster_id: world.cluster.id,
        policy,
        last_run: Some(at(0)),
        next_look: Some(at(9)),
        last_started: None,
        last_skipped: None,
        revision: 0,
    };
    world.catalog.save_schedule(&schedule).await.unwrap();
    let new = manual_backup(&world.cluster);
    world.add_available(&new).await;
    let hold = |until: Option<i64>| BackupHold {
        id: HoldId::from_uuid(super::samples::uuid()),
        backup_id: new.backup.id,
        cluster_id: world.cluster.id,
        hold: Hold { reason: String::from("audit"), until: until.map(at) },
        created_by: String::from("owner"),
        created_at: at(0),
        released: None,
    };
    let [over, soon, later, never, released] =
        [hold(Some(10)), hold(Some(20)), hold(Some(500)), hold(None), hold(Some(21))];
    for hold in [&over, &soon, &later, &never, &released] {
        world.catalog.insert_hold(hold).await.unwrap();
    }
    world.catalog.release_hold(released.id, &Release { by: String::from("x"), at: at(1) }).await.unwrap();
    let holds = async |after| world.catalog.ending_holds(at(10), at(100), after, 10).await.unwrap();
    let schedules = async |after| world.catalog.watched_schedules(after, 10).await.unwrap();
    // Nobody is there who would be told.
    assert!(holds(None).await.is_empty() && schedules(None).await.is_empty());

    let made = world.overdue_webhook("pager").await;
    let found = holds(None).await;
    assert_eq!(found.iter().map(|hold| hold.hold_id).collect::<Vec<_>>(), [soon.id]);
    assert_eq!((found[0].until, found[0].backup_name.as_str()), (at(20), new.backup.name.as_str()));
    assert!(holds(Some((at(20), soon.id))).await.is_empty());
    assert_eq!(holds(Some((at(20) - TimeDelta::seconds(1), never.id))).await.len(), 1);
    let watched = schedules(None).await;
    assert_eq!(watched.len(), 1);
    assert_eq!(watched[0].schedule, ClusterSchedule { revision: 1, ..schedule });
    assert_eq!((watched[0].project_id, watched[0].cluster_name.as_str()), (world.project_id, "production"));
    assert!(schedules(Some(world.cluster.id)).await.is_empty());
    world.catalog.delete_webhook(made.id, at(30)).await.unwrap();
    assert!(holds(None).await.is_empty() && schedules(None).await.is_empty());
}
