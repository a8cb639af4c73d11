//! Names of the target that are taken.

use super::stage::{Stage, cities, orders};
use super::undone::undone;
use crate::support::bounded;
use crate::support::fakes::server::row;
use milvault_domain::job::JobState;
use milvault_domain::restore::{
    AccessRestore, ConflictPolicy, RestoreRequest, RestoreSelection, RestoreStep,
};

#[tokio::test]
async fn a_conflict_fails_the_job_before_anything_is_touched() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let before = stage.seen();
        for selection in [RestoreSelection::Everything, RestoreSelection::NewCluster] {
            let job = stage.restore(&server, RestoreRequest { selection, ..stage.request() }).await;
            assert_eq!(job.state, JobState::Failed);
            let failure = job.failure.unwrap();
            assert!(failure.contains("nothing was touched") && failure.contains("cities"), "{failure}");
            let restore = stage.restore_row(job.id);
            assert!(!restore.plan.unwrap().conflicts.is_empty(), "people want to see them all");
            assert_eq!(stage.seen(), before);
            assert_eq!(stage.target.state().created.len(), 1);
            for point in ["stage", "create_collection", "create_database", "drop_collection"] {
                assert_eq!(stage.world.gates.calls(point), 0, "{point}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_taken_name_can_be_skipped_or_avoided() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let old = stage.seen()["default.cities"].clone();
        let wanted = stage.wanted();

        let request = RestoreRequest { conflict: ConflictPolicy::Skip, ..stage.request() };
        let job = stage.restore(&server, request).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let steps = stage.steps(job.id);
        assert_eq!(steps, [RestoreStep::Skipped, RestoreStep::Done, RestoreStep::Done]);
        assert_eq!(stage.seen()["default.cities"], old);
        assert_eq!(stage.seen()["shop.orders"], wanted["shop.orders"]);

        let request = RestoreRequest { conflict: ConflictPolicy::Rename, ..stage.request() };
        let job = stage.restore(&server, request).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stage.seen()["default.cities"], old);
        let plan = stage.restore_row(job.id).plan.unwrap();
        assert_eq!(stage.target.rows(&plan.collections[0].target), wanted["default.cities"].rows);
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_replaced_collection_stays_until_the_new_one_is_proven() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let old_id = stage.occupy();
        let old_rows = stage.target.rows(&cities());
        let hold = stage.world.gates.hold_once("rename_collection");
        for _ in 0..2 {
            stage.world.gates.once("rename_collection", hold_again(&hold));
        }
        let job_id = stage.begin(&server, stage.replacing()).await;
        // All three are compared and loaded, and none has its name yet.
        stage.world.gates.reached("rename_collection", 3).await;
        assert_eq!(stage.target.rows(&cities()), old_rows);
        assert_eq!(stage.name_of(old_id), Some(cities()));
        hold.add_permits(3);

        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        assert_eq!(stage.seen(), stage.wanted());
        assert_eq!(stage.name_of(old_id), None);
        let replaced = stage.restore_row(job_id).collections[0].replaced.clone().unwrap();
        assert_eq!((replaced.collection_id, replaced.kept_as), (old_id, None));
        stage.assert_tidy("the end");
    })
    .await;
}

fn hold_again(hold: &std::sync::Arc<tokio::sync::Semaphore>) -> crate::support::fakes::gates::Act {
    crate::support::fakes::gates::Act::Hold(std::sync::Arc::clone(hold))
}

#[tokio::test]
async fn a_replacement_that_is_not_proven_changes_nothing() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let old_id = stage.occupy();
        let old = stage.seen()["default.cities"].clone();
        stage.world.stores.repository.damage(|key| key.collection_id == source_id(&stage));
        let job = stage.restore(&server, stage.replacing()).await;
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(stage.name_of(old_id), Some(cities()));
        assert_eq!(stage.seen()["default.cities"], old);
        assert_eq!(stage.restore_row(job.id).collections[0].replaced, None);
        stage.assert_tidy("the end");
    })
    .await;
}

fn source_id(stage: &Stage) -> i64 {
    stage.source.state().find(&cities()).unwrap().collection_id
}

#[tokio::test]
async fn a_replaced_collection_is_kept_when_others_fail() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let old_id = stage.occupy();
        let orders = stage.source.state().find(&orders()).unwrap().collection_id;
        stage.world.stores.repository.damage(|key| key.collection_id == orders);
        let job = stage.restore(&server, stage.replacing()).await;
        assert_eq!(job.state, JobState::Failed);
        let kept = stage.name_of(old_id).unwrap();
        assert!(kept.collection.starts_with("cities_milvault_replaced_"), "{kept:?}");
        assert_eq!(stage.target.rows(&kept)["_default"], [row(&["1", "old", "old"])]);
        assert_eq!(stage.target.rows(&cities()), stage.wanted()["default.cities"].rows);
        let restore = stage.restore_row(job.id);
        assert!(restore.warnings.iter().any(|words| words.contains(&kept.collection)), "{restore:?}");
        assert_eq!(restore.collections[0].replaced.as_ref().unwrap().kept_as, Some(kept.collection));
    })
    .await;
}

#[tokio::test]
async fn a_replaced_collection_is_kept_when_the_new_one_is_gone() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let old_id = stage.occupy();
        let hold = stage.world.gates.hold_once("restore_access");
        let access_control = Some(AccessRestore { passwords: vec![] });
        let job_id = stage.begin(&server, RestoreRequest { access_control, ..stage.replacing() }).await;
        // All are done, and the old one is not dropped yet.
        stage.world.gates.reached("restore_access", 1).await;
        stage.target.state().databases.get_mut("default").unwrap().retain(|other| other.name != "cities");
        hold.add_permits(1);
        let job = server.ended(job_id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let kept = stage.name_of(old_id).unwrap();
        assert_eq!(stage.target.rows(&kept)["_default"], [row(&["1", "old", "old"])]);
        let restore = stage.restore_row(job_id);
        assert!(restore.warnings.iter().any(|words| words.contains(&kept.collection)), "{restore:?}");
        assert_eq!(restore.collections[0].replaced.as_ref().unwrap().kept_as, Some(kept.collection));

        let undo = undone(&server, job_id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert_eq!(stage.name_of(old_id), Some(cities()));
    })
    .await;
}

#[tokio::test]
async fn a_name_that_is_taken_meanwhile_is_left_alone() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let hold = stage.world.gates.hold_once("flush");
        for _ in 0..2 {
            stage.world.gates.once("flush", hold_again(&hold));
        }
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("flush", 3).await;
        let foreign_id = stage.occupy();
        hold.add_permits(3);
        let job = server.ended(job_id).await;
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(stage.name_of(foreign_id), Some(cities()));
        assert_eq!(stage.steps(job_id), [RestoreStep::Failed, RestoreStep::Done, RestoreStep::Done]);
        stage.assert_tidy("the end");
    })
    .await;
}
