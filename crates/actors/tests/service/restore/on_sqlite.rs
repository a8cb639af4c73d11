//! Restores with the real catalog.

use super::stage::{Stage, cities};
use crate::on_sqlite::open_in;
use crate::support::fakes::gates::Act;
use crate::support::{World, bounded};
use milvault_actors::DrillRequest;
use milvault_domain::ids::JobId;
use milvault_domain::job::JobState;
use milvault_domain::ports::Catalog;
use milvault_domain::restore::{CompareDepth, RestoreSelection, RestoreStep};
use std::sync::Arc;
use tempfile::TempDir;

async fn steps(catalog: &Arc<dyn Catalog>, job_id: JobId) -> Vec<RestoreStep> {
    let restore = catalog.restore(job_id).await.unwrap().unwrap();
    restore.collections.iter().map(|state| state.step).collect()
}

#[tokio::test]
async fn a_restore_is_killed_canceled_resumed_and_undone() {
    bounded(Box::pin(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let (stage, server) = Stage::in_world(world).await;
        let old_id = stage.occupy();

        stage.world.gates.always("flush", Act::Hang);
        let job_id = stage.begin(&server, stage.replacing()).await;
        stage.world.gates.reached("flush", 3).await;
        server.kill().await;
        let server = stage.world.start().await;
        stage.world.gates.reached("flush", 6).await;
        assert_eq!(steps(&catalog, job_id).await, [RestoreStep::Created; 3]);
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert_eq!(steps(&catalog, job_id).await, [RestoreStep::Failed; 3]);
        assert_eq!(stage.target.collection_names(), ["default.cities"]);
        stage.assert_tidy("canceled");

        stage.world.gates.clear("flush");
        let next = server.service.resume_restore(job_id, "tester".to_owned()).await.unwrap();
        let next = server.ended(next.id).await;
        assert_eq!((next.state, next.failure), (JobState::Successful, None));
        assert_eq!(stage.seen(), stage.wanted());
        assert_eq!(stage.name_of(old_id), None);

        let undo = server.service.undo_restore(next.id, "tester".to_owned()).await.unwrap();
        let undo = server.ended(undo.id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert_eq!(steps(&catalog, next.id).await, [RestoreStep::Undone; 3]);
        assert!(stage.target.state().find(&cities()).is_none());
    }))
    .await;
}

#[tokio::test]
async fn a_drill_keeps_its_report_and_a_failed_restore_says_what_failed() {
    bounded(Box::pin(async {
        let (directory, mut world) = (TempDir::new().unwrap(), World::new());
        let catalog = open_in(&directory, &world).await;
        world.real_catalog = Some(Arc::clone(&catalog));
        let (stage, server) = Stage::in_world(world).await;
        let drill = DrillRequest {
            backup_id: stage.backup_id,
            target_cluster_id: stage.target_id,
            selection: RestoreSelection::Everything,
            depth: CompareDepth::Rows,
            created_by: "tester".to_owned(),
        };
        let job = server.service.request_drill(drill).await.unwrap();
        let job = server.ended(job.id).await;
        assert_eq!((job.state, job.failure), (JobState::Successful, None));
        let report = catalog.compare_report(job.id).await.unwrap().unwrap();
        assert_eq!((report.collections.len(), report.differing()), (3, 0));
        stage.assert_tidy("the drill");

        stage.target.state().import_failure = Some("no space in the node".to_owned());
        let job = stage.restore(&server, stage.request()).await;
        assert_eq!(job.state, JobState::Failed);
        let failed =
            steps(&catalog, job.id).await.iter().filter(|step| **step == RestoreStep::Failed).count();
        assert_eq!(failed, 1);
        assert!(job.failure.is_some());
        stage.assert_tidy("the failed restore");
    }))
    .await;
}
