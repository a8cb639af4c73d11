//! Several servers on one catalog: each cluster's jobs are worked on by one of them, and another goes on where that one
//! stopped.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, request};
use milvault_actors::ServiceError;
use milvault_domain::backup::BackupStatus;
use milvault_domain::ids::{ClusterId, JobId};
use milvault_domain::job::{Job, JobState};
use milvault_domain::lease::HeldLease;
use milvault_domain::ports::{Catalog, LeaseCatalog, PortErrorKind};
use std::time::Duration;

/// Longer than a lease.
const PAST_THE_LEASE: Duration = Duration::from_secs(21);
/// Longer than a test.
const NEVER: Duration = Duration::from_hours(1);

fn shared_world() -> World {
    let mut world = World::new();
    world.catalog.share();
    world.settings.lease_poll_interval = Duration::from_millis(5);
    world
}

/// Waits until something is so.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    while !holds().await {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn lease(world: &World, cluster_id: ClusterId) -> Option<HeldLease> {
    world.catalog.held_lease(cluster_id).await.unwrap()
}

/// A backup that is being copied, held back by the returned semaphore.
async fn copying(
    world: &World,
    server: &Server,
    cluster_id: ClusterId,
) -> (Job, std::sync::Arc<tokio::sync::Semaphore>) {
    held_at("copy", world, server, cluster_id).await
}

/// A backup that is held back at a point.
async fn held_at(
    point: &'static str,
    world: &World,
    server: &Server,
    cluster_id: ClusterId,
) -> (Job, std::sync::Arc<tokio::sync::Semaphore>) {
    let reached = world.gates.calls(point);
    let held_back = world.gates.hold_once(point);
    let job = server.back_up(cluster_id).await.job;
    world.gates.reached(point, reached + 1).await;
    (job, held_back)
}

async fn ends(world: &World, job_id: JobId) -> Vec<JobState> {
    let events = world.catalog.job_events(job_id).await.unwrap();
    events.into_iter().map(|event| event.state).filter(|state| state.is_final()).collect()
}

async fn check_one_backup(world: &World, job: &Job) {
    assert_eq!((job.state, job.failure.as_deref()), (JobState::Successful, None));
    assert_eq!(ends(world, job.id).await, [JobState::Successful]);
    assert_eq!(world.sealed_backups(), 1);
    let backup = world.catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
    assert_eq!(backup.status, BackupStatus::Available);
}

#[tokio::test]
async fn one_server_works_and_the_other_hears_of_it_and_can_cancel() {
    bounded(async {
        let world = shared_world();
        let (first, second) = (world.start().await, world.start().await);
        let cluster = first.register().await;
        let mut changes = second.service.changes();
        let (job, _held_back) = copying(&world, &first, cluster.id).await;
        assert_eq!(lease(&world, cluster.id).await.unwrap().fence.server_id, first.service.server_id());
        until(async || changes.recv().await.unwrap().job_id == job.id).await;
        assert!(second.service.live(job.id).is_none());

        // The rule of one manual backup holds at both, with the job's id.
        match second.service.request_backup(request(cluster.id)).await {
            Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(job.id)),
            other => panic!("{other:?}"),
        }
        let canceled = second.service.cancel_job(job.id).await.unwrap();
        assert!(matches!(canceled.state, JobState::Canceling | JobState::Canceled), "{:?}", canceled.state);
        assert_eq!(second.ended(job.id).await.state, JobState::Canceled);
        assert_eq!(ends(&world, job.id).await, [JobState::Canceled]);
        until(async || changes.recv().await.unwrap().job_id == job.id).await;

        first.shutdown().await;
        second.shutdown().await;
        assert_eq!(world.catalog.servers().await.unwrap(), []);
        assert_eq!(world.catalog.held_leases().await.unwrap(), []);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_asked_for_at_the_other_server_is_taken_up_by_the_holder() {
    bounded(async {
        let world = shared_world();
        let (first, second) = (world.start().await, world.start().await);
        let cluster = first.register().await;
        let made = first.back_up(cluster.id).await;
        first.ended(made.job.id).await;
        let (running, held_back) = held_at("cut", &world, &first, cluster.id).await;
        let request = milvault_actors::VerifyRequest {
            backup_id: made.backup.id,
            level: milvault_domain::job::VerifyLevel::Content,
            created_by: "tester".to_owned(),
        };
        let verify = second.service.request_verify(request).await.unwrap();
        assert_eq!(second.ended(verify.id).await.state, JobState::Successful);
        let holder = lease(&world, cluster.id).await.unwrap().fence;
        assert_eq!(holder.server_id, first.service.server_id());
        held_back.add_permits(1);
        assert_eq!(second.ended(running.id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn a_cluster_without_work_goes_to_whoever_gets_the_next_request() {
    bounded(async {
        let mut world = shared_world();
        world.settings.lease_renew_interval = Duration::from_millis(20);
        let (first, second) = (world.start().await, world.start().await);
        let cluster = first.register().await;
        for (server, generation) in [(&first, 1), (&second, 2), (&first, 3)] {
            let (job, held_back) = held_at("cut", &world, server, cluster.id).await;
            let fence = lease(&world, cluster.id).await.unwrap().fence;
            assert_eq!((fence.server_id, fence.generation), (server.service.server_id(), generation));
            held_back.add_permits(1);
            assert_eq!(server.ended(job.id).await.state, JobState::Successful);
            until(async || lease(&world, cluster.id).await.is_none()).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_killed_server_left_is_finished_when_its_lease_has_run_out() {
    bounded(async {
        let world = shared_world();
        let (first, second) = (world.start().await, world.start().await);
        let cluster = first.register().await;
        let (job, held_back) = copying(&world, &first, cluster.id).await;
        first.kill().await;
        held_back.add_permits(1);
        // The other one looks, and may not.
        let looks = world.gates.calls("held_leases");
        world.gates.reached("held_leases", looks + 3).await;
        assert_eq!(world.job(job.id).state, JobState::InProgress);
        assert_eq!(world.gates.calls("claim_lease"), 1);

        world.catalog.put_forward(PAST_THE_LEASE);
        let job = second.ended(job.id).await;
        assert_eq!(job.attempt, 2);
        check_one_backup(&world, &job).await;
        assert_eq!(world.copies_max(), 1, "something was copied twice");
    })
    .await;
}

#[tokio::test]
async fn an_orderly_shutdown_hands_the_jobs_over_at_once() {
    bounded(async {
        let world = shared_world();
        let (first, second) = (world.start().await, world.start().await);
        let cluster = first.register().await;
        let (job, _held_back) = copying(&world, &first, cluster.id).await;
        first.shutdown().await;
        let job = second.ended(job.id).await;
        check_one_backup(&world, &job).await;
    })
    .await;
}

#[tokio::test]
async fn a_server_that_slept_past_its_lease_changes_nothing() {
    for point in ["copy", "copied", "seal", "complete_backup"] {
        bounded(async {
            let mut world = shared_world();
            let renews = world.settings.lease_renew_interval;
            world.settings.lease_renew_interval = NEVER;
            let sleeper = world.start().await;
            world.settings.lease_renew_interval = renews;
            let other = world.start().await;
            let cluster = sleeper.register().await;
            let held_back = world.gates.hold_once(point);
            let job = sleeper.back_up(cluster.id).await.job;
            world.gates.reached(point, 1).await;

            // It does not notice that its time is over, because its own clock stands still.
            world.catalog.put_forward(PAST_THE_LEASE);
            let finished = other.ended(job.id).await;
            assert_eq!(finished.attempt, 2, "{point}");
            held_back.add_permits(1);
            until(async || sleeper.service.live(job.id).is_none()).await;
            assert_eq!(world.job(job.id), finished, "{point}");
            check_one_backup(&world, &finished).await;

            // A new request at either is carried out.
            let next = sleeper.back_up(cluster.id).await.job;
            assert_eq!(other.ended(next.id).await.state, JobState::Successful, "{point}");
        })
        .await;
    }
}

#[tokio::test]
async fn jobs_are_parked_while_leases_cannot_be_renewed() {
    bounded(async {
        let mut world = shared_world();
        world.settings.lease_length = Duration::from_secs(2);
        world.settings.lease_renew_interval = Duration::from_millis(20);
        let server = world.start().await;
        let cluster = server.register().await;
        let (job, held_back) = copying(&world, &server, cluster.id).await;
        world.gates.always("renew_leases", Act::Fail(PortErrorKind::Unavailable, "away"));
        server.wait_for(job.id, &[JobState::Pending]).await;
        held_back.add_permits(1);
        until(async || !server.service.keeps_leases()).await;
        until(async || server.service.live(job.id).is_none()).await;
        let claims = world.gates.calls("claim_lease");
        let looks = world.gates.calls("held_leases");
        world.gates.reached("held_leases", looks + 5).await;
        assert_eq!(world.gates.calls("claim_lease"), claims);
        assert_eq!(world.job(job.id).state, JobState::Pending);

        world.gates.clear("renew_leases");
        let job = server.ended(job.id).await;
        check_one_backup(&world, &job).await;
        assert!(server.service.keeps_leases());
    })
    .await;
}

#[tokio::test]
async fn a_cancel_that_meets_no_server_is_carried_out_by_the_next() {
    bounded(async {
        let world = shared_world();
        let first = world.start().await;
        let cluster = first.register().await;
        let (job, _held_back) = copying(&world, &first, cluster.id).await;
        first.kill().await;
        let second = world.start().await;
        // The lease has not run out: the wish is written down.
        let wished = second.service.cancel_job(job.id).await.unwrap();
        assert_eq!(wished.state, JobState::Canceling);
        world.catalog.put_forward(PAST_THE_LEASE);
        assert_eq!(second.ended(job.id).await.state, JobState::Canceled);
        assert_eq!(world.sealed_backups(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_restart_where_the_dead_server_ran_does_not_wait_for_its_leases() {
    bounded(async {
        let mut world = shared_world();
        let first = world.start().await;
        let cluster = first.register().await;
        let (job, _held_back) = copying(&world, &first, cluster.id).await;
        world.settings.former_server_id = Some(first.service.server_id());
        first.kill().await;
        let second = world.start().await;
        let job = second.ended(job.id).await;
        check_one_backup(&world, &job).await;
        assert_eq!(world.catalog.servers().await.unwrap().len(), 1);
    })
    .await;
}
