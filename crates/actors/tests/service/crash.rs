//! Servers that are killed at any point and started again.

use crate::support::fakes::gates::Act;
use crate::support::fakes::stores::OBJECT_BYTES;
use crate::support::{Server, World, bounded, request};
use milvault_actors::ServiceError;
use milvault_domain::backup::BackupStatus;
use milvault_domain::job::JobState;
use milvault_domain::ports::{BackupWithJob, Catalog};

/// Every point of a backup, with the number of the call that is cut off, in the order in which they come.
const POINTS: [(&str, usize); 19] = [
    ("inserted_backup", 1),
    ("transition_job", 1),
    ("open_repository", 1),
    ("load_unfinished", 1),
    ("connect", 1),
    ("cut", 1),
    ("list", 2),
    ("load_index", 1),
    ("save_unfinished", 1),
    ("saved_unfinished", 1),
    ("open_copier", 2),
    ("copy", 1),
    ("copy", 7),
    ("copied", 1),
    ("copied", 7),
    ("seal", 1),
    ("manifest_visible", 1),
    ("sealed", 1),
    ("complete_backup", 1),
];

/// Kills the server when the call comes to the point. The backup's rows are written.
async fn kill_at(world: &World, server: Server, point: &'static str, call: usize) {
    let cluster = server.register().await;
    let before = world.gates.calls(point);
    for _ in 1..call {
        world.gates.once(point, Act::Pass);
    }
    // More than one, because several copies are in flight.
    for _ in 0..4 {
        world.gates.once(point, Act::Hang);
    }
    let service = server.service.clone();
    tokio::spawn(async move { service.request_backup(request(cluster.id)).await });
    world.gates.reached(point, before + call).await;
    server.kill().await;
    world.gates.clear(point);
}

fn the_only(world: &World) -> milvault_domain::ids::JobId {
    let jobs = world.catalog.all_jobs();
    assert_eq!(jobs.len(), 1);
    jobs[0].id
}

#[tokio::test]
async fn a_backup_that_was_cut_off_anywhere_is_finished_by_the_next_server() {
    for (point, call) in POINTS {
        bounded(async {
            let world = World::new();
            let server = world.start().await;
            kill_at(&world, server, point, call).await;

            let server = world.start().await;
            let job = server.ended(the_only(&world)).await;
            assert_eq!((job.state, job.failure.as_deref()), (JobState::Successful, None), "{point} {call}");
            let backup = world.catalog.backup(job.backup_id.unwrap()).await.unwrap().unwrap();
            assert_eq!(backup.status, BackupStatus::Available, "{point} {call}");
            let facts = backup.facts.unwrap();
            assert_eq!((facts.object_count, facts.logical_bytes), (10, 10 * OBJECT_BYTES), "{point} {call}");
            assert!(facts.newly_stored_bytes >= 10 * OBJECT_BYTES, "{point} {call}");
            assert_eq!(world.copied_objects(), 10, "{point} {call}");
            assert_eq!(world.copies_max(), 1, "{point} {call}: something was copied twice");
            assert_eq!(world.sealed_backups(), 1, "{point} {call}");
        })
        .await;
    }
}

/// The manifest is there before the saved plan goes. A file that changed its tag since then would make another manifest
/// of the same backup, which is refused.
#[tokio::test]
async fn a_backup_whose_manifest_is_there_is_not_sealed_again() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        kill_at(&world, server, "manifest_visible", 1).await;
        let repository = &world.stores.repository;
        assert_eq!(repository.unfinished.lock().unwrap().len(), 1);
        let server = world.start().await;
        let job = server.ended(the_only(&world)).await;
        assert_eq!((job.state, job.attempt, job.failure.as_deref()), (JobState::Successful, 2, None));
        assert_eq!((world.gates.calls("seal"), world.gates.calls("load_unfinished")), (1, 1));
        assert_eq!(repository.unfinished.lock().unwrap().len(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_backup_that_was_completed_before_the_crash_is_left_alone() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        kill_at(&world, server, "completed_backup", 1).await;
        let before = world.job(the_only(&world));
        assert_eq!(before.state, JobState::Successful);
        let _server = world.start().await;
        assert_eq!(world.job(before.id), before);
    })
    .await;
}

#[tokio::test]
async fn a_continued_job_holds_its_place_against_new_ones() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        kill_at(&world, server, "cut", 1).await;
        let job = world.job(the_only(&world));
        let hold = world.gates.hold_once("cut");
        let server = world.start().await;
        match server.service.request_backup(request(job.cluster_id)).await {
            Err(ServiceError::Conflict { job_id, .. }) => assert_eq!(job_id, Some(job.id)),
            other => panic!("{other:?}"),
        }
        hold.add_permits(1);
        let job = server.ended(job.id).await;
        assert_eq!((job.state, job.attempt), (JobState::Successful, 2));
    })
    .await;
}

#[tokio::test]
async fn a_job_that_was_being_canceled_is_canceled() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        kill_at(&world, server, "cut", 1).await;
        let job_id = the_only(&world);
        world.catalog.edit_job(job_id, |job| job.state = JobState::Canceling);
        let server = world.start().await;
        let job = world.job(job_id);
        assert_eq!((job.state, job.attempt), (JobState::Canceled, 1));
        let BackupWithJob { job: next, .. } = server.back_up(job.cluster_id).await;
        assert_eq!(server.ended(next.id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn a_job_that_takes_every_server_down_is_given_up() {
    bounded(async {
        let mut world = World::new();
        world.settings.job_attempts_max = 3;
        let server = world.start().await;
        kill_at(&world, server, "copy", 1).await;
        let job_id = the_only(&world);
        for attempt in 2..=3 {
            world.gates.always("copy", Act::Hang);
            let reached = world.gates.calls("copy");
            let server = world.start().await;
            world.gates.reached("copy", reached + 1).await;
            assert_eq!(world.job(job_id).attempt, attempt);
            server.kill().await;
        }
        world.gates.clear("copy");
        let server = world.start().await;
        let job = world.job(job_id);
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("given up after 3 attempts"));
        let next = server.back_up(job.cluster_id).await;
        assert_eq!(server.ended(next.job.id).await.state, JobState::Successful);
    })
    .await;
}
