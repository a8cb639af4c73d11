//! Cancelling a restore: it stops soon, and leaves what is done and nothing else.

use super::cut_off::{all_points, begin_and_hang};
use super::stage::{Stage, cities};
use super::undone::undone;
use crate::support::bounded;
use crate::support::fakes::gates::Act;
use futures::StreamExt;
use milvault_domain::job::JobState;
use milvault_domain::restore::{ConflictPolicy, RestoreRequest, RestoreStep};
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_restore_that_hangs_in_any_call_is_canceled_and_cleaned_up_after() {
    // What hangs there is the request, or the job has ended.
    let others = ["insert_requested_job", "inserted_requested_job", "transition_job", "completed_restore"];
    let points = all_points().await.into_iter().filter(|(point, _)| !others.contains(point));
    // Side by side, because a clean-up waits a while for a call that hangs.
    let canceled = points.map(|(point, number)| bounded(cancel_at(point, number)));
    futures::stream::iter(canceled).buffer_unordered(8).collect::<()>().await;
}

async fn cancel_at(point: &'static str, number: usize) {
    let context = format!("{point} {number}");
    let (stage, server) = Stage::new().await;
    let old_id = stage.occupy();
    let job_id = begin_and_hang(&stage, &server, point, number).await;
    let job = server.service.cancel_job(job_id).await.unwrap();
    assert!(matches!(job.state, JobState::Canceling | JobState::Canceled), "{context}: {job:?}");
    let job = server.ended(job_id).await;
    assert_eq!(job.state, JobState::Canceled, "{context}");

    let restore = stage.restore_row(job_id);
    let names = stage.target.collection_names();
    let old_name = stage.name_of(old_id);
    let done = |position: usize| {
        restore.collections.get(position).is_some_and(|state| state.step == RestoreStep::Done)
    };
    for (position, name) in [(1, "shop.customers"), (2, "shop.orders")] {
        assert_eq!(names.contains(&name.to_owned()), done(position), "{context}: {names:?}");
    }
    if done(0) {
        assert_eq!(stage.seen()["default.cities"], stage.wanted()["default.cities"], "{context}");
    } else {
        assert_eq!(old_name, Some(cities()), "{context}");
        assert!(stage.seen()["default.cities"].aliases.contains(&"towns".to_owned()), "{context}");
    }
    let left: Vec<&String> = names.iter().filter(|name| name.contains("milvault")).collect();
    let is_kept = done(0) && old_name.is_some();
    if let Some(kept) = old_name.filter(|_| done(0)) {
        let warnings = &restore.collections[0].warnings;
        assert!(warnings.iter().any(|words| words.contains(&kept.collection)), "{context}: {warnings:?}");
    }
    assert_eq!(left.len(), usize::from(is_kept), "{context}: {left:?}");
    assert_eq!(stage.target.staged(), Vec::<String>::new(), "{context}");
}

#[tokio::test]
async fn what_is_done_stays_and_the_rest_can_be_resumed() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        // Two of the three get through.
        let points = ["rename_collection"];
        for point in points {
            stage.world.gates.once(point, Act::Pass);
            stage.world.gates.once(point, Act::Pass);
            stage.world.gates.once(point, Act::Hang);
        }
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("saved_restored_collection", 8).await;
        stage.world.gates.reached("rename_collection", 3).await;
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        let steps = stage.steps(job_id);
        assert_eq!(steps.iter().filter(|step| **step == RestoreStep::Done).count(), 2, "{steps:?}");
        let failed = stage.restore_row(job_id).collections.into_iter().find_map(|state| state.failure);
        assert!(failed.unwrap().contains("canceled"));
        stage.assert_tidy("canceled");

        let next = server.service.resume_restore(job_id, "tester".to_owned()).await.unwrap();
        assert_eq!(server.ended(next.id).await.state, JobState::Successful);
        assert_eq!(stage.seen(), stage.wanted());
    })
    .await;
}

#[tokio::test]
async fn a_rename_that_ends_after_the_clean_up_can_be_undone() {
    bounded(async {
        let (mut stage, server) = Stage::new().await;
        server.shutdown().await;
        stage.world.settings.cleanup_time_max = std::time::Duration::from_secs(4);
        let server = stage.world.start().await;
        let old_id = stage.occupy();
        let request = RestoreRequest { conflict: ConflictPolicy::Replace, ..stage.only("default", "cities") };
        let hold = stage.world.gates.hold_once("rename_collection");
        let job_id = stage.begin(&server, request).await;
        stage.world.gates.reached("rename_collection", 1).await;
        server.service.cancel_job(job_id).await.unwrap();
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert_eq!(stage.name_of(old_id), Some(cities()));

        hold.add_permits(1);
        stage.world.gates.reached("renamed_collection", 1).await;
        assert_ne!(stage.name_of(old_id), Some(cities()), "behind everybody's back");
        let collection = stage.restore_row(job_id).collections.remove(0);
        assert!(collection.failure.unwrap().contains("canceled"));
        assert!(collection.warnings.iter().any(|words| words.contains("may still rename")));

        let undo = undone(&server, job_id).await;
        assert_eq!((undo.state, undo.failure), (JobState::Successful, None));
        assert_eq!(stage.name_of(old_id), Some(cities()));
        assert!(stage.target.state().find(&cities()).unwrap().aliases.contains("towns"));
        stage.assert_tidy("undone");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_dies_in_the_clean_up_goes_on_with_it_at_the_next_start() {
    for point in ["drop_collection", "dropped_collection", "saved_restored_collection", "unstage", "unstaged"]
    {
        bounded(async {
            let (stage, server) = Stage::new().await;
            let old_id = stage.occupy();
            // No import ends, so no collection is done, and with that kept, before the restore is canceled.
            stage.world.gates.always("import_progress", Act::Hang);
            let job_id = stage.begin(&server, stage.replacing()).await;
            stage.world.gates.reached("import_progress", 1).await;
            let before = stage.world.gates.calls(point);
            stage.world.gates.always(point, Act::Hang);
            server.service.cancel_job(job_id).await.unwrap();
            stage.world.gates.reached(point, before + 1).await;
            server.kill().await;
            assert_eq!(stage.world.job(job_id).state, JobState::Canceling, "{point}");
            stage.world.gates.clear(point);
            stage.world.gates.clear("import_progress");

            let server = stage.world.start().await;
            let job = server.ended(job_id).await;
            assert_eq!((job.state, job.attempt), (JobState::Canceled, 1), "{point}");
            assert_eq!(stage.target.collection_names(), ["default.cities"], "{point}");
            assert_eq!(stage.name_of(old_id), Some(cities()), "{point}");
            stage.assert_tidy(point);
        })
        .await;
    }
}

#[tokio::test]
async fn a_shutdown_in_the_clean_up_leaves_it_to_the_next_start() {
    bounded(async {
        let (stage, server) = Stage::new().await;
        let job_id = begin_and_hang(&stage, &server, "flush", 1).await;
        stage.world.gates.always("unstage", Act::Hang);
        let before = stage.world.gates.calls("unstage");
        server.service.cancel_job(job_id).await.unwrap();
        stage.world.gates.reached("unstage", before + 1).await;
        server.shutdown().await;
        assert_eq!(stage.world.job(job_id).state, JobState::Canceling);
        stage.world.gates.clear("unstage");
        let server = stage.world.start().await;
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_parked_restore_that_is_canceled_is_cleaned_up_after() {
    use milvault_domain::ports::PortErrorKind;
    bounded(async {
        let (mut stage, server) = Stage::new().await;
        server.shutdown().await;
        // Nobody takes it up again by himself.
        stage.world.settings.reconcile_interval = std::time::Duration::from_hours(1);
        let server = stage.world.start().await;
        stage.world.gates.always("flush", Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        let job_id = stage.begin(&server, stage.request()).await;
        stage.world.gates.reached("flush", 1).await;
        server.wait_for(job_id, &[JobState::Pending]).await;
        while server.service.live(job_id).is_some() {
            tokio::task::yield_now().await;
        }
        assert!(!stage.target.collection_names().is_empty());

        stage.world.gates.clear("flush");
        let job = server.service.cancel_job(job_id).await.unwrap();
        assert!(matches!(job.state, JobState::Canceling | JobState::Canceled), "{job:?}");
        assert_eq!(server.ended(job_id).await.state, JobState::Canceled);
        assert!(stage.target.collection_names().is_empty());
        stage.assert_tidy("the end");
    })
    .await;
}

#[tokio::test]
async fn a_canceled_restore_that_waits_for_its_clean_up_keeps_its_place() {
    use milvault_domain::ports::PortErrorKind;
    bounded(async {
        let (stage, server) = Stage::new().await;
        let gates = &stage.world.gates;
        let hold_import = Arc::new(Semaphore::new(0));
        gates.always("import_progress", Act::Hold(Arc::clone(&hold_import)));
        gates.always("flush", Act::Fail(PortErrorKind::Unavailable, "nobody answers"));
        let canceled = stage.begin(&server, stage.request()).await;
        gates.reached("import_progress", 1).await;
        let hold_backup = gates.hold_once("connect");
        let connections = gates.calls("connect");
        server.back_up(stage.target_id).await;
        hold_import.add_permits(1000);
        // Parked; the backup has its turn, and a look puts the restore behind it.
        gates.reached("connect", connections + 1).await;
        let looks = async |count: usize| gates.reached("open_jobs", gates.calls("open_jobs") + count).await;
        looks(2).await;
        let plans = gates.calls("save_restore_plan");
        gates.once("save_restore_plan", Act::Hang);
        let later = stage.begin(&server, stage.request()).await;
        server.service.cancel_job(canceled).await.unwrap();
        looks(3).await;
        assert_eq!(stage.world.job(canceled).state, JobState::Canceling);

        hold_backup.add_permits(1);
        // The other one begins after it and never comes to an end.
        assert_eq!(server.ended(canceled).await.state, JobState::Canceled);
        gates.reached("save_restore_plan", plans + 1).await;
        assert_eq!(stage.world.job(later).state, JobState::InProgress);
        stage.assert_tidy("the end");
    })
    .await;
}
