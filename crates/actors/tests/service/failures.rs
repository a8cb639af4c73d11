//! What can go wrong in a job, and what a person is told.

use crate::support::fakes::gates::Act;
use crate::support::fakes::milvus::{collection, cut};
use crate::support::{World, bounded};
use milvault_domain::backup::BackupStatus;
use milvault_domain::job::JobState;
use milvault_domain::ports::{Catalog, PortErrorKind};

const OUTAGE: Act = Act::Fail(PortErrorKind::Unavailable, "the other side does not answer");

#[tokio::test]
async fn a_passing_outage_of_any_step_does_no_harm() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let mut collections = vec![];
        for (number, point) in (10..).zip([
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
            "complete_backup",
        ]) {
            collections.push(collection(number, point, 1));
            world.show(cut(collections.clone()));
            world.gates.once(point, OUTAGE);
            world.gates.once(point, OUTAGE);
            let job_id = server.back_up(cluster.id).await.job.id;
            let job = server.ended(job_id).await;
            assert!(world.gates.calls(point) >= 3, "{point}");
            assert_eq!((job.state, job.attempt), (JobState::Successful, 1), "{point}: {:?}", job.failure);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_did_not_hold_still_is_cut_again() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", Act::Fail(PortErrorKind::Changed, "compaction"));
        let job_id = server.back_up(cluster.id).await.job.id;
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
    })
    .await;
}

#[tokio::test]
async fn a_lasting_failure_ends_the_job_with_its_words() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for (point, kind, calls) in [
            ("connect", PortErrorKind::Unavailable, 3),
            ("connect", PortErrorKind::PermissionDenied, 1),
            ("cut", PortErrorKind::NotFound, 1),
            ("save_unfinished", PortErrorKind::ReadOnly, 1),
            ("seal", PortErrorKind::Corrupt, 1),
        ] {
            let before = world.gates.calls(point);
            world.gates.always(point, Act::Fail(kind, "the words of the port"));
            let accepted = server.back_up(cluster.id).await;
            let job = server.ended(accepted.job.id).await;
            assert_eq!(job.state, JobState::Failed, "{point}");
            assert!(job.failure.unwrap().contains("the words of the port"), "{point}");
            assert_eq!(world.gates.calls(point) - before, calls, "{point} {kind:?}");
            let backup = world.catalog.backup(accepted.backup.id).await.unwrap().unwrap();
            assert_eq!(backup.status, BackupStatus::Failed);
            world.gates.clear(point);
        }
    })
    .await;
}

#[tokio::test]
async fn a_full_store_is_not_tried_again_and_names_the_collection() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("copy", Act::Fail(PortErrorKind::StorageFull, "no space left"));
        let job_id = server.back_up(cluster.id).await.job.id;
        let failure = server.ended(job_id).await.failure.unwrap();
        assert!(failure.contains("no space left") && failure.contains("default."), "{failure}");
        assert!(world.gates.calls("copy") <= 2, "each copy in flight is tried once");
    })
    .await;
}

#[tokio::test]
async fn a_file_that_vanishes_before_its_copy_is_named_with_its_collection() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        let hold = world.gates.hold_once("saved_unfinished");
        let job_id = server.back_up(cluster.id).await.job.id;
        world.gates.reached("saved_unfinished", 1).await;
        let gone = {
            let mut source = world.stores.source.lock().unwrap();
            let gone = *source.keys().find(|key| key.collection_id == 2).unwrap();
            source.remove(&gone);
            gone
        };
        hold.add_permits(1);
        let job = server.ended(job_id).await;
        assert_eq!(job.state, JobState::Failed);
        let failure = job.failure.unwrap();
        for words in ["default.people", &gone.to_string(), "dropTolerance", "try again"] {
            assert!(failure.contains(words), "{words} is missing in: {failure}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_file_that_is_missing_in_the_listing_is_named_with_its_collection() {
    bounded(async {
        let world = World::new();
        world.stores.source.lock().unwrap().retain(|key, _| key.segment_id != 201);
        let server = world.start().await;
        let cluster = server.register().await;
        let job_id = server.back_up(cluster.id).await.job.id;
        let failure = server.ended(job_id).await.failure.unwrap();
        assert!(failure.contains("default.people") && failure.contains("insert_log/2/1/201/"), "{failure}");
        assert_eq!(world.copied_objects(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_panic_fails_its_job_and_nothing_else() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        for (point, words) in [("cut", "internal error"), ("copy", "broke off"), ("seal", "internal error")] {
            world.gates.once(point, Act::Panic);
            let job_id = server.back_up(cluster.id).await.job.id;
            let job = server.ended(job_id).await;
            assert_eq!(job.state, JobState::Failed, "{point}");
            let failure = job.failure.unwrap();
            assert!(failure.contains(words) && !failure.contains("a test asked for"), "{point}: {failure}");
        }
        let job_id = server.back_up(cluster.id).await.job.id;
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
        assert!(server.service.degraded_clusters().is_empty());
    })
    .await;
}

#[tokio::test]
async fn an_outage_at_the_end_does_not_cost_the_backup() {
    bounded(async {
        for (point, times) in [("seal", 1), ("complete_backup", 3), ("sealed", 1)] {
            let world = World::new();
            let server = world.start().await;
            let cluster = server.register().await;
            for _ in 0..times {
                world.gates.once(point, OUTAGE);
            }
            let job_id = server.back_up(cluster.id).await.job.id;
            let job = server.ended(job_id).await;
            assert_eq!((job.state, job.attempt), (JobState::Successful, 2), "{point}: {:?}", job.failure);
            assert_eq!((world.copied_objects(), world.copies_max()), (10, 1), "{point}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_repository_that_stays_away_at_the_end_fails_the_job_after_all_attempts() {
    bounded(async {
        let mut world = World::new();
        world.settings.job_attempts_max = 3;
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.always("seal", OUTAGE);
        let job_id = server.back_up(cluster.id).await.job.id;
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.attempt), (JobState::Failed, 3));
    })
    .await;
}

#[tokio::test]
async fn a_job_whose_end_could_not_be_recorded_is_taken_up_again() {
    bounded(async {
        let world = World::new();
        let server = world.start().await;
        let cluster = server.register().await;
        world.gates.once("cut", Act::Fail(PortErrorKind::PermissionDenied, "no"));
        // One transition begins the job; those that would end it fail.
        world.gates.once("transition_job", Act::Pass);
        for _ in 0..3 {
            world.gates.once("transition_job", OUTAGE);
        }
        let job_id = server.back_up(cluster.id).await.job.id;
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.attempt), (JobState::Successful, 2));
    })
    .await;
}
