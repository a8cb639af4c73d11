//! Drills by a policy, and what they leave behind when their target is away.

use super::stage::Stage;
use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded};
use chrono::TimeDelta;
use milvault_actors::DrillPolicyChange;
use milvault_domain::checks::{DrillSample, DrillSchedule};
use milvault_domain::ids::JobId;
use milvault_domain::job::{Job, JobState, JobType};
use milvault_domain::ports::{Catalog, ChecksCatalog, PortErrorKind};
use milvault_domain::restore::CompareDepth;
use std::time::Duration;

async fn stage() -> (Stage, Server) {
    let mut world = World::new();
    world.settings.schedule_interval = Duration::from_millis(2);
    Stage::in_world(world).await
}

fn weekly(stage: &Stage) -> DrillPolicyChange {
    DrillPolicyChange {
        cluster_id: stage.source_id,
        enabled: true,
        weekdays: None,
        start_time: None,
        cron: Some("0 3 * * 0".to_owned()),
        time_zone: None,
        target_cluster_id: Some(stage.target_id),
        sample: None,
        max_bytes: None,
        depth: Some(CompareDepth::Rows),
    }
}

async fn schedule(stage: &Stage) -> DrillSchedule {
    stage.world.catalog.drill_schedule(stage.source_id).await.unwrap().unwrap()
}

/// Lets a week pass and waits until its start is recorded.
async fn pass_a_week(stage: &Stage) -> DrillSchedule {
    let before = schedule(stage).await.last_run;
    stage.world.clock.advance(TimeDelta::weeks(1));
    loop {
        let schedule = schedule(stage).await;
        if schedule.last_run != before {
            return schedule;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn drills(stage: &Stage) -> Vec<Job> {
    let all = stage.world.catalog.all_jobs();
    all.into_iter().filter(|job| job.job_type == JobType::Drill).collect()
}

async fn drilled(stage: &Stage, job_id: JobId) -> Vec<String> {
    let report = stage.world.catalog.compare_report(job_id).await.unwrap().unwrap();
    assert_eq!(report.differing(), 0);
    report.collections.iter().map(|compared| compared.source.collection.clone()).collect()
}

#[tokio::test]
async fn each_week_another_collection_is_drilled() {
    bounded(async {
        let (stage, server) = stage().await;
        let first = server.service.set_drill_policy(weekly(&stage)).await.unwrap().job.unwrap();
        let mut seen = Vec::new();
        let mut job_id = first.id;
        for _ in 0..4 {
            let job = server.ended(job_id).await;
            assert_eq!((job.state, &job.failure), (JobState::Successful, &None));
            assert_eq!((job.cluster_id, job.created_by.as_str()), (stage.target_id, "schedule"));
            let last = stage.world.catalog.last_drill(stage.backup_id).await.unwrap();
            assert_eq!(last.map(|job| job.id), Some(job_id));
            seen.extend(drilled(&stage, job_id).await);
            stage.assert_tidy("after a drill");
            job_id = pass_a_week(&stage).await.last_job_id.unwrap();
        }
        assert_eq!(seen, ["cities", "customers", "orders", "cities"]);
        server.ended(job_id).await;
    })
    .await;
}

#[tokio::test]
async fn a_drill_stays_below_the_bytes_of_the_policy() {
    bounded(async {
        let (stage, server) = stage().await;
        let everything = DrillPolicyChange {
            sample: Some(DrillSample::Everything),
            max_bytes: Some(Some(1)),
            ..weekly(&stage)
        };
        let set = server.service.set_drill_policy(everything.clone()).await.unwrap();
        assert_eq!(set.job, None);
        let skipped = set.schedule.last_skipped.unwrap();
        assert!(skipped.reason.contains("no collection that fits"), "{}", skipped.reason);
        let all = DrillPolicyChange { max_bytes: Some(None), ..everything };
        server.service.set_drill_policy(all).await.unwrap();
        let job_id = pass_a_week(&stage).await.last_job_id.unwrap();
        assert_eq!(server.ended(job_id).await.failure, None);
        assert_eq!(drilled(&stage, job_id).await, ["cities", "customers", "orders"]);
    })
    .await;
}

#[tokio::test]
async fn an_unreachable_target_fails_the_drill_and_nothing_piles_up() {
    bounded(async {
        let (stage, server) = stage().await;
        stage.world.gates.always("connect_target", Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        let job = server.service.set_drill_policy(weekly(&stage)).await.unwrap().job.unwrap();
        let job = server.ended(job.id).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("nobody answers"));

        stage.world.gates.always("connect_target", Act::Hang);
        let hanging = pass_a_week(&stage).await.last_job_id.unwrap();
        for _ in 0..3 {
            let later = pass_a_week(&stage).await;
            assert_eq!(later.last_job_id, Some(hanging));
            assert!(later.last_skipped.unwrap().reason.contains("had not ended"));
        }
        assert_eq!(drills(&stage).len(), 2);
        server.service.cancel_job(hanging).await.unwrap();
        assert_eq!(server.ended(hanging).await.state, JobState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn leftovers_of_a_drill_are_removed_when_the_target_answers_again() {
    bounded(async {
        let (stage, server) = stage().await;
        stage.world.gates.always("stage", Act::Hang);
        let job = server.service.set_drill_policy(weekly(&stage)).await.unwrap().job.unwrap();
        stage.world.gates.reached("stage", 1).await;
        stage.world.gates.always("connect_target", Act::Fail(PortErrorKind::Unavailable, "gone away"));
        server.service.cancel_job(job.id).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Canceled);
        let left = stage.world.catalog.leftovers(job.id).await.unwrap().unwrap();
        assert!(left.last_failure.contains("gone away"), "{left:?}");
        assert!(stage.target.state().databases.len() > 1);

        // Still away at the first attempt; another server process goes on.
        let attempts = |left: u32| {
            let stage = &stage;
            async move {
                while stage.world.catalog.leftovers(job.id).await.unwrap().unwrap().attempts < left {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        stage.world.clock.advance(TimeDelta::minutes(1));
        attempts(1).await;
        server.kill().await;
        let server = stage.world.start().await;
        stage.world.gates.clear("connect_target");
        stage.world.clock.advance(TimeDelta::minutes(3));
        while stage.world.catalog.leftovers(job.id).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stage.target.state().databases.len(), 1);
        stage.assert_tidy("cleaned up");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_policy_names_what_it_needs() {
    bounded(async {
        let (stage, server) = stage().await;
        let without_target = DrillPolicyChange { target_cluster_id: None, ..weekly(&stage) };
        let refused = server.service.set_drill_policy(without_target).await.unwrap_err();
        assert!(refused.to_string().contains("name the cluster"), "{refused}");
        let often = DrillPolicyChange { cron: Some("* * * * *".to_owned()), ..weekly(&stage) };
        assert!(server.service.set_drill_policy(often).await.is_err());
        assert_eq!(drills(&stage).len(), 0);
        let off = DrillPolicyChange { enabled: false, ..weekly(&stage) };
        let off = server.service.set_drill_policy(off).await.unwrap();
        assert_eq!((off.job, off.schedule.next_look), (None, None));
    })
    .await;
}

#[tokio::test]
async fn what_a_drill_that_was_given_up_left_is_removed_when_the_target_answers() {
    bounded(async {
        let (mut stage, server) = stage().await;
        stage.world.gates.always("stage", Act::Hang);
        let job = server.service.set_drill_policy(weekly(&stage)).await.unwrap().job.unwrap();
        stage.world.gates.reached("stage", 1).await;
        server.kill().await;
        assert!(stage.target.state().databases.len() > 1);
        stage.world.settings.job_attempts_max = 1;
        stage.world.gates.always("connect_target", Act::Fail(PortErrorKind::Unavailable, "gone away"));
        let server = stage.world.start().await;
        assert_eq!(server.ended(job.id).await.state, JobState::Failed);
        let left = stage.world.catalog.leftovers(job.id).await.unwrap().unwrap();
        assert!(left.last_failure.contains("given up"), "{left:?}");

        stage.world.gates.clear("connect_target");
        stage.world.clock.advance(TimeDelta::minutes(3));
        while stage.world.catalog.leftovers(job.id).await.unwrap().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(stage.target.state().databases.len(), 1);
        stage.assert_tidy("cleaned up");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn a_shutdown_lets_the_clean_up_after_a_drill_that_was_given_up_end() {
    bounded(async {
        let (mut stage, server) = stage().await;
        stage.world.gates.always("stage", Act::Hang);
        let job = server.service.set_drill_policy(weekly(&stage)).await.unwrap().job.unwrap();
        stage.world.gates.reached("stage", 1).await;
        server.kill().await;
        stage.world.settings.job_attempts_max = 1;
        stage.world.settings.shutdown_grace = Duration::from_secs(30);
        let removals = stage.world.gates.calls("unstage");
        let hold = stage.world.gates.hold_once("unstage");
        let server = stage.world.start().await;
        assert_eq!(server.ended(job.id).await.state, JobState::Failed);
        stage.world.gates.reached("unstage", removals + 1).await;
        let service = server.service.clone();
        let stopped = tokio::spawn(server.shutdown());
        while service.lifecycle() == milvault_actors::Lifecycle::Ready {
            tokio::task::yield_now().await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!stopped.is_finished());
        hold.add_permits(1);
        stopped.await.unwrap();
        assert_eq!(stage.world.catalog.leftovers(job.id).await.unwrap(), None);
        assert_eq!(stage.target.state().databases.len(), 1);
        stage.assert_tidy("cleaned up");
    })
    .await;
}
