//! Orderly ends of the service.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, request};
use milvault_actors::{BackupRequest, Lifecycle, ServiceError, StartError};
use milvault_domain::backup::CreationMethod;
use milvault_domain::job::{JobPhase, JobState};
use milvault_domain::ports::PortErrorKind;
use std::time::Duration;

#[tokio::test]
async fn a_job_that_does_not_end_in_time_is_parked_and_continues() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for act in [Act::Pass, Act::Pass, Act::Pass, Act::Hang, Act::Hang] {
            world.gates.once("copy", act);
        }
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("copy", 5).await;
        server.shutdown().await;
        let parked = world.job(job_id);
        assert_eq!((parked.state, parked.progress.objects_done), (JobState::Pending, 3));

        let hold = world.gates.hold_once("load_unfinished");
        let server = world.start().await;
        world.gates.reached("load_unfinished", 2).await;
        let live = server.service.live(job_id).unwrap();
        assert_eq!((live.phase, live.progress), (JobPhase::Copy, parked.progress), "it shows where it was");
        hold.add_permits(1);
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.attempt), (JobState::Successful, 2));
        assert_eq!((world.copied_objects(), world.copies_max()), (10, 1));
        assert_eq!(world.gates.calls("cut"), 1);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_ends_in_time_is_let_end_and_none_is_begun() {
    bounded(async {
        let mut world = World::new();
        world.settings.shutdown_grace = Duration::from_secs(50);
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let running = server.back_up(cluster.id).await.job.id;
        let automatic = BackupRequest { creation_method: CreationMethod::Auto, ..request(cluster.id) };
        let waiting = server.service.request_backup(automatic).await.unwrap().job.id;
        world.gates.reached("cut", 1).await;
        let service = server.service.clone();
        let stopped = tokio::spawn(server.shutdown());
        while service.lifecycle() == Lifecycle::Ready {
            tokio::task::yield_now().await;
        }
        let refused = service.request_backup(request(cluster.id)).await.unwrap_err();
        assert!(matches!(refused, ServiceError::Unavailable { .. }), "{refused:?}");
        hold.add_permits(1);
        stopped.await.unwrap();
        assert_eq!(service.lifecycle(), Lifecycle::Stopped);
        assert_eq!(world.job(running).state, JobState::Successful);
        let waiting = world.job(waiting);
        assert_eq!((waiting.state, waiting.attempt), (JobState::Pending, 0));
    })
    .await;
}

#[tokio::test]
async fn a_job_can_be_canceled_while_the_server_drains() {
    bounded(async {
        let mut world = World::new();
        world.settings.shutdown_grace = Duration::from_secs(50);
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("cut", 1).await;
        let service = server.service.clone();
        let stopped = tokio::spawn(server.shutdown());
        while service.lifecycle() == Lifecycle::Ready {
            tokio::task::yield_now().await;
        }
        service.cancel_job(job_id).await.unwrap();
        stopped.await.unwrap();
        assert_eq!(world.job(job_id).state, JobState::Canceled);
    })
    .await;
}

#[tokio::test]
async fn a_job_parked_many_times_is_not_given_up() {
    bounded(async {
        let mut world = World::new();
        world.settings.job_attempts_max = 2;
        world.settings.shutdown_grace = Duration::ZERO;
        let mut server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("cut", Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        for restart in 1..=4 {
            world.gates.reached("cut", restart).await;
            server.shutdown().await;
            assert_eq!(world.job(job_id).state, JobState::Pending);
            server = world.start().await;
        }
        server.shutdown().await;
        world.gates.clear("cut");
        let server = world.start().await;
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
    })
    .await;
}

/// Stops the server in order and starts it again, so many times, each time in the middle of the cut.
async fn restarted(world: &World, mut server: Server, times: usize) -> Server {
    for restart in 1..=times {
        world.gates.reached("cut", restart).await;
        server.shutdown().await;
        server = world.start().await;
    }
    server
}

#[tokio::test]
async fn only_crashes_use_up_attempts() {
    bounded(async {
        let mut world = World::new();
        world.settings.job_attempts_max = 2;
        world.settings.shutdown_grace = Duration::ZERO;
        let mut server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("cut", Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        server = restarted(&world, server, 4).await;
        for crash in 1..=2 {
            world.gates.reached("cut", 4 + crash).await;
            let job = world.job(job_id);
            assert_eq!(job.state, JobState::InProgress);
            assert_eq!((job.parks as usize, job.counted_attempts() as usize), (4, crash));
            server.kill().await;
            server = world.start().await;
        }
        let job = world.job(job_id);
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("given up after 2 attempts"));
        server.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn an_outage_after_many_orderly_restarts_does_not_cost_the_backup() {
    bounded(async {
        let mut world = World::new();
        world.settings.job_attempts_max = 2;
        world.settings.shutdown_grace = Duration::ZERO;
        let mut server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("cut", Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        server = restarted(&world, server, 3).await;
        world.gates.reached("cut", 4).await;
        server.shutdown().await;
        world.gates.clear("cut");
        let outage = || Act::Fail(PortErrorKind::Unavailable, "the store is away");
        world.gates.once("complete_backup", outage());
        world.gates.once("complete_backup", outage());
        world.gates.once("complete_backup", outage());
        let server = world.start().await;
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.attempt, job.parks), (JobState::Successful, 6, 4), "{:?}", job.failure);
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_is_dropped_parks_its_jobs() {
    bounded(async {
        let world = World::new();
        let mut server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", Act::Hang);
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("cut", 1).await;
        server.drop_service();
        server.wait_for(job_id, &[JobState::Pending]).await;
        let server = world.start().await;
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn a_catalog_that_is_away_refuses_the_start() {
    bounded(async {
        let world = World::new();
        world.gates.once("open_jobs", Act::Fail(PortErrorKind::Unavailable, "the database is away"));
        match world.try_start().await {
            Err(StartError::Catalog(error)) => assert_eq!(error.to_string(), "the database is away"),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("started without a catalog"),
        }
        world.start().await.shutdown().await;
    })
    .await;
}

#[tokio::test]
async fn a_runtime_that_is_dropped_under_copies_fails_no_job() {
    for _ in 0..8 {
        bounded(async {
            let world = World::new();
            let mut server = world.start().await;
            let cluster = server.register().await;
            world.gates.always("copy", Act::Hang);
            let job_id = server.back_up(cluster.id).await.job.id;
            world.gates.reached("copy", 2).await;
            server.drop_service();
            while server.service.live(job_id).is_some() {
                tokio::task::yield_now().await;
            }
            let left = world.job(job_id);
            assert!(matches!(left.state, JobState::Pending | JobState::InProgress), "{:?}", left.failure);
            world.gates.clear("copy");
            let server = world.start().await;
            assert_eq!(server.ended(job_id).await.state, JobState::Successful);
        })
        .await;
    }
}
