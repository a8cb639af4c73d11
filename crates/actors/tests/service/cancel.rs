//! Cancelling a job stops it promptly, wherever it is, and leaves no visible backup.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded, request};
use milvault_actors::{BackupRequest, ServiceError};
use milvault_domain::backup::{BackupStatus, CreationMethod};
use milvault_domain::job::JobState;
use milvault_domain::ports::Catalog;

/// Every call that a backup makes and that may hang.
const POINTS: [&str; 12] = [
    "open_repository",
    "load_unfinished",
    "connect",
    "cut",
    "open_source",
    "list",
    "open_copier",
    "load_index",
    "save_unfinished",
    "save_progress",
    "copy",
    "seal",
];

#[tokio::test]
async fn a_job_that_hangs_in_any_call_is_canceled() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for point in POINTS {
            let reached = world.gates.calls(point);
            world.gates.once(point, Act::Hang);
            let accepted = server.back_up(cluster.id).await;
            world.gates.reached(point, reached + 1).await;
            let job = server.service.cancel_job(accepted.job.id).await.unwrap();
            assert!(
                matches!(job.state, JobState::Canceling | JobState::Canceled),
                "{point}: {:?}",
                job.state
            );
            assert_eq!(server.ended(job.id).await.state, JobState::Canceled, "{point}");
            let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
            assert_eq!(backup.status, BackupStatus::Failed, "{point}");
            world.gates.clear(point);
        }
        assert_eq!(world.sealed_backups(), 0);
        assert_eq!(world.copies_max(), 1);
        let after = server.back_up(cluster.id).await;
        assert_eq!(server.ended(after.job.id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn what_a_canceled_job_copied_is_reused() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for act in [Act::Pass, Act::Pass, Act::Pass, Act::Pass, Act::Hang, Act::Hang] {
            world.gates.once("copy", act);
        }
        let first = server.back_up(cluster.id).await;
        world.gates.reached("copy", 6).await;
        server.service.cancel_job(first.job.id).await.unwrap();
        server.ended(first.job.id).await;
        assert_eq!(world.copied_objects(), 4);

        let second = server.back_up(cluster.id).await;
        server.ended(second.job.id).await;
        let facts = world.catalog.backup(second.backup.id).await.unwrap().unwrap().facts.unwrap();
        assert_eq!((facts.object_count, facts.reused_object_count), (10, 4));
        assert_eq!((world.copied_objects(), world.copies_max()), (10, 1));
    })
    .await;
}

#[tokio::test]
async fn a_waiting_job_ends_at_once_and_is_never_begun() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let running = server.back_up(cluster.id).await;
        world.gates.reached("cut", 1).await;
        let waiting = automatic(&server, cluster.id).await;
        let job = server.service.cancel_job(waiting).await.unwrap();
        assert_eq!((job.state, job.attempt), (JobState::Canceled, 0));
        hold.add_permits(1);
        server.ended(running.job.id).await;
        // A later job shows that the queue went on past the canceled one.
        let later = automatic(&server, cluster.id).await;
        assert_eq!(server.ended(later).await.state, JobState::Successful);
        assert_eq!(world.job(waiting).attempt, 0);
        assert_eq!(world.gates.calls("cut"), 2);
    })
    .await;
}

async fn automatic(
    server: &Server,
    cluster_id: milvault_domain::ids::ClusterId,
) -> milvault_domain::ids::JobId {
    let wanted = BackupRequest { creation_method: CreationMethod::Auto, ..request(cluster_id) };
    server.service.request_backup(wanted).await.unwrap().job.id
}

#[tokio::test]
async fn asking_again_is_harmless_and_ended_jobs_say_how_they_ended() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", Act::Hang);
        let canceled = server.back_up(cluster.id).await.job.id;
        world.gates.reached("cut", 1).await;
        for _ in 0..3 {
            server.service.cancel_job(canceled).await.unwrap();
        }
        server.ended(canceled).await;
        assert_eq!(server.service.cancel_job(canceled).await.unwrap().state, JobState::Canceled);

        let successful = server.back_up(cluster.id).await.job.id;
        server.ended(successful).await;
        match server.service.cancel_job(successful).await {
            Err(ServiceError::Conflict { message, job_id }) => {
                assert!(message.contains("has already ended successfully"), "{message}");
                assert_eq!(job_id, Some(successful));
            }
            other => panic!("{other:?}"),
        }
        let unknown = milvault_domain::ids::JobId::from_uuid(uuid::Uuid::nil());
        let error = server.service.cancel_job(unknown).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "job", .. }), "{error:?}");
    })
    .await;
}
