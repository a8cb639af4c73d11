//! Schedules: starts are recorded once, together with their backup, and manual and automatic backups keep their rules.

use super::Home;
use super::samples::{World, at, automatic_backup, manual_backup};
use chrono::TimeDelta;
use milvault_domain::backup::BackupStatus;
use milvault_domain::cluster::Cluster;
use milvault_domain::ids::ClusterId;
use milvault_domain::job::JobState;
use milvault_domain::keep::{KeepRules, RetentionPolicy};
use milvault_domain::ports::{
    ClusterRemoval, InsertOutcome, PortErrorKind, SaveScheduleOutcome, ScheduledStart, StartOutcome,
};
use milvault_domain::schedule::{
    ClusterSchedule, LOOK_AHEAD_MAX, MADE_EARLY_MAX, SchedulePolicy, SkippedStart, TimeZone, Timing,
};
use std::sync::Arc;

super::cases![
    a_schedule_reads_back,
    a_schedule_that_has_gone_on_is_not_overwritten,
    due_schedules_come_earliest_first_and_bounded,
    looks_that_lie_too_far_ahead_are_due,
    a_start_is_recorded_together_with_its_backup,
    a_start_is_recorded_once,
    starts_far_ahead_of_a_clock_that_went_back_are_made_again_once,
    what_is_not_far_ahead_of_a_clock_that_went_back_is_not_made_again,
    starts_far_ahead_are_forgotten_when_the_policy_is_switched_on,
    a_clock_that_comes_forward_again_makes_nothing_again,
    racing_servers_record_one_start,
    starts_do_not_pile_up,
    a_manual_backup_is_refused_while_an_automatic_one_is_at_work,
    an_automatic_backup_queues_behind_a_manual_one,
    only_automatic_backups_are_recorded,
    the_schedule_of_a_removed_cluster_ends,
    keep_rules_are_found_by_their_cluster,
];

pub(super) fn schedule(cluster_id: ClusterId) -> ClusterSchedule {
    let zone: TimeZone = "Europe/Berlin".parse().unwrap();
    ClusterSchedule {
        cluster_id,
        policy: SchedulePolicy {
            retention_days: 14,
            keep: KeepRules { last: 1, daily: 2, weekly: 3, monthly: 4 },
            ..SchedulePolicy::new(Timing::Cron(String::from("30 2 * * 1-5")), zone)
        },
        last_run: None,
        next_look: Some(at(0)),
        last_started: None,
        last_skipped: None,
        revision: 0,
    }
}

/// A start at that second, decided on at the schedule's first revision.
fn start(cluster: &Cluster, seconds: i64) -> ScheduledStart {
    ScheduledStart {
        revision: 1,
        scheduled_for: at(seconds),
        next_look: Some(at(seconds + 900)),
        now: at(seconds + 5),
        backup: automatic_backup(cluster),
    }
}

impl World {
    async fn keep_schedule(&self, schedule: &ClusterSchedule) {
        let outcome = self.catalog.save_schedule(schedule).await.unwrap();
        assert_eq!(outcome, SaveScheduleOutcome::Saved);
    }

    async fn schedule(&self) -> ClusterSchedule {
        self.catalog.schedule(self.cluster.id).await.unwrap().unwrap()
    }

    /// The clock goes back to that second, and the schedule counts from there.
    async fn turn_back(&self, seconds: i64) {
        let back = ClusterSchedule { last_run: Some(at(seconds)), ..self.schedule().await };
        let outcome = self.catalog.turn_schedule_back(&back, at(seconds)).await.unwrap();
        assert_eq!(outcome, SaveScheduleOutcome::Saved);
        assert_eq!(self.schedule().await, ClusterSchedule { revision: back.revision + 1, ..back });
    }

    /// A look was taken, and the next one is due at that second.
    async fn note_look(&self, seconds: i64) {
        let look = Some(at(seconds));
        self.keep_schedule(&ClusterSchedule { next_look: look, ..self.schedule().await }).await;
    }

    /// Records a start at that second, by a clock that shows it.
    async fn record_at(&self, seconds: i64) -> (ScheduledStart, StartOutcome) {
        let revision = self.schedule().await.revision;
        let start = ScheduledStart { revision, ..start(&self.cluster, seconds) };
        let outcome = self.catalog.record_start(&start).await.unwrap();
        (start, outcome)
    }

    /// Records a start whose backup ends.
    async fn make_at(&self, seconds: i64) -> ScheduledStart {
        let (start, outcome) = self.record_at(seconds).await;
        assert_eq!(outcome, StartOutcome::Started);
        self.end(&start).await;
        start
    }

    /// Records a start that was recorded before, by work on this start.
    async fn find_recorded(&self, seconds: i64, deed: &str, by: &ScheduledStart) {
        let (start, outcome) = self.record_at(seconds).await;
        assert_eq!(outcome, StartOutcome::RecordedBefore);
        assert_eq!(self.catalog.backup(start.backup.backup.id).await.unwrap(), None);
        let schedule = self.schedule().await;
        assert_eq!((schedule.last_run, schedule.next_look), (Some(at(seconds)), start.next_look));
        let reason = format!("it was {deed} before the clock went back");
        let job_id = by.backup.job.id;
        assert_eq!(schedule.last_skipped, Some(SkippedStart { scheduled_for: at(seconds), reason, job_id }));
    }

    async fn end(&self, start: &ScheduledStart) {
        for to in [JobState::InProgress, JobState::Failed] {
            self.catalog.transition_job(start.backup.job.id, to, None, at(9)).await.unwrap();
        }
    }
}

async fn a_schedule_reads_back(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    assert_eq!(world.catalog.schedule(world.cluster.id).await.unwrap(), None);
    let first = schedule(world.cluster.id);
    world.keep_schedule(&first).await;
    assert_eq!(world.schedule().await, ClusterSchedule { revision: 1, ..first.clone() });

    let job_id = manual_backup(&world.cluster).job.id;
    let skipped = SkippedStart { scheduled_for: at(7), reason: String::from("läuft \u{1F4DA}"), job_id };
    let second = ClusterSchedule {
        policy: SchedulePolicy { enabled: false, ..first.policy },
        last_run: Some(at(7)),
        next_look: None,
        last_started: Some(at(6)),
        last_skipped: Some(skipped),
        revision: 1,
        ..first
    };
    world.keep_schedule(&second).await;
    assert_eq!(world.schedule().await, ClusterSchedule { revision: 2, ..second });

    let unknown = ClusterId::from_uuid(uuid::Uuid::nil());
    let error = world.catalog.save_schedule(&schedule(unknown)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
}

async fn a_schedule_that_has_gone_on_is_not_overwritten(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let first = schedule(world.cluster.id);
    world.keep_schedule(&first).await;
    let kept = world.schedule().await;
    for revision in [0, 2] {
        let late = ClusterSchedule { revision, next_look: None, ..first.clone() };
        let outcome = world.catalog.save_schedule(&late).await.unwrap();
        assert_eq!(outcome, SaveScheduleOutcome::ScheduleChanged);
        let late = ScheduledStart { revision, ..start(&world.cluster, 1) };
        assert_eq!(world.catalog.record_start(&late).await.unwrap(), StartOutcome::ScheduleChanged);
        assert_eq!(world.catalog.backup(late.backup.backup.id).await.unwrap(), None);
    }
    assert_eq!(world.schedule().await, kept);
}

async fn due_schedules_come_earliest_first_and_bounded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let mut expected = Vec::new();
    for (name, look) in [("c", Some(30)), ("a", Some(10)), ("never", None), ("b", Some(20))] {
        let cluster = world.add_cluster(name).await;
        let next_look = look.map(at);
        world.keep_schedule(&ClusterSchedule { next_look, ..schedule(cluster.id) }).await;
        expected.extend(look.map(|look| (look, cluster.id)));
    }
    expected.sort_unstable();
    let due = async |seconds, limit| {
        let due = world.catalog.due_schedules(at(seconds), limit).await.unwrap();
        due.into_iter().map(|schedule| schedule.cluster_id).collect::<Vec<_>>()
    };
    let [first, second, third] = [expected[0].1, expected[1].1, expected[2].1];
    assert!(due(9, 10).await.is_empty());
    assert_eq!(due(10, 10).await, [first]);
    assert_eq!(due(30, 10).await, [first, second, third]);
    assert_eq!(due(30, 2).await, [first, second]);
}

async fn looks_that_lie_too_far_ahead_are_due(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let look = at(0) + LOOK_AHEAD_MAX;
    world.keep_schedule(&ClusterSchedule { next_look: Some(look), ..schedule(world.cluster.id) }).await;
    assert!(world.catalog.due_schedules(at(0), 10).await.unwrap().is_empty());
    // The clock went back by a second.
    assert_eq!(world.catalog.due_schedules(at(-1), 10).await.unwrap(), [world.schedule().await]);
    assert_eq!(world.catalog.due_schedules(at(-1), 0).await.unwrap(), []);
}

async fn a_start_is_recorded_together_with_its_backup(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let start = start(&world.cluster, 60);
    assert_eq!(world.catalog.record_start(&start).await.unwrap(), StartOutcome::Started);
    assert_eq!(world.backup(start.backup.backup.id).await, start.backup.backup);
    assert_eq!(world.job(start.backup.job.id).await, start.backup.job);
    assert_eq!(
        world.schedule().await,
        ClusterSchedule {
            last_run: Some(at(60)),
            last_started: Some(at(60)),
            next_look: Some(at(960)),
            revision: 2,
            ..schedule(world.cluster.id)
        }
    );
}

async fn a_start_is_recorded_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let first = world.make_at(60).await;
    // The clock went back, and the schedule counts from before that start.
    let back = ClusterSchedule { last_run: Some(at(0)), ..world.schedule().await };
    world.keep_schedule(&back).await;
    world.find_recorded(60, "made", &first).await;
    assert_eq!(world.schedule().await.last_started, Some(at(60)));

    let neighbour = world.add_cluster("neighbour").await;
    world.keep_schedule(&schedule(neighbour.id)).await;
    let same_time = start(&neighbour, 60);
    assert_eq!(world.catalog.record_start(&same_time).await.unwrap(), StartOutcome::Started);
}

async fn starts_far_ahead_of_a_clock_that_went_back_are_made_again_once(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let neighbour = world.add_cluster("neighbour").await;
    world.keep_schedule(&schedule(neighbour.id)).await;
    let far = MADE_EARLY_MAX.num_seconds() + 1;
    world.make_at(far).await;
    let (in_the_way, _) = world.record_at(far + 900).await;
    assert_eq!(world.record_at(far + 1_800).await.1, StartOutcome::Skipped(in_the_way.backup.job.id));
    let elsewhere = start(&neighbour, far);
    assert_eq!(world.catalog.record_start(&elsewhere).await.unwrap(), StartOutcome::Started);
    world.end(&in_the_way).await;

    // A schedule that has gone on meanwhile is not turned back.
    let late = ClusterSchedule { revision: 1, ..world.schedule().await };
    let outcome = world.catalog.turn_schedule_back(&late, at(0)).await.unwrap();
    assert_eq!(outcome, SaveScheduleOutcome::ScheduleChanged);
    world.find_recorded(far + 900, "made", &in_the_way).await;

    world.turn_back(0).await;
    let again = world.make_at(far).await;
    assert_eq!(world.schedule().await.last_started, Some(at(far)));
    let (in_the_way, outcome) = world.record_at(far + 900).await;
    assert_eq!(outcome, StartOutcome::Started);
    assert_eq!(world.record_at(far + 1_800).await.1, StartOutcome::Skipped(in_the_way.backup.job.id));
    world.end(&in_the_way).await;
    // However often servers with clocks that far apart turn it back and forth.
    for _ in 0..3 {
        world.turn_back(0).await;
        world.find_recorded(far, "made", &again).await;
        world.find_recorded(far + 900, "made", &in_the_way).await;
        world.find_recorded(far + 1_800, "skipped", &in_the_way).await;
    }
    // The neighbour's stay.
    let same = ScheduledStart { revision: 2, ..start(&neighbour, far) };
    assert_eq!(world.catalog.record_start(&same).await.unwrap(), StartOutcome::RecordedBefore);

    let unknown = ClusterId::from_uuid(uuid::Uuid::nil());
    let error = world.catalog.turn_schedule_back(&schedule(unknown), at(0)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
}

async fn what_is_not_far_ahead_of_a_clock_that_went_back_is_not_made_again(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let near = MADE_EARLY_MAX.num_seconds();
    let first = world.make_at(near).await;
    world.turn_back(0).await;
    world.find_recorded(near, "made", &first).await;
}

async fn starts_far_ahead_are_forgotten_when_the_policy_is_switched_on(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let far = 3 * MADE_EARLY_MAX.num_seconds();
    world.make_at(far).await;
    // It was off while the clock went back: the schedule counts from nowhere and need not be turned back.
    world.keep_schedule(&ClusterSchedule { last_run: None, ..world.schedule().await }).await;
    world.make_at(60).await;
    world.note_look(far).await;
    world.make_at(far).await;
}

async fn a_clock_that_comes_forward_again_makes_nothing_again(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let far = 3 * MADE_EARLY_MAX.num_seconds();
    let made = world.make_at(far).await;
    world.turn_back(0).await;
    world.note_look(far - MADE_EARLY_MAX.num_seconds()).await;
    world.find_recorded(far, "made", &made).await;
    // What was missed meanwhile is made up for.
    world.make_at(far + 900).await;
}

async fn racing_servers_record_one_start(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let servers: Vec<_> = (0..16)
        .map(|server| {
            // Their clocks differ, and with them the start that switching on gives.
            let (catalog, start) = (Arc::clone(&world.catalog), start(&world.cluster, 60 + server));
            tokio::spawn(async move { catalog.record_start(&start).await.unwrap() })
        })
        .collect();
    let mut started = 0;
    for server in servers {
        match server.await.unwrap() {
            StartOutcome::Started => started += 1,
            StartOutcome::ScheduleChanged => {}
            outcome => panic!("{outcome:?}"),
        }
    }
    assert_eq!(started, 1);
    assert_eq!(world.catalog.open_jobs().await.unwrap().len(), 1);
}

async fn starts_do_not_pile_up(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let first = start(&world.cluster, 60);
    assert_eq!(world.catalog.record_start(&first).await.unwrap(), StartOutcome::Started);
    let in_the_way = first.backup.job.id;
    for (revision, seconds, state) in
        [(2, 960, None), (3, 1_860, Some(JobState::InProgress)), (4, 2_760, Some(JobState::Canceling))]
    {
        if let Some(state) = state {
            world.catalog.transition_job(in_the_way, state, None, at(9)).await.unwrap();
        }
        let next = ScheduledStart { revision, ..start(&world.cluster, seconds) };
        let outcome = world.catalog.record_start(&next).await.unwrap();
        assert_eq!(outcome, StartOutcome::Skipped(in_the_way));
        assert_eq!(world.catalog.job(next.backup.job.id).await.unwrap(), None);
        let schedule = world.schedule().await;
        let skipped = schedule.last_skipped.unwrap();
        assert_eq!((skipped.scheduled_for, skipped.job_id), (at(seconds), in_the_way));
        assert!(skipped.reason.contains("had not ended"), "{}", skipped.reason);
        assert_eq!((schedule.last_run, schedule.last_started), (Some(at(seconds)), Some(at(60))));
    }
    world.catalog.transition_job(in_the_way, JobState::Canceled, None, at(10)).await.unwrap();
    let next = ScheduledStart { revision: 5, ..start(&world.cluster, 3_660) };
    assert_eq!(world.catalog.record_start(&next).await.unwrap(), StartOutcome::Started);
}

async fn a_manual_backup_is_refused_while_an_automatic_one_is_at_work(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    let automatic = automatic_backup(&world.cluster);
    world.add(&automatic).await;
    // The automatic one is only waiting: the manual one is accepted and waits behind it.
    let manual = manual_backup(&world.cluster);
    world.add(&manual).await;
    world.catalog.transition_job(manual.job.id, JobState::Canceled, None, at(1)).await.unwrap();

    let refused = async || {
        let manual = manual_backup(&world.cluster);
        let outcome = world.catalog.insert_backup(&manual).await.unwrap();
        assert_eq!(outcome, InsertOutcome::Busy(automatic.job.id));
        assert_eq!(world.catalog.backup(manual.backup.id).await.unwrap(), None);
    };
    world.start(automatic.job.id).await;
    refused().await;
    world.catalog.transition_job(automatic.job.id, JobState::Canceling, None, at(2)).await.unwrap();
    refused().await;
    let neighbour = world.add_cluster("neighbour").await;
    world.add(&manual_backup(&neighbour)).await;
    world.catalog.transition_job(automatic.job.id, JobState::Canceled, None, at(3)).await.unwrap();
    world.add(&manual_backup(&world.cluster)).await;
}

async fn an_automatic_backup_queues_behind_a_manual_one(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let manual = manual_backup(&world.cluster);
    world.add(&manual).await;
    world.start(manual.job.id).await;
    let start = start(&world.cluster, 60);
    assert_eq!(world.catalog.record_start(&start).await.unwrap(), StartOutcome::Started);
    assert_eq!(world.job(start.backup.job.id).await.state, JobState::Pending);
    assert_eq!(world.backup(start.backup.backup.id).await.status, BackupStatus::Creating);
}

async fn only_automatic_backups_are_recorded(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let manual = ScheduledStart { backup: manual_backup(&world.cluster), ..start(&world.cluster, 60) };
    let error = world.catalog.record_start(&manual).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::InvalidInput, "{error}");
    // Nor those of a policy that is switched off.
    let schedule = world.schedule().await;
    let policy = SchedulePolicy { enabled: false, ..schedule.policy.clone() };
    world.keep_schedule(&ClusterSchedule { policy, ..schedule }).await;
    let late = ScheduledStart { revision: 2, ..start(&world.cluster, 60) };
    assert_eq!(world.catalog.record_start(&late).await.unwrap(), StartOutcome::ScheduleChanged);
}

async fn the_schedule_of_a_removed_cluster_ends(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    world.keep_schedule(&schedule(world.cluster.id)).await;
    let removal = world.catalog.remove_cluster(world.cluster.id, at(1)).await.unwrap();
    assert_eq!(removal, ClusterRemoval::Removed);
    let later = at(0) + TimeDelta::days(400);
    assert!(world.catalog.due_schedules(later, 10).await.unwrap().is_empty());
    let error = world.catalog.record_start(&start(&world.cluster, 60)).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
    let error = world.catalog.save_schedule(&world.schedule().await).await.unwrap_err();
    assert_eq!(error.kind(), PortErrorKind::NotFound, "{error}");
}

async fn keep_rules_are_found_by_their_cluster(home: Arc<dyn Home>) {
    let world = World::open(&*home).await;
    assert_eq!(world.catalog.keep_rules(world.cluster.id).await.unwrap(), None);
    let mut off = schedule(world.cluster.id);
    off.policy.enabled = false;
    world.keep_schedule(&off).await;
    let expected = RetentionPolicy { keep: off.policy.keep, time_zone: off.policy.time_zone };
    assert_eq!(world.catalog.keep_rules(world.cluster.id).await.unwrap(), Some(expected));
}
