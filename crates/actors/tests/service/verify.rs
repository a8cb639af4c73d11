//! Verifies.

use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded};
use milvault_actors::{ServiceError, VerifyRequest};
use milvault_domain::ids::{BackupId, JobId};
use milvault_domain::job::{JobState, VerifyLevel};
use milvault_domain::ports::{Catalog, PortErrorKind, VerifyFailure, VerifyReport};
use milvault_domain::queue::ClusterQueue;

fn verify(backup_id: BackupId) -> VerifyRequest {
    VerifyRequest { backup_id, level: VerifyLevel::Content, created_by: "tester".to_owned() }
}

async fn available_backup(server: &Server) -> BackupId {
    let cluster = server.register().await;
    let accepted = server.back_up(cluster.id).await;
    assert_eq!(server.ended(accepted.job.id).await.state, JobState::Successful);
    accepted.backup.id
}

#[tokio::test]
async fn a_verify_keeps_its_report_and_fails_when_something_is_wrong() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let backup_id = available_backup(&server).await;
        let job = server.service.request_verify(verify(backup_id)).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Successful);
        assert_eq!(world.catalog.verify_report(job.id).await.unwrap().unwrap().objects_checked, 10);

        let failure = VerifyFailure { file: "packs/00/x".to_owned(), key: None, reason: "hash".to_owned() };
        *world.stores.repository.report.lock().unwrap() =
            VerifyReport { failures: vec![failure], failure_count: 1, ..VerifyReport::default() };
        let job = server.service.request_verify(verify(backup_id)).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Failed);
        assert_eq!(world.catalog.verify_report(job.id).await.unwrap().unwrap().failure_count, 1);
    })
    .await;
}

#[tokio::test]
async fn an_outage_begins_the_verify_anew_with_fresh_figures() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let backup_id = available_backup(&server).await;
        world.gates.once("verify", Act::Fail(PortErrorKind::Unavailable, "away"));
        let job = server.service.request_verify(verify(backup_id)).await.unwrap();
        let job = server.ended(job.id).await;
        assert_eq!(
            (job.state, job.progress.bytes_done, job.progress.bytes_total),
            (JobState::Successful, 10, 10)
        );
    })
    .await;
}

#[tokio::test]
async fn only_available_backups_are_verified() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("cut");
        let accepted = server.back_up(cluster.id).await;
        let error = server.service.request_verify(verify(accepted.backup.id)).await.unwrap_err();
        assert!(error.to_string().contains("is still being made"), "{error}");
        hold.add_permits(1);
        server.ended(accepted.job.id).await;
        let unknown = BackupId::from_uuid(uuid::Uuid::nil());
        let error = server.service.request_verify(verify(unknown)).await.unwrap_err();
        assert!(matches!(error, ServiceError::NotFound { kind: "backup", .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_verify_that_finds_too_many_waiting_is_refused_and_leaves_nothing() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let backup_id = available_backup(&server).await;
        world.gates.always("verify", Act::Hang);
        for number in 1..=ClusterQueue::VERIFIES_MAX + ClusterQueue::WAITING_MAX {
            server.service.request_verify(verify(backup_id)).await.unwrap();
            // What has begun waits no more.
            if number == ClusterQueue::VERIFIES_MAX {
                world.gates.reached("verify", number).await;
            }
        }
        let jobs_before = world.catalog.all_jobs().len();
        let error = server.service.request_verify(verify(backup_id)).await.unwrap_err();
        assert!(matches!(error, ServiceError::Busy { .. }), "{error:?}");
        assert!(error.to_string().contains("64 waiting jobs"), "{error}");
        // The key of a refused request is free, so the same request may be accepted later.
        let keyed = server.service.keyed(Some("again".to_owned()));
        for _ in 0..2 {
            let error = keyed.request_verify(verify(backup_id)).await.unwrap_err();
            assert!(matches!(error, ServiceError::Busy { .. }), "{error:?}");
        }
        assert_eq!(world.catalog.all_jobs().len(), jobs_before);
        // A place that becomes free is used by the next in line.
        let calls = world.gates.calls("verify");
        let running: JobId = world.catalog.open_jobs().await.unwrap()[0].id;
        server.service.cancel_job(running).await.unwrap();
        world.gates.reached("verify", calls.max(2) + 1).await;
        let accepted = keyed.request_verify(verify(backup_id)).await.unwrap();
        assert_eq!(accepted.state, JobState::Pending);
        assert_eq!(keyed.request_verify(verify(backup_id)).await.unwrap().id, accepted.id);
    })
    .await;
}
