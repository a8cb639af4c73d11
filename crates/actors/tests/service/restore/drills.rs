//! Drills prove a backup and leave nothing.

use super::stage::{Stage, cities, orders};
use crate::support::bounded;
use crate::support::fakes::gates::Act;
use milvault_actors::DrillRequest;
use milvault_domain::job::{Job, JobState};
use milvault_domain::ports::{Catalog, PortErrorKind};
use milvault_domain::restore::{ChosenItem, CompareDepth, CompareReport, RestoreSelection, RestoreStep};

fn drill(stage: &Stage) -> DrillRequest {
    DrillRequest {
        backup_id: stage.backup_id,
        target_cluster_id: stage.target_id,
        selection: RestoreSelection::Everything,
        depth: CompareDepth::Rows,
        created_by: "tester".to_owned(),
    }
}

async fn drilled(server: &crate::support::Server, request: DrillRequest) -> Job {
    let job = server.service.request_drill(request).await.unwrap();
    server.ended(job.id).await
}

async fn report(stage: &Stage, job: &Job) -> CompareReport {
    stage.world.catalog.compare_report(job.id).await.unwrap().unwrap()
}

fn databases(stage: &Stage) -> Vec<String> {
    stage.target.state().databases.keys().cloned().collect()
}

#[tokio::test]
async fn a_drill_compares_every_row_and_leaves_nothing() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.occupy();
        let before = stage.seen();
        let job = drilled(&server, drill(&stage)).await;
        assert_eq!((job.state, job.failure.clone()), (JobState::Successful, None));
        let found = report(&stage, &job).await;
        let sources: Vec<_> =
            found.collections.iter().map(|found| found.source.collection.as_str()).collect();
        assert_eq!(sources, ["cities", "customers", "orders"]);
        assert_eq!(found.differing(), 0);
        let whole: Vec<u64> = found.collections.iter().map(|found| found.rows_compared_whole).collect();
        assert_eq!(whole, [11, 4, 2]);
        assert!(found.collections[0].target.database.starts_with("milvault_drill_"), "{found:?}");
        assert_eq!(stage.steps(job.id), [RestoreStep::Undone; 3]);
        assert_eq!(stage.seen(), before);
        assert_eq!(databases(&stage), ["default"]);
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_drill_of_a_part_looks_at_that_part() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let item = ChosenItem {
            database: "shop".to_owned(),
            collection: Some("orders".to_owned()),
            partitions: None,
        };
        let selection = RestoreSelection::Chosen(vec![item]);
        let job = drilled(&server, DrillRequest { selection, ..drill(&stage) }).await;
        assert_eq!((job.state, job.failure.clone()), (JobState::Successful, None));
        assert_eq!(report(&stage, &job).await.collections.len(), 1);
        assert_eq!(databases(&stage), ["default"]);
    })
    .await;
}

#[tokio::test]
async fn a_drill_that_finds_a_difference_fails_and_reports_it() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.target.state().rows_to_lose = 1;
        let job = drilled(&server, drill(&stage)).await;
        assert_eq!(job.state, JobState::Failed);
        let found = report(&stage, &job).await;
        assert_eq!((found.collections.len(), found.differing()), (3, 1));
        assert_eq!(databases(&stage), ["default"]);
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_drill_of_a_damaged_backup_fails_and_cleans_up() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let id = stage.source.state().find(&orders()).unwrap().collection_id;
        stage.world.stores.repository.damage(|key| key.collection_id == id);
        let job = drilled(&server, drill(&stage)).await;
        assert_eq!(job.state, JobState::Failed);
        assert!(job.failure.unwrap().contains("orders"));
        assert_eq!(databases(&stage), ["default"]);
        assert!(stage.target.state().find(&cities()).is_none());
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_drill_that_is_canceled_or_fails_as_a_whole_cleans_up() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        stage.world.gates.always("stage", Act::Hang);
        let job = server.service.request_drill(drill(&stage)).await.unwrap();
        stage.world.gates.reached("stage", 1).await;
        assert!(databases(&stage).len() > 1);
        server.service.cancel_job(job.id).await.unwrap();
        assert_eq!(server.ended(job.id).await.state, JobState::Canceled);
        assert_eq!(databases(&stage), ["default"]);
        stage.assert_tidy("canceled");

        stage.world.gates.always("stage", Act::Fail(PortErrorKind::StorageFull, "full"));
        let job = drilled(&server, drill(&stage)).await;
        assert_eq!(job.state, JobState::Failed);
        assert_eq!(databases(&stage), ["default"]);
        stage.assert_tidy("failed");
    })
    .await;
}

#[tokio::test]
async fn a_drill_that_was_cut_off_keeps_what_it_has_compared() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        for _ in 0..2 {
            stage.world.gates.once("saved_compare_report", Act::Pass);
        }
        stage.world.gates.once("saved_compare_report", Act::Hang);
        let job = server.service.request_drill(drill(&stage)).await.unwrap();
        stage.world.gates.reached("saved_compare_report", 3).await;
        server.kill().await;
        let server = stage.world.start().await;
        let job = server.ended(job.id).await;
        assert_eq!((job.state, job.failure.clone()), (JobState::Successful, None));
        assert_eq!(report(&stage, &job).await.collections.len(), 3);
        assert_eq!(databases(&stage), ["default"]);
        stage.assert_tidy("the end");
    })
    .await;
}
