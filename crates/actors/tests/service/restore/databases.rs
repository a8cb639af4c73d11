//! A restore drops the databases that it has made, and no others.

use super::stage::Stage;
use super::undone::{resumed, undone};
use crate::support::bounded;
use crate::support::fakes::gates::Act;
use milvault_domain::job::JobState;

/// Somebody else makes a database of the name that the restore is about to use.
fn somebody_makes_shop(stage: &Stage) {
    assert_eq!(stage.databases(), ["default"]);
    stage.target.state().databases.insert("shop".to_owned(), vec![]);
}

#[tokio::test]
async fn one_that_somebody_made_after_the_plan_stays() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let hold = stage.world.gates.hold_once("save_restore_plan");
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("save_restore_plan", 1).await;
        somebody_makes_shop(&stage);
        hold.add_permits(1);
        assert_eq!(server.ended(job_id).await.state, JobState::Successful);
        assert_eq!(undone(&server, job_id).await.state, JobState::Successful);
        assert_eq!(stage.databases(), ["default", "shop"]);
        assert!(stage.target.collection_names().is_empty());
    })
    .await;
}

#[tokio::test]
async fn one_that_somebody_made_while_no_server_was_there_stays() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.world.gates.once("saved_restore_plan", Act::Hang);
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("saved_restore_plan", 1).await;
        server.kill().await;
        somebody_makes_shop(&stage);
        stage.world.gates.always("import_progress", Act::Hang);
        let server = stage.world.start().await;
        stage.world.gates.reached("import_progress", 1).await;
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert_eq!(stage.databases(), ["default", "shop"]);
    })
    .await;
}

#[tokio::test]
async fn a_plan_with_conflicts_drops_nothing() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let hold = stage.world.gates.hold_once("saved_restore_plan");
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("saved_restore_plan", 1).await;
        somebody_makes_shop(&stage);
        hold.add_permits(1);
        assert_eq!(server.ended(job_id).await.state, JobState::Failed);
        assert_eq!(stage.databases(), ["default", "shop"]);
    })
    .await;
}

#[tokio::test]
async fn one_that_was_made_anew_after_a_failed_restore_stays() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.world.gates.always("import_progress", Act::Hang);
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("import_progress", 3).await;
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        // The clean-up has dropped what the restore had made.
        somebody_makes_shop(&stage);
        assert_eq!(undone(&server, job_id).await.state, JobState::Successful);
        assert_eq!(stage.databases(), ["default", "shop"]);

        stage.world.gates.clear("import_progress");
        let next = resumed(&server, job_id).await;
        assert_eq!((next.state, next.failure), (JobState::Successful, None));
        assert_eq!(undone(&server, next.id).await.state, JobState::Successful);
        assert_eq!(stage.databases(), ["default", "shop"]);
    })
    .await;
}

#[tokio::test]
async fn its_own_is_dropped_wherever_it_was_cut_off() {
    for point in
        ["save_made_databases", "saved_made_databases", "create_database", "created_database", "flush"]
    {
        bounded(async {
            let (stage, server) = Stage::new().await;
            stage.world.gates.once(point, Act::Hang);
            let job_id = stage.begin(&server, stage.request()).await;
            stage.world.gates.reached(point, 1).await;
            server.kill().await;
            stage.world.gates.clear(point);

            let server = stage.world.start().await;
            assert_eq!(server.ended(job_id).await.state, JobState::Successful, "{point}");
            assert_eq!(stage.seen(), stage.wanted(), "{point}");
            assert_eq!(undone(&server, job_id).await.state, JobState::Successful, "{point}");
            assert_eq!(stage.databases(), ["default"], "{point}");
        })
        .await;
    }
}
