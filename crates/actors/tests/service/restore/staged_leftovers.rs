//! Staged files that the clean-up after a restore could not remove: a timer does, without anybody's asking.

use super::stage::Stage;
use super::undone::{resumed, undone};
use crate::support::fakes::gates::Act;
use crate::support::{Server, World, bounded};
use chrono::TimeDelta;
use milvault_domain::checks::{CLEANUP_ATTEMPTS_MAX, Leftovers};
use milvault_domain::ids::JobId;
use milvault_domain::job::JobState;
use milvault_domain::ports::{ChecksCatalog, Clock, PortErrorKind};
use std::time::Duration;

async fn stage() -> (Stage, Server) {
    let mut world = World::new();
    world.settings.schedule_interval = Duration::from_millis(2);
    Stage::in_world(world).await
}

async fn leftovers(stage: &Stage, job_id: JobId) -> Option<Leftovers> {
    stage.world.catalog.leftovers(job_id).await.unwrap()
}

async fn forgotten(stage: &Stage, job_id: JobId) {
    while leftovers(stage, job_id).await.is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A restore that has files staged and gets no further.
async fn staged(stage: &Stage, server: &Server) -> JobId {
    stage.world.gates.always("import_progress", Act::Hang);
    let job_id = stage.begin(server, stage.request()).await;
    stage.world.gates.reached("import_progress", 3).await;
    assert!(!stage.target.staged().is_empty());
    job_id
}

#[tokio::test]
async fn they_go_when_the_repository_is_back_although_nobody_resumes_or_undoes() {
    bounded(async {
        let (stage, server) = stage().await;
        let job_id = staged(&stage, &server).await;
        stage.world.gates.always("open_repository", Act::Fail(PortErrorKind::Unavailable, "gone away"));
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        let left = leftovers(&stage, job_id).await.unwrap();
        assert!(left.last_failure.contains("gone away"), "{left:?}");
        assert!(!stage.target.staged().is_empty());

        // Still away at the first attempt; another server process goes on.
        stage.world.clock.advance(TimeDelta::minutes(1));
        while leftovers(&stage, job_id).await.unwrap().attempts < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        server.kill().await;
        let server = stage.world.start().await;
        stage.world.gates.clear("open_repository");
        stage.world.clock.advance(TimeDelta::minutes(3));
        forgotten(&stage, job_id).await;
        stage.assert_tidy("cleaned up");
        drop(server);
    })
    .await;
}

#[tokio::test]
async fn they_go_after_a_restore_that_failed_too_which_says_so() {
    bounded(async {
        let (stage, server) = stage().await;
        stage.world.gates.always("staged", Act::Fail(PortErrorKind::PermissionDenied, "no entry"));
        stage.world.gates.always("unstage", Act::Fail(PortErrorKind::PermissionDenied, "no way"));
        let job = stage.restore(&server, stage.request()).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.as_ref().unwrap().contains("a timer removes the files"), "{job:?}");
        assert!(!stage.target.staged().is_empty());
        stage.world.gates.clear("unstage");
        stage.world.clock.advance(TimeDelta::minutes(1));
        forgotten(&stage, job.id).await;
        stage.assert_tidy("cleaned up");
    })
    .await;
}

#[tokio::test]
async fn they_go_after_a_restore_that_succeeded_too() {
    bounded(async {
        let (stage, server) = stage().await;
        stage.world.gates.always("unstage", Act::Fail(PortErrorKind::PermissionDenied, "no way"));
        let job = stage.restore(&server, stage.request()).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert!(!stage.target.staged().is_empty());
        stage.world.gates.clear("unstage");
        stage.world.clock.advance(TimeDelta::minutes(1));
        forgotten(&stage, job.id).await;
        stage.assert_tidy("cleaned up");
        assert_eq!(stage.seen(), stage.wanted());
    })
    .await;
}

#[tokio::test]
async fn they_go_after_a_restore_that_was_given_up_too() {
    bounded(async {
        let (mut stage, server) = stage().await;
        let job_id = staged(&stage, &server).await;
        server.kill().await;
        stage.world.settings.job_attempts_max = 1;
        stage.world.gates.always("open_repository", Act::Fail(PortErrorKind::Unavailable, "gone away"));
        let server = stage.world.start().await;
        assert_eq!(server.ended(job_id).await.state, JobState::Failed);
        assert!(leftovers(&stage, job_id).await.is_some());
        stage.world.gates.clear("open_repository");
        stage.world.clock.advance(TimeDelta::minutes(1));
        forgotten(&stage, job_id).await;
        assert_eq!(stage.target.staged(), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn a_restore_that_is_resumed_does_not_wait_for_them() {
    for kind in [PortErrorKind::Busy, PortErrorKind::Unavailable] {
        bounded(async {
            let (stage, server) = stage().await;
            let job_id = staged(&stage, &server).await;
            stage.world.gates.always("unstage", Act::Fail(kind, "still writing"));
            server.service.cancel_job(job_id).await.unwrap();
            assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
            stage.world.gates.clear("import_progress");
            let next = resumed(&server, job_id).await;
            assert_eq!((next.state, next.failure), (JobState::Successful, None));
            assert_eq!(stage.seen(), stage.wanted());
            for left in [job_id, next.id] {
                assert!(leftovers(&stage, left).await.is_some());
            }
            stage.world.gates.clear("unstage");
            stage.world.clock.advance(TimeDelta::days(1));
            for left in [job_id, next.id] {
                forgotten(&stage, left).await;
            }
            stage.assert_tidy("cleaned up");
        })
        .await;
    }
}

#[tokio::test]
async fn they_go_after_an_undo_that_could_not_remove_them() {
    bounded(async {
        let (stage, server) = stage().await;
        let job_id = staged(&stage, &server).await;
        stage.world.gates.always("unstage", Act::Fail(PortErrorKind::PermissionDenied, "no way"));
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        // As if the restore's own clean-up had been that of an earlier version.
        stage.world.catalog.forget_leftovers(job_id).await.unwrap();
        let undo = undone(&server, job_id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert!(leftovers(&stage, job_id).await.is_some() && !stage.target.staged().is_empty());
        stage.world.gates.clear("unstage");
        stage.world.clock.advance(TimeDelta::minutes(1));
        forgotten(&stage, job_id).await;
        stage.assert_tidy("cleaned up");
    })
    .await;
}

#[tokio::test]
async fn they_are_never_given_up() {
    bounded(async {
        let (stage, server) = stage().await;
        let job_id = staged(&stage, &server).await;
        stage.world.gates.always("unstage", Act::Fail(PortErrorKind::PermissionDenied, "no way"));
        server.service.cancel_job(job_id).await.unwrap();
        server.ended(job_id).await;
        for attempt in 1..=CLEANUP_ATTEMPTS_MAX + 1 {
            stage.world.clock.advance(TimeDelta::days(1));
            while leftovers(&stage, job_id).await.unwrap().attempts < attempt {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        assert!(leftovers(&stage, job_id).await.unwrap().next_attempt_at.is_some());
        stage.world.gates.clear("unstage");
        stage.world.clock.advance(TimeDelta::days(1));
        forgotten(&stage, job_id).await;
        stage.assert_tidy("cleaned up");
    })
    .await;
}

/// As when a server dies after it has remembered them and before it has recorded the end.
#[tokio::test]
async fn those_of_a_restore_that_is_at_work_again_are_in_use() {
    bounded(async {
        let (stage, server) = stage().await;
        let job_id = staged(&stage, &server).await;
        let now = stage.world.clock.now();
        let remembered = Leftovers::new(job_id, stage.target_id, "away".to_owned(), now);
        stage.world.catalog.remember_leftovers(&remembered).await.unwrap();
        stage.world.clock.advance(TimeDelta::minutes(1));
        while leftovers(&stage, job_id).await.unwrap().attempts < 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!stage.target.staged().is_empty(), "removed under the import");
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        stage.world.clock.advance(TimeDelta::minutes(3));
        forgotten(&stage, job_id).await;
        stage.assert_tidy("canceled");
    })
    .await;
}
